import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { beforeAll, describe, expect, test } from 'vitest';
import { ecKey, makeIssuedCertificate, rsaKey } from '../certificate.ts';
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

describe('sslyze', () => {
  beforeAll(install);

  test.each([
    ['ECDSA', ecKey],
    ['RSA', rsaKey],
  ])('with a key for %s it finds Mozilla’s intermediate profile', async (_kind, newKey) => {
    const { ca, ...tls } = await makeIssuedCertificate(await scratch(), DOMAIN, newKey);
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
