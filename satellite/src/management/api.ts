import type { IncomingMessage } from 'node:http';
import { setImmediate } from 'node:timers/promises';
import * as z from 'zod';
import { NotYoursError } from '../auth/access.ts';
import { isAccount } from '../auth/account.ts';
import { readBody } from '../body.ts';
import { comesFromPage } from '../gate/browser.ts';
import type { Client } from '../gate/client.ts';
import { MAX_PORT, MIN_PORT } from '../gate/ports.ts';
import { hasBody } from '../http.ts';
import { jobIdFrom } from '../jobs/id.ts';
import { jobState } from '../jobs/states.ts';
import { claimOf, isProven } from '../tokens/claim.ts';
import { phases, type TokenRecord } from '../tokens/record.ts';
import type { JobReport } from '../tokens/registry.ts';
import type { Reply } from './reply.ts';
import {
  askOthersAbout,
  type Management,
  mayIssue,
  mayLookUp,
  mayRedeem,
  NOT_YOURS_TO_OPEN,
  type Outcome,
  TOO_MANY,
  targetFault,
  tokenFrom,
} from './service.ts';
import { cleanText, MAX_STATE } from './text.ts';

/** Refused; the status and code are for programs, the message for people. */
class ApiError extends Error {
  readonly status: number;
  readonly code: string;
  readonly headers: Readonly<Record<string, string>> | undefined;
  constructor(status: number, code: string, message: string, headers?: Record<string, string>) {
    super(message);
    this.status = status;
    this.code = code;
    this.headers = headers;
  }
}

const MAX_BODY_BYTES = 64 * 1024;
const MAX_REPORT_BYTES = 16 * 1024 * 1024;
/** Reported jobs between two turns of the event loop. */
const CHECKED_AT_ONCE = 500;
const MAX_REASON = 2000;

const reasonText = z.string().transform((text) => cleanText(text, MAX_REASON));
/** One word or a few, in one line. */
const stateText = z.string().transform((text) => cleanText(text.replace(/\s+/g, ' '), MAX_STATE + 1));

const time = z.iso.datetime({ offset: true }).transform((text) => Date.parse(text));
const jobId = z.union([z.string(), z.int()]).transform((given, context) => {
  const id = jobIdFrom(String(given));
  if (id !== undefined) return id;
  context.addIssue('is not a job id');
  return z.NEVER;
});

const WRONG_PORT = `must be an integer between ${MIN_PORT} and ${MAX_PORT}`;

const account = z.string().refine(isAccount, 'is not the name of an account');
const MAX_SHARED = 1000;
const jupyterToken = z
  .string()
  .regex(/^[A-Za-z0-9_-]{16,256}$/, 'must be 16 to 256 letters, digits, - and _');

/** What proves that a token is one's own. */
const proof = z.object({ jupyterToken: jupyterToken.optional() });

export const bodies = {
  proof,
  redeem: proof.extend({
    port: z.int(WRONG_PORT).min(MIN_PORT, WRONG_PORT).max(MAX_PORT, WRONG_PORT),
  }),
  job: proof.extend({ jobId }),
  access: z.object({
    jupyterToken,
    owner: account.optional(),
    sharedWith: z.array(account).max(MAX_SHARED).optional(),
  }),
  phase: proof.extend({ phase: z.enum(phases), reason: reasonText.nullish() }),
  jobs: z.array(z.unknown()),
};

export const jobSchema = z.object({
  id: jobId,
  state: stateText.pipe(z.string().min(1).max(MAX_STATE)).refine((state) => jobState(state) !== undefined, {
    error: 'is no state of a job in Slurm, PBS, Grid Engine or LSF',
  }),
  position: z.int().positive().nullish(),
  estimatedStart: time.nullish(),
  reason: reasonText.nullish(),
});

interface Call {
  readonly management: Management;
  readonly request: IncomingMessage;
  readonly client: Client;
  readonly token: string | undefined;
}

type Operation = (call: Call) => Reply | Promise<Reply>;

export interface Route {
  /** Below /api/v1, as OpenAPI writes it. */
  readonly path: string;
  readonly methods: Readonly<Record<string, Operation>>;
}

