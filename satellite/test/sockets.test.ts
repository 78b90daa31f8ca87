import { describe, expect, test } from 'vitest';
import { ConfigError } from '../src/index.ts';
import { takeHandedSockets } from '../src/operation/systemd.ts';

/** The environment of a process to which systemd hands sockets. */
const handed = (names: string | undefined, count = names?.split(':').length ?? 0, pid = process.pid) => ({
  PATH: '/usr/bin',
  LISTEN_PID: String(pid),
  LISTEN_FDS: String(count),
  ...(names !== undefined && { LISTEN_FDNAMES: names }),
});

describe('sockets from systemd', () => {
  test.each([
    ['https', { https: 3 }],
    ['https:http', { https: 3, http: 4 }],
    ['metrics:http:https', { metrics: 3, http: 4, https: 5 }],
    // A socket unit that names nothing: its own name; systemd-socket-activate: "unknown".
    ['satellite.socket', { https: 3 }],
  ])('%s', (names, sockets) => {
    const env = handed(names);
    expect(takeHandedSockets(env)).toEqual(sockets);
    expect(env).toEqual({ PATH: '/usr/bin' });
  });

  test('without names there may be one', () => {
    expect(takeHandedSockets(handed(undefined, 1))).toEqual({ https: 3 });
    expect(() => takeHandedSockets(handed(undefined, 2))).toThrow(ConfigError);
  });

  test('somebody else’s are left alone', () => {
    expect(takeHandedSockets(handed('https', 1, process.pid + 1))).toEqual({});
    expect(takeHandedSockets({})).toEqual({});
  });

  test.each([
    ['https:ssh', /"ssh" was handed over.*https, http, metrics/],
    ['https:https', /two sockets named https.*ListenStream=PORT/],
  ])('%s is refused', (names, message) => {
    expect(() => takeHandedSockets(handed(names))).toThrow(message);
  });
});
