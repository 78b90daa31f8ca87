/** What the two kinds of launch (as a job, right here) share. */
import { randomBytes } from 'node:crypto';
import os from 'node:os';
import type { OpenAccess } from '../access/open.ts';
import {
  type HeldToken,
  heldToken,
  type IssuedToken,
  type SatelliteAddress,
  SatelliteClient,
} from '../access/satellite.ts';
import { tunnelEndAnswers, tunnelPlan } from '../access/ssh.ts';
import { jobScript } from '../batch/job-script.ts';
import type { Settings } from '../config/layers.ts';
import { ConfigurationError, PersonError } from '../errors.ts';
import { freePort } from '../free-port.ts';
import { nextTurn, pause, unlessAborted } from '../interruption.ts';
import { type LaunchSpec, schedulerOf } from '../launch-spec.ts';
import type { JobScript } from '../schedulers/scheduler.ts';
import { readKeptLink, writeKeptLink } from '../sessions/kept.ts';
import type { SessionRecord } from '../sessions/session.ts';
import {
  createSession,
  listSessions,
  newSessionId,
  readEvents,
  removeSession,
  type SessionSecrets,
  sessionFiles,
} from '../sessions/store.ts';
import type { Progress } from '../ui/progress.ts';

export interface Launch {
  readonly spec: LaunchSpec;
  readonly settings: Settings;
  readonly output: { readonly quiet: boolean; readonly json: boolean };
  readonly progress: Progress;
  readonly interrupted: AbortSignal;
}

export interface PreparedSession {
  readonly record: SessionRecord;
  /** Undefined where there is no proxy. */
  readonly client: SatelliteClient | undefined;
  readonly script: JobScript;
}

/** Milliseconds after an interruption in which a proxy that is asked for a token may answer, so that it can be given back. */
const issueGrace = 2000;
/** … and in which it may take that back. */
const returnGrace = 3000;

/**
 * Gets a token, where there is a proxy, and writes the session down. Whatever stops the launch afterwards is undone by `undo`: the token is
 * given back with the reason on its page, and the session's directory removed.
 * @param checked what must be known before the proxy is asked for anything; meanwhile that which needs no answer is done
 * @param whileAsked is called when that is known and the proxy has been asked: what takes a while anyway can be begun
 * @throws ProxyError, ConfigurationError, InterruptedError; what `checked` rejects with
 */
export async function prepareSession(
  { spec, progress, interrupted }: Launch,
  { proxy }: OpenAccess,
  undo: AsyncDisposableStack,
  checked: Promise<void> = Promise.resolve(),
  whileAsked: () => void = () => {},
): Promise<PreparedSession> {
  const client = proxy && new SatelliteClient(proxy);
  undo.defer(() => client?.close());
  // The connection is made while the scheduler thinks and the script is written; the proxy is asked nothing yet.
  await client?.connect();
  const id = newSessionId();
  // A link that was kept may come with a port of its own.
  const script = spec.keepLink === undefined ? jobScript(spec, id, proxy) : undefined;
  await unlessAborted(checked, interrupted);
  interrupted.throwIfAborted();
  if (proxy !== undefined && !spec.here) progress.status('Getting a link from the proxy');
  const asked =
    client && unlessAborted(linkOf(spec, proxy, client, interrupted, undo), interrupted, issueGrace);
  // Until somebody waits for it below.
  asked?.catch(() => {});
  // By then the request is on its way.
  await nextTurn();
  whileAsked();
  const link = await asked;
  const tunnel = link === undefined ? tunnelPlan(spec, tunnelPortsInUse()) : undefined;
  interrupted.throwIfAborted();

  const record: SessionRecord = {
    id,
    system: spec.system.name,
    scheduler: schedulerOf(spec),
    access: spec.access,
    jobId: null,
    host: os.hostname(),
    local: null,
    directory: spec.directory,
    manageUrl: proxy?.manageUrl ?? null,
    ...(proxy?.socket === undefined ? {} : { manageSocket: proxy.socket }),
    ...(tunnel === undefined ? {} : { tunnel }),
    ...(spec.keepLink === undefined ? {} : { keptLink: spec.keepLink }),
    caFile: proxy?.caFile ?? null,
    gated: link?.token.gated ?? false,
    claimed: link?.token.claimed ?? false,
    timeLimit: spec.resources.timeLimit ?? null,
    submittedAt: new Date().toISOString(),
    outcome: null,
  };
  const text =
    script ?? jobScript(spec, id, proxy && { ...proxy, jupyterPort: link?.jupyterPort }, link?.kept);
  createSession(
    record,
    {
      jupyterToken: link?.jupyterToken ?? newJupyterToken(),
      proxyToken: link?.token.token ?? '',
      site: link?.token.site ?? `http://localhost:${tunnel?.localPort}/`,
    },
    text,
  );
  undo.defer(() => removeSession(id));
  return { record, client, script: { file: sessionFiles(id).script, text } };
}

