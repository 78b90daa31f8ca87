import { describe, expect, it, test } from 'vitest';
import {
  formatDuration,
  InvalidValue,
  parseConstraint,
  parseCount,
  parseDuration,
  parseGpu,
  parseGres,
  parseMemory,
  parseModules,
  parseName,
  parsePath,
  parseScratchDirectory,
  parseVariable,
  shown,
} from '../src/values.ts';

/** The complaint about a value: one printable line that says what to type instead. */
function complaint(read: () => unknown): string {
  try {
    read();
  } catch (error) {
    expect(error).toBeInstanceOf(InvalidValue);
    const { message } = error as InvalidValue;
    expect(message).toMatch(/^[^\p{C}\p{Zl}\p{Zp}]+$/u);
    expect(message.length).toBeLessThan(250);
    return message;
  }
  throw new Error('the value was taken');
}

/** Values that nothing but a path or a setup file may be. */
const hostile = [
  '',
  ' ',
  '-',
  '--',
  'a b',
  "a'b",
  'a"b',
  'a;b',
  'a|b',
  'a&b',
  'a>b',
  '$(id)',
  '`id`',
  '$HOME',
  'a\nb',
  'a\0b',
  'a\u202eb',
  'ä',
  '名',
  '../../etc',
  'x'.repeat(300),
];

describe('a time limit', () => {
  test.each([
    ['30', 1800],
    ['1', 60],
    ['90', 5400],
    ['00:30:00', 1800],
    ['2:00:00', 7200],
    ['48:00:00', 172_800],
    ['0:0:1', 1],
    ['1-00:00:00', 86_400],
    ['1-12:30:15', 131_415],
    ['1h30m', 5400],
    ['1h', 3600],
    ['90m', 5400],
    ['90min', 5400],
    ['45s', 45],
    ['2d', 172_800],
    ['1d2h3m4s', 93_784],
    ['1H30M', 5400],
    [' 30 ', 1800],
    ['100d', 8_640_000],
  ])('%j is %i seconds', (text, seconds) => {
    expect(parseDuration(text)).toBe(seconds);
  });

  test.each([
    '0',
    '00:00:00',
    '0h',
    '-5',
    '+5',
    '1.5',
    '1,5',
    '30:00',
    '1:2:3:4',
    '1:60:00',
    '1:00:60',
    '1-24:00:00',
    '1-2',
    '1-2:3',
    'banana',
    '30 minutes',
    '1h 30m',
    '30m1h',
    '1h1h',
    '101d',
    '2401:00:00',
    '144001',
    '9999999999',
    '1e3',
    '0x10',
    '٣٠',
    'infinite',
    'UNLIMITED',
    ...hostile,
  ])('%j is refused', (text) => {
    expect(complaint(() => parseDuration(text))).toContain(
      'write 30 (minutes), 02:00:00, 1-12:00:00 or 1h30m',
    );
  });
});

test.each([
  [0, '0s'],
  [-5, '0s'],
  [59.4, '59s'],
  [60, '1m'],
  [61, '1m 1s'],
  [1800, '30m'],
  [3600, '1h'],
  [5400, '1h 30m'],
  [3661, '1h 1m'],
  [3601, '1h'],
  [86_400, '1d'],
  [90_061, '1d 1h'],
  [8_640_000, '100d'],
])('%d seconds are shown as %s', (seconds, text) => {
  expect(formatDuration(seconds)).toBe(text);
});

describe('memory', () => {
  test.each([
    ['8', 8192],
    ['1', 1024],
    ['0.5', 512],
    ['512M', 512],
    ['512MB', 512],
    ['512MiB', 512],
    ['16G', 16_384],
    ['16g', 16_384],
    ['16GB', 16_384],
    ['16 GB', 16_384],
    ['16GiB', 16_384],
    ['1T', 1_048_576],
    ['1.5T', 1_572_864],
    ['0.1G', 103],
  ])('%j is %i MiB', (text, mebibytes) => {
    expect(parseMemory(text)).toBe(mebibytes);
  });

  test.each([
    '0',
    '0G',
    '0.0001G',
    '-1',
    '+1',
    '8K',
    '8KB',
    '8P',
    '8X',
    'G',
    '8 8',
    '8,5',
    '.5',
    '1e3',
    '0x8',
    'lots',
    '8G 8G',
    '2000T',
    '9999999999',
    ...hostile,
  ])('%j is refused', (text) => {
    expect(complaint(() => parseMemory(text))).toContain('write 8 (GB), 512M, 16G or 1T');
  });
});

describe('GPUs', () => {
  test.each([
    ['1', { count: 1 }],
    ['8', { count: 8 }],
    ['a100:2', { type: 'a100', count: 2 }],
    ['V100:4', { type: 'V100', count: 4 }],
    ['nvidia_a100-80gb:1', { type: 'nvidia_a100-80gb', count: 1 }],
    ['1g.5gb:1', undefined],
    ['a100_1g.5gb:1', { type: 'a100_1g.5gb', count: 1 }],
  ])('%j', (text, gpu) => {
    if (gpu === undefined) complaint(() => parseGpu(text));
    else expect(parseGpu(text)).toEqual(gpu);
  });

  test.each([
    '0',
    'a100:0',
    '-1',
    '1.5',
    'banana',
    'a100',
    'a100:',
    ':1',
    'a100:1:1',
    'a100:b',
    'gpu:a100:1',
    '1025',
    '99999',
    'a100=1',
    ...hostile,
  ])('%j is refused', (text) => {
    expect(complaint(() => parseGpu(text))).toContain('write');
  });
});

