import { expect, describe as group, it } from 'vitest';
import type { Observation } from '../../src/sessions/observe.ts';
import { describe } from '../../src/ui/describe.ts';

const allocated = (scheduler: string): string =>
  describe({ state: 'starting', phase: 'allocated', record: { scheduler } } as Observation);

group('a session that has begun', () => {
  it('is on a compute node where a scheduler gave it one, and right here otherwise', () => {
    expect(allocated('slurm')).toBe('Starting: on the compute node');
    expect(allocated('none')).toBe('Starting: on this machine');
  });
});
