import { randomUUID } from 'node:crypto';
import type { Page } from 'playwright-core';

/**
 * Records what a person could read at a selector over time: across changes of the page, reloads and redirects. The
 * array grows by itself; a text enters it when it differs from the one before. Where several elements match, their
 * texts are lines of one text. `title` watches the title of the tab.
 *
 * To be called before the page goes anywhere, so that nothing is missed.
 */
export async function watchText(page: Page, selector: string): Promise<readonly string[]> {
  if (page.url() !== 'about:blank') throw new Error('watchText must be called before the page is opened');
  const seen: string[] = [];
  const binding = `watchText_${randomUUID().replaceAll('-', '')}`;
  await page.exposeBinding(binding, (_source, text: string) => {
    if (text !== seen.at(-1)) seen.push(text);
  });
  await page.addInitScript(reportText, { selector, binding });
  return seen;
}

// The few names of the DOM that the function below needs: the rest of the project has no DOM to mistake for its own.
interface PageElement {
  readonly tagName: string;
  readonly innerText: string;
  readonly textContent: string;
  checkVisibility(): boolean;
}
declare const window: { parent: unknown } & Record<string, unknown>;
declare const document: { querySelectorAll(selector: string): Iterable<PageElement> };
declare const MutationObserver: new (changed: () => void) => { observe(target: object, what: object): void };

/** Runs in the page, before any script of its own; must not use anything from outside. */
function reportText({ selector, binding }: { selector: string; binding: string }): void {
  if (window.parent !== window) return;
  const report = window[binding] as (text: string) => void;
  let last = '';
  const look = () => {
    const lines: string[] = [];
    for (const element of document.querySelectorAll(selector)) {
      // A title is never rendered in the page.
      if (element.tagName === 'TITLE') lines.push(element.textContent);
      // biome-ignore lint/performance/useDomNodeTextContent: only what can be seen counts
      else if (element.checkVisibility()) lines.push(element.innerText);
    }
    const text = lines
      .join('\n')
      .replace(/[^\S\n]+/g, ' ')
      .trim();
    if (text === '' || text === last) return;
    last = text;
    report(text);
  };
  new MutationObserver(look).observe(document, {
    subtree: true,
    childList: true,
    characterData: true,
    attributes: true,
  });
}
