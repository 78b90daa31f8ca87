import { SatelliteClient } from '../access/satellite.ts';
import { ProxyError } from '../errors.ts';
import type { SessionRecord } from './session.ts';
import { readSecrets } from './store.ts';

/**
 * Talks to a session's proxy about its token. Undefined where there is none, the secrets are gone or the proxy can't be reached: it has a
 * time limit of its own for tokens, and a session must be able to end without it.
 */
export async function withProxy<T>(
  record: SessionRecord,
  talk: (client: SatelliteClient, token: string) => Promise<T>,
): Promise<T | undefined> {
  const secrets = readSecrets(record.id);
  if (secrets === undefined || record.manageUrl === null) return undefined;
  const client = new SatelliteClient({ manageUrl: record.manageUrl, caFile: record.caFile ?? undefined });
  try {
    return await talk(client, secrets.proxyToken);
  } catch (error) {
    if (!(error instanceof ProxyError)) throw error;
    return undefined;
  } finally {
    await client.close();
  }
}
