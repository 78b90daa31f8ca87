import { connect } from 'node:net';

const PATIENCE_MS = 3000;
/** tune.bufsize is more than that in whatever configuration is ours. */
const MAX_LINE = 12_000;

/** HAProxy's runtime API (section 9.3 of its management guide): commands over a socket that only its owner can open. */
export class RuntimeApi {
  readonly #path: string;

  constructor(path: string) {
    this.#path = path;
  }

  /** Sends a command, with a payload of lines for those that take one. Rejects with the system's error. */
  ask(command: string, payload?: string): Promise<string> {
    return new Promise((resolve, reject) => {
      const socket = connect({ path: this.#path, timeout: PATIENCE_MS });
      let answer = '';
      socket.setEncoding('latin1');
      socket.on('data', (text: string) => {
        answer += text;
      });
      socket.on('timeout', () => socket.destroy(new Error('HAProxy does not answer on its runtime socket')));
      socket.on('error', reject);
      socket.on('close', () => resolve(answer));
      socket.write(
        payload === undefined ? `${command}\n` : `${command} <<\n${payload.trimEnd()}\n\n`,
        'latin1',
      );
    });
  }

  /** Sends many commands, several at a time. What each of them says is not kept apart. */
  async askAll(commands: Iterable<string>): Promise<string> {
    let said = '';
    let line = '';
    for (const command of commands) {
      if (line !== '' && line.length + command.length > MAX_LINE) {
        said += await this.ask(line);
        line = '';
      }
      line += line === '' ? command : `;${command}`;
    }
    return line === '' ? said : said + (await this.ask(line));
  }
}

/** The `name=value` pairs of each entry that `show table` prints. */
export function tableEntries(text: string): Map<string, string>[] {
  return text
    .split('\n')
    .filter((line) => /^0x[0-9a-f]+: key=/.test(line))
    .map(
      (line) =>
        new Map([...line.matchAll(/(\S+?)=(\S*)/g)].map(([, name = '', value = '']) => [name, value])),
    );
}
