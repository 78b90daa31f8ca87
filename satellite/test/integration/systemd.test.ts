import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { appendFile, mkdir, mkdtemp, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { makeCertificate, namesBelow } from '../certificate.ts';
import { DOMAIN } from '../support.ts';
import { Machine, machineObstacle } from './machine.ts';

const run = promisify(execFile);

const checkout = fileURLToPath(new URL('../../../', import.meta.url));
const deploy = join(checkout, 'satellite/deploy');
const units = ['satellite.service', 'satellite.socket', 'satellite-http.socket'];

/** A machine with the units; the folder takes the files that it has of its own. */
async function bootMachine(folder: string): Promise<Machine> {
  const etc = join(folder, 'satellite');
  await mkdir(etc);
  const { cert, key } = await makeCertificate(folder, namesBelow(DOMAIN));
  await rename(cert, join(etc, 'fullchain.pem'));
  await rename(key, join(etc, 'privkey.pem'));
  const credentials = '/run/credentials/satellite.service';
  await writeFile(
    join(etc, 'satellite.yaml'),
    `domain: ${DOMAIN}
tls: { cert: ${credentials}/fullchain.pem, key: ${credentials}/privkey.pem }
internalNetworks: [127.0.0.0/8]
`,
  );
  // The unit as it is, but with the Node.js of the tests.
  const node = '/opt/node/bin/node';
  const unit = await readFile(join(deploy, 'satellite.service'), 'utf8');
  const [, command = ''] = /^ExecStart=\/usr\/bin\/node (.*)$/m.exec(unit) ?? [];
  await writeFile(join(folder, 'node.conf'), `[Service]\nExecStart=\nExecStart=${node} ${command}\n`);
  const system = '/etc/systemd/system';
  const binds = [
    `${process.execPath}:${node}`,
    `${checkout}:/opt/start-jupyter`,
    `${etc}:/etc/satellite`,
    `${join(folder, 'node.conf')}:${system}/satellite.service.d/node.conf`,
    ...units.map((name) => `${join(deploy, name)}:${system}/${name}`),
  ];
  return Machine.boot('satellite', binds);
}

describe('the systemd units', () => {
  test.skipIf(!existsSync('/usr/bin/systemd-analyze'))('are understood by systemd', async () => {
    // It looks for the program, which is elsewhere here.
    const folder = await mkdtemp(join(tmpdir(), 'satellite-units-'));
    try {
      for (const name of units) {
        const text = await readFile(join(deploy, name), 'utf8');
        await writeFile(join(folder, name), text.replace('/usr/bin/node', process.execPath));
      }
      const { stdout, stderr } = await run('systemd-analyze', [
        ...['verify', '--man=no', '--recursive-errors=no'],
        ...units.map((name) => join(folder, name)),
      ]);
      expect(stdout + stderr).toBe('');
      // Fails above the threshold, which is in tenths; root without a sandbox has 96.
      await run('systemd-analyze', [
        ...['security', '--offline=true', '--threshold=20', '--no-pager'],
        join(folder, 'satellite.service'),
      ]);
    } finally {
      await rm(folder, { recursive: true });
    }
  });
});

describe.skipIf(machineObstacle !== '')(
  `under a real systemd, in the sandbox of the unit${machineObstacle}`,
  () => {
    let folder: string;
    let machine: Machine;

    beforeAll(async () => {
      folder = await mkdtemp(join(tmpdir(), 'satellite-systemd-'));
      machine = await bootMachine(folder);
      const notebook = ['python3', '-m', 'http.server', '--bind', '127.0.0.1', '8888'];
      await machine.exec('systemd-run', '--quiet', '--unit=notebook', ...notebook);
      await machine.exec(
        'systemctl',
        'start',
        'satellite.socket',
        'satellite-http.socket',
        'satellite.service',
      );
    });
    afterAll(async () => {
      await machine?.halt();
      await rm(folder, { recursive: true });
    });

    const curl = (host: string, path: string, ...more: string[]): Promise<string> => {
      const resolve = `${host}.${DOMAIN}:443:127.0.0.1`;
      const ca = ['--cacert', '/etc/satellite/fullchain.pem'];
      const url = `https://${host}.${DOMAIN}${path}`;
      return machine.exec('curl', '-sS', '--max-time', '30', ...ca, '--resolve', resolve, ...more, url);
    };
    const property = async (name: string): Promise<string> =>
      (await machine.exec('systemctl', 'show', '--value', `--property=${name}`, 'satellite')).trim();

    /** A new site. */
    async function site(): Promise<string> {
      const [, token = ''] = /\n([a-z]+-[a-z]+-[a-z]+)\n/.exec(await curl('manage', '/getlink.cgi')) ?? [];
      const until = ['--retry', '20', '--retry-all-errors', '--retry-delay', '1', '--fail'];
      await machine.exec('curl', '-sS', '--output', '/dev/null', ...until, 'http://127.0.0.1:8888/');
      expect(await curl('manage', `/redeemtoken.cgi?token=${token}&port=8888`)).toMatch(/Success!/);
      return token;
    }

    test('it says when it serves, and serves on the ports that it was given', async () => {
      expect(await property('StatusText')).toBe(`Serving https://manage.${DOMAIN}/`);
      expect(await curl(await site(), '/')).toMatch(/Directory listing/);
      const redirected = await machine.exec(
        'curl',
        '-sS',
        '-i',
        '-H',
        `Host: a-b-c.${DOMAIN}`,
        'http://127.0.0.1/lab',
      );
      expect(redirected).toMatch(/^HTTP\/1\.1 308 /);
      expect(redirected).toContain(`Location: https://a-b-c.${DOMAIN}/lab\r\n`);
    });

    test('it is nobody, and can do nothing that root can', async () => {
      const status = await readFromProc('status');
      expect(status).toMatch(/^NoNewPrivs:\s+1$/m);
      expect(status).toMatch(/^Seccomp:\s+2$/m);
      for (const set of ['Inh', 'Prm', 'Eff', 'Bnd', 'Amb'])
        expect(status).toMatch(new RegExp(`^Cap${set}:\\s+0+$`, 'm'));
      const [, user = ''] = /^Uid:\s+(\d+)/m.exec(status) ?? [];
      expect(Number(user)).toBeGreaterThan(60_000);
      const owner = await machine.exec('stat', '--format=%u %a', '/var/lib/private/satellite/state.sqlite');
      expect(owner.trim()).toBe(`${user} 600`);
    });

    async function readFromProc(file: string): Promise<string> {
      return machine.exec('cat', `/proc/${await property('MainPID')}/${file}`);
    }

    test('a restart loses no site and refuses nobody', async () => {
      const token = await site();
      const before = await property('MainPID');
      let isRestarting = true;
      const answers: string[] = [];
      const visitor = async (): Promise<void> => {
        do answers.push(await curl(token, '/', '--output', '/dev/null', '--write-out', '%{http_code}'));
        while (isRestarting);
      };
      const visitors = [visitor(), visitor(), visitor()];
      await machine.exec('systemctl', 'restart', 'satellite');
      isRestarting = false;
      await Promise.all(visitors);
      expect(await property('MainPID')).not.toBe(before);
      expect(new Set(answers)).toEqual(new Set(['200']));
    });

    test('it comes back by itself', async () => {
      const token = await site();
      const before = await property('MainPID');
      await machine.exec('systemctl', 'kill', '--signal=KILL', 'satellite');
      // Waits in the socket until there is somebody to take it.
      expect(await curl(token, '/')).toMatch(/Directory listing/);
      expect(await property('MainPID')).not.toBe(before);
    });

    test('the operator sees its sites, and no names', async () => {
      const token = await site();
      const satellite = ['/opt/node/bin/node', '/opt/start-jupyter/satellite/dist/satellite.js'];
      const table = await machine.exec(...satellite, 'status', '--config', '/etc/satellite/satellite.yaml');
      expect(table).toMatch(new RegExp(`^${token.split('-')[0]}-… +mapped .* 127\\.0\\.0\\.1:8888`, 'm'));
      expect(table).not.toContain(token);
    });

    test('a stop is a success', async () => {
      await machine.exec(
        'systemctl',
        'stop',
        'satellite.socket',
        'satellite-http.socket',
        'satellite.service',
      );
      expect([await property('Result'), await property('ExecMainStatus')]).toEqual(['success', '0']);
      let log = '';
      const lastEntry = async (): Promise<string | undefined> => {
        log = await machine.exec('journalctl', '--unit=satellite', '--output=cat', '--no-pager');
        const lines = log.trim().split('\n');
        return lines.filter((line) => line.startsWith('{')).at(-1);
      };
      // The journal may be a little behind.
      await expect.poll(lastEntry).toContain('"event":"stopped"');
      expect(log).not.toContain('notify-failed');
    });

    test.skipIf(!existsSync('/usr/sbin/haproxy'))('HAProxy works in the sandbox, too', async () => {
      await appendFile(join(folder, 'satellite/satellite.yaml'), 'engine: haproxy\n');
      await machine.exec('systemctl', 'start', ...units);
      const token = await site();
      // The first visit is satellite's, who tells HAProxy of it.
      const log = async (): Promise<string> =>
        machine.exec('journalctl', '--unit=satellite', '--output=cat', '--no-pager');
      while (!(await log()).includes('"haproxy":"--"'))
        expect(await curl(token, '/')).toMatch(/Directory listing/);
      const pid = await property('MainPID');
      const [child = ''] = (await machine.exec('cat', `/proc/${pid}/task/${pid}/children`)).split(' ');
      expect((await machine.exec('cat', `/proc/${child}/comm`)).trim()).toBe('haproxy');
      const status = await machine.exec('cat', `/proc/${child}/status`);
      expect(status).toMatch(/^NoNewPrivs:\s+1$/m);
      expect(status).toMatch(/^CapBnd:\s+0+$/m);
      const limits = await machine.exec('cat', `/proc/${child}/limits`);
      expect(limits).toMatch(/^Max open files +(\d+) +\1 /m);
      // Its listener is systemd's: who comes during a restart waits.
      await Promise.all([machine.exec('systemctl', 'restart', 'satellite'), curl(token, '/')]);
      await machine.exec('systemctl', 'stop', ...units);
      expect([await property('Result'), await property('ExecMainStatus')]).toEqual(['success', '0']);
      expect(await log()).not.toMatch(/EPERM|haproxy-(?:ended|unusable)|"event":"haproxy"/);
    });
  },
);
