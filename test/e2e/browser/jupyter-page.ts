import type { Locator, Page } from 'playwright-core';

/** What a person does in Jupyter, whichever of its faces the page shows. */
export interface JupyterPage {
  readonly page: Page;
  /**
   * Waits until the real Jupyter is there and can be used, through all reloads of a page that was waiting for it.
   * Throws after `timeout` ms, saying what the page shows instead.
   */
  waitUntilReady(timeout?: number): Promise<void>;
  /** Runs Python in the first cell of a new notebook; what the page then shows as its output, errors included. */
  runCell(code: string): Promise<string>;
  /** Types one line of shell into a new terminal; what it prints, without colours. */
  terminal(command: string): Promise<string>;
  /** Uploads a file into the folder that is shown; throws with Jupyter's own words when it refuses. */
  upload(path: string): Promise<void>;
  /** Downloads a file of the folder that is shown, and saves it as `to`. */
  download(name: string, to: string): Promise<void>;
}

/** How long a session may take to come up, ms. */
export const readyTimeout = 120_000;

/** How long a cell or a command may take, ms. */
export const answerTimeout = 60_000;

/** How long an upload may take, ms. */
export const transferTimeout = 150_000;

/** Waits until an element is visible; when it isn't after `timeout` ms, throws an error with what the page shows. */
export async function waitUntilShown(what: string, element: Locator, timeout: number): Promise<void> {
  try {
    await element.waitFor({ timeout });
  } catch (error) {
    const page = element.page();
    const shown = page.isClosed() ? 'nothing, it is closed' : await visibleText(page.locator('body'));
    throw new Error(
      `${what} did not appear within ${timeout / 1000} s. The page shows:\n${shown.slice(0, 1000)}`,
      {
        cause: error,
      },
    );
  }
}

/** What a person can read in an element. */
export async function visibleText(element: Locator): Promise<string> {
  return (await element.allInnerTexts()).join('\n').trim();
}

/** Waits for the download that a click starts, and saves it. */
export async function saveDownload(click: Locator, to: string): Promise<void> {
  // Classic Notebook starts downloads in a tab of their own.
  const context = click.page().context();
  const [download] = await Promise.all([context.waitForEvent('download'), click.click()]);
  await download.saveAs(to);
  await download.delete();
}
