/** What a waiting person sees: one line that changes on a terminal, a line per change in a pipe, nothing for a script. */
import { formatDuration } from '../values.ts';
import { paint } from './style.ts';

export interface Progress {
  /** What is going on now; replaces what was said before. */
  status(text: string): void;
  /** Something to keep on the screen. */
  note(text: string): void;
  /** Leaves the line to somebody else, who asks for a password, say. */
  rest(): void;
  end(): void;
}

const frames = ['⠋', '⠙', '⠹', '⠸', '⠼', '⠴', '⠦', '⠧', '⠇', '⠏'];
const frameMilliseconds = 120;

export function createProgress(stream: NodeJS.WriteStream, quiet: boolean): Progress {
  if (quiet) return { status: () => {}, note: () => {}, rest: () => {}, end: () => {} };
  return stream.isTTY ? liveProgress(stream) : plainProgress(stream);
}

function plainProgress(stream: NodeJS.WriteStream): Progress {
  let last = '';
  return {
    status: (text) => {
      if (text !== last) stream.write(`${text}\n`);
      last = text;
    },
    note: (text) => stream.write(`${text}\n`),
    rest: () => {},
    end: () => {},
  };
}

function liveProgress(stream: NodeJS.WriteStream): Progress {
  const started = Date.now();
  let text = '';
  let frame = 0;
  const clear = () => stream.write('\r\x1b[K');
  const draw = () => {
    if (text === '') return;
    const elapsed = ` · ${formatDuration((Date.now() - started) / 1000)}`;
    // One column stays free: a line that fills the last one wraps on some terminals.
    const room = Math.max(10, (stream.columns ?? 80) - elapsed.length - 3);
    const visible = text.length > room ? `${text.slice(0, room - 1)}…` : text;
    clear();
    stream.write(
      `${paint(stream, 'cyan', frames[frame++ % frames.length] as string)} ${visible}${paint(stream, 'dim', elapsed)}`,
    );
  };
  const timer = setInterval(draw, frameMilliseconds);
  timer.unref();
  return {
    status: (next) => {
      text = next;
      draw();
    },
    note: (line) => {
      clear();
      stream.write(`${line}\n`);
      draw();
    },
    rest: () => {
      if (text !== '') clear();
      text = '';
    },
    end: () => {
      clearInterval(timer);
      if (text !== '') clear();
      text = '';
    },
  };
}