export const routes: readonly Route[] = [
  { path: '/tokens', methods: { POST: issue } },
  { path: '/tokens/{token}', methods: { GET: show, DELETE: destroy } },
  { path: '/tokens/{token}/destroy', methods: { POST: destroy } },
  { path: '/tokens/{token}/redeem', methods: { POST: redeem } },
  { path: '/tokens/{token}/renew', methods: { POST: renew } },
  // Old wget can only POST; both operations are idempotent either way.
  { path: '/tokens/{token}/job', methods: { PUT: link, POST: link } },
  { path: '/tokens/{token}/phase', methods: { PUT: setPhase, POST: setPhase } },
  { path: '/tokens/{token}/access', methods: { PUT: setAccess } },
  { path: '/jobs', methods: { GET: trackedJobs, POST: reportJobs } },
  { path: '/openapi.json', methods: { GET: describeApi } },
];

const patterns = routes.map(({ path, methods }) => ({
  pattern: new RegExp(`^/api/v1${path.replace('.', '\\.').replace('{token}', '([^/]+)')}$`),
  methods,
}));

/** The answer to a request under /api/; errors of the caller's making are answers too. Rejects with a StoreError or BodyError. */
export async function answerApi(
  management: Management,
  request: IncomingMessage,
  path: string,
  client: Client,
): Promise<Reply> {
  try {
    for (const { pattern, methods } of patterns) {
      const match = pattern.exec(path);
      if (!match) continue;
      const method = request.method === 'HEAD' ? 'GET' : (request.method ?? '');
      const operation = Object.hasOwn(methods, method) ? methods[method] : undefined;
      if (operation === undefined) {
        const allowed = Object.keys(methods).flatMap((name) => (name === 'GET' ? ['GET', 'HEAD'] : [name]));
        const headers = { Allow: [...allowed, 'OPTIONS'].join(', ') };
        if (method === 'OPTIONS') return { ...NO_CONTENT, headers };
        throw new ApiError(405, 'method-not-allowed', `Use ${allowed.join(', ')} here.`, headers);
      }
      if (method !== 'GET') refuseBrowsers(request);
      const call = { management, request, client, token: match[1] && tokenFrom(match[1]) };
      if (match[1] === undefined) return await operation(call);
      if (!mayLookUp(management, client.address, call.token)) throw tooMany();
      await askOthersAbout(management, call.token);
      if (call.token === undefined || management.registry.find(call.token) === undefined)
        management.lookups.take(client.address);
      return await operation(call);
    }
    throw new ApiError(404, 'not-found', 'There is no such operation.');
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    return json(error.status, { error: { code: error.code, message: error.message } }, error.headers);
  }
}

/** A JSON answer. */
export function json(status: number, value: unknown, headers?: Readonly<Record<string, string>>): Reply {
  return {
    status,
    type: 'application/json',
    body: `${JSON.stringify(value)}\n`,
    ...(headers && { headers }),
  };
}

const NO_CONTENT: Reply = { status: 204, type: 'application/json', body: '' };

async function issue(call: Call): Promise<Reply> {
  requireInternal(call);
  if (!mayIssue(call.management, call.client.address)) throw tooMany();
  const { jupyterToken } = await readProof(call);
  const record = await call.management.registry.issue(jupyterToken && claimOf(jupyterToken));
  const { token, site, state, expiresAt } = describe(call.management, record);
  const gated = call.management.accesses !== undefined;
  return json(201, { token, site, state, expiresAt, gated, claimed: record.claim !== null });
}

function show({ management, token, client }: Call): Reply {
  const record = token === undefined ? undefined : management.registry.find(token);
  if (record === undefined) throw unknownToken();
  const told = describe(management, record);
  const { accesses, config } = management;
  // What its page says of a session is said to those who may come in. Inside, the launcher has to know.
  const isStranger = accesses !== undefined && !config.internalNetworks.contains(client.address);
  return json(200, isStranger ? { ...told, job: null, phase: null, reason: null } : told);
}

/** With DELETE for tokens that anybody may give back; a body belongs to POST. */
async function destroy(call: Call): Promise<Reply> {
  requireInternal(call);
  const token = requireToken(call);
  const { jupyterToken } = call.request.method === 'POST' ? await readProof(call) : {};
  const outcome = await call.management.registry.destroy(token, call.client.address, jupyterToken);
  // Gone is what was asked for.
  if (!outcome.ok && outcome.why !== 'gone') throw refusal(outcome);
  return NO_CONTENT;
}

