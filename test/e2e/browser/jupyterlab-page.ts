import { basename } from 'node:path';
import type { FrameLocator, Locator, Page } from 'playwright-core';
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

/** JupyterLab 4 in English, with its file browser open: as a new user finds it. */
export class JupyterLabPage implements JupyterPage {
  readonly page: Page;
  readonly #frame: Page | FrameLocator;

  /** @param frame where it is, if not the page itself */
  constructor(page: Page, frame: Page | FrameLocator = page) {
    this.page = page;
    this.#frame = frame;
  }

  async waitUntilReady(timeout = readyTimeout): Promise<void> {
    await waitUntilShown(
      'JupyterLab',
      this.#frame.locator('.jp-FileBrowser .jp-DirListing-content'),
      timeout,
    );
    await waitUntilShown('The work area', this.#frame.locator('.jp-MainAreaWidget:visible').first(), timeout);
    await this.#frame.locator('#jupyterlab-splash').waitFor({ state: 'hidden', timeout });
  }

  async runCell(code: string): Promise<string> {
    await this.#launch('.jp-LauncherCard[data-category="Notebook"]');
    const notebook = this.#frame.locator('.jp-NotebookPanel:visible');
    await this.#waitForKernel(notebook);
    return runFirstCell(
      notebook.locator('.jp-Cell'),
      { editor: '.cm-content', prompt: '.jp-InputPrompt', output: '.jp-OutputArea-output' },
      code,
    );
  }

  async terminal(command: string): Promise<string> {
    const output = new TerminalOutput(this.page);
    await this.#launch('.jp-LauncherCard[title="Start a new terminal session"]');
    return askShell(this.#frame.locator('.jp-Terminal:visible'), output, command);
  }

  async upload(path: string): Promise<void> {
    const button = this.#frame.locator('.jp-FileBrowser [data-jp-item-name="uploader"]');
    const [chooser] = await Promise.all([this.page.waitForEvent('filechooser'), button.click()]);
    await chooser.setFiles(path);

    const uploaded = this.#frame.locator('.jp-toast-message', { hasText: `Uploaded ${basename(path)} (` });
    const dialog = this.#frame.locator('.jp-Dialog');
    const outcome = uploaded.or(dialog).first();
    await waitUntilShown('The end of the upload', outcome, transferTimeout);
    const largeFile = dialog.filter({ hasText: 'Large file size warning' });
    if (await largeFile.isVisible()) {
      await largeFile.locator('.jp-mod-accept').click();
      await largeFile.waitFor({ state: 'hidden' });
      await waitUntilShown('The end of the upload', outcome, transferTimeout);
    }
    if (await dialog.isVisible()) {
      throw new Error(
        `JupyterLab did not take ${basename(path)}: ${await visibleText(dialog.locator('.jp-Dialog-header, .jp-Dialog-body'))}`,
      );
    }
  }

  async download(name: string, to: string): Promise<void> {
    // The list refreshes itself only every ten seconds.
    await this.#frame.locator('.jp-FileBrowser [data-jp-item-name="refresh"]').click();
    await this.#entry(name).click({ button: 'right' });
    await saveDownload(this.#menuItem('filebrowser:download'), to);
  }

  /** Opens a notebook of the folder that is shown, or shows it again. */
  async openNotebook(name: string): Promise<void> {
    await this.#entry(name).dblclick();
    await waitUntilShown(`The notebook ${name}`, this.firstEditor, answerTimeout);
  }

  /** What is typed into the first cell of the notebook that is shown. */
  get firstEditor(): Locator {
    return this.#frame.locator('.jp-NotebookPanel:visible .jp-Cell .cm-content').first();
  }

  /** Adds to the end of the first cell. */
  async type(text: string): Promise<void> {
    await this.firstEditor.click();
    await this.page.keyboard.press('Control+End');
    await this.page.keyboard.insertText(text);
  }

  /** From now on closes, as a person would, what Lab says where one of its own requests met a connection that broke. */
  async closeConnectionErrors(): Promise<void> {
    const dialog = this.#frame.locator('.jp-Dialog', { hasText: 'Server Connection Error' });
    // Its only button: "Dismiss", which accepts, in Lab 4.0, and "Close", which rejects, in 4.6.
    await this.page.addLocatorHandler(dialog, () => dialog.locator('button.jp-Dialog-button').click());
  }

  /**
   * Waits until the status bar calls the kernel of this very notebook idle. The notebook's own indicator says so while
   * there is no kernel yet, and cells that are run then are dropped.
   */
  async #waitForKernel(notebook: Locator): Promise<void> {
    await waitUntilShown('The notebook', notebook, answerTimeout);
    const tab = this.#frame.locator(`#${await notebook.getAttribute('aria-labelledby')}`);
    const name = await visibleText(tab.locator('.lm-TabBar-tabLabel'));
    const kernel = this.#frame.locator(`#jp-main-statusbar [title="Change kernel for ${name}"]`);
    await waitUntilShown('An idle kernel', kernel.filter({ hasText: /\| Idle$/ }), answerTimeout);
  }

  /** Clicks a card of the launcher, opening one where none is shown. */
  async #launch(card: string): Promise<void> {
    const launcher = this.#frame.locator('.jp-Launcher:visible').first();
    if (!(await launcher.isVisible())) {
      await this.#frame.locator('.jp-FileBrowser [data-jp-item-name="new-launcher"]').click();
    }
    await launcher.locator(card).first().click();
  }

  #entry(name: string): Locator {
    return this.#frame.locator('.jp-FileBrowser .jp-DirListing-itemText').getByText(name, { exact: true });
  }

  #menuItem(command: string): Locator {
    return this.#frame.locator(`.lm-Menu-item[data-command="${command}"]`);
  }
}
