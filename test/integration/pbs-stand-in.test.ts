/** The stand-in for PBS is held to what a real one was recorded to say, and to what a real one does with jobs. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { execa } from 'execa';
import { describe, expect, it, test, vi } from 'vitest';
import { freshHome, type Home } from '../support/directories.ts';
import { jsonAnswer, text } from '../support/pbs/print.ts';
import { type Pbs, standInForPbs } from '../support/pbs.ts';
import { recording } from '../support/recordings.ts';

const recorded = (name: string) => recording(`openpbs-23.06/${name}`);

interface Said {
  readonly stdout: string;
  readonly stderr: string;
  readonly exitCode: number | undefined;
}

/** A student at the head of a cluster. */
function cluster(settings: Parameters<typeof standInForPbs>[0] = {}) {
  const home = freshHome();
  const pbs = standInForPbs(settings);
  const call = async (line: string): Promise<Said> => {
    const [command = '', ...args] = line.split(' ');
    const { stdout, stderr, exitCode } = await execa(path.join(pbs.commands, command), args, {
      cwd: home.path,
      reject: false,
      stripFinalNewline: false,
      extendEnv: false,
      env: {
        HOME: home.path,
        LANG: 'C.UTF-8',
        LOGNAME: 'student',
        PATH: '/usr/bin:/bin',
        MAIL: '/var/mail/student',
        SHELL: '/bin/sh',
        TZ: 'UTC',
      },
    });
    return { stdout, stderr, exitCode };
  };
  return { home, pbs, call };
}

function script(home: Home, name: string, ...lines: string[]): void {
  writeFileSync(path.join(home.path, name), ['#!/bin/sh', ...lines, ''].join('\n'));
}

/** However busy the machine is; no event tells of what happens in other processes. */
const eventually = (assertion: () => void) => vi.waitFor(assertion, { timeout: 60_000 });

/** Once the job's first shell is there to be told something. */
async function begun({ state }: Pbs, id: string): Promise<void> {
  await eventually(() => expect(state.job(id)?.mom).toBeDefined());
}

async function ended({ state }: Pbs, id: string): Promise<void> {
  await eventually(() => expect(state.job(id)?.state).toBe('F'));
}

