/** OpenSSH's client where connections can't be shared, as on Windows; in its place a program that waits to be let in. */
import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { freePort } from '../../src/free-port.ts';
import type { SshClient } from '../../src/tunnel/ssh-client.ts';
import { sshProblem } from '../../src/tunnel/ssh-problem.ts';
import { browserProblem } from '../../src/ui/browser.ts';
import { temporaryDirectory } from '../support/directories.ts';

const { platform } = process;
const { PATH } = process.env;
const asOn = (value: string) => Object.defineProperty(process, 'platform', { value });

let directory: string;
let client: SshClient;
let open: (directory: string) => SshClient;

beforeAll(async () => {
  asOn('win32');
  const { SshClient } = await import('../../src/tunnel/ssh-client.ts');
  asOn(platform);
  open = (place) => new SshClient({ destination: 'me@login', jump: undefined }, place);
});
afterAll(() => {
  process.env.PATH = PATH;
});

beforeEach(() => {
  directory = temporaryDirectory();
  const ssh = `#!/bin/sh
echo "$*" >> '${directory}/calls'
until [ -e '${directory}/answer' ]; do sleep 0.05; done
. '${directory}/answer'
`;
  writeFileSync(path.join(directory, 'ssh'), ssh, { mode: 0o755 });
  process.env.PATH = `${directory}:${PATH}`;
  client = open(directory);
});

/** What the other end does now. */
function answer(script: string): void {
  const file = path.join(directory, 'answer');
  // In one step: it is read as soon as it is there.
  writeFileSync(`${file}.new`, script);
  renameSync(`${file}.new`, file);
}
const isAsked = () => existsSync(path.join(directory, 'calls'));
const forward = (localPort: number) =>
  client.forward(
    { localAddress: '127.0.0.1', localPort, address: '10.0.0.1', port: 8888, node: undefined },
    AbortSignal.timeout(60_000),
  );

it('has a tunnel when ssh has been let in, however long a person takes to type a password', async () => {
  const port = await freePort();
  let isOpen = false;
  const opening = forward(port).then((outcome) => {
    isOpen = true;
    return outcome;
  });
  await expect.poll(isAsked).toBe(true);
  expect(isOpen).toBe(false);
  answer(`exec '${process.execPath}' -e 'require("net").createServer().listen(${port}, "127.0.0.1")'`);
  expect(await opening).toBe(true);
  expect(client.stands).toBe(true);
  await client.close();
});

it('says why ssh was not let in, and when the port was taken meanwhile', async () => {
  answer('echo "me@login: Permission denied (publickey,password)." >&2; exit 255');
  await expect(forward(await freePort())).rejects.toThrow('me@login does not let you in');
  answer('echo "Could not request local forwarding." >&2; exit 255');
  expect(await forward(await freePort())).toBe(false);
});

it.each([
  ['lines', 'exec yes'],
  ['complaints', 'exec yes >&2'],
  ['one line', String.raw`exec tr '\0' a </dev/zero`],
])('ends a command that prints without end: %s', async (_, script) => {
  answer(script);
  expect(await client.start(['start-jupyter']).ended).toMatchObject({ isEndless: true });
});

it('hears lines however they end, and the last one without an end', async () => {
  answer(String.raw`printf 'one\r\ntwo\rthree\n\nGr\303'; sleep 0.1; printf '\274n'`);
  const heard: string[] = [];
  const { ended } = client.start(['start-jupyter'], { onOutput: (line) => heard.push(line) });
  expect(await ended).toMatchObject({ exitCode: 0, isEndless: false });
  expect(heard).toEqual(['one', 'two', 'three', 'Grün']);
});

it('ends as an ssh that fails does, where there is none', async () => {
  process.env.PATH = path.join(directory, 'nowhere');
  expect(await client.start(['start-jupyter']).ended).toMatchObject({ exitCode: 255 });
});

it('shares no connection, whatever is configured', async () => {
  answer('exit 0');
  await client.start(['true']).ended;
  await forward(await freePort()).catch(() => {});
  const calls = readFileSync(path.join(directory, 'calls'), 'utf8').trim().split('\n');
  expect(calls).toHaveLength(2);
  for (const call of calls) {
    expect(call).toContain('-o ControlMaster=no -o ControlPath=none ');
    expect(call).not.toMatch(/(?:^| )-[MS] /);
  }
});

it('knows what an old ssh of Windows says when it is to go through another host', () => {
  const { message, hint } = sshProblem(
    'node7',
    'CreateProcessW failed error:2\r\nposix_spawn: No such file or directory',
  );
  expect(message).toBe("This machine's ssh can't go on to node7 through another host.");
  expect(hint).toContain('from version 8.1 on');
});

it('needs no display for a browser on Windows', () => {
  asOn('win32');
  expect(browserProblem({})).toBeUndefined();
  asOn('linux');
  expect(browserProblem({})).toBe('there is no display here');
  asOn(platform);
});
