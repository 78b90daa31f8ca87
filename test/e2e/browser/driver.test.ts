import { createHash } from 'node:crypto';
import { createReadStream, createWriteStream } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { makeIssuedCertificate } from '../../../satellite/test/certificate.ts';
import { type Browser, openBrowser } from './browser.ts';
import {
  type DirectJupyter,
  startDebianNotebook,
  startJupyterLab,
  startPyPINotebook,
} from './driver/direct-jupyter.ts';
import { openTestSite, type TestSite } from './driver/test-site.ts';
import type { JupyterPage } from './jupyter-page.ts';
import { JupyterLabPage } from './jupyterlab-page.ts';
import { NotebookPage } from './notebook-page.ts';
import { watchText } from './watch-text.ts';

const domain = 'user-content.test';
const hostMap = { [`*.${domain}`]: '127.0.0.1' };

let scratch: string;
let certificate: Awaited<ReturnType<typeof makeIssuedCertificate>>;

beforeAll(async () => {
  scratch = await mkdtemp(join(tmpdir(), 'driver-'));
  certificate = await makeIssuedCertificate(scratch, domain);
});

afterAll(() => rm(scratch, { recursive: true }));

describe.each([
  { name: 'JupyterLab 4', start: startJupyterLab, Page: JupyterLabPage, title: /JupyterLab/ },
  { name: 'Notebook 6', start: startDebianNotebook, Page: NotebookPage, title: /Home Page/ },
])('$name', ({ start, Page, title }) => {
  let jupyter: DirectJupyter;
  let site: TestSite;
  let browser: Browser;
  let page: JupyterPage;

  beforeAll(async () => {
    jupyter = await start();
    site = await openTestSite(certificate);
    browser = await openBrowser({ caFile: certificate.ca, hostMap });
  });

  afterAll(async () => {
    await browser?.close();
    await site?.close();
    await jupyter?.stop();
  });

  test('opens by itself in a tab that showed another page', async () => {
    const tab = await browser.newPage();
    const titles = await watchText(tab, 'title');
    const headings = await watchText(tab, 'h1');
    site.showWaiting('In the queue');
    await tab.goto(siteUrl(site, jupyter));
    await expect.poll(() => titles).toEqual(['In the queue']);
    site.showWaiting('Starting');
    await expect.poll(() => titles).toEqual(['In the queue', 'Starting']);

    page = new Page(tab);
    await expect(page.waitUntilReady(1000)).rejects.toThrow(
      /did not appear within 1 s. The page shows:\nStarting/,
    );

    const ready = page.waitUntilReady();
    site.goLive(jupyter.socket);
    await ready;
    expect(titles.slice(0, 2)).toEqual(['In the queue', 'Starting']);
    expect(titles[2]).toMatch(title);
    expect(headings.slice(0, 2)).toEqual(['In the queue', 'Starting']);
  });

  test('runs cells and reads their output off the page', async () => {
    expect(await page.runCell('6*7')).toBe('42');
    expect(await page.runCell('for n in (1, 2):\n    print("line", n)\nprint([n])')).toBe(
      'line 1\nline 2\n[2]',
    );
    expect(await page.runCell('1/0')).toContain('ZeroDivisionError: division by zero');
    expect(await page.runCell('None')).toBe('');
  });

  test.each([
    { what: 'a small file', name: 'small file.bin', bytes: 1000 },
    // More than Notebook 6 sends without asking (25 MB); 200 MB go through the proxy in the main job.
    { what: '40 MB', name: 'large.bin', bytes: 40 * 1024 * 1024 },
  ])('uploads and downloads $what intact', async ({ name, bytes }) => {
    const original = join(scratch, name);
    await writeRandomFile(original, bytes);
    const checksum = await sha256(original);

    await page.upload(original);
    expect(await sha256(join(jupyter.root, name))).toBe(checksum);

    const copy = join(scratch, `copy of ${name}`);
    await page.download(name, copy);
    expect(await sha256(copy)).toBe(checksum);
  });

  test('downloads what has just been made on the server', async () => {
    await writeFile(join(jupyter.root, 'made-here.bin'), 'made here');
    const copy = join(scratch, 'copy');
    await page.download('made-here.bin', copy);
    expect(await readFile(copy, 'utf8')).toBe('made here');
  });

  test('says why an upload was refused', async () => {
    await writeFile(join(scratch, 'made-here.bin'), 'something else');
    await expect(page.upload(join(scratch, 'made-here.bin'))).rejects.toThrow(
      /did not take made-here\.bin: (Overwrite|Replace) file/i,
    );
  });
});

