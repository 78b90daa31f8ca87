/** A workshop: sixty people who type the instructor's command in the same moment. */
import { cpSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { addUsers, labExec, labPath, type NodeName, up } from '../../lab/lab.ts';
import { isProxyDatabase } from './support/endings.ts';
import {
  fetchSite,
  type LaunchReport,
  launch,
  pageText,
  secretsIn,
  sessionStatus,
} from './support/launcher.ts';
import { filesWith, processesWith } from './support/secrets.ts';

const students = Array.from({ length: 60 }, (_, index) => `student${String(index + 1).padStart(2, '0')}`);

/** What the instructor has installed for all of them: a copy that they can't change, its configuration beside it. */
const workshop = '/opt/workshop';
const siteConfiguration = `
systems:
  lab:
    title: The lab
    detect: { clusterName: lab }
    scheduler: slurm
    proxy: { endpoint: user-content.test, caFile: /etc/start-jupyter/ca.pem }
    nodeAddress: "{hostname -s}"
    defaults: { partition: compute }
    profiles: { summer-school: { account: class, time: 20m, service: notebook } }
`;

interface Person {
  readonly user: string;
  readonly session: LaunchReport;
  readonly secrets: readonly string[];
}

let people: Person[];

beforeAll(async () => {
  await up();
  await addUsers(students, 'class');
  installGlobalCopy();
  // One more does the same twice.
  const users = [...students, 'carol', 'carol'];
  people = await Promise.all(
    users.map(async (user) => {
      const session = await launch(['--profile', 'summer-school'], { user }, `${workshop}/bin/start-jupyter`);
      return { user, session, secrets: Object.values(secretsIn(session.url)) };
    }),
  );
});
afterAll(() => labExec(['scancel', '--account=class'], { user: 'root' }));

function installGlobalCopy(): void {
  const checkout = path.join(import.meta.dirname, '../..');
  for (const part of ['bin', 'dist', 'batch-templates', 'systems.yaml', 'package.json'])
    cpSync(path.join(checkout, part), labPath(`${workshop}/${part}`), { recursive: true });
  symlinkSync('/opt/start-jupyter/node_modules', labPath(`${workshop}/node_modules`));
  mkdirSync(labPath(`${workshop}/etc`));
  writeFileSync(labPath(`${workshop}/etc/config.yaml`), siteConfiguration);
}

async function endAll(): Promise<void> {
  await labExec(['scancel', '--account=class'], { user: 'root' });
  await expect
    .poll(async () => (await labExec(['squeue', '-h', '-A', 'class'])).stdout, {
      timeout: 120_000,
      interval: 500,
    })
    .toBe('');
}

function askJupyter(
  { session: { url } }: Person,
  { secrets: [jupyterToken] }: Person,
): Promise<{ status: number }> {
  const { origin } = new URL(url);
  return fetchSite(`${origin}/api/sessions`, { authorization: `token ${jupyterToken}` });
}

describe('sixty people who launch at once', () => {
  test('come up, all of them, behind one proxy', async () => {
    const answers = async () => {
      const statuses = await Promise.all(
        people.map(async (person) => (await askJupyter(person, person)).status),
      );
      return people.filter((_, index) => statuses[index] !== 200).map(({ user }) => user);
    };
    await expect.poll(answers, { timeout: 150_000, interval: 1000 }).toEqual([]);
    for (const of of [
      people.map(({ session }) => session.id),
      people.map(({ session }) => session.jobId),
      people.flatMap(({ secrets }) => secrets),
    ])
      expect(new Set(of).size).toBe(of.length);
    const { user, session } = people[59] as Person;
    expect(await sessionStatus(session.id, { user })).toMatchObject({ state: 'ready', url: session.url });
  });

  test("have a port each, and a link that opens nobody else's Jupyter", async () => {
    const logs = await Promise.all(
      people.map(({ user, session }) => labExec(['cat', session.log], { user })),
    );
    const places = logs.map(
      ({ stdout }) => /Jupyter answers on 10\.21\.0\.1[12], port \d+/.exec(stdout)?.[0],
    );
    expect(places).not.toContain(undefined);
    expect(new Set(places).size).toBe(people.length);

    const strangers = people.map((person, index) => askJupyter(person, people.at(index - 1) as Person));
    expect((await Promise.all(strangers)).map(({ status }) => status)).toEqual(people.map(() => 403));
  });

  test("find nobody else's secrets", async () => {
    const [{ user }, ...others] = people as [Person, ...Person[]];
    const secrets = others.flatMap((person) => person.secrets);
    expect(await filesWith(secrets, user)).toEqual([]);
    expect(processesWith(secrets)).toEqual([]);
    const { stdout: jobs } = await labExec(['bash', '-c', 'scontrol show job -dd; squeue -O ALL'], { user });
    for (const secret of secrets) expect(jobs).not.toContain(secret);
    const elsewhere = ['-path', '*start-jupyter*', '!', '-user', user, '-readable'];
    expect((await labExec(['find', '/home', ...elsewhere], { user, reject: false })).stdout).toBe('');
  });

  test('leave no job, open site or secret when all of it ends', async () => {
    await endAll();
    // The jobs themselves can't know why: the page has it from the scheduler, when the jobs are next reported.
    const pagesWithoutReason = async () => {
      const pages = await Promise.all(people.map(({ session }) => pageText(session.url)));
      return pages.filter((page) => !page.includes('The job was cancelled'));
    };
    await expect.poll(pagesWithoutReason, { timeout: 60_000, interval: 1000 }).toEqual([]);
    const secrets = people.flatMap((person) => person.secrets);
    expect((await filesWith(secrets)).filter((file) => !isProxyDatabase(file))).toEqual([]);
    expect(processesWith(secrets)).toEqual([]);
    for (const node of ['c1', 'c2'] satisfies NodeName[]) {
      const find = ['find', '/tmp', '-name', 'sj-*', '-not', '-user', 'alice', '-not', '-user', 'bob'];
      expect((await labExec(find, { user: 'root', node })).stdout).toBe('');
    }
  });
});
