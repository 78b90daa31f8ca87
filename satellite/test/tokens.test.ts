import { describe, expect, test, vi } from 'vitest';
import { jobState, waitingReason } from '../src/jobs/states.ts';
import { type TokenEvent, transitions } from '../src/tokens/machine.ts';
import type { JobRecord, TokenRecord } from '../src/tokens/record.ts';
import { TokenRegistry } from '../src/tokens/registry.ts';
import { SqliteStore } from '../src/tokens/sqlite-store.ts';
import { type Changes, StoreError, type TokenStore } from '../src/tokens/store.ts';
import { drawToken, tokenBits, tokenPattern } from '../src/tokens/words.ts';
import { cleanup, LOGIN, NODE1, NODE2 } from './support.ts';

const HOUR = 3600_000;

function registry(ttl = 49 * HOUR, store: TokenStore = new SqliteStore(':memory:')): TokenRegistry {
  const tokens = new TokenRegistry(store, ttl, (error) => {
    throw error;
  });
  cleanup(() => tokens.close());
  return tokens;
}

const job = (id: string, state: string) => ({
  id,
  state,
  position: null,
  estimatedStart: null,
  reason: null,
});

describe('words', () => {
  test('three of them, at least 38 bits, in one DNS label', () => {
    expect(tokenBits).toBeGreaterThan(38);
    const drawn = Array.from({ length: 2000 }, drawToken);
    for (const token of drawn) {
      expect(token).toMatch(tokenPattern);
      expect(token.length).toBeLessThanOrEqual(63);
    }
    expect(new Set(drawn).size).toBe(drawn.length);
    // Every place takes words from the whole list: 2000 draws of 7772 words repeat few of them.
    for (const place of [0, 1, 2])
      expect(new Set(drawn.map((token) => token.split('-')[place])).size).toBeGreaterThan(1500);
  });
});

describe('the life of a token', () => {
  type Doing = (tokens: TokenRegistry, token: string) => Promise<unknown>;
  const doings: Record<TokenEvent, Doing> = {
    redeem: (tokens, token) => tokens.redeem(token, NODE1, 8888),
    destroy: (tokens, token) => tokens.destroy(token, NODE1),
    'job-ended': (tokens) => tokens.reportJobs([job('1', 'CANCELLED')]),
    expire: async () => undefined,
  };
  const paths: Record<string, TokenEvent[]> = {
    pending: [],
    mapped: ['redeem'],
    gone: ['redeem', 'destroy'],
  };

  for (const [state, events] of Object.entries(paths)) {
    for (const event of ['redeem', 'destroy', 'job-ended'] as const) {
      const next = transitions[state as TokenRecord['state']][event];
      test(`${state} × ${event} → ${next ?? 'refused'}`, async () => {
        const tokens = registry();
        const { token } = await tokens.issue();
        await tokens.link(token, '1', LOGIN);
        for (const before of events) await doings[before](tokens, token);
        expect(tokens.find(token)?.state).toBe(state);
        await doings[event](tokens, token);
        expect(tokens.find(token)?.state).toBe(next ?? state);
      });
    }
  }

  test('a token is redeemed once, also by two at the same time', async () => {
    const tokens = registry();
    const { token } = await tokens.issue();
    const [first, second] = await Promise.all([
      tokens.redeem(token, NODE1, 8888),
      tokens.redeem(token, NODE2, 9999),
    ]);
    expect(first.ok).toBe(true);
    expect(second).toEqual({ ok: false, why: 'redeemed' });
    expect(tokens.find(token)).toMatchObject({ host: NODE1, port: 8888 });
  });

  test('who watches hears after the commit', async () => {
    const order: string[] = [];
    const store = new SqliteStore(':memory:');
    const save = store.save.bind(store);
    store.save = async (changes: Changes) => {
      await save(changes);
      order.push('committed');
    };
    const tokens = registry(HOUR, store);
    const { token } = await tokens.issue();
    order.length = 0;
    tokens.watch(token, () => order.push('watched'));
    tokens.onTransition(() => order.push('listened'));
    await tokens.redeem(token, NODE1, 8888);
    expect(order).toEqual(['committed', 'listened', 'watched']);
  });

  test('what could not be kept did not happen', async () => {
    const store = new SqliteStore(':memory:');
    const tokens = registry(HOUR, store);
    const { token } = await tokens.issue();
    store.save = () => Promise.reject(new StoreError('disk full'));
    await expect(tokens.redeem(token, NODE1, 8888)).rejects.toThrow('disk full');
    await expect(tokens.reportJobs([job('1', 'RUNNING')])).rejects.toThrow('disk full');
    await expect(tokens.issue()).rejects.toThrow('disk full');
    expect(tokens.find(token)?.state).toBe('pending');
    expect(tokens.job('1')).toBeUndefined();
  });

  test('nor did two changes that failed together, nor a link', async () => {
    const store = new SqliteStore(':memory:');
    const tokens = registry(HOUR, store);
    const { token } = await tokens.issue();
    const save = store.save.bind(store);
    store.save = () => Promise.reject(new StoreError('disk full'));
    const results = await Promise.allSettled([
      tokens.redeem(token, NODE1, 8888),
      tokens.setPhase(token, NODE1, 'checking', null),
      tokens.link(token, '1', NODE1),
      tokens.reportJobs([job('1', 'RUNNING')]),
      tokens.reportJobs([job('1', 'PENDING')]),
    ]);
    expect(results.map(({ status }) => status)).toEqual(Array.from({ length: 5 }, () => 'rejected'));
    expect(tokens.find(token)).toMatchObject({ state: 'pending', phase: null, host: null, jobId: null });
    expect(tokens.job('1')).toBeUndefined();
    store.save = save;
    await tokens.reportJobs([job('1', 'CANCELLED')]);
    expect(tokens.find(token)?.state).toBe('pending');
    expect((await tokens.redeem(token, NODE2, 9999)).ok).toBe(true);
  });
});

