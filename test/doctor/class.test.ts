/** What a class would meet: accounts, permissions, and what Slurm's rules mean, from what a real one answers. */
import { chmodSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { stripVTControlCharacters } from 'node:util';
import { describe, expect, it, test } from 'vitest';
import { accountLimitFindings, environmentFindings } from '../../src/doctor/class.ts';
import { classAccounts, homesOf } from '../../src/doctor/class-accounts.ts';
import { installationFindings } from '../../src/doctor/installation.ts';
import { closedToOthers } from '../../src/doctor/permissions.ts';
import { jobsThatFit, reservationWindow, userProblems } from '../../src/doctor/policy.ts';
import { accountLines, areaLines } from '../../src/doctor/report.ts';
import { UsageError } from '../../src/errors.ts';
import type { Resources } from '../../src/launch-spec.ts';
import type { Policy, Reservation } from '../../src/schedulers/scheduler.ts';
import {
  parseAssociations,
  parseDefaultAccounts,
  parseGroupLimits,
  parseNodeRecords,
  parsePartitionPolicies,
  parseQualities,
  parseReservation,
} from '../../src/schedulers/slurm/policy.ts';
import { temporaryDirectory } from '../support/directories.ts';
import { plainLaunch } from '../support/launch-spec.ts';
import { recording } from '../support/recordings.ts';

const slurm = (name: string) => recording(`slurm-22.05/${name}`);

describe('the accounts of a class', () => {
  test.each([
    ['alice,bob', ['alice', 'bob']],
    ['train[08-11]', ['train08', 'train09', 'train10', 'train11']],
    ['a, b , a', ['a', 'b']],
    ['first.last@site,x[1-2]', ['first.last@site', 'x1', 'x2']],
  ])('%s', (typed, users) => {
    expect(classAccounts(typed)).toEqual(users);
  });

  it('come from a file', () => {
    const file = path.join(temporaryDirectory(), 'students.txt');
    writeFileSync(file, '# the course\nalice\n\ntrain[1-2] # guests\n');
    expect(classAccounts(file)).toEqual(['alice', 'train1', 'train2']);
  });

  test.each(['$(id)', 'a b;c', '-x', 'train[5-1]', 'train[1-999999]', '/no/where', ',', 'x[1-2]y'])(
    'are not "%s"',
    (typed) => {
      expect(() => classAccounts(typed)).toThrow(UsageError);
    },
  );

  it('have homes', async () => {
    const { username, homedir } = os.userInfo();
    const homes = await homesOf([username, 'nobody-at-all']);
    expect(homes.get(username)).toEqual({ path: homedir, problem: undefined });
    expect(homes.get('nobody-at-all')).toMatchObject({ problem: expect.stringContaining('does not know') });
    const started = await homesOf([username], 'not/there');
    expect(started.get(username)?.problem).toBe(`${homedir}/not/there does not exist`);
  });
});

describe('what is closed to others', () => {
  const place = () => {
    const directory = temporaryDirectory();
    chmodSync(directory, 0o755);
    return directory;
  };

  it('is named with the command that opens it, until it is open', () => {
    const directory = place();
    const file = path.join(directory, 'env', 'bin', 'python');
    mkdirSync(path.dirname(file), { recursive: true });
    writeFileSync(file, '', { mode: 0o600 });
    chmodSync(path.join(directory, 'env'), 0o750);
    expect(closedToOthers(file)).toMatchObject({
      path: path.join(directory, 'env'),
      mend: `chmod o+x ${directory}/env`,
    });
    chmodSync(path.join(directory, 'env'), 0o751);
    expect(closedToOthers(file)).toMatchObject({ path: file, mend: `chmod o+rX ${file}` });
    chmodSync(file, 0o604);
    expect(closedToOthers(file)).toBeUndefined();
  });

  it('is found behind a link', () => {
    const directory = place();
    mkdirSync(path.join(directory, 'home'), { mode: 0o700 });
    writeFileSync(path.join(directory, 'home', 'python'), '');
    symlinkSync(path.join(directory, 'home', 'python'), path.join(directory, 'python'));
    expect(closedToOthers(path.join(directory, 'python'))).toMatchObject({
      path: path.join(directory, 'home'),
    });
  });

  it("is what a launch names, but not one's home", () => {
    const setup = path.join(place(), 'course.sh');
    writeFileSync(setup, '', { mode: 0o600 });
    const spec = { ...plainLaunch, environment: { ...plainLaunch.environment, setup } };
    expect(environmentFindings(spec, spec.directory)).toMatchObject([
      { result: 'fail', advice: `chmod o+rX ${setup}` },
    ]);
    chmodSync(setup, 0o644);
    expect(environmentFindings(spec, spec.directory)).toMatchObject([{ result: 'ok', found: setup }]);
  });

  it('is a part of a global copy', () => {
    const copy = place();
    for (const name of ['bin', 'dist', 'batch-templates']) mkdirSync(path.join(copy, name));
    for (const name of [
      'package.json',
      'systems.yaml',
      'dist/start-jupyter.js',
      'dist/embedded-satellite.js',
      'dist/execa.js',
      'dist/prompts.js',
    ])
      writeFileSync(path.join(copy, name), '');
    const titles = () =>
      installationFindings(copy, { forOthers: true }).map(
        ({ title, result, found }) => `${title}: ${result} ${found}`,
      );
    expect(titles()[1]).toMatch(/^Program: fail .* lacks batch-templates\/slurm\.sh/);
    for (const name of ['slurm', 'pbs', 'torque', 'sge', 'lsf', 'none'])
      writeFileSync(path.join(copy, 'batch-templates', `${name}.sh`), '');
    expect(titles()[1]).toMatch(/^Program: ok/);
    chmodSync(path.join(copy, 'batch-templates', 'pbs.sh'), 0o640);
    const [, , readable] = installationFindings(copy, { forOthers: true });
    expect(readable).toMatchObject({
      result: 'fail',
      found: expect.stringContaining('batch-templates/pbs.sh'),
    });
    expect(readable?.advice).toContain(`chmod -R a+rX ${copy}`);
  });
});

const reservation = parseReservation(slurm('scontrol-reservation-one')) as Reservation;
const associations = [
  'lab|demo|alice||normal,short||20|40|||',
  'lab|demo|bob||normal||||||',
  'lab|other|bob|debug|normal||||02:00:00||',
  'lab|class|carol||normal||0||||',
];
const policy: Policy = {
  associations: parseAssociations(`${associations.join('\n')}\n`),
  defaultAccounts: new Map([
    ['alice', 'demo'],
    ['bob', 'demo'],
    ['carol', 'class'],
  ]),
  groupLimits: new Map(),
  qualities: parseQualities(slurm('sacctmgr-qos').stdout),
  partitions: parsePartitionPolicies(slurm('scontrol-partitions').stdout),
  reservation: undefined,
  nodes: parseNodeRecords(slurm('scontrol-nodes').stdout),
};

describe('what Slurm says', () => {
  it('of a reservation', () => {
    expect(reservation).toEqual({
      name: 'course',
      start: new Date(1795327108_000),
      end: new Date(1795334308_000),
      nodes: 'c2',
      partition: undefined,
      users: ['alice', 'bob'],
      accounts: [],
      groups: [],
    });
    expect(parseReservation(slurm('scontrol-reservation-unknown'))).toBeNull();
    expect(parseReservation(slurm('scontrol-reservations-none'))).toBeNull();
    expect(parseReservation(slurm('scontrol-reservations-unreachable-refused'))).toMatchObject({
      kind: 'unreachable',
    });
  });

  it('of associations, accounts and qualities of service', () => {
    expect(parseAssociations(slurm('sacctmgr-assoc-limits').stdout)).toEqual([
      {
        user: 'alice',
        account: 'demo',
        partition: undefined,
        qualities: ['normal', 'short'],
        maxJobs: 20,
        maxSubmit: 40,
        maxSeconds: undefined,
      },
    ]);
    expect([...parseDefaultAccounts(slurm('sacctmgr-user-default-several').stdout).keys()]).toEqual([
      'alice',
      'bob',
    ]);
    expect(parseGroupLimits(slurm('sacctmgr-assoc-group-limits').stdout)).toEqual(
      new Map([['demo', { jobs: 10, submitted: 20 }]]),
    );
    expect(parseDefaultAccounts(slurm('sacctmgr-user-default').stdout)).toEqual(new Map([['alice', 'demo']]));
    expect(policy.qualities[1]).toEqual({
      name: 'short',
      maxJobs: 2,
      maxSubmit: 4,
      maxSeconds: 3600,
      groupJobs: undefined,
    });
  });

  it('of partitions and nodes', () => {
    expect(policy.partitions.map(({ name, isDefault, access }) => [name, isDefault, access])).toEqual([
      ['compute', true, undefined],
      ['debug', false, undefined],
    ]);
    // c1 drains.
    expect(policy.nodes).toEqual([
      { name: 'c1', available: false, cpus: 16, memory: 32000, gpus: 0 },
      { name: 'c2', available: true, cpus: 16, memory: 32000, gpus: 4 },
    ]);
  });
});

const closed = policy.partitions.map((each) => ({
  ...each,
  access: { kind: 'only', accounts: ['class'] } as const,
  groups: ['wheel'],
  qualities: ['long'],
  needsReservation: true,
}));

const denied = policy.partitions.map((each) => ({
  ...each,
  access: { kind: 'allBut', accounts: ['demo'] } as const,
}));

test.each<[string, Partial<Resources>, Partial<Policy>, RegExp | undefined]>([
  ['alice', {}, {}, undefined],
  ['alice', { account: 'demo', qos: 'short', timeLimit: 3600 }, {}, undefined],
  ['alice', { account: 'other' }, {}, /may not charge other \(but demo\)/],
  ['alice', { qos: 'long' }, {}, /may not use QOS long \(but normal, short\)/],
  ['alice', { qos: 'short', timeLimit: 7200 }, {}, /QOS short allows 1h, and 2h/],
  ['bob', { account: 'other', partition: 'compute' }, {}, /may charge other in debug only/],
  ['bob', { account: 'other', partition: 'debug', timeLimit: 7201 }, {}, /account other allows 2h/],
  ['carol', {}, {}, /account class takes no jobs/],
  ['dave', {}, {}, /no association/],
  ['dave', {}, { associations: undefined }, undefined],
  ['alice', { reservation: 'course' }, { reservation }, undefined],
  [
    'carol',
    { reservation: 'course' },
    { reservation, associations: undefined },
    /not among the users of reservation course/,
  ],
  ['alice', { reservation: 'x' }, { reservation: null }, /there is no reservation x/],
  ['alice', {}, { reservation: { ...reservation, users: ['-alice'] } }, /not among the users/],
  [
    'alice',
    {},
    { reservation: { ...reservation, users: [], accounts: ['class'] } },
    /account demo is not in reservation/,
  ],
  ['alice', {}, { reservation: { ...reservation, users: [], groups: ['staff'] } }, /no group of reservation/],
  ['alice', {}, { partitions: closed }, /compute wants a reservation/],
  ['alice', {}, { partitions: denied }, /compute does not take account demo/],
  ['alice', { account: 'demo', partition: 'debug' }, { partitions: closed.slice(0, 1) }, undefined],
  [
    'alice',
    { reservation: 'course', partition: 'debug' },
    { partitions: closed, reservation },
    /debug does not take account demo/,
  ],
  [
    'alice',
    { reservation: 'r', account: 'class' },
    { partitions: closed, associations: undefined },
    /is for groups wheel/,
  ],
])('%s with %o and %o', (user, resources, change, problem) => {
  const found = userProblems(
    user,
    ['users'],
    { ...plainLaunch.resources, ...resources },
    { ...policy, ...change },
  );
  if (problem === undefined) expect(found).toEqual([]);
  else expect(found.join()).toMatch(problem);
});

test.each([
  ['2026-11-22T05:00:00Z', 7200, undefined, false],
  ['2026-11-22T05:00:00Z', 7260, 'a job of 2h 1m is ended with it, after at most 2h', false],
  ['2026-11-22T07:28:00Z', 1800, undefined, false],
  ['2026-11-22T07:28:30Z', 1800, 'a job of 30m is ended with it, after at most 29m 58s', false],
  ['2026-11-22T08:00:00Z', 60, undefined, true],
])('at %s a job of %s s in the reservation: %s, over: %s', (now, seconds, cut, isOver) => {
  expect(reservationWindow(reservation, seconds, new Date(now))).toMatchObject({ cut, isOver });
});

test.each<[Partial<Resources>, number]>([
  [{}, 16],
  [{ cpus: 4 }, 4],
  [{ cpus: 3, memory: 16_000 }, 2],
  [{ gpu: { count: 1 } }, 4],
  [{ gpu: { count: 3 } }, 1],
  [{ nodes: 2 }, 8],
  [{ cpus: 17 }, 0],
])('of %o, %i fit on the node that is not drained', (resources, jobs) => {
  expect(jobsThatFit({ ...plainLaunch.resources, ...resources }, policy.nodes)).toBe(jobs);
});

test.each([
  ['lab|demo||||', []],
  ['lab|demo||2|2', []],
  ['lab|demo||1|', ['warn account demo runs 1 jobs at a time, and 2 come: the others wait']],
  ['lab|demo||1|1', ['fail account demo takes 1 jobs at a time, and 2 come: the others are refused']],
  ['lab|demo|alice|1|1', []],
])('of the limits "%s" a class of two in demo hears %j', (line, heard) => {
  const account = (user: string, charged: string) => ({
    user,
    account: charged,
    home: undefined,
    problems: [],
  });
  const accounts = [account('alice', 'demo'), account('bob', 'demo'), account('carol', 'class')];
  const findings = accountLimitFindings(accounts, { ...policy, groupLimits: parseGroupLimits(`${line}\n`) });
  expect(findings.map(({ result, found }) => `${result} ${found}`)).toEqual(heard);
});

test('what is printed fits into 80 columns, but for a path to copy', () => {
  const words = 'several words that go on '.repeat(9);
  const lines = [
    ...areaLines(
      {
        name: 'Area',
        exitCode: 3,
        findings: [
          { title: 'Readable for others', result: 'fail', found: words, advice: words },
          { title: 'Short', result: 'skipped', found: 'nothing\u001b[2J' },
        ],
      },
      process.stdout,
    ),
    ...accountLines(
      [
        { user: 'a'.repeat(40), account: 'b'.repeat(40), home: `/${'c'.repeat(60)}`, problems: [words] },
        { user: 'fine', account: undefined, home: undefined, problems: [] },
      ],
      process.stdout,
    ),
  ].map(stripVTControlCharacters);
  for (const line of lines) expect(line.length, line).toBeLessThanOrEqual(80);
  expect(lines.join('\n')).not.toContain('\u001b');
  expect(lines.join('\n').indexOf('several', lines.join('\n').indexOf('USER'))).toBeLessThan(
    lines.join('\n').indexOf('fine'),
  );
});
