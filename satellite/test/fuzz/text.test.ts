import fc from 'fast-check';
import { expect, test } from 'vitest';
import { ConfigError, parseConfig } from '../../src/config.ts';
import { jobIdFrom } from '../../src/jobs/id.ts';
import { parseQueue } from '../../src/jobs/slurm.ts';
import type { LogEntry } from '../../src/log.ts';
import { loggablePath } from '../../src/loggable-path.ts';
import { statusTable } from '../../src/operation/status.ts';
import { EVENTS_PATH, STATE_PATH } from '../../src/pages/paths.ts';
import { phases } from '../../src/tokens/record.ts';
import { api, ask, issue, LOGIN, satellite, visit } from '../support.ts';
import { holds, nasty, PATIENCE_MS } from './support.ts';

/* Words of strangers in pages, answers, logs, tables and commands: they stay words. */

const BROWSER = { Accept: 'text/html' };
const limits = { tokensPerMinute: 1_000_000, unknownNamesPerMinute: 1_000_000 };

/** Every tag of a piece of HTML, whatever moment is in it, and how often it is there. */
function tagsOf(html: string): Map<string, number> {
  const tags = new Map<string, number>();
  const timeless = html.replaceAll(/\d{4}-\d\d-\d\dT[\d:.]+Z/g, 'TIME');
  for (const [tag] of timeless.matchAll(/<[^>]*>/g)) tags.set(tag, (tags.get(tag) ?? 0) + 1);
  return tags;
}

/** Controls, marks that turn the direction of what follows, halves of characters. */
const harmful = /[\0-\x09\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]|\p{Surrogate}/u;

test(
  'a reason and a state change the words of a page and nothing else',
  async () => {
    const { port } = await satellite({ limits });
    let jobs = 0;
    const look = async (phase: string | null, reason: string, state: string) => {
      const token = await issue(port);
      const id = `job${++jobs}`;
      await api(port, 'PUT', `/tokens/${token}/job`, { jobId: id });
      expect((await api(port, 'POST', '/jobs', [{ id, state, reason }])).status).toBe(200);
      if (phase) await api(port, 'PUT', `/tokens/${token}/phase`, { phase, reason });
      const page = await visit(port, token, { headers: BROWSER });
      const content = (await visit(port, token, { path: STATE_PATH })).json<Record<string, string>>();
      return { page, content, answer: await api(port, 'GET', `/tokens/${token}`) };
    };

    // What pages are made of when nobody means harm, and no more than that may be there.
    const usual = new Map<string, number>();
    for (const phase of [null, ...phases]) {
      // The last one is no state: nothing is known of such a job.
      for (const state of ['PENDING', 'RUNNING', 'COMPLETED', 'FAILED', 'SHINY', '']) {
        for (const reason of ['', 'Priority', 'first\nsecond']) {
          const { page } = await look(phase, reason, state);
          for (const [tag, count] of tagsOf(page.body)) usual.set(tag, Math.max(count, usual.get(tag) ?? 0));
        }
      }
    }

    await holds(
      fc.asyncProperty(fc.constantFrom(null, ...phases), nasty, nasty, async (phase, reason, state) => {
        const { page, content, answer } = await look(phase, reason, state);
        for (const [tag, count] of tagsOf(page.body))
          expect([tag, count <= (usual.get(tag) ?? 0)]).toEqual([tag, true]);
        // The script in the page puts this into it as HTML; everything else it takes as text.
        expect(page.body).toContain(content.details);
        const { reason: why, job } = answer.json<
          Record<'reason', string | null> & { job: Record<string, string | null> }
        >();
        for (const text of [why, job.state, job.reason]) {
          expect(text ?? '').not.toMatch(harmful);
          expect((text ?? '').length).toBeLessThanOrEqual(2000);
        }
      }),
      200,
    );
  },
  PATIENCE_MS,
);

test(
  'an event is one line, whatever is in it',
  async () => {
    const { port } = await satellite({ limits });
    await holds(
      fc.asyncProperty(nasty, nasty, async (reason, more) => {
        const token = await issue(port);
        await api(port, 'PUT', `/tokens/${token}/phase`, { phase: 'failed', reason: `${reason}\n${more}` });
        // A session that is over has one event, and its stream ends.
        const { body } = await visit(port, token, { path: EVENTS_PATH });
        const [, data = ''] = /^retry: 1000\n\ndata: ([^\r\n]*)\n\n$/.exec(body) ?? [];
        expect(JSON.parse(data)).toMatchObject({ kind: 'failed' });
      }),
      150,
    );
  },
  PATIENCE_MS,
);