describe('the recordings, replayed', () => {
  /** What differs between any two runs: times, process ids, where home is. */
  const comparable = ({ stdout, stderr, exitCode }: Said, home: string) => ({
    stdout: stdout
      .replaceAll('\n\t', (wrap) => (stdout.startsWith('Job Id:') ? '' : wrap))
      .replaceAll(home, '/home/student')
      .replace(/\b\w{3} \w{3} [ \d]\d \d\d:\d\d:\d\d \d{4}\b/g, 'TIME')
      .replace(/\b\w{3} \w{3} \d\d at \d\d:\d\d\b/g, 'MINUTE')
      .replace(/\b\d{10}\b/g, 'EPOCH')
      .replace(/"session_id":\t\d+/g, '"session_id":\tPID')
      .replace(/(?<="vmem":\t"0kb",\n\t*"walltime":\t)"\d\d:\d\d:\d\d"/g, '"USED"'),
    stderr,
    exitCode,
  });

  test('one by one, in the order in which they were made', async () => {
    // The real one was recorded before its execution host had told it of the job's session.
    const { home, pbs, call } = cluster({ report: 600_000, killDelay: 600 });
    const request = [
      '#PBS -N jupyter-demo',
      '#PBS -l select=1:ncpus=1:mem=200mb',
      '#PBS -l walltime=00:10:00',
      '#PBS -j oe',
      `#PBS -o ${home.path}/job.log`,
    ];
    script(home, 'j.sh', ...request, "trap '' TERM", 'sleep 600 & wait', 'wait');
    script(home, 'fail.sh', '#PBS -N failing', '#PBS -l walltime=00:01:00', 'exit 3');
    const replay = async (name: string) => {
      const real = recorded(name);
      expect(comparable(await call(real.command), home.path), name).toEqual(
        comparable({ stdout: real.stdout, stderr: real.stderr, exitCode: real.exitCode }, '/home/student'),
      );
    };
    await replay('qstat-version');
    await replay('qsub-ok');
    await begun(pbs, '1.pbs-head');
    await replay('qstat-running-text');
    await replay('qstat-running-full');
    await replay('qstat-running-json');
    await replay('qsub-unknown-queue');
    await replay('qsub-unknown-resource');
    await replay('qsub-bad-syntax');
    await replay('qsub-walltime-over-limit');
    // The real server had used up three numbers for what it refused.
    writeFileSync(path.join(pbs.state.directory, 'last-number'), '4');
    await replay('qsub-queued-never-fits');
    await replay('qstat-queued-json');
    await replay('qstat-estimated');
    await replay('qdel-running');
    await replay('qdel-queued');
    await replay('qstat-deleted-default');
    await replay('qstat-deleted-history');
    await replay('qhold-submit');
    await replay('qstat-held-json');
    await replay('qstat-unknown-job');
    await replay('qdel-unknown-job');
    await replay('qdel-held');
    await replay('pbsnodes-json');
    await replay('qstat-queues-json');
    await replay('qsub-fail');
    await ended(pbs, '7.pbs-head');
    await replay('qstat-exit3-history');
    await replay('qstat-killed-history');
    pbs.state.jobs().forEach(({ mom, session }) => {
      if (mom !== undefined && session !== undefined) process.kill(-session, 'SIGKILL');
    });
    await ended(pbs, '1.pbs-head');
  });

  test('the text of qstat -f is broken into lines as recorded', () => {
    const { Jobs } = JSON.parse(recorded('qstat-running-json').stdout);
    expect(text('Job Id: 1.pbs-head', Object.entries(Jobs['1.pbs-head']))).toBe(
      recorded('qstat-running-full').stdout,
    );
  });

  test('JSON is laid out as recorded, byte for byte', () => {
    const { stdout } = recorded('qstat-exit3-history');
    const { Jobs, timestamp } = JSON.parse(stdout);
    const { state } = standInForPbs();
    expect(jsonAnswer(state, { Jobs }).replace(/\d{10}/, timestamp)).toBe(stdout);
  });
});

