/** The ssh connection of `--access reverse`, with a client that only seems to connect. */
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { expect, onTestFinished, test, vi } from 'vitest';
import { ReverseTunnel } from '../../src/access/reverse/tunnel.ts';
import { temporaryDirectory } from '../support/directories.ts';

/** What is said of a connection that stood, when its ssh has come to this end. */
async function reasonAfter(end: string): Promise<string> {
  const directory = temporaryDirectory();
  const [ssh, ends] = [path.join(directory, 'ssh'), path.join(directory, 'ends')];
  execFileSync('mkfifo', [ends]);
  // The socket is what stands in -L up to its first colon.
  const listens = `for word; do case $word in /*:*) : >"\${word%%:*}";; esac; done`;
  writeFileSync(ssh, `#!/bin/sh\n${listens}\nread -r _ <'${ends}'\n${end}\n`);
  chmodSync(ssh, 0o755);
  vi.stubEnv('PATH', `${directory}:${process.env.PATH}`);
  onTestFinished(() => void vi.unstubAllEnvs());
  const tunnel = new ReverseTunnel({
    via: { destination: 'me@server', host: 'server', port: undefined },
    key: { file: '/none', publicKey: 'ssh-ed25519 AAAA', sitePort: 20_000 },
    managePort: 443,
    jupyterPort: 8888,
  });
  try {
    await tunnel.open(async () => {}, new AbortController().signal);
    const lost = once(tunnel, 'lost');
    writeFileSync(ends, '\n');
    return (await lost)[0];
  } finally {
    await tunnel.close();
  }
}

test('a lost connection has the words of ssh, or none', async () => {
  expect(await reasonAfter('echo "client_loop: send disconnect: Broken pipe" >&2; exit 255')).toBe(
    'client_loop: send disconnect: Broken pipe',
  );
  for (const signal of ['KILL', 'TERM', 'SEGV'])
    expect(await reasonAfter(`kill -${signal} $$`)).toBe('the connection was closed');
});
