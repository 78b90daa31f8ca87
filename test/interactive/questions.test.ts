import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { beforeAll, describe, expect, it, test, vi } from 'vitest';
import { mergeLayers } from '../../src/config/layers.ts';
import { type Asked, factsFrom, whatIsMissing } from '../../src/interactive/facts.ts';
import { withLast } from '../../src/interactive/interview.ts';
import { problemWith } from '../../src/interactive/problems.ts';
import {
  type Answers,
  nextQuestion,
  optionValues,
  type Question,
  type QuestionId,
} from '../../src/interactive/questions.ts';
import type { LaunchSpec } from '../../src/launch-spec.ts';
import type { OptionValues } from '../../src/options.ts';
import { capacityOf } from '../../src/schedulers/capacity.ts';
import { schedulers } from '../../src/schedulers/registry.ts';
import type { System } from '../../src/systems/system.ts';
import { temporaryDirectory } from '../support/directories.ts';
import { plainLaunch } from '../support/launch-spec.ts';

/** A login node of every scheduler: what is asked must not depend on this machine. */
beforeAll(() => {
  const bin = temporaryDirectory();
  for (const scheduler of ['slurm', 'pbs', 'sge'] as const)
    for (const command of schedulers[scheduler].commands)
      writeFileSync(path.join(bin, command), '', { mode: 0o755 });
  vi.stubEnv('PATH', bin);
  return () => {
    vi.unstubAllEnvs();
  };
});

const gib = 1024;
const small = {
  usable: true,
  idle: true,
  cpus: { free: 16, total: 16 },
  memory: 32 * gib,
  gpus: [{ type: 'v100', free: 3, total: 4 }],
};
const large = {
  usable: true,
  idle: false,
  cpus: { free: 20, total: 40 },
  memory: 180 * gib,
  gpus: [
    { type: 'v100', free: 1, total: 4 },
    { type: 'a100', free: 2, total: 2 },
  ],
};

/** A Slurm with accounts, partitions and two types of GPUs. */
const slurm: Asked = {
  offers: {
    accounts: ['abc123', 'xyz7', 'abc123'],
    partitions: [
      { name: 'debug', isDefault: false, available: true, maxSeconds: 1800 },
      { name: 'compute', isDefault: true, available: true, maxSeconds: 172_800 },
      { name: 'mixed', isDefault: false, available: true, maxSeconds: undefined },
      { name: 'old', isDefault: false, available: false, maxSeconds: undefined },
    ],
  },
  vacancies: {
    all: capacityOf([small, large]),
    partitions: new Map([
      ['debug', capacityOf([{ ...small, gpus: [] }])],
      ['compute', capacityOf([small])],
      ['mixed', capacityOf([small, large])],
    ]),
  },
};

function withAccounts(accounts: readonly string[] | undefined): Asked {
  return { ...slurm, offers: { ...slurm.offers, accounts } as Asked['offers'] };
}

interface Circumstances {
  readonly system?: Partial<System>;
  readonly here?: boolean;
  readonly typed?: OptionValues;
  readonly fromFile?: OptionValues;
  readonly defaults?: OptionValues;
  readonly asked?: Asked;
}

function facts({
  system = {},
  here = false,
  typed = {},
  fromFile = {},
  defaults = {},
  asked = slurm,
}: Circumstances) {
  const spec: LaunchSpec = { ...plainLaunch, here, system: { ...plainLaunch.system, ...system } };
  const settings = mergeLayers([
    { origin: 'built in', values: { dir: '~', time: 1800 } },
    { origin: 'defaults of test', values: defaults },
    { origin: '/home/a/config.yaml', values: fromFile },
    { origin: '-x, --typed', values: typed },
  ]);
  return { ...factsFrom(spec, settings, here ? undefined : asked), servicesIn: () => undefined };
}

/** Answers question after question; those that `given` has no answer for get what is offered. */
function interviewed(circumstances: Circumstances, given: Answers = {}) {
  const known = facts(circumstances);
  const questions: Partial<Record<QuestionId, Question>> = {};
  let answers: Answers = {};
  for (let question = nextQuestion(known, answers); question; question = nextQuestion(known, answers)) {
    questions[question.id] = question;
    const answer = given[question.id] ?? question.preferred;
    expect(problemWith(known, answers, question, answer), `${question.id} ${answer}`).toBeUndefined();
    answers = { ...answers, [question.id]: answer };
  }
  return { facts: known, questions, asked: Object.keys(questions), options: optionValues(known, answers) };
}

const choicesOf = (question: Question | undefined) =>
  question?.kind === 'choice' ? question.choices.map(({ value }) => value) : [];

