import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { type BrowserContext, chromium, type Page } from 'playwright-core';
import { installBrowser } from '../../../lab/lab.ts';

export interface BrowserOptions {
  /** PEM file of the one CA that is trusted beside the public ones. Certificates are always verified. */
  caFile?: string;
  /** Host name, or a pattern such as `*.user-content.test`, to the address it stands for. Ports stay as they are. */
  hostMap?: Record<string, string>;
}

/** One person's Chromium: a home and a profile of its own, shared by all its pages. */
export interface Browser {
  readonly context: BrowserContext;
  newPage(): Promise<Page>;
  /** Ends Chromium and removes its home. */
  close(): Promise<void>;
}

/**
 * Starts Debian's Chromium, headless. Installs it where it is missing.
 * Two persons are two browsers.
 */
export async function openBrowser(options: BrowserOptions = {}): Promise<Browser> {
  await installBrowser(console.error);
  const home = await mkdtemp(join(tmpdir(), 'browser-'));
  try {
    if (options.caFile !== undefined) await trustCa(home, options.caFile);
    const context = await launch(home, options.hostMap ?? {});
    return {
      context,
      newPage: () => context.newPage(),
      close: async () => {
        await context.close();
        await rm(home, { recursive: true, force: true });
      },
    };
  } catch (error) {
    await rm(home, { recursive: true, force: true });
    throw error;
  }
}

/** Chromium on Linux takes additional CAs from the NSS database in the person's home. */
async function trustCa(home: string, caFile: string): Promise<void> {
  const directory = join(home, '.pki/nssdb');
  const database = `sql:${directory}`;
  await mkdir(directory, { recursive: true });
  await execa('certutil', ['-d', database, '-N', '--empty-password']);
  await execa('certutil', ['-d', database, '-A', '-t', 'C,,', '-n', 'test CA', '-i', caFile]);
}

async function launch(home: string, hostMap: Record<string, string>): Promise<BrowserContext> {
  const rules = Object.entries(hostMap).map(([name, address]) => `MAP ${name} ${address}`);
  const args = ['--disable-gpu', '--disable-quic'];
  if (rules.length > 0) args.push(`--host-resolver-rules=${rules.join(', ')}`);
  return chromium.launchPersistentContext(join(home, 'profile'), {
    executablePath: '/usr/bin/chromium',
    // Chromium refuses its sandbox to root.
    chromiumSandbox: process.getuid?.() !== 0,
    // Nothing of the caller's environment: XDG_* would lead to another home, *_PROXY away from this machine.
    env: { HOME: home, PATH: '/usr/bin:/bin', LANG: 'C.UTF-8' },
    viewport: { width: 1280, height: 900 },
    args,
  });
}