describe('a job', () => {
  it('runs as its user, in home, with nothing of the environment that submitted it', async () => {
    const { home, pbs, call } = cluster();
    script(home, 'job.sh', '#PBS -j oe', '#PBS -o out', '#PBS -v A=1', 'pwd', 'env', 'echo to stderr >&2');
    expect((await call('qsub job.sh')).stdout).toBe('1.pbs-head\n');
    await ended(pbs, '1.pbs-head');
    const output = readFileSync(path.join(home.path, 'out'), 'utf8').split('\n');
    expect(output).toContain(home.path);
    expect(output).toContain('PBS_JOBID=1.pbs-head');
    expect(output).toContain('A=1');
    expect(output).toContain('to stderr');
    expect(output.filter((line) => line.startsWith('TZ='))).toEqual([]);
  });

  it('is shown its output only when it has ended, over what was there', async () => {
    const { home, pbs, call } = cluster();
    const output = path.join(home.path, 'out');
    writeFileSync(output, 'earlier\n');
    script(home, 'job.sh', '#PBS -j oe', '#PBS -o out', 'echo now', 'until [ -e go ]; do sleep 0.05; done');
    await call('qsub job.sh');
    await begun(pbs, '1.pbs-head');
    expect(readFileSync(output, 'utf8')).toBe('earlier\n');
    writeFileSync(path.join(home.path, 'go'), '');
    await ended(pbs, '1.pbs-head');
    expect(readFileSync(output, 'utf8')).toBe('now\n');
  });

  it('is told that it is deleted, and may clean up for as long as kill_delay', async () => {
    const { home, pbs, call } = cluster();
    script(
      home,
      'job.sh',
      "trap 'touch told; sleep 0.3; touch cleaned; exit' TERM",
      'touch ready; while :; do sleep 0.05; done',
    );
    await call('qsub job.sh');
    await eventually(() => expect(existsSync(path.join(home.path, 'ready'))).toBe(true));
    await call('qdel 1.pbs-head');
    await ended(pbs, '1.pbs-head');
    expect(existsSync(path.join(home.path, 'cleaned'))).toBe(true);
    expect(pbs.state.job('1.pbs-head')).toMatchObject({ exitStatus: 271, substate: 91 });
  });

  it.each([
    ['a deletion', '', (call: (line: string) => Promise<Said>) => call('qdel 1.pbs-head'), 271],
    ['the end of its time', '#PBS -l walltime=00:00:01', async () => {}, -29],
  ])('that takes no notice of %s is killed', async (_, directive, end, exitStatus) => {
    const { home, pbs, call } = cluster({ killDelay: 0 });
    script(home, 'job.sh', directive, "trap '' TERM", 'touch ready', 'sleep 600 & wait');
    await call('qsub job.sh');
    await eventually(() => expect(existsSync(path.join(home.path, 'ready'))).toBe(true));
    await end(call);
    await ended(pbs, '1.pbs-head');
    expect(pbs.state.job('1.pbs-head')).toMatchObject({ exitStatus });
  });

  it('that ends takes what it has left behind with it', async () => {
    const { home, pbs, call } = cluster();
    script(home, 'job.sh', 'sleep 600 &', 'echo $! > pid');
    await call('qsub job.sh');
    await ended(pbs, '1.pbs-head');
    const pid = Number(readFileSync(path.join(home.path, 'pid'), 'utf8'));
    await eventually(() => expect(existsSync(`/proc/${pid}/fd/0`)).toBe(false));
  });

  it('waits until there is room, and while it is held', async () => {
    const { home, pbs, call } = cluster();
    script(home, 'long.sh', '#PBS -l select=1:ncpus=2', 'sleep 600');
    script(home, 'next.sh', 'touch ran');
    await call('qsub long.sh');
    await call('qsub next.sh');
    await call('qsub -h next.sh');
    expect(pbs.state.job('2.pbs-head')).toMatchObject({
      state: 'Q',
      comment: 'Not Running: Insufficient amount of resource: ncpus (R: 1 A: 0 T: 2)',
    });
    await begun(pbs, '1.pbs-head');
    await call('qdel 1.pbs-head');
    await ended(pbs, '2.pbs-head');
    expect(pbs.state.job('3.pbs-head')?.state).toBe('H');
    await call('qrls 3.pbs-head');
    await ended(pbs, '3.pbs-head');
  });
});

it('says nothing of jobs that have ended where no history is kept', async () => {
  const { home, pbs, call } = cluster({ history: false });
  script(home, 'job.sh', 'exit 0');
  await call('qsub job.sh');
  await ended(pbs, '1.pbs-head');
  const unknown = { stderr: 'qstat: Unknown Job Id 1.pbs-head\n', exitCode: 153 };
  expect(await call('qstat -f -F json 1.pbs-head')).toMatchObject(unknown);
  expect(await call('qstat -x -f -F json 1.pbs-head')).toMatchObject({ exitCode: 0 });
});

it('gives every job a number of its own, however many are submitted at once', async () => {
  const { home, pbs, call } = cluster({ ncpus: 1 });
  script(home, 'job.sh', 'exit 0');
  const answers = await Promise.all(Array.from({ length: 6 }, () => call('qsub -h job.sh')));
  expect(new Set(answers.map(({ stdout }) => stdout)).size).toBe(6);
  expect(pbs.state.jobs()).toHaveLength(6);
});

it.each(['qsub -X j.sh', 'qstat -a', 'qdel -W force 1.pbs-head', 'pbsnodes -l', 'qsub -l software=x j.sh'])(
  'fails loudly at what nobody has recorded: %s',
  async (line) => {
    const { home, pbs, call } = cluster();
    script(home, 'j.sh', 'exit 0');
    expect(await call(line)).toMatchObject({
      exitCode: 99,
      stderr: expect.stringContaining('nobody has recorded this'),
    });
    const notes = path.join(pbs.state.directory, 'unrecorded');
    expect(readFileSync(notes, 'utf8')).toContain(line.split(' ')[0]);
    // Here it was the test's own wish.
    writeFileSync(notes, '');
  },
);
