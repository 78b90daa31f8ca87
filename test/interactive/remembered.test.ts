import { mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it, test, vi } from 'vitest';
import { recall, remember } from '../../src/interactive/remembered.ts';
import { temporaryDirectory } from '../support/directories.ts';

let file: string;

beforeEach(() => {
  const state = temporaryDirectory();
  vi.stubEnv('XDG_STATE_HOME', state);
  file = path.join(state, 'start-jupyter', 'answers.json');
});
afterEach(() => {
  vi.unstubAllEnvs();
});

describe('the last answers', () => {
  it('are kept by system, for nobody else to read', () => {
    expect(recall('expanse')).toEqual({ answers: {}, problem: undefined });
    expect(remember('expanse', { partition: 'debug', time: '2h' })).toBeUndefined();
    expect(remember('other', { partition: 'p' })).toBeUndefined();
    expect(recall('expanse').answers).toEqual({ partition: 'debug', time: '2h' });
    expect(recall('toString').answers).toEqual({});
    expect(statSync(file).mode & 0o777).toBe(0o600);
  });

  it('stay for questions that were not asked this time', () => {
    remember('expanse', { partition: 'debug', time: '2h' });
    remember('expanse', { time: '1h' });
    expect(recall('expanse').answers).toEqual({ partition: 'debug', time: '1h' });
  });

  test.each(['{"expanse": {"partition": ', '[]', '{"expanse": {"time": 7}}', '\0'])(
    'are ignored with a word where they are damaged, and written anew: %j',
    (content) => {
      mkdirSync(path.dirname(file));
      writeFileSync(file, content);
      expect(recall('expanse')).toEqual({
        answers: {},
        problem: `Your last answers are ignored: ${file}: it is damaged.`,
      });
      expect(remember('expanse', { time: '1h' })).toBeUndefined();
      expect(JSON.parse(readFileSync(file, 'utf8'))).toEqual({ expanse: { time: '1h' } });
    },
  );

  it('are no reason to fail where they can not be kept', () => {
    mkdirSync(file, { recursive: true });
    expect(recall('expanse').problem).toContain(file);
    expect(remember('expanse', { time: '1h' })).toContain('Your answers could not be kept');
  });
});
