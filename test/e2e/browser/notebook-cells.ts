import { randomUUID } from 'node:crypto';
import type { Locator } from 'playwright-core';
import { answerTimeout, visibleText } from './jupyter-page.ts';

/** Where a Jupyter page keeps the parts of a cell. */
export interface CellSelectors {
  editor: string;
  /** The `[1]:` beside a cell; `[*]:` while it runs. */
  prompt: string;
  output: string;
}

/**
 * Runs code in the first of a new notebook's cells and returns the text of its output. A second cell then prints a
 * mark: the kernel's answer may overtake its output, but output never overtakes output.
 */
export async function runFirstCell(cells: Locator, parts: CellSelectors, code: string): Promise<string> {
  const first = cells.nth(0);
  await run(first.locator(parts.editor), code);
  await first.locator(parts.prompt, { hasText: /\[\d+\]/ }).waitFor({ timeout: answerTimeout });

  const second = cells.nth(1);
  const mark = randomUUID();
  await run(second.locator(parts.editor), `print('${mark}')`);
  await second.locator(parts.output, { hasText: mark }).waitFor({ timeout: answerTimeout });

  return visibleText(first.locator(parts.output));
}

async function run(editor: Locator, code: string): Promise<void> {
  const { keyboard } = editor.page();
  await editor.click();
  // Pasted rather than typed: the editor would close brackets and indent lines by itself.
  await keyboard.insertText(code);
  await keyboard.press('Shift+Enter');
}
