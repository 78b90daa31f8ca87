/** Several sessions side by side on one node. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { labExec, up } from '../../lab/lab.ts';
import { fetchSite, launch, secretsIn, stopAll } from './support/launcher.ts';

beforeAll(() => up());
afterAll(() => stopAll('alice', 'bob'));

test('five launches at once by two users on one node come up, each on a port of its own', async () => {
  const users = ['alice', 'bob', 'alice', 'bob', 'alice'];
  const sessions = await Promise.all(
    users.map((user) => launch(['--notebook', '--wait', '--', '--nodelist=c1'], { user })),
  );

  const ports = await Promise.all(
    sessions.map(async ({ log }, index) => {
      const { stdout } = await labExec(['cat', log], { user: users[index] });
      return /Jupyter answers on 10\.21\.0\.11, port (\d+)/.exec(stdout)?.[1];
    }),
  );
  expect(new Set(ports).size).toBe(5);
  expect(ports).not.toContain(undefined);

  // Each link leads to its own Jupyter: a token of one is refused by all others.
  for (const [index, { url }] of sessions.entries()) {
    const { origin } = new URL(url);
    for (const [other, { url: otherUrl }] of sessions.entries()) {
      const { status } = await fetchSite(`${origin}/api/sessions`, {
        authorization: `token ${secretsIn(otherUrl).jupyterToken}`,
      });
      expect(status, `token of session ${other} at site ${index}`).toBe(other === index ? 200 : 403);
    }
  }
});