describe.each([
  { name: 'JupyterLab 4', start: startJupyterLab, Page: JupyterLabPage },
  // Debian's package can't: see NotebookPage.
  { name: 'Notebook 6 from PyPI', start: startPyPINotebook, Page: NotebookPage },
])('terminals of $name', ({ start, Page }) => {
  let jupyter: DirectJupyter;
  let site: TestSite;
  let browser: Browser;

  beforeAll(async () => {
    jupyter = await start();
    site = await openTestSite(certificate);
    site.goLive(jupyter.socket);
    browser = await openBrowser({ caFile: certificate.ca, hostMap });
  });

  afterAll(async () => {
    await browser?.close();
    await site?.close();
    await jupyter?.stop();
  });

  test('answer', async () => {
    const tab = await browser.newPage();
    await tab.goto(siteUrl(site, jupyter));
    const page = new Page(tab);
    await page.waitUntilReady();
    expect(await page.terminal('pwd; printf "no newline"')).toBe(`${jupyter.root}\nno newline`);
    expect(await page.terminal('ls --color=always -d /usr /nowhere')).toMatch(
      /cannot access '\/nowhere'.*\n\/usr$/,
    );
  });
});

test('JupyterLab is used on after requests of its own failed', async () => {
  const jupyter = await startJupyterLab();
  onTestFinished(() => jupyter.stop());
  const site = await openTestSite(certificate);
  onTestFinished(() => site.close());
  site.goLive(jupyter.socket);
  const browser = await openBrowser({ caFile: certificate.ca, hostMap });
  onTestFinished(() => browser.close());
  const tab = await browser.newPage();
  await tab.goto(siteUrl(site, jupyter));
  const page = new JupyterLabPage(tab);
  await page.waitUntilReady();

  await tab.route('**/api/**', (route) => route.abort('connectionreset'));
  await tab.locator('.jp-FileBrowser [data-jp-item-name="refresh"]').click();
  await tab.locator('.jp-Dialog', { hasText: 'Server Connection Error' }).waitFor();
  await tab.unroute('**/api/**');

  await page.closeConnectionErrors();
  expect(await page.runCell('7*6')).toBe('42');
});

describe('certificates are verified', () => {
  let site: TestSite;

  beforeAll(async () => {
    site = await openTestSite(certificate);
    site.showWaiting('Here');
  });

  afterAll(() => site?.close());

  test.each([
    {
      what: 'a CA that nobody trusts',
      host: `a.${domain}`,
      trusted: false,
      answer: 'ERR_CERT_AUTHORITY_INVALID',
    },
    {
      what: 'a name that is not in it',
      host: 'a.elsewhere.test',
      trusted: true,
      answer: 'ERR_CERT_COMMON_NAME_INVALID',
    },
    { what: 'a trusted CA and its own name', host: `a.${domain}`, trusted: true, answer: 'Here' },
  ])('$what: $answer', async ({ host, trusted, answer }) => {
    const browser = await openBrowser({
      ...(trusted ? { caFile: certificate.ca } : {}),
      hostMap: { '*.test': '127.0.0.1' },
    });
    try {
      const page = await browser.newPage();
      const outcome = await page.goto(`https://${host}:${site.port}/`).then(
        () => page.title(),
        (error: Error) => error.message,
      );
      expect(outcome).toContain(answer);
    } finally {
      await browser.close();
    }
  });
});

function siteUrl(site: TestSite, jupyter: DirectJupyter): string {
  return `https://quiet-otter-lamp.${domain}:${site.port}/?token=${jupyter.token}`;
}

async function writeRandomFile(path: string, bytes: number): Promise<void> {
  await pipeline(createReadStream('/dev/urandom', { end: bytes - 1 }), createWriteStream(path));
}

async function sha256(path: string): Promise<string> {
  const hash = createHash('sha256');
  await pipeline(createReadStream(path), hash);
  return hash.digest('hex');
}
