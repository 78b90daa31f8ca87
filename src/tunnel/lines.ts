/** Lines of a program at the other end of ssh, which may be anything. */
import type { Readable } from 'node:stream';

/** UTF-16 units: more than any object of start-jupyter. */
const longestLine = 64 * 1024;

/** More than a launch says in weeks. */
const mostLines = 100_000;

/**
 * Hears what a stream says, line by line; empty lines are left out.
 * @param onTooMuch called once, where it is more than anybody would have to say; nothing is heard any more then
 */
export function readLines(stream: Readable, onLine: (line: string) => void, onTooMuch: () => void): void {
  let rest = '';
  let count = 0;
  const hear = (text: string) => {
    const lines = (rest + text).split(/[\r\n]+/);
    rest = lines.pop() ?? '';
    for (const line of lines.filter((each) => each !== '')) {
      count += 1;
      onLine(line);
    }
    if (rest.length <= longestLine && count <= mostLines) return;
    stream.off('data', hear);
    rest = '';
    onTooMuch();
  };
  stream.setEncoding('utf8').on('data', hear);
  stream.once('end', () => {
    if (rest !== '') onLine(rest);
  });
}