describe('what is asked', () => {
  it('is what matters, in order, and Enter alone asks for nothing that would not hold anyway', () => {
    const { asked, options } = interviewed({});
    expect(asked).toEqual([
      'account',
      'partition',
      'time',
      'gpu',
      'cpus',
      'memory',
      'environment',
      'service',
      'dir',
    ]);
    expect(options).toEqual({ partition: 'compute' });
  });

  it('is nothing that options, files or variables say already', () => {
    const all: OptionValues = {
      account: 'abc123',
      partition: 'debug',
      time: 600,
      gpu: { count: 1 },
      cpus: 1,
      memory: 1024,
      venv: '/v',
      service: 'lab',
      dir: '/',
    };
    expect(interviewed({ typed: all }).asked).toEqual([]);
    expect(interviewed({ fromFile: all }).asked).toEqual([]);
  });

  it('is what the system has defaults for, which are offered', () => {
    const { asked, questions, options } = interviewed({
      defaults: { partition: 'debug', time: 900, cpus: 2 },
    });
    expect(asked).toEqual(expect.arrayContaining(['partition', 'time', 'cpus']));
    expect(choicesOf(questions.partition)[0]).toBe('debug');
    expect([questions.partition, questions.time, questions.cpus].map((each) => each?.preferred)).toEqual([
      'debug',
      '15m',
      '2',
    ]);
    expect(options).toEqual({});
  });

  it('is where Jupyter comes from and where it starts, and nothing else, where nothing is submitted', () => {
    expect(interviewed({ here: true }).asked).toEqual(['environment', 'service', 'dir']);
    expect(interviewed({ here: true, typed: { batchScript: '/x' } }).asked).toEqual(['dir']);
  });

  it('is no part of a node where jobs get whole nodes', () => {
    const { asked } = interviewed({ system: { gpuDirective: 'none' } });
    expect(asked).not.toEqual(expect.arrayContaining(['gpu', 'cpus', 'memory']));
  });

  it('is no queue of PBS where there is a reservation, which is one', () => {
    const { asked } = interviewed({ system: { scheduler: 'pbs' }, typed: { reservation: 'R1' } });
    expect(asked).not.toContain('partition');
  });
});

describe('the account', () => {
  it('is one of the own, each once, or the default one', () => {
    const { questions, options } = interviewed({}, { account: 'xyz7' });
    expect(choicesOf(questions.account)).toEqual(['', 'abc123', 'xyz7']);
    expect(options.account).toBe('xyz7');
  });

  it('must be chosen where the system requires one', () => {
    const { questions } = interviewed({ system: { requireAccount: true } }, { account: 'xyz7' });
    expect(choicesOf(questions.account)).toEqual(['abc123', 'xyz7']);
  });

  const oneAccount = withAccounts(['only']);
  it('is no question where there is one only, which is named where the system requires that', () => {
    expect(interviewed({ asked: oneAccount }).options.account).toBeUndefined();
    const required = interviewed({ asked: oneAccount, system: { requireAccount: true } });
    expect(required.asked).not.toContain('account');
    expect(required.options.account).toBe('only');
  });

  it('is typed where one is required and the scheduler knows none', () => {
    const asked = withAccounts(undefined);
    const { questions, options } = interviewed(
      { asked, system: { requireAccount: true } },
      { account: 'p1' },
    );
    expect(questions.account).toMatchObject({ kind: 'text', required: true });
    expect(options.account).toBe('p1');
    expect(interviewed({ asked }).asked).not.toContain('account');
  });
});