describe('how long a token lives', () => {
  /** A store that holds what a restart would find. */
  const holding = (tokens: Partial<TokenRecord>[], jobs: Partial<JobRecord>[] = []): TokenStore => {
    const store = new SqliteStore(':memory:');
    store.load = () => ({
      tokens: tokens.map((record) => ({
        token: 'one-two-three',
        state: 'pending',
        issuedAt: Date.now(),
        redeemedAt: null,
        goneAt: null,
        goneBy: null,
        host: null,
        port: null,
        jobId: null,
        claim: null,
        phase: null,
        reason: null,
        ...record,
      })),
      jobs: jobs.map((record) => ({ ...job('1', 'RUNNING'), reportedAt: Date.now(), ...record })),
    });
    return store;
  };
  const gone = (tokens: TokenRegistry, token: string) =>
    new Promise<TokenRecord>((resolve) =>
      tokens.onTransition((record) => record.token === token && resolve(record)),
    );

  test('from its issue while it is pending, from its redemption afterwards', () => {
    const ago = Date.now() - 30 * HOUR;
    const tokens = registry(
      49 * HOUR,
      holding([
        { token: 'one-one-one', issuedAt: ago },
        {
          token: 'two-two-two',
          state: 'mapped',
          issuedAt: ago,
          redeemedAt: ago + 20 * HOUR,
          host: NODE1,
          port: 8888,
        },
      ]),
    );
    const expiry = (token: string) => {
      const record = tokens.find(token);
      return record && tokens.expiresAt(record);
    };
    expect(expiry('one-one-one')).toBe(ago + 49 * HOUR);
    expect(expiry('two-two-two')).toBe(ago + 69 * HOUR);
  });

  test('it expires by itself, also after a time in which others could not be asked', async () => {
    const store = new SqliteStore(':memory:');
    const failures: unknown[] = [];
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    cleanup(() => vi.useRealTimers());
    const tokens = new TokenRegistry(store, 1, (error) => failures.push(error));
    cleanup(() => tokens.close());
    const { token } = await tokens.issue();
    const refresh = store.refresh.bind(store);
    store.refresh = () => Promise.reject(new StoreError('away'));
    await vi.advanceTimersByTimeAsync(61_000);
    expect(failures).not.toEqual([]);
    store.refresh = refresh;
    const { promise: isGone, resolve } = Promise.withResolvers<void>();
    tokens.watch(token, resolve);
    await vi.advanceTimersByTimeAsync(61_000);
    await isGone;
    expect(tokens.find(token)).toMatchObject({ state: 'gone', goneBy: 'expired' });
  });

  test('it expires by itself, and says so', async () => {
    const tokens = registry(60);
    const { token } = await tokens.issue();
    const record = await gone(tokens, token);
    expect(record).toMatchObject({ token, state: 'gone', goneBy: 'expired' });
    expect(await tokens.redeem(token, NODE1, 8888)).toEqual({ ok: false, why: 'gone' });
  });

  test('a job that is being reported keeps it', async () => {
    const long = Date.now() - 100 * HOUR;
    const tokens = registry(
      49 * HOUR,
      holding(
        [
          { token: 'one-one-one', issuedAt: long, jobId: '1' },
          { token: 'two-two-two', issuedAt: long, jobId: '2' },
        ],
        [
          { id: '1', state: 'PENDING', reportedAt: Date.now() - HOUR },
          { id: '2', state: 'PENDING', reportedAt: long },
        ],
      ),
    );
    await gone(tokens, 'two-two-two');
    expect(tokens.find('one-one-one')?.state).toBe('pending');
  });

  test('its tombstone is forgotten after a day', async () => {
    const dayAgo = Date.now() - 24 * HOUR;
    const tokens = registry(
      49 * HOUR,
      holding([
        { token: 'one-one-one', state: 'gone', goneBy: 'destroyed', goneAt: dayAgo - 1 },
        { token: 'two-two-two', state: 'gone', goneBy: 'destroyed', goneAt: dayAgo + HOUR },
        // Its end comes after the first sweep, which is how we know that there has been one.
        { token: 'three-three-three', issuedAt: Date.now() - 49 * HOUR + 100 },
      ]),
    );
    await gone(tokens, 'three-three-three');
    await new Promise(setImmediate);
    expect(tokens.find('one-one-one')).toBeUndefined();
    expect(tokens.find('two-two-two')?.state).toBe('gone');
  });
});

