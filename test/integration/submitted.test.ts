/** What a launch does once the scheduler has taken its job. */
import { readFileSync, writeFileSync } from 'node:fs';
import https from 'node:https';
import type { AddressInfo } from 'node:net';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { expect, it, onTestFinished } from 'vitest';
import { makeCertificate } from '../../satellite/test/certificate.ts';
import { freshHome, temporaryDirectory } from '../support/directories.ts';
import { slurmPrograms, start, usualPrograms } from '../support/program.ts';
import { stubCommands } from '../support/stubs.ts';

it.each([
  ['nobody waits for the link until the proxy knows of the job', undefined],
  ['an interruption after the link is too late', 'SIGINT'],
] as const)('%s', async (_, signal) => {
  const directory = temporaryDirectory();
  const { cert, key } = await makeCertificate(directory, ['DNS:manage.sites.localhost']);
  const told = Promise.withResolvers<string>();
  const proxy = https.createServer(
    { cert: readFileSync(cert), key: readFileSync(key) },
    (request, response) => {
      const answer = (status: number, content: object) => {
        response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(content));
      };
      if (request.method === 'POST')
        answer(201, { token: 'one-two-three', site: 'https://one-two-three.sites.localhost/' });
      else {
        response.once('close', () => told.resolve('nothing before it gave the proxy up'));
        void told.promise.then(() => answer(200, {}));
      }
    },
  );
  await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => {
    proxy.closeAllConnections();
    proxy.close();
  });
  const site = path.join(directory, 'site.yaml');
  const endpoint = `sites.localhost:${(proxy.address() as AddressInfo).port}`;
  const system = { title: 'Test', scheduler: 'slurm', detect: { env: { TEST_CLUSTER: 'yes' } } };
  writeFileSync(
    site,
    JSON.stringify({ systems: { test: { ...system, proxy: { endpoint, caFile: cert } } } }),
  );
  const stubs = stubCommands();
  stubs.add('sinfo', { stdout: 'compute*|up|infinite\n' });
  stubs.add('sbatch', { stdout: '7\n' });
  stubs.add('squeue', {});
  stubs.add('scancel', {});

  const observer = pathToFileURL(path.join(import.meta.dirname, '../support/network-observer.mjs')).href;
  const running = start(['--quiet'], {
    home: freshHome(),
    path: `${stubs.directory}:${usualPrograms({ without: slurmPrograms })}`,
    env: {
      START_JUPYTER_SITE_CONFIG: site,
      TEST_CLUSTER: 'yes',
      NODE_OPTIONS: `--import=${observer}`,
      OBSERVED_NETWORK: '/dev/null',
    },
  });
  // The proxy answers only when it has been printed.
  running.stdout.once('data', (text) => {
    if (signal) running.kill(signal);
    told.resolve(String(text));
  });
  const { exitCode, stderr } = await running;
  expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' });
  expect(await told.promise).toMatch(/^https:\/\/one-two-three\.sites\.localhost\/\?token=\w+\n$/);
});
