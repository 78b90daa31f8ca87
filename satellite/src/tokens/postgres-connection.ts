import { Socket } from 'node:net';
import { Client, type ClientConfig } from 'pg';

/** Until a database that doesn't answer is given up, in milliseconds; longer for what is large. */
export const PATIENCE_MS = 3000;

/** How often a standby has taken the primary's place in this cluster, in hexadecimal of eight digits; null at a standby. */
export const TIMELINE = `
  CASE WHEN NOT pg_is_in_recovery() THEN left(pg_walfile_name(pg_current_wal_lsn()), 8) END AS timeline`;
const ROLE = `SELECT ${TIMELINE}`;

/** What each connection goes through: the client itself waits for the other side even when it is told to end. */
const sockets = new WeakMap<Client, Socket>();

/** Hears what happens to a connection without its being asked. */
export interface ConnectionOwner {
  lost(client: Client, error: Error): void;
  notified(payload: string): void;
}

/** A connection to the only server there is, or to the primary of several. Rejects with whatever is in the way. */
export function connect(configs: readonly ClientConfig[], owner: ConnectionOwner): Promise<Client> {
  const [only] = configs as [ClientConfig];
  return configs.length === 1 ? dial(only, owner) : dialPrimary(configs, owner);
}

/**
 * Asks all of several servers which of them is the primary. One that has come back after a standby has taken its place
 * still believes to be it, but its timeline is the older one.
 */
async function dialPrimary(configs: readonly ClientConfig[], owner: ConnectionOwner): Promise<Client> {
  const asked = await Promise.allSettled(
    configs.map(async (config) => {
      const client = await dial(config, owner);
      return { client, timeline: await timelineOf(client) };
    }),
  );
  const answers = asked.filter((answer) => answer.status === 'fulfilled').map(({ value }) => value);
  // A standby has none.
  const [latest] = answers
    .filter(({ timeline }) => timeline !== '')
    .toSorted((a, b) => (a.timeline < b.timeline ? 1 : -1));
  for (const answer of answers)
    if (answer !== latest)
      within(answer.client, PATIENCE_MS, () => answer.client.end()).catch(() => undefined);
  if (latest) return latest.client;
  const failures = asked
    .filter((answer) => answer.status === 'rejected')
    .map(({ reason }) => reason as Error);
  if (answers.length === 0 && failures[0]) throw failures[0];
  const whys = [
    `${answers.length} of ${configs.length} follow another one`,
    ...failures.map(({ message }) => message),
  ];
  throw new Error(`none of its servers is the primary (${whys.join('; ')})`);
}

/** A connection. Rejects with whatever is in the way. */
async function dial(config: ClientConfig, owner: ConnectionOwner): Promise<Client> {
  const socket = new Socket();
  const client = new Client({ ...config, stream: () => socket, connectionTimeoutMillis: PATIENCE_MS });
  // Of a connection that has never been one, connect() says enough.
  client.on('error', (error) => owner.lost(client, error));
  client.on('end', () => owner.lost(client, new Error('the connection was closed')));
  client.on('notification', ({ payload = '' }) => owner.notified(payload));
  sockets.set(client, socket);
  try {
    await client.connect();
    return client;
  } catch (error) {
    socket.destroy();
    throw error;
  }
}

/** Breaks the connection where the server doesn't answer in time, which rejects everything that waits for it. */
export async function within<T>(client: Client, patience: number, ask: () => Promise<T>): Promise<T> {
  const timer = setTimeout(
    () => breakOff(client, new Error(`it does not answer within ${patience / 1000} s`)),
    patience,
  );
  try {
    return await ask();
  } finally {
    clearTimeout(timer);
  }
}

/** Where this server is the primary; '' for a standby. */
async function timelineOf(client: Client): Promise<string> {
  try {
    const { rows } = await within(client, PATIENCE_MS, () => client.query(ROLE));
    return rows[0].timeline ?? '';
  } catch (error) {
    breakOff(client);
    throw error;
  }
}

/** Ends a connection at once, whatever the other side does. */
export function breakOff(client: Client, error?: Error): void {
  sockets.get(client)?.destroy(error);
}
