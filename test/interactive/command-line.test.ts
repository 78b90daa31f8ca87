import { execFileSync } from 'node:child_process';
import { describe, expect, it, test } from 'vitest';
import { readOption } from '../../src/config/layers.ts';
import { commandLine, optionText } from '../../src/interactive/command-line.ts';
import type { OptionKey, OptionValues } from '../../src/options.ts';

describe('a value as text', () => {
  test.each([
    ['time', '30'],
    ['time', '1-12:00:07'],
    ['time', '90m'],
    ['idleTimeout', '45s'],
    ['memory', '16'],
    ['memory', '1.5G'],
    ['memory', '1T'],
    ['gpu', '2'],
    ['gpu', 'a100:4'],
    ['cpus', '8'],
    ['partition', 'a,b'],
    ['module', 'gcc,python/3.11'],
    ['service', 'jupyterlab'],
    ['constraint', 'a&b'],
  ] as const)('%s %s reads as the same value', (key, typed) => {
    const value = readOption(key, typed);
    expect(readOption(key, optionText(key, value))).toEqual(value);
  });
});

describe('the command line', () => {
  const typed: OptionValues = {
    service: 'notebook',
    dir: '~/my project',
    account: 'abc123',
    partition: 'gpu',
    time: 5400,
    gpu: { type: 'a100', count: 2 },
    module: ['gcc', 'python/3.11'],
    bind: ['/a', '/b:/c'],
    env: ['A=\'"$x`', 'B=\u001b[31m\n\\é', '-C=1'],
    interactive: true,
    wait: 7200,
    open: true,
    nv: false,
  };
  const scheduler = ['--nodelist=c1', 'a b', '-x'];

  /** What a shell makes of it. */
  const wordsOf = (line: string) =>
    execFileSync('bash', ['-c', `start-jupyter() { printf '%s\\0' "$@"; }; ${line}`], { encoding: 'utf8' })
      .split('\0')
      .slice(0, -1);

  it('says all of it, as a shell reads it', () => {
    const line = commandLine(typed, scheduler);
    expect(wordsOf(line)).toEqual([
      '--notebook',
      ...['-d', '~/my project'],
      ...['-A', 'abc123', '-p', 'gpu', '-t', '1h30m', '-g', 'a100:2'],
      ...['-e', 'gcc,python/3.11', '-B', '/a', '-B', '/b:/c'],
      ...['--env', 'A=\'"$x`', '--env', 'B=\u001b[31m\n\\é', '--env=-C=1'],
      '--wait=2h',
      '--open',
      ...['--', '--nodelist=c1', 'a b', '-x'],
    ]);
    // Nothing that the terminal would obey, and no line that it would break.
    expect(line).not.toMatch(/[\u0000-\u0009\u000b-\u001f]/);
    expect(Math.max(...line.split('\n').map((each) => each.length))).toBeLessThanOrEqual(80);
  });

  it('is one line where that fits', () => {
    expect(commandLine({ partition: 'debug', time: 1800, dir: '~/x' }, [])).toBe(
      'start-jupyter -d ~/x -p debug -t 30m',
    );
    expect(commandLine({}, [])).toBe('start-jupyter');
  });

  it('has room for the backslash, too, in every line', () => {
    for (let length = 40; length <= 70; length++) {
      const line = commandLine({ dir: '/'.padEnd(length, 'd'), partition: 'p', time: 60 }, []);
      for (const each of line.split('\n')) expect(each.length).toBeLessThanOrEqual(80);
    }
  });

  it('breaks between options, never between an option and its value', () => {
    const long: OptionValues = { dir: '/'.padEnd(60, 'd'), partition: 'p'.repeat(30), time: 60 };
    expect(commandLine(long, [])).toBe(
      `start-jupyter -d ${'/'.padEnd(60, 'd')} \\\n    -p ${'p'.repeat(30)} -t 1m`,
    );
  });

  it('keeps a home directory readable, and means the same by it', () => {
    const keys: OptionKey[] = ['dir'];
    expect(keys.map((key) => commandLine({ [key]: '~/a b' }, []))).toEqual(["start-jupyter -d '~/a b'"]);
    expect(commandLine({ dir: '~' }, [])).toBe('start-jupyter -d ~');
  });
});
