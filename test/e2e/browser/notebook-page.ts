import { basename } from 'node:path';
import type { Locator, Page } from 'playwright-core';
import {
  answerTimeout,
  type JupyterPage,
  readyTimeout,
  saveDownload,
  transferTimeout,
  visibleText,
  waitUntilShown,
} from './jupyter-page.ts';
import { runFirstCell } from './notebook-cells.ts';
import { askShell, TerminalOutput } from './terminal-output.ts';

/**
 * Classic Notebook 6 in English, at its list of files. Notebooks and terminals open in tabs of their own.
 * The terminals of Debian 12's package (6.4.12-2.2) are broken: it was built with an xterm.js that no browser can load.
 * Those from PyPI work.
 */
export class NotebookPage implements JupyterPage {
  readonly page: Page;

  constructor(page: Page) {
    this.page = page;
  }

  async waitUntilReady(timeout = readyTimeout): Promise<void> {
    await waitUntilShown('Jupyter Notebook', this.page.locator('#notebook_list .list_item').first(), timeout);
    await this.page.locator('#new-menu [id^="kernel-"]').first().waitFor({ state: 'attached', timeout });
  }

  async runCell(code: string): Promise<string> {
    const tab = await this.#openNew('[id^="kernel-"]');
    await waitUntilShown(
      'An idle kernel',
      tab.locator('#kernel_indicator_icon.kernel_idle_icon'),
      answerTimeout,
    );
    const output = await runFirstCell(
      tab.locator('#notebook-container .cell'),
      { editor: '.CodeMirror', prompt: '.input_prompt', output: '.output_subarea' },
      code,
    );
    await tab.close();
    return output;
  }

  async terminal(command: string): Promise<string> {
    // The tab gets the terminal's address only when the server has made one: listening now misses nothing.
    const tab = await this.#openNew('#new-terminal');
    const answer = await askShell(tab.locator('#terminado-container'), new TerminalOutput(tab), command);
    await tab.close();
    return answer;
  }

  async upload(path: string): Promise<void> {
    const name = basename(path);
    const entry = this.page.locator('#notebook_list .list_item.new-file').first();
    const dialog = this.page.locator('.modal.in');
    await this.page.locator('input.fileinput').setInputFiles(path);
    await waitUntilShown('The file to upload', entry.or(dialog).first(), transferTimeout);
    const largeFile = dialog.filter({ hasText: 'Large file size warning' });
    if (await largeFile.isVisible()) {
      await largeFile.locator('.btn-primary').click();
      await largeFile.waitFor({ state: 'hidden' });
    }
    await entry.locator('.upload_button').click();
    // The entry becomes the file's row; an older file of that name may have a row already.
    const uploaded = this.#file(name, '#notebook_list:not(:has(.new-file))');
    await waitUntilShown('The end of the upload', uploaded.or(dialog).first(), transferTimeout);
    if (await dialog.isVisible()) {
      throw new Error(
        `Jupyter Notebook did not take ${name}: ${await visibleText(dialog.locator('.modal-title, .modal-body'))}`,
      );
    }
  }

  async download(name: string, to: string): Promise<void> {
    await this.page.locator('#refresh_notebook_list').click();
    const checkbox = this.#file(name).locator('input[type="checkbox"]');
    await checkbox.check();
    await saveDownload(this.page.locator('.download-button'), to);
    await checkbox.uncheck();
  }

  /** The row of a file that is on the server. */
  #file(name: string, list = '#notebook_list'): Locator {
    return this.page
      .locator(`${list} .list_item:not(.new-file)`)
      .filter({ has: this.page.locator('.item_name').getByText(name, { exact: true }) });
  }

  /** Chooses something from the menu "New"; the tab in which it opens. */
  async #openNew(choice: string): Promise<Page> {
    await this.page.locator('#new-dropdown-button').click();
    const item = this.page.locator(`#new-menu ${choice} a`).first();
    const [tab] = await Promise.all([this.page.waitForEvent('popup'), item.click()]);
    return tab;
  }
}
