import { type HeldToken, heldToken, type SatelliteAddress, SatelliteClient } from '../access/satellite.ts';
import { ProxyError } from '../errors.ts';
import { unlessAborted } from '../interruption.ts';
import type { SessionRecord } from './session.ts';
import { readSecrets } from './store.ts';

/** The proxy of a session; undefined where there is none. */
export function proxyOf({ manageUrl, caFile, manageSocket }: SessionRecord): SatelliteAddress | undefined {
  if (manageUrl === null) return undefined;
  return { manageUrl, caFile: caFile ?? undefined, socket: manageSocket };
}

/**
 * Talks to a session's proxy about its token. Undefined where there is none, the secrets are gone or the proxy can't be reached: it has a
 * time limit of its own for tokens, and a session must be able to end without it.
 * @param limit once it is aborted the proxy counts as one that can't be reached
 */
export async function withProxy<T>(
  record: SessionRecord,
  talk: (client: SatelliteClient, token: HeldToken) => Promise<T>,
  limit?: AbortSignal,
): Promise<T | undefined> {
  const secrets = readSecrets(record.id);
  const proxy = proxyOf(record);
  if (secrets === undefined || proxy === undefined) return undefined;
  const client = new SatelliteClient(proxy);
  try {
    const said = talk(client, heldToken(record, secrets));
    return await (limit === undefined ? said : unlessAborted(said, limit));
  } catch (error) {
    if (!(error instanceof ProxyError) && error !== limit?.reason) throw error;
    return undefined;
  } finally {
    await client.close();
  }
}
