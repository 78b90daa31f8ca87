import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { ConnectionError } from '../../src/errors.ts';
import { reportOf, startThere } from '../../src/tunnel/remote-session.ts';
import type { Ended, Listener, RemoteProcess, SshClient } from '../../src/tunnel/ssh-client.ts';

const report = {
  ...{ id: 'abcdef', state: 'ready', url: 'http://localhost:1/?token=t' },
  jupyter: { address: '10.0.0.1', port: 2, node: 'n1', reachedFrom: 'login' },
};

/** A command that says and does what a test wants. */
class Stand implements RemoteProcess {
  command = '';
  isKilled = false;
  say: (line: string) => void = () => {};
  readonly #end = Promise.withResolvers<Ended>();
  readonly ended = this.#end.promise;
  readonly client = {
    start: (command: readonly string[], { onOutput }: Listener) => {
      this.command = command.join(' ');
      this.say = onOutput ?? this.say;
      return this;
    },
  } as unknown as SshClient;
  end(exitCode: number, stderr = ''): void {
    this.#end.resolve({ exitCode, stderr, isEndless: false });
  }
  endless(): void {
    this.#end.resolve({ exitCode: 255, stderr: '', isEndless: true });
  }
  kill(): void {
    this.isKilled = true;
    this.end(255);
  }
}

function started() {
  const stand = new Stand();
  const program = { client: stand.client, destination: 'login', program: 'start-jupyter' };
  return { stand, program, run: startThere(program, ['status']) };
}

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

describe('what comes from a login', () => {
  it('is an answer after the line that announces it only', async () => {
    const { stand, run, program } = started();
    expect(stand.command).toBe('echo start-jupyter-answers; start-jupyter status');
    stand.say('{"id":null,"state":"failed","url":null}');
    stand.say('three words start-jupyter-answers');
    stand.say('said by something in the background');
    stand.say(JSON.stringify(report));
    expect(await run.answer).toEqual({ report });
    stand.say('{"id":null,"state":"failed","url":null}');
    stand.end(0);
    expect(reportOf(program, await run.ended)).toEqual(report);
  });

  it('may be what this version does not understand', async () => {
    const { stand, run } = started();
    stand.say('start-jupyter-answers');
    stand.say('{"identity":"abcdef"}');
    expect(await run.answer).toEqual({ report: undefined });
  });

  it('is not waited for without end', async () => {
    const { stand, run, program } = started();
    stand.say('Choose a shell: ');
    await vi.advanceTimersByTimeAsync(119_000);
    expect(stand.isKilled).toBe(false);
    await vi.advanceTimersByTimeAsync(2000);
    const end = await run.ended;
    expect(await run.answer).toBeUndefined();
    expect(() => reportOf(program, end)).toThrow(
      new ConnectionError(
        'The shell at login did not get as far as start-jupyter within 2 minutes.',
        'One of its start-up files may wait for something: "ssh login true" must end by itself.',
        { final: false },
      ),
    );
  });

  it.each([
    [0, '', '', 'with status 0 and said nothing'],
    [0, '--access ssh --json', '', 'with status 0: --access ssh --json'],
    [1, '', '', 'with status 1 and said nothing'],
    [1, 'seen', 'complained\n', 'with status 1: complained'],
  ])('may be no start-jupyter: status %i, "%s", "%s"', async (exitCode, output, complaints, what) => {
    const { stand, run, program } = started();
    stand.say('Welcome. start-jupyter-answers');
    if (output !== '') stand.say(output);
    stand.end(exitCode, complaints);
    const end = await run.ended;
    expect(() => reportOf(program, end)).toThrow(
      new ConnectionError(
        `What runs at login as start-jupyter was no launch: it ended ${what}.`,
        'Check --remote-command; the start-jupyter there may also be older than this one.',
        { final: true },
      ),
    );
  });

  it('is not heard without end', async () => {
    const { stand, run, program } = started();
    stand.say('start-jupyter-answers');
    stand.endless();
    const end = await run.ended;
    expect(() => reportOf(program, end)).toThrow(
      new ConnectionError(
        'What runs at login as start-jupyter prints without end.',
        'Check --remote-command, and that "ssh login true" prints little.',
        { final: true },
      ),
    );
  });

  it('may take days once start-jupyter runs', async () => {
    const { stand } = started();
    stand.say('start-jupyter-answers');
    await vi.advanceTimersByTimeAsync(3 * 24 * 3600_000);
    expect(stand.isKilled).toBe(false);
  });
});
