/** In a file of its own: Jupyter looks once a minute whether it is to end, and other files run meanwhile. */
import { existsSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect } from 'vitest';
import { testWith } from '../support/command.ts';
import { freshHome } from '../support/directories.ts';
import { ask, launchHere, runtimeDirectories, secretsOf } from '../support/here.ts';
import { allEnded } from '../support/processes.ts';
import { run, slurmPrograms, usualPrograms } from '../support/program.ts';

const { run: testWithJupyter, note } = testWith('jupyter-notebook');

describe(`--idle-timeout${note}`, () => {
  testWithJupyter(
    'ends a kernel, a terminal and the server that nobody uses, in spite of an open tab',
    async () => {
      const home = freshHome();
      const workstation = { home, path: usualPrograms({ without: slurmPrograms }) };
      const launch = launchHere(['--json', '--idle-timeout', '2s'], workstation);
      const { url } = JSON.parse((await launch.line()) ?? '{}');
      const headers = { authorization: `token ${secretsOf(url).jupyterToken}` };
      for (const what of ['kernels', 'terminals'])
        expect((await ask(url, `/api/${what}`, headers, 'POST')).status).toBeLessThan(300);
      const runtime = runtimeDirectories(home.path);

      let over = false;
      void launch.ended.then(() => {
        over = true;
      });
      // What an open page asks for all the time.
      while (!over) {
        await ask(url, '/api/kernels', headers).catch(() => undefined);
        await sleep(500);
      }
      expect((await launch.ended).exitCode).toBe(0);
      const status = JSON.parse((await run(['status', '--json'], workstation)).stdout);
      expect(status).toMatchObject({
        state: 'ended',
        reason: 'Jupyter ended itself: nothing happened for 2s.',
      });
      await allEnded(home.path);
      expect(runtime.filter((directory) => existsSync(directory))).toEqual([]);
    },
  );
});