async function redeem(call: Call): Promise<Reply> {
  requireInternal(call);
  const token = requireToken(call);
  const { port, jupyterToken } = await readJson(call, bodies.redeem, MAX_BODY_BYTES);
  if (!mayRedeem(call.management, token, jupyterToken))
    throw new ApiError(403, 'not-yours', `${NOT_YOURS_TO_OPEN}.`);
  const fault = targetFault(call.management, call.client.address, port);
  if (fault !== undefined) throw new ApiError(400, fault.code, `${fault.message}.`);
  return answer(call, await call.management.registry.redeem(token, call.client.address, port, jupyterToken));
}

async function renew(call: Call): Promise<Reply> {
  requireInternal(call);
  const token = requireToken(call);
  const { jupyterToken } = await readProof(call);
  return answer(call, await call.management.registry.renew(token, call.client.address, jupyterToken));
}

async function link(call: Call): Promise<Reply> {
  requireInternal(call);
  const token = requireToken(call);
  const { jobId, jupyterToken } = await readJson(call, bodies.job, MAX_BODY_BYTES);
  return answer(call, await call.management.registry.link(token, jobId, call.client.address, jupyterToken));
}

async function setPhase(call: Call): Promise<Reply> {
  requireInternal(call);
  const token = requireToken(call);
  const { phase, reason, jupyterToken } = await readJson(call, bodies.phase, MAX_BODY_BYTES);
  const { registry } = call.management;
  return answer(
    call,
    await registry.setPhase(token, call.client.address, phase, reason || null, jupyterToken),
  );
}

/** Whose site it is, and with whom he shares it. */
async function setAccess(call: Call): Promise<Reply> {
  requireInternal(call);
  const token = requireToken(call);
  const { accesses, registry } = call.management;
  const { jupyterToken, owner, sharedWith } = await readJson(call, bodies.access, MAX_BODY_BYTES);
  if (accesses === undefined)
    throw new ApiError(409, 'not-gated', 'This proxy does not ask who visits a site.');
  const record = registry.find(token);
  if (record === undefined) throw unknownToken();
  if (record.state === 'gone') throw refusal({ ok: false, why: 'gone' });
  if (!isProven(record, jupyterToken)) throw refusal({ ok: false, why: 'not-yours' });
  try {
    const access = await accesses.put(record, jupyterToken, { owner, sharedWith });
    return json(200, { owner: access.owner, sharedWith: access.sharedWith });
  } catch (error) {
    if (!(error instanceof NotYoursError)) throw error;
    throw new ApiError(403, 'not-yours', 'Only who knows its Jupyter token may say whose session this is.');
  }
}

async function reportJobs(call: Call): Promise<Reply> {
  requireReporter(call);
  const reports = new Map<string, JobReport>();
  // One job that makes no sense is no reason to know nothing of the others.
  const skipped: { index: number; message: string }[] = [];
  for (const [index, row] of (await readJson(call, bodies.jobs, MAX_REPORT_BYTES)).entries()) {
    // A whole queue takes tens of milliseconds, in which nobody else would be served.
    if (index % CHECKED_AT_ONCE === CHECKED_AT_ONCE - 1) await setImmediate();
    const result = jobSchema.safeParse(row);
    if (!result.success) {
      skipped.push({ index, message: fault(result.error) });
      continue;
    }
    const { id, state, position, estimatedStart, reason } = result.data;
    reports.set(id, {
      id,
      state,
      position: position ?? null,
      estimatedStart: estimatedStart ?? null,
      reason: reason || null,
    });
  }
  await call.management.registry.reportJobs([...reports.values()]);
  return json(200, { updated: reports.size, skipped });
}

async function describeApi({ management }: Call): Promise<Reply> {
  // Only then, since it is made from what is above.
  const { openApiDocument } = await import('./openapi.ts');
  return json(200, openApiDocument(management.manageUrl));
}

/** For a reporter that has just started: the jobs whose end it may have missed. */
function trackedJobs(call: Call): Reply {
  requireReporter(call);
  return json(200, call.management.registry.trackedJobs());
}

