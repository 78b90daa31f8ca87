import { describe, expect, test } from 'vitest';
import { slurm } from '../../src/schedulers/slurm.ts';

describe('what sbatch can not be given', () => {
  test.each([
    ['script', 'train.sh', ['train.sh', '--wrap=x']],
    ['script', 'train.sh', ['--mail-type', 'END', 'train.sh', '-o', 'x']],
    ['script', 'train.sh', ['--exclusive', 'train.sh']],
    ['script', 'train.sh', ['-H', '-Cib', 'train.sh']],
    ['script', 'user', ['-s', 'user']],
    ['script', ':', ['-n', '1', ':', '-n', '2']],
    ['script', '-', ['-']],
    ['script', '--', ['--', '--hold']],
    ['own', '--wrap=foo', ['--wrap=foo']],
    ['own', '--wr', ['--wr', 'foo']],
    ['own', '--outp=x', ['--outp=x']],
    ['own', '-ofile', ['-ofile']],
    ['own', '-HW', ['-HW']],
    ['time', '-t', ['-t', '6']],
    ['time', '-Ht6', ['-Ht6']],
    ['time', '--time=6', ['--time=6']],
    ['time', '--time-m=6', ['--time-m=6']],
    ['answer', '--help', ['--help']],
    ['answer', '--usage', ['--usage']],
    ['answer', '--test-only', ['--test-only']],
    ['answer', '-h', ['-h']],
    ['answer', '-HV', ['-HV']],
    ['unclear', '--of-a-plugin', ['--of-a-plugin', 'train.sh']],
    ['unclear', '-Z', ['-Z', 'train.sh']],
    ['incomplete', '--mail-type', ['--mail-type']],
  ])('%s: %s of %j', (why, typed, args) => {
    expect(slurm.unfit(args)).toEqual([{ typed, why }]);
  });
});

test.each([
  [['--mail-type', 'END']],
  [['--mail-t', 'END', '-C', 'feature', '-w', 'c1']],
  [['-HC', 'feature', '-k', '-suser', '--exclusive=user']],
  [['--dependency', 'afterok:7', '--comment', '--wrap']],
  [['--begin=now+3', '--of-a-plugin', '--of-another=7', '--nice']],
])('%j goes to sbatch', (args) => {
  expect(slurm.unfit(args)).toEqual([]);
});
