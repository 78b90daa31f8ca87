import { randomUUID } from 'node:crypto';
import { EventEmitter, once } from 'node:events';
import { stripVTControlCharacters } from 'node:util';
import type { Locator, Page } from 'playwright-core';
import { answerTimeout } from './jupyter-page.ts';

/**
 * What the terminals of a page print, from the moment this is made. Read off their WebSockets, since xterm.js paints
 * on a canvas. The messages are those of terminado: `["stdout", text]`.
 */
export class TerminalOutput {
  #raw = '';
  readonly #changes = new EventEmitter();

  constructor(page: Page) {
    page.on('websocket', (socket) => {
      if (!socket.url().includes('/terminals/websocket/')) return;
      socket.on('framereceived', ({ payload }) => {
        const [kind, text] = JSON.parse(payload.toString()) as [string, unknown];
        if (kind !== 'stdout') return;
        this.#raw += text;
        this.#changes.emit('printed');
      });
    });
  }

  /** Waits until the output, without escape sequences, matches; throws with the output after {@link answerTimeout}. */
  async until(pattern: RegExp): Promise<RegExpExecArray> {
    const signal = AbortSignal.timeout(answerTimeout);
    for (;;) {
      const text = stripVTControlCharacters(this.#raw).replaceAll('\r', '');
      const match = pattern.exec(text);
      if (match) return match;
      try {
        await once(this.#changes, 'printed', { signal });
      } catch (error) {
        throw new Error(
          `The terminal did not answer within ${answerTimeout / 1000} s. It printed:\n${text}`,
          {
            cause: error,
          },
        );
      }
    }
  }
}

/** Types a command at the prompt of an xterm.js terminal and returns what it prints. */
export async function askShell(xterm: Locator, output: TerminalOutput, command: string): Promise<string> {
  await output.until(/\S/);
  const id = randomUUID();
  await xterm.locator('.xterm-helper-textarea').focus();
  // The terminal echoes what is typed: the quotes keep the echo from looking like the answer.
  await xterm.page().keyboard.type(`echo 'begin''-${id}'; ${command}; echo 'end''-${id}'`);
  await xterm.page().keyboard.press('Enter');
  const answer = await output.until(new RegExp(`begin-${id}\\n([^]*?)end-${id}`));
  return (answer[1] ?? '').trimEnd();
}
