import { chmod, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { ConfigError, parseConfig } from '../src/config.ts';
import { DatabaseClock } from '../src/tokens/database-clock.ts';
import { passwordFrom } from '../src/tokens/passfile.ts';
import { clientConfigs, databaseName, hasPassword } from '../src/tokens/postgres-url.ts';
import { DOMAIN, scratch } from './support.ts';

const parsed = (state: string) => () => parseConfig({ domain: DOMAIN, tls: 'off', state });

afterEach(() => void vi.unstubAllEnvs());

describe('the address of a database', () => {
  test.each([
    [
      'postgresql:///satellite?host=/run/postgresql',
      { host: '/run/postgresql', port: 5432, database: 'satellite', ssl: false },
    ],
    ['postgres://%2Frun%2Fpostgresql/satellite', { host: '/run/postgresql', database: 'satellite' }],
    ['postgresql://me@localhost:5433/satellite', { host: 'localhost', port: 5433, user: 'me' }],
    ['postgresql://me:p%40ss@[::1]/satellite', { host: '::1', user: 'me', password: 'p@ss' }],
    ['postgresql://db.example.edu/satellite?sslmode=verify-full', { host: 'db.example.edu', ssl: {} }],
    ['postgresql://10.0.0.5/satellite?sslmode=disable', { host: '10.0.0.5', ssl: false }],
    [
      'postgresql://me@a.example.edu,b.example.edu:5433,[2001:db8::5]:5434/satellite?target_session_attrs=read-write&sslmode=verify-full',
      [
        { host: 'a.example.edu', port: 5432, user: 'me', database: 'satellite', ssl: {} },
        { host: 'b.example.edu', port: 5433, user: 'me', database: 'satellite', ssl: {} },
        { host: '2001:db8::5', port: 5434, user: 'me', database: 'satellite', ssl: {} },
      ],
    ],
    [
      'postgresql:///satellite?host=/run/a,/run/b&port=6000,6001&user=me',
      [
        { host: '/run/a', port: 6000, user: 'me' },
        { host: '/run/b', port: 6001, user: 'me' },
      ],
    ],
    [
      'postgresql://me@localhost,127.0.0.2:5433/satellite?port=6000',
      [
        { host: 'localhost', port: 6000 },
        { host: '127.0.0.2', port: 6000 },
      ],
    ],
  ])('%s', (state, expected) => {
    expect(parsed(state)).not.toThrow();
    expect(clientConfigs(state)).toMatchObject([expected].flat());
  });

  test.each([
    ['postgresql://db.example.edu/satellite', /needs sslmode=verify-full/],
    ['postgresql://me:secret@10.0.0.5/satellite?sslmode=require', /sslmode is verify-full or disable/],
    ['postgresql://me:secret@db.example.edu/satellite?sslmode=verify-full&secret=x', /not a parameter/],
    ['postgresql://me:secret@localhost', /needs a host and a database/],
    ['postgresql:///satellite', /needs a host and a database/],
    ['postgresql://me:secret@local host/satellite', /is not an address/],
    ['postgresql://me:secret@localhost,db.example.edu/satellite', /needs sslmode=verify-full/],
    ['postgresql://me:secret@localhost,/satellite', /needs a host and a database/],
    ['postgresql://me:secret@localhost:x,127.0.0.1/satellite', /is not an address/],
    ['postgresql://me:secret@localhost/satellite?host=/a,/b,/c&port=1,2', /one for each host/],
    ['postgresql://me:secret@localhost/satellite?target_session_attrs=standby', /is read-write/],
    ['postgresql://me:50%-secret@localhost/satellite', /% in it that begins no code.*write %25/],
    ['mysql://me:secret@localhost/satellite', /is no file/],
  ])('%s is refused, and says nothing of a password', (state, message) => {
    expect(parsed(state)).toThrow(ConfigError);
    expect(parsed(state)).toThrow(message);
    expect(parsed(state)).not.toThrow(/secret@|:secret|-secret/);
  });

  test('with a certificate that is not there is refused by its name', () => {
    const state = 'postgresql://db.example.edu/satellite?sslmode=verify-full&sslrootcert=/none/ca.pem';
    expect(() => clientConfigs(state)).toThrow(
      "sslrootcert: /none/ca.pem can't be read: there is no such file",
    );
  });

  test('has no password where it may be logged', () => {
    expect(databaseName('postgresql://me:secret@localhost/satellite')).toBe(
      'postgresql://localhost:5432/satellite',
    );
    expect(databaseName('postgresql://me:secret@localhost:1,localhost/satellite')).toBe(
      'postgresql://localhost:1,localhost:5432/satellite',
    );
  });

  test('is known to have one, or none', () => {
    const known = (at: string) => hasPassword(`postgresql://${at}/satellite`);
    expect(['me:p@a', 'me:p@a:1,b:2', 'me@a', 'me@a:1,b:2', 'a:1,b:2'].map(known)).toEqual([
      true,
      true,
      false,
      false,
      false,
    ]);
  });

  test('needs keys that others can have, where people sign in', () => {
    const auth = { htpasswd: '/x' };
    const config = {
      domain: DOMAIN,
      tls: 'off',
      trustedProxies: ['127.0.0.1'],
      state: 'postgresql:///s?host=/run',
    };
    expect(() => parseConfig({ ...config, auth })).toThrow(/auth.keyFile: is needed.*openssl rand/);
    expect(() => parseConfig({ ...config, auth: { ...auth, keyFile: '/k' } })).not.toThrow();
  });
});

describe('a passfile', () => {
  const login = { host: 'db.example.edu', port: 5432, database: 'satellite', user: 'me' };

  test('has the password in the first line that fits', async () => {
    const file = join(await scratch(), 'passfile');
    const lines = [
      '# comment',
      'other:*:*:*:1',
      '*:5433:*:*:2',
      'db.example.edu:5432:satellite:me:a\\:b\\\\c',
      '*:*:*:*:3',
    ];
    await writeFile(file, lines.join('\n'), { mode: 0o600 });
    expect(await passwordFrom(file, login)).toBe('a:b\\c');
    expect(await passwordFrom(file, { ...login, host: '/run/postgresql' })).toBe('3');
    expect(await passwordFrom(file, { ...login, port: 5433 })).toBe('2');
  });

  test('that others can read, or that is named and missing, is refused', async () => {
    const file = join(await scratch(), 'passfile');
    await expect(passwordFrom(file, login)).rejects.toThrow(
      /^passfile: .* can't be read: there is no such file$/,
    );
    await writeFile(file, '*:*:*:*:x');
    await chmod(file, 0o640);
    await expect(passwordFrom(file, login)).rejects.toThrow(/chmod 600/);
  });

  test('that systemd brings in is for its service, although an ACL looks like a right of its group', async () => {
    const [credentials, elsewhere] = [await scratch(), await scratch()];
    vi.stubEnv('CREDENTIALS_DIRECTORY', credentials);
    const [file, link] = [join(credentials, 'passfile'), join(credentials, 'link')];
    await writeFile(file, '*:*:*:*:x');
    await chmod(file, 0o440);
    expect(await passwordFrom(file, login)).toBe('x');
    await chmod(file, 0o444);
    await expect(passwordFrom(file, login)).rejects.toThrow(/can be read by others/);
    const other = join(elsewhere, 'passfile');
    await writeFile(other, '*:*:*:*:x');
    await chmod(other, 0o440);
    await symlink(other, link);
    for (const path of [other, link])
      await expect(passwordFrom(path, login)).rejects.toThrow(/can be read by others/);
  });
});

describe('the time of a database', () => {
  test('is what it says, and goes on by a clock that nobody sets', () => {
    let local = 1000;
    const clock = new DatabaseClock(() => local);
    clock.tell(5_000_000, 990);
    expect(clock.now()).toBe(5_000_005);
    local += 60_000;
    expect(clock.now()).toBe(5_060_005);
  });

  test('does not move by an answer that was slow, follows one that can not be otherwise, and never goes back', () => {
    let local = 0;
    const clock = new DatabaseClock(() => local);
    clock.tell(5_000_000, 0);
    local = 3000;
    // Asked at 1000, answered at 3000: what it says fits with what is known.
    clock.tell(5_001_200, 1000);
    expect(clock.now()).toBe(5_003_000);
    clock.tell(5_013_000, 2990);
    expect(clock.now()).toBe(5_013_000);
    clock.tell(5_000_000, 3000);
    expect(clock.now()).toBe(5_013_000);
    local += 20_000;
    expect(clock.now()).toBe(5_020_000);
  });
});
