import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { execa } from 'execa';
import { afterAll, beforeAll, beforeEach, expect, vi } from 'vitest';
import { freshHome, type Home, temporaryDirectory } from './directories.ts';
import { secretsOf } from './here.ts';
import type { Settings } from './pbs/state.ts';
import { type Pbs, standInForPbs } from './pbs.ts';
import { allEnded, filesHolding } from './processes.ts';
import { type Ran, type RunOptions, run, usualPrograms } from './program.ts';
import { type SatelliteProcess, startSatelliteProcess } from './satellite.ts';

/** What a launch prints with `--json`. */
export interface Report {
  readonly id: string;
  readonly jobId: string;
  readonly url: string;
  readonly log: string;
}

/** Programs that make a machine look like a login node of another scheduler. */
export const schedulerPrograms =
  /^(?:s(?:batch|queue|info|acct|acctmgr|cancel|control|run|alloc)|q\w+|pbs\w*|b(?:sub|jobs|kill))$/;

/**
 * A cluster of this one machine, for the tests of one file: a satellite for all of them, and for each a user with a home
 * and a scheduler that runs jobs.
 */
export function clusterOfOne(flavour: Settings['flavour']) {
  let satellite: SatelliteProcess;
  let home: Home;
  let pbs: Pbs;
  let env: Readonly<Record<string, string>>;
  let tokensBefore: readonly string[];

  beforeAll(async () => {
    satellite = await startSatelliteProcess();
  });
  afterAll(() => satellite.stop());
  beforeEach(() => {
    tokensBefore = satellite.tokensInUse();
    home = freshHome();
    pbs = standInForPbs({ flavour });
    const site = path.join(temporaryDirectory(), 'site.yaml');
    writeFileSync(
      site,
      JSON.stringify({
        systems: {
          test: {
            title: 'Test',
            scheduler: flavour,
            detect: { env: { TEST_CLUSTER: 'yes' } },
            proxy: { endpoint: satellite.endpoint, caFile: satellite.caFile },
            nodeAddress: '127.0.0.1',
          },
        },
        service: 'notebook',
      }),
    );
    env = { ...satellite.env, START_JUPYTER_SITE_CONFIG: site, TEST_CLUSTER: 'yes' };
  });

  const login = (): RunOptions => ({
    home,
    path: `${pbs.commands}:${usualPrograms({ without: schedulerPrograms })}`,
    env,
  });
  const call = (...args: string[]): Promise<Ran> => run(args, login());
  const status = async () => JSON.parse((await call('status', '--json')).stdout);
  /** Those of this test: what another one left in use is that one's failure. */
  const untilTokensAreBack = () =>
    vi.waitFor(
      () => expect(satellite.tokensInUse().filter((token) => !tokensBefore.includes(token))).toEqual([]),
      20_000,
    );
  return {
    get home() {
      return home;
    },
    get pbs() {
      return pbs;
    },
    get satellite() {
      return satellite;
    },
    login,
    call,
    status,
    untilTokensAreBack,

    /** One of the scheduler's own commands, behind the launcher's back. */
    async command(name: string, ...args: string[]): Promise<void> {
      await execa(path.join(pbs.commands, name), args, { cwd: home.path });
    },

    /** A launch that must succeed. */
    async launched(...args: string[]): Promise<Report> {
      const { exitCode, stdout, stderr } = await call('--json', ...args);
      expect(exitCode, stderr).toBe(0);
      return JSON.parse(stdout);
    },

    async untilStatus(expected: object): Promise<void> {
      await expect.poll(status, { timeout: 60_000, interval: 500 }).toMatchObject(expected);
    },

    /** No job, no process, no token, no secret in any file of home or of the scheduler. */
    async expectNothingLeft(url: string): Promise<void> {
      await vi.waitFor(
        () => expect(pbs.state.jobs().filter(({ state }) => state !== 'F')).toEqual([]),
        60_000,
      );
      await allEnded(home.path);
      await untilTokensAreBack();
      const { jupyterToken, words } = secretsOf(url);
      expect(filesHolding([home.path, pbs.state.directory], [jupyterToken, words])).toEqual([]);
    },
  };
}
