/** The site's file beside a copy of the program: whose it may be. */
import { chmodSync, chownSync, copyFileSync, cpSync, globSync, mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { beforeEach, describe, expect, it } from 'vitest';
import { freshHome, type Home, temporaryDirectory } from '../support/directories.ts';
import { run } from '../support/program.ts';

const root = path.join(import.meta.dirname, '../..');
const nobodysId = 65534;
const onlyRoot = process.getuid?.() === 0;

let home: Home;
let copy: string;
let site: string;

beforeEach(() => {
  home = freshHome();
  copy = temporaryDirectory();
  for (const name of ['bin', 'batch-templates'])
    cpSync(path.join(root, name), path.join(copy, name), { recursive: true });
  mkdirSync(path.join(copy, 'dist'));
  for (const name of ['package.json', 'systems.yaml', ...globSync('dist/*.{js,json}', { cwd: root })])
    copyFileSync(path.join(root, name), path.join(copy, name));
  site = path.join(copy, 'etc/start-jupyter/config.yaml');
  mkdirSync(path.dirname(site), { recursive: true });
  writeFileSync(site, 'systems: { generic-none: { profiles: { school: { memory: 7 } } } }\n');
});

const call = (...args: string[]) =>
  run(args, {
    home,
    program: path.join(copy, 'bin/start-jupyter'),
    path: `${path.dirname(process.execPath)}:/usr/bin:/bin`,
  });

it('is used where it belongs to who installed the copy, without a word', async () => {
  const { exitCode, stdout, stderr } = await call(
    'config',
    '--system',
    'generic-none',
    '--profile',
    'school',
  );
  expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' });
  expect(stdout).toMatch(/profile school/);
});

it('is warned of by doctor where everybody can replace it', async () => {
  const finding = async () => {
    const { areas } = JSON.parse((await call('doctor', '--json', '--system', 'generic-none')).stdout);
    return areas
      .flatMap((area: { findings: { title: string }[] }) => area.findings)
      .find(({ title }: { title: string }) => title === "Site's file");
  };
  const directory = path.join(copy, 'etc');
  chmodSync(directory, 0o777);
  expect(await finding()).toMatchObject({
    result: 'warn',
    advice: expect.stringContaining(`o-w ${directory}`),
  });
  for (const mode of [0o1777, 0o775]) {
    chmodSync(directory, mode);
    expect(await finding()).toMatchObject({ result: 'ok' });
  }
});

describe.runIf(onlyRoot)("that is a stranger's", () => {
  const system = ['--system', 'generic-none'];
  const words = () => `${site} is not used: it belongs to user ${nobodysId}`;
  beforeEach(() => chownSync(site, nobodysId, nobodysId));

  it('is said not to be used, in a line of its own, unless nothing is to be said', async () => {
    expect(await call('--info', ...system)).toMatchObject({
      exitCode: 0,
      stderr: expect.stringMatching(new RegExp(`^${words()}[^\n]*\\n$`)),
    });
    expect(await call('--dry-run', '--quiet', ...system, '--access', 'local')).toMatchObject({ stderr: '' });
  });

  it.each([
    ['profile', ['--profile', 'school', ...system]],
    ['system', ['--system', 'ours']],
  ])('is named where a %s is missing', async (_, args) => {
    const { exitCode, stderr } = await call('--info', ...args);
    expect(exitCode).toBe(2);
    expect(stderr.split('\n')[1]).toContain(words());
  });

  it.each([[[]], [['--class']]])('is warned of by doctor %s', async (args) => {
    const { areas } = JSON.parse((await call('doctor', '--json', ...args, ...system)).stdout);
    const findings = areas.flatMap((area: { findings: object[] }) => area.findings);
    expect(findings).toContainEqual(
      expect.objectContaining({
        title: "Site's file",
        result: 'warn',
        found: expect.stringContaining(words()),
        advice: expect.stringContaining('chown'),
      }),
    );
  });
});
