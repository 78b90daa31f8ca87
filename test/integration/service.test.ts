/** A notebook that stays, as docs/access.md has it: the unit of `start-jupyter service` under somebody's own systemd. */
import { chmodSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, onTestFinished, vi } from 'vitest';
import { makeIssuedCertificate } from '../../satellite/test/certificate.ts';
import { Machine, machineObstacle } from '../../satellite/test/integration/machine.ts';
import { testWith } from '../support/command.ts';
import { temporaryDirectory } from '../support/directories.ts';

const checkout = path.join(import.meta.dirname, '../..');
const { run: testWithJupyter, note } = testWith('jupyter-notebook');

const domain = 'sites.test';
const unit = 'start-jupyter-desk.service';

/** What a machine of one user is made of, who is allowed to linger. */
const prepare = `
groupadd --gid 1000 someone
useradd --uid 1000 --gid someone --create-home --shell /bin/bash someone
mkdir /etc/pam.d
printf '%s\\n' 'account required pam_permit.so' 'session required pam_permit.so' 'session optional pam_systemd.so' > /etc/pam.d/systemd-user
echo '127.0.0.1 manage.${domain}' >> /etc/hosts
systemd-run --quiet --unit=satellite --property=StateDirectory=satellite /opt/start-jupyter/bin/satellite serve \\
  --domain ${domain} --listen 127.0.0.1:443 --tls-cert /opt/files/site.pem --tls-key /opt/files/site.key \\
  --internal-networks 127.0.0.0/8 --state /var/lib/satellite/state.sqlite
systemctl start systemd-logind.service
loginctl enable-linger someone
systemctl start user@1000.service
`;

describe.skipIf(machineObstacle !== '')(`a notebook that stays${machineObstacle}${note}`, () => {
  testWithJupyter(
    'has the same link after it was killed and after a boot, and is stopped in order',
    async () => {
      const files = temporaryDirectory();
      const { ca } = await makeIssuedCertificate(files, domain);
      chmodSync(files, 0o755);
      chmodSync(ca, 0o644);
      const proxy = { endpoint: domain, caFile: '/opt/files/authority.pem' };
      const desk = { title: 'Desk', scheduler: 'none', detect: {}, nodeAddress: '127.0.0.1', proxy };
      writeFileSync(
        path.join(files, 'config.yaml'),
        JSON.stringify({ systems: { desk }, service: 'notebook' }),
      );
      // The unit as it is, but again at once.
      writeFileSync(path.join(files, 'soon.conf'), '[Service]\nRestartSec=0\n');
      const user = '/home/someone/.config/systemd/user';
      const machine = await Machine.boot('service', [
        `${process.execPath}:/opt/node/bin/node`,
        `${checkout}:/opt/start-jupyter`,
        `${files}:/opt/files`,
        `${path.join(files, 'config.yaml')}:/etc/start-jupyter/config.yaml`,
      ]);
      onTestFinished(() => machine.halt());
      await machine.exec('sh', '-ec', prepare);

      const home = '/home/someone';
      const environment = [
        'PATH=/opt/start-jupyter/bin:/opt/node/bin:/usr/bin:/bin',
        ...[`HOME=${home}`, 'USER=someone', 'XDG_RUNTIME_DIR=/run/user/1000'],
      ];
      const asUser = (command: string) =>
        machine.exec(
          ...['setpriv', '--reuid=1000', '--regid=1000', '--clear-groups', 'env', '-i', ...environment],
          ...['bash', '-c', `cd; ${command}`],
        );
      const property = async (name: string) =>
        (await asUser(`systemctl --user show --value --property=${name} ${unit}`)).trim();
      /** Jupyter's answer to who has the link. */
      const ask = async (link: string) => {
        const { host, searchParams } = new URL(link);
        const { stdout } = await machine.tries(
          ...['curl', '-sS', '--cacert', '/opt/files/authority.pem', '--resolve', `${host}:443:127.0.0.1`],
          ...['--output', '/dev/null', '--write-out', '%{http_code}'],
          `https://${host}/api/sessions?token=${searchParams.get('token')}`,
        );
        return stdout;
      };
      const untilServed = async (link: string) =>
        vi.waitFor(async () => expect(await ask(link)).toBe('200'), { timeout: 60_000, interval: 200 });

      await asUser(`mkdir -p work ${user}/${unit}.d; cp /opt/files/soon.conf ${user}/${unit}.d
      start-jupyter service --system desk --keep-link desk -d ~/work > ${user}/${unit}
      systemctl --user daemon-reload
      systemctl --user enable --now ${unit}`);
      const link = await vi.waitFor(async () => (await asUser('start-jupyter url')).trim(), {
        timeout: 60_000,
        interval: 500,
      });
      await untilServed(link);

      const before = await property('MainPID');
      await asUser(`systemctl --user kill --kill-whom=main --signal=KILL ${unit}`);
      await vi.waitFor(async () => expect(await property('NRestarts')).toBe('1'), { timeout: 30_000 });
      await untilServed(link);
      expect(await property('MainPID')).not.toBe(before);

      // As a boot does it for somebody who lingers.
      await machine.exec('systemctl', 'restart', 'user@1000.service');
      await untilServed(link);
      expect((await asUser('start-jupyter url')).trim()).toBe(link);

      await asUser(`systemctl --user stop ${unit}`);
      expect([await property('Result'), await property('ExecMainStatus')]).toEqual(['success', '130']);
      expect(await ask(link)).toBe('502');
      const left = await machine.exec('ps', '-u', 'someone', '-o', 'args=');
      expect(left).not.toMatch(/jupyter|ipykernel/);
      let journal = '';
      const read = async () => {
        journal = await machine.exec('journalctl', '--no-pager', '--output=cat');
        return journal;
      };
      // It may be a little behind.
      await expect.poll(read).toContain('nothing was left running');
      const { hostname, searchParams } = new URL(link);
      for (const secret of [hostname.split('.')[0] as string, searchParams.get('token') as string])
        expect(journal).not.toContain(secret);
    },
  );
});