test(
  'what the operator says is text, and links are links',
  async () => {
    const link = nasty.map((text) => `mailto:${text}`);
    await holds(
      fc.asyncProperty(nasty, link, nasty, async (title, contact, help) => {
        const given = { title, contact, help: `https://help.test/${help}` };
        try {
          parseConfig({ domain: 'x.test', tls: 'off', ...given });
        } catch (error) {
          expect(error).toBeInstanceOf(ConfigError);
          return;
        }
        const { port, close } = await satellite({ limits, ...given });
        const { body } = await visit(port, 'no-such-name', { headers: BROWSER });
        await close();
        const footer = /<footer>(.*)<\/footer>/s.exec(body)?.[1] ?? '';
        expect(
          footer.replace(/<\/?span>|<\/a>|<a href="(https|mailto):[^"<>]*" rel="noreferrer">/g, ''),
        ).not.toMatch(/[<>"]/);
      }),
      60,
    );
  },
  PATIENCE_MS,
);

test(
  'the log is JSON in one line, without tokens and queries',
  async () => {
    const entries: LogEntry[] = [];
    const { port } = await satellite({ limits }, { log: (entry) => entries.push(entry) });
    const secret = await issue(port);
    const piece = fc.oneof(
      {
        weight: 2,
        arbitrary: fc.constantFrom(
          secret,
          secret.toUpperCase(),
          secret.replaceAll('-', '%2D'),
          secret.replaceAll('-', '%25252d'),
          secret.replaceAll('-', '.'),
          `_${secret}`,
        ),
      },
      fc.constantFrom(
        '/api/v1/tokens/',
        '/lab/tree/',
        '..',
        '//',
        '/',
        '.',
        '?',
        '#',
        '&token=',
        ';',
        '%0a',
        '%00',
        '"',
      ),
      fc.webSegment(),
    );
    const path = fc.array(piece, { maxLength: 8 }).map((pieces) => `/${pieces.join('')}`);
    const [, second = '', third = ''] = secret.split('-');
    await holds(
      fc.asyncProperty(path, nasty, async (asked, query) => {
        entries.length = 0;
        await ask(port, { path: `${asked}?query=${encodeURIComponent(query.toWellFormed())}${secret}` });
        const lines = entries.map((entry) => JSON.stringify(entry));
        expect(lines.join()).not.toMatch(/[\n\r]|query=/);
        const plain = lines
          .join()
          .toLowerCase()
          .replaceAll(/%(25)*2d/g, '-');
        expect(plain).not.toContain(`${second}-${third}`);
        expect(loggablePath(asked)).not.toMatch(/[?#\n\r]/);
      }),
      300,
    );
  },
  PATIENCE_MS,
);

test(
  'a job id is never an option or anything to a shell, however it is written',
  async () => {
    await holds(
      fc.asyncProperty(nasty, async (text) => {
        const id = jobIdFrom(text);
        if (id !== undefined) expect(id).toMatch(/^[A-Za-z0-9][A-Za-z0-9_.+-]*$/);
      }),
      5000,
    );
  },
  PATIENCE_MS,
);

test(
  "a scheduler's output is read or refused, and never an error",
  async () => {
    const line = fc.array(nasty, { minLength: 1, maxLength: 7 }).map((fields) => fields.join('|'));
    await holds(
      fc.asyncProperty(
        fc.array(
          fc.oneof(
            line,
            line.map((text) => `7|PENDING|p|1|N/A|${text}`),
          ),
          { maxLength: 5 },
        ),
        async (lines) => {
          const answer = parseQueue(['JOBID|', ...lines, ''].join('\n'));
          for (const job of answer.ok ? answer.jobs : []) expect(job.id).not.toMatch(/\n/);
        },
      ),
      2000,
    );
  },
  PATIENCE_MS,
);

test(
  'a configuration is taken or refused with a sentence',
  async () => {
    const key = fc.constantFrom(
      ...['domain', 'listen', 'tls', 'limits', 'title', 'state', 'tokenTtl', 'internalNetworks', 'hsts'],
      ...['__proto__', 'constructor', 'toString', 'domian', 'DOMAIN', '', 'tls.cert', 'x'.repeat(50)],
    );
    const value = fc.oneof(
      nasty,
      fc.anything({ withNullPrototype: true, withBigInt: true }),
      fc.constantFrom('10.0.0.0/8', '1h', '0h', '99999999999999d', 'off', '0.0.0.0:443', ['::/0'], {
        selfSigned: true,
      }),
    );
    const config = fc
      .array(fc.tuple(key, value), { maxLength: 5 })
      .map((entries) => Object.fromEntries(entries));
    await holds(
      fc.asyncProperty(fc.oneof(config, fc.anything()), async (given) => {
        try {
          parseConfig(given);
        } catch (error) {
          expect(error).toBeInstanceOf(ConfigError);
          const { message } = error as Error;
          expect(message).not.toMatch(/\[object|undefined|\bat .*:\d+:\d+/);
          expect(message).not.toBe('');
        }
      }),
      3000,
    );
  },
  PATIENCE_MS,
);

test(
  "the operator's table has one line for each site",
  async () => {
    const { port } = await satellite({ limits });
    // Of a state only the beginning has to be known: sacct cuts long ones with a "+".
    const reported = fc.oneof(
      nasty,
      nasty.map((text) => `RUNNING+${text}`),
    );
    await holds(
      fc.asyncProperty(reported, async (state) => {
        const token = await issue(port);
        await api(port, 'PUT', `/tokens/${token}/job`, { jobId: token });
        await ask(port, {
          ...{ path: '/update-jobs.cgi', method: 'POST', from: LOGIN },
          body: new URLSearchParams({ jobstates: `${token} ${state.toWellFormed()}` }).toString(),
        });
        const job = (await api(port, 'GET', `/tokens/${token}`)).json<{ job: { state: string | null } }>()
          .job;
        expect(job.state ?? '').not.toMatch(harmful);
        const row = {
          site: 'x',
          state: 'pending',
          age: 1,
          expiresIn: 1,
          target: null,
          job: '7',
          jobState: job.state,
        };
        const table = statusTable([{ ...row, visitors: 0, requests: 0, open: 0, bytesIn: 0, bytesOut: 0 }]);
        expect(table.split('\n')).toHaveLength(4);
        expect(table).not.toMatch(/[\0-\x09\x0b-\x1f\x7f-\x9f]/);
      }),
      150,
    );
  },
  PATIENCE_MS,
);
