import { createHash, timingSafeEqual } from 'node:crypto';
import type { TokenRecord } from './record.ts';

/** What is kept of the Jupyter token that a token was issued with: enough to know it again. It is random, so no salt is needed. */
export function claimOf(jupyterToken: string): string {
  return createHash('sha256').update(jupyterToken).digest('hex');
}

/** May who says this change anything about the token? Anybody may where it was issued without a Jupyter token. */
export function isProven({ claim }: TokenRecord, jupyterToken: string | undefined): boolean {
  if (claim === null) return true;
  return (
    jupyterToken !== undefined && timingSafeEqual(Buffer.from(claim), Buffer.from(claimOf(jupyterToken)))
  );
}
