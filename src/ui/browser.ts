/** Opens a session's link in a browser on this machine. */
import open from 'open';
import { writeOpeningPage } from '../sessions/store.ts';

/** Why no browser can be opened from here; undefined where one can. */
export function browserProblem(environment = process.env): string | undefined {
  const { BROWSER, DISPLAY, WAYLAND_DISPLAY, WSL_DISTRO_NAME } = environment;
  return process.platform === 'darwin' ||
    process.platform === 'win32' ||
    BROWSER ||
    DISPLAY ||
    WAYLAND_DISPLAY ||
    WSL_DISTRO_NAME
    ? undefined
    : 'there is no display here';
}

/**
 * The browser gets a page in a private directory that leads to the link: every user of the machine can read the
 * arguments of a program, and the link holds the token.
 * @param page the path that it is written to
 * @returns why it did not work
 */
export async function openInBrowser(page: string, url: string): Promise<string | undefined> {
  const problem = browserProblem();
  if (problem !== undefined) return problem;
  try {
    writeOpeningPage(page, url);
    await open(page);
    return undefined;
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    return code === 'ENOENT' ? 'there is no xdg-open here' : message;
  }
}
