import type { IncomingMessage } from 'node:http';
import { readBody } from '../body.ts';
import { comesFromPage } from '../gate/browser.ts';
import type { Client } from '../gate/client.ts';
import { hostName } from '../gate/host.ts';
import { isPort, MAX_PORT, MIN_PORT } from '../gate/ports.ts';
import { jobIdFrom } from '../jobs/id.ts';
import { jobStage, jobState } from '../jobs/states.ts';
import type { JobReport } from '../tokens/registry.ts';
import type { Reply } from './reply.ts';
import {
  askOthersAbout,
  type Management,
  mayIssue,
  mayLookUp,
  mayRedeem,
  NOT_YOURS_TO_OPEN,
  TOO_MANY,
  targetFault,
  tokenFrom,
} from './service.ts';
import { cleanText, MAX_STATE } from './text.ts';

/*
 * The protocol of SDSC's Satellite Proxy Service. Its clients read words out of bodies: every answer is 200, refusals
 * begin with "Oops!", and the checks come in the original's order.
 */

const plain = (body: string, headers?: Record<string, string>): Reply => ({
  status: 200,
  type: 'text/plain',
  body,
  ...(headers && { headers }),
});
const html = (body: string): Reply => ({ status: 200, type: 'text/html', body });
const oops = (message: string): Reply => plain(`Oops! ${message}\n`);

/** The one refusal with a status of its own: the original never gave it, and nobody may take it for a token. */
const tooMany: Reply = {
  status: 429,
  type: 'text/plain',
  body: `Oops! ${TOO_MANY.message}\n`,
  headers: { 'Retry-After': TOO_MANY.retryAfter },
};

/** The original had no such check: a page could use whatever the browser's host may. */
const fromPage: Reply = {
  status: 403,
  type: 'text/plain',
  body: 'Oops! Pages in a browser may not use this.\n',
};

const wrongMethod = (allow: string): Reply => ({
  status: 405,
  type: 'text/plain',
  body: `Oops! Use ${allow} here.\n`,
  headers: { Allow: allow },
});

const MAX_REPORT_BYTES = 16 * 1024 * 1024;

type Operation = (call: Call) => Reply | Promise<Reply>;

interface Call {
  readonly management: Management;
  readonly request: IncomingMessage;
  readonly query: URLSearchParams;
  readonly client: Client;
}

/** The methods of what changes something, for `Allow`. */
const allowed: Readonly<Record<string, string>> = {
  '/getlink.cgi': 'GET, POST',
  '/linktoken.cgi': 'GET',
  '/redeemtoken.cgi': 'GET',
  '/destroytoken.cgi': 'GET',
  '/update-jobs.cgi': 'POST',
};

const operations: Readonly<Record<string, Operation>> = {
  '/getlink.cgi': getlink,
  '/linktoken.cgi': linktoken,
  '/redeemtoken.cgi': redeemtoken,
  '/destroytoken.cgi': destroytoken,
  '/tokenjobstate.cgi': tokenjobstate,
  '/update-jobs.cgi': updateJobs,
};

/** The answer to one of the six operations; undefined where the path is none of them. Rejects with a StoreError or BodyError. */
export async function answerCgi(
  management: Management,
  request: IncomingMessage,
  path: string,
  query: string,
  client: Client,
): Promise<Reply | undefined> {
  const operation = Object.hasOwn(operations, path) ? operations[path] : undefined;
  if (operation === undefined) return undefined;
  const allow = allowed[path];
  // Whether GET or POST is the wrong one of the two, the original says with 200; it was never asked for others.
  if (allow !== undefined && request.method !== 'GET' && request.method !== 'POST') return wrongMethod(allow);
  if (operation !== tokenjobstate && comesFromPage(request)) return fromPage;
  const call = { management, request, query: new URLSearchParams(query), client };
  const given = call.query.get('token');
  if (given) {
    const token = tokenFrom(given);
    if (!mayLookUp(management, client.address, token)) return tooMany;
    await askOthersAbout(management, token);
    if (token === undefined || management.registry.find(token) === undefined)
      management.lookups.take(client.address);
  }
  return operation(call);
}

async function getlink({ management, client }: Call): Promise<Reply> {
  const refusal = refuseOutsider(management, client, 'from within the cluster');
  if (refusal) return refusal;
  if (!mayIssue(management, client.address)) return tooMany;
  const { token } = await management.registry.issue();
  // Clients take the second-last word of this and the status code: the line feed at the end matters.
  return plain(`Your token is \n${token}\n`);
}

async function linktoken({ management, request, query, client }: Call): Promise<Reply> {
  if (request.method !== 'GET') return oops('Only GET method is supported');
  const given = query.get('token');
  if (!given) return oops("Missing 'token' parameter");
  const givenId = query.get('jobid');
  if (!givenId) return oops("Missing 'jobid' parameter");
  const jobId = jobIdFrom(givenId);
  if (jobId === undefined) return oops("'jobid' parameter isn't a job id");
  const refusal = refuseOutsider(management, client, 'from within the cluster');
  if (refusal) return refusal;
  const token = tokenFrom(given);
  const record = token === undefined ? undefined : management.registry.find(token);
  if (record === undefined || record.state === 'gone')
    return oops('Unknown nonce or nonce already destroyed');
  if (record.jobId !== null) return oops('Nonce already linked to a jobid, you can do this only once!');
  const outcome = await management.registry.link(record.token, jobId, client.address);
  return outcome.ok
    ? html('Success! Token linked to jobid.\n')
    : oops('Unknown nonce or nonce already destroyed');
}

