import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { beforeAll, describe, expect, test } from 'vitest';
import { DOMAIN, satellite, scratch } from '../support.ts';

const run = promisify(execFile);

/** From PyPI; brings Mozilla's profiles with it. Kept between runs. */
const version = '6.3.1';
const venv = fileURLToPath(new URL(`../../../node_modules/.cache/sslyze-${version}`, import.meta.url));

async function install(): Promise<void> {
  if (existsSync(venv)) return;
  const unfinished = `${venv}.${process.pid}`;
  try {
    await run('python3', ['-m', 'venv', unfinished]);
    await run(join(unfinished, 'bin/python'), ['-m', 'pip', 'install', '--quiet', `sslyze==${version}`]);
    await rename(unfinished, venv);
  } finally {
    await rm(unfinished, { recursive: true, force: true });
  }
}

/** One for the domain, by an authority of its own: the profile is about certificates, too. */
async function certificate(newKey: readonly string[]): Promise<{ cert: string; key: string; ca: string }> {
  const folder = await scratch();
  const file = (name: string): string => join(folder, name);
  const make = (name: string, extensions: readonly string[], ...more: string[]) =>
    run('openssl', [
      ...['req', '-x509', ...newKey, '-nodes', '-days', '60', '-subj', `/CN=${name}`],
      ...['-keyout', file(`${name}.key`), '-out', file(`${name}.pem`), ...more],
      ...extensions.flatMap((extension) => ['-addext', extension]),
    ]);
  await make('authority', ['keyUsage=critical,keyCertSign']);
  const names = `subjectAltName=DNS:*.${DOMAIN},DNS:${DOMAIN}`;
  await make(
    'site',
    ['basicConstraints=critical,CA:FALSE', 'extendedKeyUsage=serverAuth', names],
    ...['-CA', file('authority.pem'), '-CAkey', file('authority.key')],
  );
  return { cert: file('site.pem'), key: file('site.key'), ca: file('authority.pem') };
}

describe('sslyze', () => {
  beforeAll(install);

  test.each([
    ['ECDSA', ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1']],
    ['RSA', ['-newkey', 'rsa:2048']],
  ])('with a key for %s it finds Mozilla’s intermediate profile', async (_kind, newKey) => {
    const { ca, ...tls } = await certificate(newKey);
    const { port } = await satellite({ tls });
    const { stdout } = await run(join(venv, 'bin/python'), [
      ...['-m', 'sslyze', '--mozilla_config=intermediate', `--sni=manage.${DOMAIN}`],
      ...[`--certinfo_ca_file=${ca}`, `127.0.0.1:${port}`],
      // A scanner that finds fault ends with 1.
    ]).catch((error) => error as { stdout: string });
    expect(stdout.slice(stdout.indexOf('COMPLIANCE'))).toMatch(
      new RegExp(`^ +127\\.0\\.0\\.1:${port}: OK - Compliant\\.$`, 'm'),
    );
  });
});
