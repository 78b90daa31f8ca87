import { expect, it } from 'vitest';
import { suggestion } from '../src/nearest.ts';

it('ends a sentence with it, or adds nothing', () => {
  expect(`No.${suggestion('debgu', ['debug'])}`).toBe('No. Did you mean "debug"?');
  expect(`No.${suggestion('banana', ['debug'])}`).toBe('No.');
});