describe('a count', () => {
  test.each([
    ['1', 1],
    ['007', 7],
    ['10000', 10_000],
  ])('%j is %i', (text, count) => {
    expect(parseCount(text, 'nodes', 10_000)).toBe(count);
  });

  test.each([
    '0',
    '-1',
    '1.0',
    '1e2',
    '0x1',
    '10001',
    '99999999',
    'one',
    'NaN',
    'Infinity',
    '1 1',
    '1-2',
    ...hostile,
  ])('%j is refused', (text) => {
    const message = complaint(() => parseCount(text, 'nodes', 10_000));
    expect(message).toContain('write');
    expect(message).toContain('nodes');
  });
});

describe('generic resources', () => {
  test.each(['gpu', 'gpu:1', 'gpu:a100:2', 'gpu:a100:2,nvme:200', 'lustre', 'nvme:200G'])('%j', (text) => {
    expect(parseGres(text)).toBe(text);
  });

  test.each([
    'gpu:0',
    'gpu:',
    ':1',
    'gpu:a100:0',
    'gpu:-1',
    'gpu:1,',
    ',gpu:1',
    'gpu:1 nvme:1',
    'gpu:a:b:1',
    '1',
    ...hostile,
  ])('%j is refused', (text) => {
    expect(complaint(() => parseGres(text))).toContain('write gpu:1');
  });
});

describe('a constraint', () => {
  test.each([
    'skylake',
    'skylake&ib',
    'a|b',
    '[rack1|rack2]',
    '(a&b)|c',
    '[a*2&b*4]',
    '!old',
    'a,b',
    'v:1.2',
  ])('%j', (text) => {
    expect(parseConstraint(text)).toBe(text);
  });

  test.each([
    '&a',
    '(a',
    'a)',
    '[a)',
    'a]',
    '()',
    '*2',
    '-x',
    'a<b',
    'a"b',
    'a%b',
    'x'.repeat(257),
    // What joins features is no danger: the value reaches the scheduler quoted.
    ...hostile.filter((text) => !/^a[&|]b$/.test(text)),
  ])('%j is refused', (text) => {
    expect(complaint(() => parseConstraint(text))).toContain('write skylake');
  });
});

describe('a name', () => {
  test.each(['abc123', 'csd-403', 'gpu_shared', 'a.b', 'proj@site', '1', 'x'.repeat(128)])('%j', (text) => {
    expect(parseName(text, 'an account')).toBe(text);
  });

  test.each([...hostile, '-x', '.x', 'a=b', 'a,b', 'a*', 'a?', 'a\\b', 'a%b', 'a#b', 'x'.repeat(129)])(
    '%j is refused',
    (text) => {
      expect(complaint(() => parseName(text, 'an account'))).toContain('an account');
    },
  );
});

describe('modules', () => {
  test.each([
    ['gcc', ['gcc']],
    ['gcc/12.2.0,python/3.11', ['gcc/12.2.0', 'python/3.11']],
    [' gcc , python ', ['gcc', 'python']],
    ['cpu/0.17.3b:gcc', ['cpu/0.17.3b:gcc']],
    ['py@3.11', ['py@3.11']],
  ])('%j', (text, names) => {
    expect(parseModules(text)).toEqual(names);
  });

  test.each([
    ...hostile,
    'gcc,',
    ',gcc',
    'gcc,,python',
    '-gcc',
    'gcc,$(id)',
    'a#b',
    'gcc\tpython',
    'x'.repeat(201),
  ])('%j is refused', (text) => {
    complaint(() => parseModules(text));
  });
});

describe('a variable', () => {
  test.each(['A=1', 'A', 'a_1=', 'A= $(id) `x`\n"', 'A=b=c', 'PATH=/x', '_=x'])(
    '%j is kept as it is',
    (text) => {
      expect(parseVariable(text)).toBe(text);
    },
  );

  test.each([
    ...[
      '',
      '=x',
      '1A=x',
      'A-B=x',
      'A B=x',
      'A;B=x',
      'ä=x',
      'A=\0',
      `A=${'x'.repeat(40_000)}`,
      `${'A'.repeat(200)}=x`,
    ],
    ...[
      'UID=0',
      'SHELLOPTS=x',
      'BASH_ENV=/x',
      'JUPYTER_TOKEN=x',
      'JUPYTER_RUNTIME_DIR=/tmp',
      'JPY_PARENT_PID=1',
    ],
  ])('%j is refused', (text) => {
    complaint(() => parseVariable(text));
  });
});

describe('a path', () => {
  test.each(['/', '~', '~/x', '.', 'a b', "it's", '$(id)', '-x', 'ä\nb'])('%j is kept as it is', (text) => {
    expect(parsePath(text)).toBe(text);
  });

  test.each(['', 'a\0b', 'x'.repeat(5000)])('%j is refused', (text) => {
    complaint(() => parsePath(text));
  });
});

describe('a scratch directory', () => {
  it.each(['/scratch/{user}/job_{job}', 'relative', '/a b'])('may be %s', (text) => {
    expect(parseScratchDirectory(text)).toBe(text);
  });
  it.each(['rel/{foo}', '/scratch/{USER}'])('%s holds what nobody replaces', (text) => {
    expect(() => parseScratchDirectory(text)).toThrow('only {user} and {job} are');
  });
});

it("shows somebody's text as one short printable line", () => {
  expect(shown('plain')).toBe('plain');
  expect(shown('a\nb\u001b[31mc\u202ed\u2028e')).toBe('a�b�[31mc�d�e');
  expect(shown('x'.repeat(10_000)).length).toBeLessThanOrEqual(60);
});