describe('jobs and their tokens', () => {
  async function sessionIn(...events: ((tokens: TokenRegistry, token: string) => Promise<unknown>)[]) {
    const tokens = registry();
    const { token } = await tokens.issue();
    await tokens.link(token, '1', LOGIN);
    for (const event of events) await event(tokens, token);
    return { tokens, token, record: () => tokens.find(token) };
  }
  const report = (state: string) => (tokens: TokenRegistry) => tokens.reportJobs([job('1', state)]);
  const redeem = (tokens: TokenRegistry, token: string) => tokens.redeem(token, NODE1, 8888);

  test.each([
    ['CANCELLED by 1000', 'ended', 'The job was cancelled.'],
    ['TO', 'ended', 'The time limit was reached.'],
    ['OUTOFMEMORY', 'failed', 'The job ran out of memory.'],
    ['OUT_OF_MEMORY', 'failed', 'The job ran out of memory.'],
    ['NODE_FAIL', 'failed', 'The compute node failed.'],
    ['COMPLETED', 'ended', 'The job has ended.'],
  ])('%s ends a live session: %s, %s', async (state, phase, reason) => {
    const { record } = await sessionIn(redeem, report(state));
    expect(record()).toMatchObject({ state: 'gone', goneBy: 'job', phase, reason });
  });

  test('a job that is cancelled in the queue never started', async () => {
    const { record } = await sessionIn(report('PENDING'), report('CANCELLED'));
    expect(record()).toMatchObject({ state: 'gone', phase: 'failed', reason: 'The job was cancelled.' });
  });

  test('a job that ends well without a notebook has failed all the same', async () => {
    const { record } = await sessionIn(report('RUNNING'), report('COMPLETED'));
    expect(record()).toMatchObject({ phase: 'failed', reason: 'The job ended before Jupyter was ready.' });
  });

  test('what the job said wins over the scheduler, earlier or later', async () => {
    const says = (tokens: TokenRegistry, token: string) =>
      tokens.setPhase(token, NODE1, 'failed', 'No module named x');
    const earlier = await sessionIn(says, report('FAILED'));
    expect(earlier.record()).toMatchObject({ state: 'gone', phase: 'failed', reason: 'No module named x' });
    const later = await sessionIn(report('FAILED'), says);
    expect(later.record()).toMatchObject({ state: 'gone', phase: 'failed', reason: 'No module named x' });
  });

  test('a state that nobody knows ends nothing', async () => {
    const { record } = await sessionIn(redeem, report('SHINY_NEW_STATE'));
    expect(record()?.state).toBe('mapped');
  });

  test('a job that was over before it was linked', async () => {
    const tokens = registry();
    const { token } = await tokens.issue();
    await tokens.reportJobs([job('7', 'FAILED')]);
    await tokens.link(token, '7', LOGIN);
    expect(tokens.find(token)).toMatchObject({ state: 'gone', phase: 'failed', reason: 'The job failed.' });
  });

  test('a report is a delta', async () => {
    const { tokens, record } = await sessionIn(redeem, report('RUNNING'));
    await tokens.reportJobs([job('2', 'COMPLETED')]);
    expect(record()?.state).toBe('mapped');
    expect(tokens.job('1')?.state).toBe('RUNNING');
    expect(tokens.trackedJobs()).toEqual([{ id: '1', state: 'RUNNING' }]);
  });
});

describe("Slurm's words", () => {
  const waiting =
    'PD CF RD RF RH RQ SE PENDING CONFIGURING RESV_DEL_HOLD REQUEUE_FED REQUEUE_HOLD REQUEUED SPECIAL_EXIT';
  const running = 'R CG RS SI SO ST S RUNNING COMPLETING RESIZING SIGNALING STAGE_OUT STOPPED SUSPENDED';
  const finished =
    'BF CA CD DL F NF OOM PR RV TO LF BOOT_FAIL CANCELLED COMPLETED DEADLINE FAILED NODE_FAIL OUT_OF_MEMORY PREEMPTED REVOKED TIMEOUT LAUNCH_FAILED RECONFIG_FAIL';
  test.each(Object.entries({ waiting, running, finished }))('%s', (stage, names) => {
    for (const name of names.split(' ')) {
      for (const spelling of [
        name,
        name.toLowerCase(),
        name.replaceAll('_', ''),
        ` ${name} by 0`,
        `${name}+`,
      ]) {
        expect(jobState(spelling)?.stage, spelling).toBe(stage);
      }
    }
  });

  test('reasons', () => {
    expect(waitingReason('Priority')).toMatch(/higher priority.*\(Priority\)/);
    expect(waitingReason('(Resources)')).toMatch(/resources.*\(Resources\)/);
    expect(waitingReason('AssocGrpGRES')).toMatch(/limit.*\(AssocGrpGRES\)/);
    expect(waitingReason('Something_New')).toBe('The scheduler says: Something_New.');
    for (const none of [null, '', 'None', '(None)']) expect(waitingReason(none)).toBeUndefined();
  });
});