function newJupyterToken(): string {
  return randomBytes(24).toString('hex');
}

/** A tunnel of a session that is over may still stand, but leads nowhere. */
function tunnelPortsInUse(): ReadonlySet<number> {
  return new Set(
    listSessions().flatMap(({ outcome, tunnel }) => (outcome === null && tunnel ? tunnel.localPort : [])),
  );
}

interface Link {
  readonly token: IssuedToken;
  readonly jupyterToken: string;
  readonly jupyterPort: number | undefined;
  /** Whether it stays when the session ends: it was gotten just now, or leads here already. */
  readonly kept: 'new' | 'open' | undefined;
}

/** A new link, or the one that was kept, where the proxy still knows it and lets this host renew it: it leads here. */
async function linkOf(
  { keepLink }: LaunchSpec,
  { manageUrl, jupyterPort: givenPort, socket }: SatelliteAddress,
  client: SatelliteClient,
  interrupted: AbortSignal,
  undo: AsyncDisposableStack,
): Promise<Link> {
  const known = keepLink === undefined ? undefined : readKeptLink(keepLink, manageUrl);
  if (known !== undefined && typeof (await client.renewToken(heldToken(known, known))) === 'number') {
    const { proxyToken, site, gated, claimed, jupyterToken, jupyterPort } = known;
    return {
      token: { token: proxyToken, site, gated, claimed },
      jupyterToken,
      jupyterPort: givenPort ?? jupyterPort,
      kept: 'open',
    };
  }
  const jupyterToken = newJupyterToken();
  // At the other end of a connection every session is redeemed from the same address.
  const token = await client.issueToken(socket === undefined ? undefined : jupyterToken);
  const { site, gated, claimed } = token;
  const link = { proxyToken: token.token, jupyterToken, site, gated, claimed };
  undo.defer(async () => {
    const returned = giveBack(client, heldToken(link, link), interrupted);
    if (!interrupted.aborted) return await returned;
    await unlessAborted(returned, AbortSignal.timeout(returnGrace)).catch(() => {});
  });
  interrupted.throwIfAborted();
  if (token.gated) await client.setAccess(token.token, { jupyterToken, owner: accountName() });
  if (keepLink === undefined) return { token, jupyterToken, jupyterPort: givenPort, kept: undefined };
  const jupyterPort = givenPort ?? (await freePort());
  writeKeptLink(keepLink, { manageUrl, ...link, jupyterPort });
  return { token, jupyterToken, jupyterPort, kept: 'new' };
}

/**
 * As `id -un` says it.
 * @throws ConfigurationError where the system has no name for this user
 */
function accountName(): string {
  try {
    return os.userInfo().username;
  } catch {
    throw new ConfigurationError(
      'The proxy wants to know whose session it is, but the system has no name for your user.',
      'Ask your site: "id -un" must print a name on this host.',
    );
  }
}

/** Whether the notebook answers through the proxy; without one, as far as that can be seen from here. */
export async function siteAnswers(
  client: SatelliteClient | undefined,
  { gated, tunnel }: SessionRecord,
  secrets: SessionSecrets,
): Promise<boolean> {
  if (client === undefined) return await tunnelEndAnswers(tunnel, secrets.address);
  return await (gated ? client.gatedSiteAnswers(secrets.proxyToken) : client.siteAnswers(secrets.site));
}

/** Nobody will redeem this token. A proxy that died meanwhile forgets it by itself in time. */
async function giveBack(client: SatelliteClient, token: HeldToken, interrupted: AbortSignal): Promise<void> {
  try {
    await client.reportPhase(
      token,
      'ended',
      interrupted.aborted ? 'The launch was interrupted.' : 'The launch did not work out.',
    );
    await client.destroyToken(token);
  } catch (error) {
    if (!(error instanceof PersonError)) throw error;
  }
}

/** Whether anybody with the token has come to a session without a proxy. */
export function visitorHasCome(id: string): boolean {
  return readEvents(id).some(({ phase }) => phase === 'connected');
}

/** Resolves when the job has reported something more, or after so many milliseconds. No event tells of files on NFS. */
export async function untilReported(
  id: string,
  interrupted: AbortSignal,
  milliseconds: number,
): Promise<void> {
  const before = readEvents(id).length;
  const deadline = Date.now() + milliseconds;
  do await pause(300, interrupted);
  while (readEvents(id).length === before && Date.now() < deadline);
}
