/** The ways out of a session that every scheduler has, and what must be left behind: nothing. */
import { describe, expect, test } from 'vitest';
import { labExec, type NodeName } from '../../../lab/lab.ts';
import { type LaunchReport, pageText, secretsIn, sessionStatus } from './launcher.ts';
import { filesWith, processesWith } from './secrets.ts';

/** What differs between schedulers. */
export interface EndingsOf {
  launch(...options: string[]): Promise<LaunchReport>;
  /** The command that cancels a job, without the job's id. */
  readonly cancel: string;
  nodeOf(jobId: string): Promise<NodeName>;
  untilJobIsGone(jobId: string): Promise<void>;
  /** All that the scheduler remembers of a job. */
  records(jobId: string): Promise<string>;
}

/** The proxy's own database keeps a token that is gone, to say why; only the proxy can read it. */
export function isProxyDatabase(file: string): boolean {
  return /^(login|c1|c2):\/var\/lib\/satellite\//.test(file);
}

/** Looks everywhere for a session that has ended: files and processes of all nodes, and the scheduler's memory. */
export async function expectNothingIsLeft(
  session: LaunchReport,
  records: EndingsOf['records'],
  user = 'alice',
): Promise<void> {
  const { jupyterToken, proxyToken } = secretsIn(session.url);
  const secrets = [jupyterToken, proxyToken];
  expect((await filesWith(secrets)).filter((file) => !isProxyDatabase(file))).toEqual([]);
  expect(processesWith(secrets)).toEqual([]);
  const remembered = await records(session.jobId);
  for (const secret of secrets) expect(remembered).not.toContain(secret);
  for (const node of ['c1', 'c2'] as const)
    expect(
      (await labExec(['find', '/tmp', '-user', user, '-name', 'sj-*'], { user: 'root', node })).stdout,
    ).toBe('');
}

/** A test for each of the ways out. */
export function describeEndings({ launch, cancel, nodeOf, untilJobIsGone, records }: EndingsOf): void {
  const endings: {
    name: string;
    end(session: LaunchReport): Promise<unknown>;
    state: string;
    reason: RegExp;
  }[] = [
    {
      name: 'stop',
      end: ({ id }) => labExec(['start-jupyter', 'stop', id]),
      state: 'ended',
      reason: /Stopped with "start-jupyter stop"/,
    },
    {
      name: `${cancel} from outside`,
      end: ({ jobId }) => labExec([cancel, jobId]),
      state: 'ended',
      reason: /The job was cancelled/,
    },
    {
      name: 'kill -9 of Jupyter',
      end: async ({ jobId }) =>
        labExec(['pkill', '-KILL', '-u', 'alice', '-f', 'jupyter-lab'], {
          user: 'root',
          node: await nodeOf(jobId),
        }),
      state: 'failed',
      reason: /Jupyter was killed on c[12] \(signal 9\)/,
    },
  ];

  describe.each(endings)('$name', ({ end, state, reason }) => {
    test('ends the job, closes the site with the reason, and leaves no secret', async () => {
      const session = await launch('--lab', '-e', 'jupyterlab', '--wait');
      await end(session);
      await untilJobIsGone(session.jobId);
      await expect.poll(() => pageText(session.url), { timeout: 60_000 }).toMatch(reason);
      // Before anything asks for the session's status, which would clean up after a job that did not.
      await expectNothingIsLeft(session, records);
      const status = await sessionStatus(session.id);
      expect(status.state).toBe(state);
      expect(status.reason).toMatch(reason);
      expect(status.url).toBeNull();
    });
  });
}

/** The end of a session that was given a minute: everything is in order, and everybody is told the same. */
export async function expectTimeLimit(
  session: LaunchReport,
  user: string,
  { untilJobIsGone, records }: Pick<EndingsOf, 'untilJobIsGone' | 'records'>,
): Promise<void> {
  await untilJobIsGone(session.jobId);
  await expect.poll(() => pageText(session.url), { timeout: 60_000 }).toMatch(/The time limit was reached/);
  await expectNothingIsLeft(session, records, user);
  expect(await sessionStatus(session.id, { user })).toMatchObject({
    state: 'ended',
    reason: 'The time limit was reached.',
    url: null,
  });
}