function describe({ registry, siteUrl }: Management, record: TokenRecord) {
  const job = registry.job(record.jobId);
  const iso = (at: number | null | undefined) => (at == null ? null : new Date(at).toISOString());
  return {
    token: record.token,
    site: siteUrl(record.token),
    state: record.state,
    job:
      record.jobId === null
        ? null
        : {
            id: record.jobId,
            state: job?.state ?? null,
            position: job?.position ?? null,
            estimatedStart: iso(job?.estimatedStart),
            reason: job?.reason ?? null,
          },
    phase: record.phase,
    reason: record.reason,
    expiresAt: iso(registry.expiresByCalendar(record)),
  };
}

function answer({ management }: Call, outcome: Outcome): Reply {
  if (!outcome.ok) throw refusal(outcome);
  return json(200, describe(management, outcome.record));
}

function refusal({ why }: Extract<Outcome, { ok: false }>): ApiError {
  switch (why) {
    case 'unknown':
      return unknownToken();
    case 'gone':
      return new ApiError(410, 'gone', 'This token is gone.');
    case 'redeemed':
      return new ApiError(409, 'already-redeemed', 'This token has been redeemed; that is possible once.');
    case 'linked':
      return new ApiError(409, 'already-linked', 'This token is linked to another job.');
    case 'other-host':
      return new ApiError(403, 'other-host', 'Only the host that redeemed this token may do that.');
    case 'not-yours':
      return new ApiError(403, 'not-yours', 'Only who knows its Jupyter token may do that.');
  }
}

function unknownToken(): ApiError {
  return new ApiError(404, 'unknown-token', 'There is no such token.');
}

function tooMany(): ApiError {
  return new ApiError(429, 'too-many-requests', TOO_MANY.message, { 'Retry-After': TOO_MANY.retryAfter });
}

function requireToken({ token }: Call): string {
  if (token === undefined) throw unknownToken();
  return token;
}

function requireInternal({ management, client }: Call): void {
  const networks = management.config.internalNetworks;
  if (networks.contains(client.address)) return;
  throw new ApiError(
    403,
    'outside-network',
    `${client.address} is not in the internal networks (${networks}).`,
  );
}

function requireReporter({ management, client }: Call): void {
  const networks = management.config.jobStateNetworks;
  if (networks.contains(client.address)) return;
  throw new ApiError(
    403,
    'outside-network',
    `${client.address} is not in the job state networks (${networks}).`,
  );
}

function refuseBrowsers(request: IncomingMessage): void {
  if (!comesFromPage(request)) return;
  throw new ApiError(403, 'cross-origin', 'Pages in a browser may not use this API.');
}

/** What old curl, wget and Python's urllib call a body where nobody has told them what it is. */
const BY_HABIT = 'application/x-www-form-urlencoded';

/** The media type of JSON, one of JSON's kin, or what programs say by habit; in UTF-8 and not compressed. */
function requireJson({ headers }: IncomingMessage): void {
  const [type = '', ...parameters] = (headers['content-type'] ?? BY_HABIT).toLowerCase().split(/\s*;\s*/);
  const charset = parameters.find((one) => one.startsWith('charset='));
  const isJson = type === BY_HABIT || /^application\/([\w.-]+\+)?json$/.test(type);
  const isUtf8 = charset === undefined || /^charset="?utf-?8"?$/.test(charset);
  const isPlain = /^(identity)?$/.test(headers['content-encoding'] ?? '');
  if (isJson && isUtf8 && isPlain) return;
  throw new ApiError(415, 'unsupported-type', 'The body must be JSON in UTF-8 (application/json).');
}

/** A body that may be left out; over HTTP/2 that may only be known at its end. */
async function readProof(call: Call): Promise<z.output<typeof proof>> {
  return hasBody(call.request) ? readJson(call, proof, MAX_BODY_BYTES, '{}') : {};
}

async function readJson<T>(
  { request, management }: Call,
  schema: z.ZodType<T>,
  limit: number,
  whereEmpty = '',
): Promise<T> {
  requireJson(request);
  const text = await readBody(request, limit, management.config.limits.headerTime);
  let value: unknown;
  try {
    value = JSON.parse(text || whereEmpty);
  } catch {
    throw new ApiError(400, 'bad-request', 'The body is not JSON.');
  }
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  throw new ApiError(400, 'bad-request', fault(result.error));
}

function fault({ issues: [issue] }: z.ZodError): string {
  const isMissing = issue?.code === 'invalid_type' && issue.message.endsWith('received undefined');
  return `${issue?.path.join('.') || 'body'}: ${isMissing ? 'is needed' : issue?.message}`;
}
