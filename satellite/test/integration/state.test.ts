import { execFile, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { chmod, copyFile, mkdir, open, readFile, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { promisify } from 'node:util';
import { describe, expect, test } from 'vitest';
import {
  type Answer,
  api,
  ask,
  cleanup,
  issue,
  NODE1,
  notebook,
  OUTSIDE,
  redeemed,
  satellite,
  scratch,
  visit,
} from '../support.ts';
import { type Program, run, satelliteCommand, serveArguments } from './program.ts';

const exec = promisify(execFile);

const isRoot = process.getuid?.() === 0;
const needsRoot = isRoot ? '' : ' (left out: only root can mount file systems)';

/** A file system of its own, which only the programs started in it see. */
class Disk {
  readonly #holder: number;
  readonly #folder: string;

  private constructor(holder: number, folder: string) {
    this.#holder = holder;
    this.#folder = folder;
  }

  /** `mount` is shell that mounts something on $1. */
  static async make(mount: string): Promise<Disk> {
    const folder = await scratch();
    const script = `set -e; ${mount}; echo ready; exec sleep infinity`;
    const holder = spawn('unshare', ['--mount', 'sh', '-c', script, 'sh', folder], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    cleanup(async () => {
      const ended = once(holder, 'close');
      holder.kill('SIGKILL');
      await ended;
    });
    const [said] = await once(holder.stdout, 'data');
    expect(String(said)).toBe('ready\n');
    return new Disk(holder.pid ?? 0, folder);
  }

  /** Runs shell in it, with its folder as $1. */
  async sh(script: string): Promise<string> {
    return (await exec('nsenter', [...this.#enter, 'sh', '-c', script, 'sh', this.#folder])).stdout;
  }

  serve(): Promise<{ child: Program; port: number }> {
    return serve(join(this.#folder, 'state.sqlite'), ['nsenter', ...this.#enter]);
  }

  /** With the log in a file of it, and the state elsewhere. */
  async serveLogging(state: string): Promise<{ child: Program; port: number }> {
    const intoLog = ['sh', '-c', 'exec "$@" 2>>"$0/log"', this.#folder];
    const listening = () => this.sh('grep \'"event":"listening"\' "$1/log" || true');
    const child = run([
      ...['nsenter', ...this.#enter, ...intoLog, ...satelliteCommand, ...serveArguments],
      ...['--listen', '127.0.0.1:0', '--state', state],
    ]);
    await expect.poll(listening).not.toBe('');
    return { child, port: JSON.parse(await listening()).port };
  }

  get #enter(): string[] {
    return ['--mount', `--target=${this.#holder}`, '--'];
  }
}

async function serve(
  state: string,
  prefix: readonly string[] = [],
  env: NodeJS.ProcessEnv = process.env,
  more: readonly string[] = [],
): Promise<{ child: Program; port: number }> {
  const child = run(
    [...prefix, ...satelliteCommand, ...serveArguments, '--listen', '127.0.0.1:0', '--state', state, ...more],
    env,
  );
  return { child, port: Number((await child.logged('listening')).port) };
}

async function kill(child: Program): Promise<void> {
  const ended = once(child, 'close');
  child.kill('SIGKILL');
  await ended;
}

const health = (port: number): Promise<Answer> => ask(port, { path: '/healthz', from: OUTSIDE });

/** Asks until it is so; each look at the state is a second apart from the one before. */
async function healthBecomes(port: number, status: 200 | 503): Promise<Answer> {
  for (;;) {
    const answer = await health(port);
    if (answer.status === status) return answer;
  }
}

/** Everything that would change something is refused and changes nothing, what is live goes on. */
async function expectOnlyReading(port: number, site: string, pending: string): Promise<void> {
  const redeem = await ask(port, { path: `/redeemtoken.cgi?token=${pending}&port=9999`, from: NODE1 });
  expect([redeem.status, redeem.body]).toEqual([503, expect.stringMatching(/^Oops! /)]);
  const link = await ask(port, { path: '/getlink.cgi' });
  expect([link.status, link.body]).toEqual([503, expect.stringMatching(/^Oops! /)]);
  const destroy = await api(port, 'DELETE', `/tokens/${site}`, undefined, NODE1);
  expect([destroy.status, destroy.json().error]).toEqual([
    503,
    expect.objectContaining({ code: 'state-error' }),
  ]);
  expect((await api(port, 'GET', `/tokens/${pending}`)).json().state).toBe('pending');
  expect((await visit(port, site)).body).toBe('the notebook');
  expect((await ask(port, { path: '/livez' })).status).toBe(200);
  const { status, body } = await health(port);
  expect([status, body]).toEqual([503, expect.stringContaining('The state can not be written')]);
}

const answering = () => notebook((_request, response) => response.end('the notebook'));

describe.skipIf(!isRoot)(`a disk that gives out${needsRoot}`, () => {
  const fill = 'dd if=/dev/zero of="$1/fill" bs=4k 2>/dev/null || true';

  test('full: says so, goes on with what is live, and recovers by itself', async () => {
    const disk = await Disk.make('mount -t tmpfs -o size=400k,mode=0700 none "$1"');
    const upstream = await answering();
    const first = await disk.serve();
    const [site, pending] = [await redeemed(first.port, upstream.port), await issue(first.port)];
    await disk.sh(fill);
    // There is a little room left in the log.
    const kept: string[] = [];
    for (;;) {
      const answer = await api(first.port, 'POST', '/tokens');
      if (answer.status !== 201) break;
      kept.push(answer.json<{ token: string }>().token);
    }
    await healthBecomes(first.port, 503);
    await expectOnlyReading(first.port, site, pending);
    expect((await first.child.logged('state-error')).message).toMatch(/disk is full.*Make room/);

    // A restart finds it full, and all that was answered in it.
    await kill(first.child);
    const second = await disk.serve();
    await healthBecomes(second.port, 503);
    await expectOnlyReading(second.port, site, pending);
    for (const token of kept) expect((await api(second.port, 'GET', `/tokens/${token}`)).status).toBe(200);

    // A stop has no room either to bring the file and its log together.
    const ended = once(second.child, 'close');
    second.child.kill('SIGTERM');
    await ended;
    await disk.sh(fill);
    const third = await disk.serve();
    await healthBecomes(third.port, 503);
    await expectOnlyReading(third.port, site, pending);
    for (const token of kept) expect((await api(third.port, 'GET', `/tokens/${token}`)).status).toBe(200);

    await disk.sh('rm "$1/fill"');
    await healthBecomes(third.port, 200);
    await third.child.logged('state-recovered');
    const redeem = await api(third.port, 'POST', `/tokens/${pending}/redeem`, { port: upstream.port }, NODE1);
    expect(redeem.status).toBe(200);
    expect((await visit(third.port, pending)).body).toBe('the notebook');
  });

  test('full where the log is: lines are whole again once there is room, and lost ones are counted', async () => {
    const disk = await Disk.make('mount -t tmpfs -o size=400k,mode=0700 none "$1"');
    const state = join(await scratch(), 'state.sqlite');
    const { child, port } = await disk.serveLogging(state);
    const log = () => disk.sh('cat "$1/log"');
    const visitLong = () => ask(port, { path: `/${'x'.repeat(1000)}` });
    await disk.sh(fill);
    // Up to the end of the last block that it has.
    do await visitLong();
    while ((await log()).length % 4096 !== 0);
    await visitLong();
    await disk.sh('rm "$1/fill"');
    await expect
      .poll(async () => {
        await visitLong();
        return await log();
      })
      .toContain('"event":"log-lost"');
    const ended = once(child, 'close');
    child.kill('SIGTERM');
    await ended;
    const lines = (await log()).trimEnd().split('\n');
    const broken = lines.filter((line) => !line.endsWith('}'));
    expect(broken.length).toBeLessThan(2);
    const entries = lines.filter((line) => line.endsWith('}')).map((line) => JSON.parse(line));
    expect(entries.find(({ event }) => event === 'log-lost').lines).toBeGreaterThan(0);
    expect(entries.at(-1)).toMatchObject({ event: 'stopped' });
  });

  const ext4 = `truncate -s 8M "$1/../$(basename "$1").img"
    mkfs.ext4 -q -F "$1/../$(basename "$1").img"
    mount -o loop,errors=remount-ro "$1/../$(basename "$1").img" "$1"
    rm "$1/../$(basename "$1").img"`;

  test.each([
    // EXT4_IOC_SHUTDOWN, without writing what waits: as if the disk had been pulled out.
    [
      'lost',
      `python3 -c 'import fcntl, os, struct, sys
fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x8004587d, struct.pack("I", 2))' "$1"`,
    ],
    // What an error on the disk makes of the file system.
    ['read-only', 'echo 1 >/sys/fs/ext4/$(basename $(findmnt -no SOURCE "$1"))/trigger_fs_error'],
  ])('%s: says so, and goes on with what is live', async (_what, breakIt) => {
    const disk = await Disk.make(ext4);
    const upstream = await answering();
    const { child, port } = await disk.serve();
    const [site, pending] = [await redeemed(port, upstream.port), await issue(port)];
    await disk.sh(breakIt);
    await healthBecomes(port, 503);
    await expectOnlyReading(port, site, pending);
    expect((await child.logged('state-error')).message).toMatch(/disk or file system|read-only/);
    const ended = once(child, 'close');
    child.kill('SIGTERM');
    await ended;
    expect(child.lines.join('\n')).not.toMatch(/internal-error|\bat .*\.ts:\d+/);
  });
});

describe('a state that can not be used', () => {
  /** One with a few tokens in it, and its path. */
  async function someState(): Promise<string> {
    const state = join(await scratch(), 'state.sqlite');
    const proxy = await satellite({ state });
    await Promise.all(Array.from({ length: 200 }, () => issue(proxy.port)));
    await proxy.close();
    return state;
  }

  async function overwrite(file: string, at: number, text: string): Promise<void> {
    const handle = await open(file, 'r+');
    await handle.write(text, at);
    await handle.close();
  }

  const digest = async (file: string): Promise<string> =>
    createHash('sha256')
      .update(await readFile(file))
      .digest('hex');

  test.each([
    ['cut short', (file: string) => truncate(file, 9000), /malformed|damaged.*\.recover/i],
    ['damaged', (file: string) => overwrite(file, 8192, 'x'.repeat(4096)), /damaged.*\.recover/i],
    ['not a database', (file: string) => writeFile(file, 'something else\n'.repeat(500)), /right file\?/],
    [
      'newer than the program',
      (file: string) => {
        const db = new DatabaseSync(file);
        db.exec('PRAGMA user_version = 7');
        db.close();
      },
      /another version of satellite \(schema 7/,
    ],
  ])('%s: one line that says what to do, and the file as it was', async (_what, spoil, message) => {
    const state = await someState();
    await spoil(state);
    const before = await digest(state);
    const child = run([...satelliteCommand, ...serveArguments, '--listen', '127.0.0.1:0', '--state', state]);
    const [code] = await once(child, 'close');
    expect([code, child.lines.length]).toEqual([4, 1]);
    expect(child.lines[0]).toMatch(/^satellite: Could not open the state in /);
    expect(child.lines[0]).toMatch(message);
    expect(await digest(state)).toBe(before);
  });

  test.each([
    ['of another program', 'CREATE TABLE a(b)'],
    ['with a table of our name', 'CREATE TABLE tokens(token)'],
    ['with our number', 'CREATE TABLE a(b); PRAGMA user_version = 1'],
    ['with our names and number', 'CREATE TABLE tokens(a); CREATE TABLE jobs(b); PRAGMA user_version = 1'],
    ['with a mark', 'PRAGMA application_id = 4711'],
    ['with a log', 'PRAGMA journal_mode = WAL; CREATE TABLE a(b)'],
  ])('a database %s: refused, and left as it was', async (_what, sql) => {
    const folder = await scratch();
    const [made, state] = [join(folder, 'made.sqlite'), join(folder, 'state.sqlite')];
    const db = new DatabaseSync(made);
    db.exec(sql);
    // As it would be after a crash, with what is in the log alone.
    const files = ['', '-wal'].filter((suffix) => existsSync(`${made}${suffix}`));
    for (const suffix of files) await copyFile(`${made}${suffix}`, `${state}${suffix}`);
    db.close();
    const digests = () => Promise.all(files.map((suffix) => digest(`${state}${suffix}`)));
    const before = await digests();
    const child = run([...satelliteCommand, ...serveArguments, '--listen', '127.0.0.1:0', '--state', state]);
    const [code] = await once(child, 'close');
    expect([code, child.lines]).toEqual([
      4,
      [expect.stringMatching(/it is the database of another program.*right file\?/)],
    ]);
    expect(await digests()).toEqual(before);
  });

  test('empty, as after a crash at the very first start: begins anew, and says how much there is', async () => {
    const state = await someState();
    await writeFile(state, '');
    const { child, port } = await serve(state);
    expect(await child.logged('state')).toMatchObject({ sites: 0, waiting: 0 });
    expect((await api(port, 'POST', '/tokens')).status).toBe(201);
  });

  test('locked by another program', async () => {
    const state = await someState();
    const script = `import sqlite3, sys, time
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute('BEGIN EXCLUSIVE')
print('locked', flush=True)
time.sleep(1000)`;
    const other = spawn('python3', ['-c', script, state], { stdio: ['ignore', 'pipe', 'inherit'] });
    cleanup(() => other.kill('SIGKILL'));
    await once(other.stdout, 'data');
    const child = run([...satelliteCommand, ...serveArguments, '--listen', '127.0.0.1:0', '--state', state]);
    const [code] = await once(child, 'close');
    expect(code).toBe(4);
    expect(child.lines.join('\n')).toMatch(/locked.*or another program has locked it/);
  });

  test.skipIf(!isRoot)(`a directory that may not be written${needsRoot}`, async () => {
    const folder = join(await scratch(), 'private');
    await mkdir(folder);
    await chmod(folder, 0o700);
    const nobody = ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups', '--'];
    const command = [...satelliteCommand, ...serveArguments, '--state', join(folder, 'state.sqlite')];
    const child = run([...nobody, ...command]);
    const [code] = await once(child, 'close');
    expect([code, child.lines.join('\n')]).toEqual([
      4,
      expect.stringMatching(
        /^satellite: Could not open the state .*must exist and be writable for this user/,
      ),
    ]);
  });

  test.skipIf(!isRoot)(`a file system that is read-only${needsRoot}`, async () => {
    const disk = await Disk.make('mount -t tmpfs none "$1"');
    const { child } = await disk.serve();
    await kill(child);
    await disk.sh('mount -o remount,ro "$1"');
    await expect(disk.serve()).rejects.toThrow(/Could not open the state .*read-only/);
  });
});

const faketime = ['x86_64', 'aarch64']
  .map((machine) => `/usr/lib/${machine}-linux-gnu/faketime/libfaketime.so.1`)
  .find((file) => existsSync(file));

describe.skipIf(!faketime)(
  `a clock that is set${faketime ? '' : ' (left out: there is no libfaketime)'}`,
  () => {
    /** A calendar that can be set, for programs that are given its environment. */
    async function calendar() {
      const file = join(await scratch(), 'offset');
      const set = (offset: string) => writeFile(file, `${offset}\n`);
      await set('+0');
      const env = {
        ...process.env,
        LD_PRELOAD: faketime,
        FAKETIME_TIMESTAMP_FILE: file,
        FAKETIME_NO_CACHE: '1',
        FAKETIME_DONT_FAKE_MONOTONIC: '1',
      };
      return { set, env };
    }

    const HOUR = 3600_000;

    test.each([
      ['forwards', '+60h', 60],
      ['backwards', '-60h', -60],
    ])('%s by 60 hours: nobody loses a site, now or after a restart', async (_where, offset, hours) => {
      const { set, env } = await calendar();
      const state = join(await scratch(), 'state.sqlite');
      const upstream = await answering();
      const first = await serve(state, [], env);
      const [site, pending] = [await redeemed(first.port, upstream.port), await issue(first.port)];
      await set(offset);
      const expectAlive = async (port: number): Promise<void> => {
        // Whatever is going to run out has a chance to.
        await issue(port);
        expect((await visit(port, site)).body).toBe('the notebook');
        const { state: now, expiresAt } = (await api(port, 'GET', `/tokens/${pending}`)).json<{
          state: string;
          expiresAt: string;
        }>();
        expect(now).toBe('pending');
        // By the new calendar, which is what the reader of this has.
        const left = Date.parse(expiresAt) - (Date.now() + hours * HOUR);
        expect(Math.abs(left - 49 * HOUR)).toBeLessThan(0.1 * HOUR);
        const again = await api(port, 'POST', `/tokens/${site}/redeem`, { port: upstream.port }, NODE1);
        expect(again.status).toBe(409);
      };
      await expectAlive(first.port);
      await kill(first.child);
      const second = await serve(state, [], env);
      expect(Date.parse(String((await second.child.logged('listening')).time))).toBeCloseTo(
        Date.now() + hours * HOUR,
        -6,
      );
      await expectAlive(second.port);
      // And back again while nobody is looking.
      await kill(second.child);
      await set('+0');
      const third = await serve(state, [], env);
      expect((await visit(third.port, site)).body).toBe('the notebook');
      expect((await api(third.port, 'GET', `/tokens/${pending}`)).json().state).toBe('pending');
    });

    test('backwards: no token lives for ever', async () => {
      const { set, env } = await calendar();
      const state = join(await scratch(), 'state.sqlite');
      const { child, port } = await serve(state, [], env, ['--token-ttl', '2s']);
      const token = await issue(port);
      await set('-60h');
      expect(await child.logged('gone')).toMatchObject({ by: 'expired' });
      expect((await api(port, 'GET', `/tokens/${token}`)).json().state).toBe('gone');
    });
  },
);
