import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { expect, vi } from 'vitest';
import { schedulerPrograms } from './batch-cluster.ts';
import { freshHome, type Home, temporaryDirectory } from './directories.ts';
import { type Pbs, standInForPbs } from './pbs.ts';
import { allEnded, filesHolding } from './processes.ts';
import { program, type Ran, type RunOptions, run, usualPrograms } from './program.ts';
import { remoteProgramFile } from './sshd.ts';

/** A login node of a cluster without a proxy; jobs run on this machine, as on a node of another address. */
export interface Cluster {
  readonly home: Home;
  readonly pbs: Pbs;
  /** What a login finds there. */
  readonly login: RunOptions;
  /** start-jupyter there, for those who come with ssh. */
  readonly program: string;
  call(...args: string[]): Promise<Ran>;
  expectNothingLeft(token: string): Promise<void>;
}

/** What no other address of this machine listens on, and a login node could reach. */
export const nodeAddress = '127.0.0.2';

/** @param entry what its description says beside the scheduler */
export function cluster(entry: object): Cluster {
  const home = freshHome();
  const pbs = standInForPbs({ flavour: 'pbs' });
  const site = path.join(temporaryDirectory(), 'site.yaml');
  const system = { scheduler: 'pbs', detect: { env: { TEST_CLUSTER: 'yes' } }, nodeAddress, ...entry };
  writeFileSync(site, JSON.stringify({ systems: { test: system }, service: 'notebook' }));
  const env = { START_JUPYTER_SITE_CONFIG: site, TEST_CLUSTER: 'yes' };
  const searchPath = `${pbs.commands}:${usualPrograms({ without: schedulerPrograms })}`;
  const login = { home, env, path: searchPath };
  return {
    home,
    pbs,
    login,
    program: remoteProgramFile(program, { ...home.env, ...env, PATH: searchPath }),
    call: (...args) => run(args, login),
    expectNothingLeft: async (token) => {
      await vi.waitFor(
        () => expect(pbs.state.jobs().filter(({ state }) => state !== 'F')).toEqual([]),
        60_000,
      );
      await allEnded(home.path);
      expect(filesHolding([home.path, pbs.state.directory], [token])).toEqual([]);
    },
  };
}

/** Somebody's own machine, on which the real client knows these hosts. */
export function laptop(client: string, home = freshHome()): RunOptions {
  return { home, path: `${client}:${usualPrograms({ without: /^(?:ssh|xdg-open)$/ })}` };
}