describe('the partition', () => {
  it('is offered with what is free, the usual one first, and what takes no jobs is marked', () => {
    const { questions } = interviewed({});
    expect(questions.partition).toMatchObject({
      message: 'Partition (free/all at the moment)',
      choices: [
        { value: 'compute', label: 'compute *  ≤ 2d   1/1 nodes  16/16 CPUs  3/4 v100' },
        { value: 'debug', label: 'debug      ≤ 30m  1/1 nodes  16/16 CPUs' },
        { value: 'mixed', label: 'mixed             1/2 nodes  36/56 CPUs  4/8 v100 2/2 a100' },
        { value: 'old', disabled: '(takes no jobs now)' },
      ],
    });
  });

  it('is marked where it ends before the time that was asked for', () => {
    expect(interviewed({ typed: { time: 7200 } }).questions.partition).toMatchObject({
      choices: [{}, { value: 'debug', disabled: '(too short)' }, {}, {}],
    });
  });

  it.each([
    [{ kind: 'only', accounts: ['xyz7'] }, 'xyz7', false],
    [{ kind: 'only', accounts: ['xyz7'] }, 'abc123', true],
    [{ kind: 'only', accounts: ['xyz7'] }, '', false],
    [{ kind: 'only', accounts: ['z'] }, '', true],
    [{ kind: 'allBut', accounts: ['xyz7'] }, 'xyz7', true],
    [{ kind: 'allBut', accounts: ['xyz7'] }, '', false],
  ] as const)('that is for %j is marked for %j: %s', (access, account, marked) => {
    const vacancies = slurm.vacancies && { ...slurm.vacancies, access: new Map([['mixed', access]]) };
    const { questions } = interviewed({ asked: { ...slurm, vacancies } }, { account });
    expect(JSON.stringify(questions.partition).includes('for other accounts')).toBe(marked);
  });

  it('may be left to a scheduler that does not say which is the usual one', () => {
    const asked: Asked = {
      offers: {
        accounts: undefined,
        partitions: [{ name: 'workq', isDefault: false, available: true, maxSeconds: undefined }],
      },
      vacancies: { all: capacityOf([{ ...small, gpus: [] }]), partitions: new Map() },
    };
    const { questions, options, asked: ids } = interviewed({ asked, system: { scheduler: 'pbs' } });
    expect(questions.partition).toMatchObject({
      message: 'Queue (free in all: 1/1 nodes, 16/16 CPUs)',
      choices: [{ value: '', label: 'the one that PBS chooses' }, { value: 'workq' }],
    });
    expect(options).toEqual({});
    expect(ids).not.toContain('gpu');
  });

  it('is left out where its name could not be asked for, and no name gets near the terminal as it is', () => {
    const asked: Asked = {
      offers: {
        accounts: ['ok', 'a\u001b[2Jb'],
        partitions: [
          { name: 'evil\u001b]0;x\u0007', isDefault: true, available: true, maxSeconds: undefined },
          { name: 'toString', isDefault: false, available: true, maxSeconds: undefined },
        ],
      },
      vacancies: {
        all: capacityOf([{ ...small, gpus: [{ type: 'v\u001b[31m', free: 1, total: 1 }] }]),
        partitions: new Map(),
      },
    };
    const { questions } = interviewed({ asked });
    expect(choicesOf(questions.partition)).toEqual(['', 'toString']);
    expect(JSON.stringify(questions)).not.toMatch(/\\u001b|\u001b/);
    expect(questions.gpu).toMatchObject({ message: 'GPUs (free/all: 1/1)' });
  });

  const unreachable: Asked = {
    offers: { kind: 'unreachable', message: 'no\u001b[31m route' },
    vacancies: undefined,
  };
  it('is one of the description, or another, where the scheduler does not answer', () => {
    const system = { partitions: { debug: { maxTime: 1800 }, gpu: { gpu: true } } };
    const known = interviewed({ asked: unreachable, system }, { partition: 'gpu' });
    expect(choicesOf(known.questions.partition)).toEqual(['', 'debug', 'gpu', '-']);
    expect(known.asked).toContain('gpu');
    expect(whatIsMissing(known.facts, unreachable)).toBe(
      'Slurm does not answer (no�[31m route): the choices below are those of the description of the system.',
    );
    expect(interviewed({ asked: unreachable, system }, { partition: 'debug' }).asked).not.toContain('gpu');
    const other = interviewed({ asked: unreachable, system }, { partition: '-', partitionName: 'long' });
    expect(other.options.partition).toBe('long');
    const nothing = interviewed({ asked: unreachable }, { partition: 'p' });
    expect(nothing.questions.partition?.kind).toBe('text');
    expect(nothing.options).toEqual({ partition: 'p' });
  });
});

describe('the time limit', () => {
  it('is offered within what the partition allows', () => {
    const { questions, options } = interviewed({ defaults: { time: 7200 } }, { partition: 'debug' });
    expect(questions.time).toMatchObject({ message: 'Time limit (at most 30m)', preferred: '30m' });
    expect(options).toEqual({ partition: 'debug', time: 1800 });
  });

  it('is the shorter one of what scheduler and description allow', () => {
    const system = { partitions: { compute: { maxTime: 3600 } } };
    expect(interviewed({ system }).questions.time?.message).toBe('Time limit (at most 1h)');
  });
});

describe('GPUs', () => {
  it('are a number where there is one type, and no question where the partition has none', () => {
    const { questions, options } = interviewed({}, { gpu: '2' });
    expect(questions.gpu).toMatchObject({ message: 'GPUs (free/all: 3/4 v100)', preferred: '0' });
    expect(options.gpu).toEqual({ count: 2 });
    expect(interviewed({}, { partition: 'debug' }).asked).not.toContain('gpu');
  });

  it('are of one of several types, of any, or none', () => {
    const typed = interviewed({}, { partition: 'mixed', gpuType: 'a100', gpu: '2' });
    expect(typed.questions.gpuType).toMatchObject({
      choices: [{ value: 'none' }, { label: 'v100  4/8' }, { label: 'a100  2/2' }, { value: '*' }],
      preferred: 'none',
    });
    expect(typed.options.gpu).toEqual({ type: 'a100', count: 2 });
    expect(interviewed({}, { partition: 'mixed', gpuType: '*' }).options.gpu).toEqual({ count: 1 });
    expect(interviewed({}, { partition: 'mixed' }).asked).not.toContain('gpu');
  });

  it('have no types where the scheduler could not be asked for one', () => {
    const { asked, questions } = interviewed({ system: { scheduler: 'pbs' } }, { partition: 'mixed' });
    expect(asked).not.toContain('gpuType');
    expect(questions.gpu?.message).toBe('GPUs (free/all: 4/8 v100, 2/2 a100)');
  });

  it('are no question where the system has no words for them', () => {
    expect(interviewed({ system: { scheduler: 'sge' } }, { partition: 'mixed' }).asked).not.toContain('gpu');
  });
});

