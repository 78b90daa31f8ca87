import { describe, expect, test } from 'vitest';
import { main } from '../src/cli.ts';
import { UsageError } from '../src/errors.ts';

describe('a command that nobody knows is met with the nearest, whatever follows it', () => {
  test.each([
    [['tunel'], 'tunnel'],
    [['tunel', 'login'], 'tunnel'],
    [['tunel', 'login', '--port', '5', '--keep'], 'tunnel'],
    [['--lab', 'tunel', 'login', '--keep'], 'tunnel'],
    [['lgs', 'abc', '-f'], 'logs'],
    [['help', 'lgs'], 'logs'],
    [['--lab', 'help', 'lgs', '-f'], 'logs'],
  ])('%j', async (words, near) => {
    await expect(main(words)).rejects.toMatchObject({
      constructor: UsageError,
      message: `There is no command "${words.find((word) => !word.startsWith('-') && word !== 'help')}". Did you mean "${near}"?`,
    });
  });
});

test.each(['99999', '0', 'http', '-1'])('tunnel --port %s is told what a port is', async (port) => {
  await expect(main(['tunnel', 'login', `--port=${port}`])).rejects.toMatchObject({
    constructor: UsageError,
    message: `--port: "${port}" is no port.`,
    hint: 'Write a number from 1 to 65535, such as 8888.',
  });
});

describe('an option is known in every form that it can be typed in', () => {
  test.each([
    [['-g', 'banana']],
    [['-gbanana']],
    [['-G', 'banana']],
    [['--gpu', 'banana']],
    [['--gpu=banana']],
    [['--gpus=banana']],
    [['-qIgbanana']],
    [['-d', '-q', '-fgbanana']],
    [['--dir', '-x', '-g', 'banana']],
    [['launch', '-q', '-g', 'banana']],
    [['-q', 'launch', '--info', '-g', 'banana']],
    [['doctor', '--class', 'a,b', '-g', 'banana']],
  ])('%j', async (words) => {
    await expect(main(words)).rejects.toMatchObject({
      constructor: UsageError,
      message: expect.stringMatching(/^-g, --gpu: "banana" /),
    });
  });
});
