import type { Browser, BrowserContextOptions, Page } from 'playwright-core';
import { expect } from 'vitest';
import { cleanup, DOMAIN, notebook } from './support.ts';

export interface VisitOptions extends BrowserContextOptions {
  readonly path?: string;
  readonly domain?: string;
  /** Done with the page before it goes anywhere. */
  readonly prepare?: (page: Page) => Promise<unknown>;
}

/** Opens a site in a tab of its own, which closes with the test; the test fails where the page's policy was violated. */
export async function openPage(
  browser: Browser,
  port: number,
  token: string,
  { path = '/lab?token=secret#cell', domain = DOMAIN, prepare, ...options }: VisitOptions = {},
): Promise<Page> {
  const page = await browser.newPage(options);
  // Where a machine has other things to do, a page may take its time.
  page.setDefaultTimeout(60_000);
  cleanup(() => page.close());
  const complaints: string[] = [];
  page.on('console', (message) => {
    if (/Content Security Policy|Refused/.test(message.text())) complaints.push(message.text());
  });
  page.on('pageerror', (error) => complaints.push(error.message));
  cleanup(() => expect(complaints).toEqual([]));
  await prepare?.(page);
  await page.goto(`http://${token}.${domain}:${port}${path}`);
  return page;
}

export const heading = (page: Page, text: string) => page.getByRole('heading', { name: text }).waitFor();
export const status = (page: Page, text: string) =>
  page.getByRole('status').filter({ hasText: text }).waitFor();

/** A notebook that says at which address it was asked for. */
export const jupyter = () =>
  notebook((request, response) => {
    response.setHeader('Content-Type', 'text/html');
    response.end(`<h1>JupyterLab</h1><p id="url">${request.url}</p>`);
  });