describe('where Jupyter comes from', () => {
  test.each([
    ['module', 'gcc,python/3.11', { module: ['gcc', 'python/3.11'] }],
    ['condaEnv', 'base', { condaEnv: 'base' }],
  ] as const)('%s', (kind, answer, expected) => {
    const known = facts({ here: true });
    const answers: Answers = { environment: kind, [kind]: answer };
    expect(nextQuestion(known, { environment: kind })?.id).toBe(kind);
    expect(optionValues(known, answers)).toEqual(expected);
  });

  it('may be as configured, which is shown', () => {
    const { questions } = interviewed({ defaults: { module: ['gcc', 'python'] } });
    expect(questions.environment).toMatchObject({
      choices: [{ label: 'as configured: module gcc,python' }, {}, {}, {}],
    });
  });

  it('limits the interfaces to those that are there', () => {
    const withVenv = { ...facts({ here: true }), servicesIn: () => ['lab', 'voila'] as const };
    expect(nextQuestion(withVenv, { environment: 'venv', venv: '/v' })).toMatchObject({
      id: 'service',
      choices: [{ value: 'lab' }, { value: 'voila' }],
      preferred: 'lab',
    });
    const labOnly = { ...withVenv, servicesIn: () => ['lab'] as const };
    expect(nextQuestion(labOnly, { environment: '' })?.id).toBe('dir');
  });
});

describe('an answer that can not be taken', () => {
  const known = facts({});
  const question = (id: QuestionId, option: Question['option']): Question => ({
    id,
    option,
    kind: 'text',
    message: '',
    preferred: '',
  });
  const chosen: Answers = { account: '', partition: 'debug' };

  test.each([
    ['time', 'time', 'soon', /not a length of time/],
    ['time', 'time', '1h', 'The partition allows 30m at most.'],
    ['cpus', 'cpus', '17', 'The largest node has 16 CPUs.'],
    ['cpus', 'cpus', '0', /can't run anything/],
    ['memory', 'memory', '33', 'The largest node has 32 GB.'],
    ['dir', 'dir', '/nowhere', /^\/nowhere: does not exist/],
    ['venv', 'venv', '/', /^\/ is not a virtual environment/],
    ['module', 'module', 'a;b', /can't be the name of a module/],
  ] as const)('%s %s: %s', (id, option, text, problem) => {
    expect(problemWith(known, chosen, question(id, option), text)).toMatch(problem);
  });

  it('is more GPUs than there are', () => {
    const answers: Answers = { partition: 'mixed', gpuType: 'a100' };
    expect(problemWith(known, answers, question('gpu', 'gpu'), '3')).toBe('There are 2.');
    expect(problemWith(known, answers, question('gpu', 'gpu'), '2')).toBeUndefined();
  });

  it('is what the system has no words for', () => {
    const sge = facts({ system: { scheduler: 'sge' } });
    expect(problemWith(sge, {}, question('cpus', 'cpus'), '2')).toMatch(/parallel environment/);
  });

  it('is nothing, where something is required', () => {
    const required: Question = { ...question('venv', 'venv'), kind: 'text', required: true };
    expect(problemWith(known, {}, required, '')).toBeDefined();
  });
});

describe('the last answer', () => {
  const question: Question = { id: 'time', option: 'time', kind: 'text', message: '', preferred: '30m' };
  const list: Question = {
    ...question,
    kind: 'choice',
    choices: [
      { value: 'a', label: '', short: '' },
      { value: 'b', label: '', short: '', disabled: 'down' },
    ],
  };
  test.each([
    ['a text that can still be taken', question, '2h', undefined, '2h'],
    ['a text that can not be taken any more', question, '2h', 'too long', '30m'],
    ['a text that a terminal would obey', question, '2h\u001b[2J', undefined, '30m'],
    ['one of the choices', list, 'a', undefined, 'a'],
    ['a choice that is out of order', list, 'b', undefined, '30m'],
    ['a choice that is gone', list, 'c', undefined, '30m'],
    ['none', list, undefined, undefined, '30m'],
  ] as const)('%s', (_, each, last, problem, preferred) => {
    expect(withLast(each, last, () => problem).preferred).toBe(preferred);
  });
});
