import { describe, expect, it, test } from 'vitest';
import { nearest } from '../src/nearest.ts';

describe('the nearest of partition, account, time, json', () => {
  const names = ['partition', 'account', 'time', 'json'];

  test.each([
    ['partiton', 'partition'],
    ['partitoin', 'partition'],
    ['partitions', 'partition'],
    ['PARTITION', 'partition'],
    ['acount', 'account'],
    ['tiem', 'time'],
    ['tim', 'time'],
    ['jsno', 'json'],
  ])('%s → %s', (typed, name) => {
    expect(nearest(typed, names)).toBe(name);
  });

  test.each(['', 'banana', 'x', 'reservation', 'x'.repeat(1000)])('nothing is near %j', (typed) => {
    expect(nearest(typed, names)).toBeUndefined();
  });

  it('is the nearest, not the first that is near enough', () => {
    expect(nearest('gpu-debug', ['gpu-debut', 'gpu-debugs', 'gpu-debug'])).toBe('gpu-debug');
    expect(nearest('compute', ['commute!', 'computer'])).toBe('computer');
  });
});
