/** What `doctor` finds out about a machine and a login; what it advises is done, and then it finds nothing. */
import { chmodSync, mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { expect, test } from 'vitest';
import type { Finding } from '../../src/doctor/finding.ts';
import {
  bashFindings,
  httpProxyFinding,
  httpToolFinding,
  nodeVariablesFinding,
  privacyFindings,
  sharedHomeFinding,
  spaceFinding,
  temporaryFinding,
  terminalFinding,
  xdgFinding,
} from '../../src/doctor/machine.ts';
import { temporaryDirectory } from '../support/directories.ts';

/** Does what an advice about variables says. */
function following({ advice = '' }: Finding, environment: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const unset = /unset (\w+)/.exec(advice)?.[1];
  if (unset !== undefined) return { ...environment, [unset]: undefined };
  const [, name = '', value = ''] = /export (\w+)="?([^"\s]+)"?$/.exec(advice) ?? [];
  expect(name, advice).not.toBe('');
  return { ...environment, [name]: value };
}

test.each<[string, (environment: NodeJS.ProcessEnv) => Finding, NodeJS.ProcessEnv, string, RegExp]>([
  ['a relative XDG directory', xdgFinding, { XDG_STATE_HOME: 'state' }, 'warn', /counts as unset: state/],
  ['one that the nodes do not have', xdgFinding, { XDG_STATE_HOME: '/tmp/me' }, 'warn', /this machine only/],
  ['a TMPDIR that is gone', temporaryFinding, { TMPDIR: '/no/where' }, 'warn', /does not exist/],
  [
    'a proxy for browsers of this machine',
    (env) => httpProxyFinding(env, { local: true }),
    { http_proxy: 'http://proxy:3128' },
    'warn',
    /localhost/,
  ],
  [
    'TLS that checks nothing',
    nodeVariablesFinding,
    { NODE_TLS_REJECT_UNAUTHORIZED: '0' },
    'fail',
    /not checked/,
  ],
])('%s is found, and nothing once the advice is followed', (_, check, environment, result, words) => {
  const finding = check(environment);
  expect(finding.result).toBe(result);
  expect(finding.found).toMatch(words);
  expect(check(following(finding, environment))).toMatchObject({ result: 'ok' });
});

test.each([
  [xdgFinding({ XDG_CACHE_HOME: '/home/a/cache' }), /XDG_CACHE_HOME=\/home\/a\/cache/],
  [httpProxyFinding({ HTTPS_PROXY: 'http://p' }, { local: false }), /HTTPS_PROXY set; .* without it/],
  [httpProxyFinding({ http_proxy: 'http://p', NO_PROXY: 'x, .localhost' }, { local: true }), /http_proxy/],
  [
    terminalFinding({ TERM: 'xterm' }, { isTTY: true, columns: 120, colours: 24 }),
    /xterm, 120 columns, colours/,
  ],
  [terminalFinding({}, { isTTY: false, columns: 0, colours: 1 }), /pipe/],
])('nothing is wrong: %o', (finding, words) => {
  expect(finding.result).toBe('ok');
  expect(finding.found).toMatch(words);
});

test('a narrow terminal and a private authority that only this program knows are said', () => {
  expect(terminalFinding({}, { isTTY: true, columns: 60, colours: 1 }).result).toBe('warn');
  expect(nodeVariablesFinding({ NODE_EXTRA_CA_CERTS: '/ca.pem' }).advice).toContain('proxy.caFile');
});

test('a home that others can write to, and sessions that they can look into, are closed by the advice', () => {
  const home = temporaryDirectory();
  const sessions = path.join(home, 'sessions');
  mkdirSync(sessions);
  chmodSync(home, 0o777);
  chmodSync(sessions, 0o755);
  const before = privacyFindings(home, sessions);
  expect(before.map(({ result, advice }) => [result, advice])).toEqual([
    ['warn', `chmod go-w ${home}`],
    ['warn', `chmod go-rwx ${sessions}`],
  ]);
  chmodSync(home, 0o755);
  chmodSync(sessions, 0o700);
  expect(privacyFindings(home, sessions).map(({ result }) => result)).toEqual(['ok', 'ok']);
});

test('space is that of the file system in which sessions will be', () => {
  const directory = temporaryDirectory();
  expect(spaceFinding(path.join(directory, 'not', 'yet', 'there')).found).toContain(`(${directory})`);
});

test('sessions on a disk of this machine alone are said, by the innermost mount', () => {
  const directory = path.join(temporaryDirectory(), 'with space');
  mkdirSync(directory);
  const mounts = (inner: string) =>
    [
      '22 1 8:1 / / rw - ext4 /dev/sda1 rw',
      `31 22 0:41 / ${directory.replaceAll(' ', '\\040')} rw,nosuid shared:1 - ${inner} none rw`,
      '30 22 0:40 / /elsewhere rw - tmpfs none rw',
    ].join('\n');
  const finding = (inner: string, place = directory) =>
    sharedHomeFinding(path.join(place, 'not', 'yet'), mounts(inner));
  expect(finding('tmpfs')).toMatchObject({ result: 'warn', found: expect.stringContaining('tmpfs') });
  expect(finding('nfs4')).toMatchObject({ result: 'ok', found: expect.stringContaining('nfs4') });
  expect(finding('tmpfs', path.dirname(directory))).toMatchObject({
    result: 'ok',
    found: expect.stringContaining('ext4'),
  });
  expect(sharedHomeFinding(directory, '')).toMatchObject({ result: 'skipped' });
});

test('bash complains of a locale that is not installed; the advice ends that', async () => {
  const environment = { PATH: '/usr/bin:/bin', LC_ALL: 'xx_XX.UTF-8' };
  const locale = (findings: Finding[]) => findings.find(({ title }) => title === 'Locale');
  const before = await bashFindings(environment);
  expect(before[0]).toMatchObject({ title: 'bash', result: 'ok', found: expect.stringMatching(/^[45]\.\d/) });
  const complaint = locale(before) as Finding;
  expect(complaint).toMatchObject({ result: 'warn', found: expect.stringContaining('xx_XX') });
  expect(locale(await bashFindings(following(complaint, environment)))).toMatchObject({
    result: 'ok',
    found: 'C.UTF-8',
  });
  expect(locale(await bashFindings({ PATH: '/usr/bin:/bin' }))).toMatchObject({ result: 'ok', found: 'C' });
});

test('a machine without bash, or without anything that speaks HTTP', async () => {
  const empty = { PATH: temporaryDirectory() };
  expect((await bashFindings(empty))[0]).toMatchObject({ result: 'fail' });
  expect(await httpToolFinding(empty, { here: true })).toMatchObject({ result: 'fail' });
  expect(await httpToolFinding(empty, { here: false })).toMatchObject({ result: 'warn' });
  writeFileSync(path.join(empty.PATH, 'wget'), '#!/bin/sh\necho GNU Wget 1.21.3 built\n', { mode: 0o755 });
  expect(await httpToolFinding(empty, { here: true })).toMatchObject({ result: 'ok', found: 'wget 1.21.3' });
});
