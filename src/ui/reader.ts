/** Whoever reads our output, and may stop before its end: `start-jupyter logs -f | head`. */
import { spawn } from 'node:child_process';
import { fstatSync } from 'node:fs';

/**
 * Calls `gone` once nobody reads stdout any more. Where stdout is a pipe it is noticed without writing to it: that is a
 * POLLERR (pipe(7), poll(2)), for which Node.js has no event. GNU tail waits for it since coreutils 8.28, and dies of SIGPIPE;
 * where another tail is installed the next write notices.
 * @returns ends the watch
 */
export function watchReader(gone: () => void): () => void {
  process.stdout.once('error', gone);
  const close = () => process.stdout.off('error', gone);
  if (!fstatSync(1).isFIFO()) return close;
  // It would keep the pipe open for its reader were this process killed, without --pid.
  const watcher = spawn('tail', ['-f', `--pid=${process.pid}`, '/dev/null'], {
    stdio: ['ignore', 'inherit', 'ignore'],
  });
  watcher.on('error', () => {});
  watcher.on('exit', (_, signal) => {
    if (signal === 'SIGPIPE') gone();
  });
  return () => {
    close();
    watcher.kill();
  };
}
