import { existsSync } from 'node:fs';
import { type Browser, chromium } from 'playwright-core';
import { installBrowser } from '../../lab/lab.ts';

const executablePath = '/usr/bin/chromium';

/** Why there is no browser and none can be installed; undefined where there is one or can be. */
export const browserObstacle =
  existsSync(executablePath) || (process.getuid?.() === 0 && existsSync('/etc/debian_version'))
    ? undefined
    : 'Chromium is not installed';

/**
 * Debian's Chromium, installed where it is missing, without the conversations that it begins by itself. Names below
 * .test are this machine. `trusted` are keys whose certificates it takes for good ones: SHA-256 of their SPKI, in base64.
 */
export async function openBrowser(...trusted: string[]): Promise<Browser> {
  if (!existsSync(executablePath)) await installBrowser((line) => console.error(line));
  return chromium.launch({
    executablePath,
    headless: true,
    args: [
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
      '--host-resolver-rules=MAP *.test 127.0.0.1',
      ...(trusted.length > 0 ? [`--ignore-certificate-errors-spki-list=${trusted.join(',')}`] : []),
    ],
  });
}
