/** Keeps the token of a session alive that no scheduler reports: the proxy would forget it after a time. */
import type { HeldToken, SatelliteClient } from '../access/satellite.ts';
import { PersonError } from '../errors.ts';
import { pause } from '../interruption.ts';

const shortest = 1000;
const longest = 10 * 60_000;

/**
 * Renews the token again and again, at least three times in its life.
 * @param over ends it
 * @returns true once the token is gone, false once `over`
 */
export async function renewUntilGone(
  client: SatelliteClient,
  token: HeldToken,
  over: AbortSignal,
): Promise<boolean> {
  for (;;) {
    const left = await renewed(client, token);
    if (over.aborted) return false;
    if (left === 'gone') return true;
    try {
      await pause(Math.min(Math.max((left ?? longest) / 4, shortest), longest), over);
    } catch {
      return false;
    }
  }
}

/** A proxy that can't be reached at the moment may be there again the next time. */
async function renewed(client: SatelliteClient, token: HeldToken): Promise<number | 'gone' | undefined> {
  try {
    return await client.renewToken(token);
  } catch (error) {
    if (!(error instanceof PersonError)) throw error;
    return shortest * 60;
  }
}
