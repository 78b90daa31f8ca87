/** The shared connection, with a client that only seems to connect. */
import { execFileSync } from 'node:child_process';
import { chmodSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { ConnectionError } from '../../src/errors.ts';
import { Connection } from '../../src/tunnel/connection.ts';
import { temporaryDirectory } from '../support/directories.ts';

const never = new AbortController().signal;

/** A connection that stands; whoever asks it for a port does this. */
async function connected(asked: string): Promise<Connection> {
  const directory = temporaryDirectory();
  const file = (name: string) => path.join(directory, name);
  execFileSync('mkfifo', [file('said')]);
  writeFileSync(
    file('ssh'),
    `#!/bin/sh
case " $* " in
  *" -M "*) : >'${file('socket')}'; exec cat <>'${file('said')}' >&2 ;;
esac
exec 3>'${file('said')}'
${asked}
`,
  );
  chmodSync(file('ssh'), 0o755);
  vi.stubEnv('PATH', `${directory}:${process.env.PATH}`);
  onTestFinished(() => void vi.unstubAllEnvs());
  const connection = new Connection('login', file('socket'), ['login']);
  await connection.open(never);
  onTestFinished(() => connection.close());
  return connection;
}

const forward = ['-L', '127.0.0.1:1:10.0.0.1:2'];

describe('a port of this machine', () => {
  it('is taken where ssh says so', async () => {
    const said = 'bind [127.0.0.1]:1: Address already in use\nrequested local forward failed';
    const connection = await connected(`echo '${said}' >&3; exit 255`);
    expect(await connection.forward(forward, never)).toBe(false);
  });

  it('that ssh can’t have for another reason is told with its words', async () => {
    const said = 'getaddrinfo(127.0.0.1): Address family for hostname not supported';
    const connection = await connected(`echo '${said}\nrequested local forward failed' >&3; exit 255`);
    await expect(connection.forward(forward, never)).rejects.toMatchObject({
      constructor: ConnectionError,
      message: `ssh can't listen on this machine for the tunnel: ${said}.`,
      final: true,
    });
  });

  it('is not waited for by somebody who interrupts', async () => {
    const connection = await connected('exec sleep 600');
    const interrupted = new AbortController();
    const asked = connection.forward(forward, interrupted.signal);
    interrupted.abort(new Error('interrupted'));
    await expect(asked).rejects.toThrow('interrupted');
  });
});