async function redeemtoken({ management, request, query, client }: Call): Promise<Reply> {
  if (request.method !== 'GET') return oops('Only GET method is supported');
  const given = query.get('token');
  if (!given) return oops("Missing 'token' parameter");
  const portText = query.get('port');
  if (!portText) return oops("Missing 'port' parameter");
  const port = /^[1-9]\d{3,4}$/.test(portText) ? Number(portText) : 0;
  if (!isPort(port)) return oops(`'port' parameter isn't an integer between ${MIN_PORT} and ${MAX_PORT}`);
  const refusal = refuseOutsider(management, client, 'from the compute node running your service');
  if (refusal) return refusal;
  const fault = targetFault(management, client.address, port);
  if (fault !== undefined) return oops(fault.message);
  const token = tokenFrom(given);
  if (token !== undefined && !mayRedeem(management, token, undefined)) return oops(NOT_YOURS_TO_OPEN);
  const outcome =
    token === undefined ? undefined : await management.registry.redeem(token, client.address, port);
  if (outcome?.ok) return html('Success!\n');
  return oops(outcome?.why === 'not-yours' ? NOT_YOURS_TO_OPEN : 'Unknown nonce or nonce already used');
}

async function destroytoken({ management, request, query, client }: Call): Promise<Reply> {
  if (request.method !== 'GET') return oops('Only GET method is supported');
  const given = query.get('token');
  if (!given) return oops("Missing 'token' parameter");
  const refusal = refuseOutsider(management, client, 'from the compute node running your service');
  if (refusal) return refusal;
  const token = tokenFrom(given);
  const outcome = token === undefined ? undefined : await management.registry.destroy(token, client.address);
  if (outcome?.ok) return html('Success! Token destroyed.\n');
  if (outcome?.why === 'not-yours') return oops('Only who knows its Jupyter token may end this session');
  return outcome?.why === 'other-host'
    ? oops('Nonce must be destroyed from host it was redeemed on')
    : oops('Unknown nonce or nonce already destroyed');
}

/** Asked by visitors' browsers, from anywhere: who knows the token may know how it is doing. */
function tokenjobstate({ management, request, query }: Call): Reply {
  if (request.method !== 'GET') return oops('Only GET method is supported');
  const given = query.get('token');
  if (!given) return oops("Missing 'token' parameter");
  const token = tokenFrom(given);
  const origin = request.headers.origin;
  // A site's own page may ask about that site, and no page about another.
  const sameSite =
    token !== undefined &&
    origin !== undefined &&
    originHost(origin) === `${token}.${management.config.domain}`;
  return plain(
    token === undefined ? '' : displayState(management, token),
    sameSite ? { 'Access-Control-Allow-Origin': origin, Vary: 'Origin' } : undefined,
  );
}

function displayState({ registry }: Management, token: string): string {
  const record = registry.find(token);
  if (record === undefined) return '';
  const job = registry.job(record.jobId);
  const stage = job && jobStage(job);
  if (record.state === 'gone') return record.goneBy === 'job' ? 'D' : '';
  if (record.state === 'mapped') return registry.isAnswering(token) ? 'PR' : 'M';
  if (stage === 'waiting') return 'Q';
  return stage === 'running' ? 'R' : 'PE';
}

async function updateJobs({ management, request, client }: Call): Promise<Reply> {
  if (request.method !== 'POST') return oops('Only POST method is supported');
  const networks = management.config.jobStateNetworks;
  if (!networks.contains(client.address)) return oops(`Client (your) IP not in range ${networks}`);
  const form = new URLSearchParams(
    await readBody(request, MAX_REPORT_BYTES, management.config.limits.headerTime),
  );
  const reports = new Map<string, JobReport>();
  for (const line of (form.get('jobstates') ?? '').split('\n')) {
    const [first = '', given = ''] = line.trim().split(/\s+/);
    const id = jobIdFrom(first);
    const state = cleanText(given, MAX_STATE);
    // What nobody knows the meaning of would be shown to visitors, and keep a token for as long as it is said.
    if (id === undefined || jobState(state) === undefined) continue;
    const known = management.registry.job(id);
    // This protocol knows states only: what else is known about a job stays while its state does.
    const same = known?.state === state ? known : undefined;
    reports.set(id, {
      id,
      state,
      position: same?.position ?? null,
      estimatedStart: same?.estimatedStart ?? null,
      reason: same?.reason ?? null,
    });
  }
  await management.registry.reportJobs([...reports.values()]);
  return html('Successfully updated jobs! \n');
}

function originHost(origin: string): string | undefined {
  return hostName(origin.replace(/^https?:\/\//, ''));
}

function refuseOutsider({ config }: Management, client: Client, place: string): Reply | undefined {
  if (config.internalNetworks.contains(client.address)) return undefined;
  return oops(`Client (your) IP not in range ${config.internalNetworks}, please try ${place}.`);
}
