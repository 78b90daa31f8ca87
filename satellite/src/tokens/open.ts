import type { Log } from '../log.ts';
import { isDatabase } from './postgres-url.ts';
import { SqliteStore } from './sqlite-store.ts';
import type { TokenStore } from './store.ts';

/** The store that a configuration's `state` names. Rejects with a StoreError. */
export async function openStore(state: string, log: Log): Promise<TokenStore> {
  if (!isDatabase(state)) return new SqliteStore(state);
  // Loaded only where it is wanted.
  const { PostgresStore } = await import('./postgres-store.ts');
  return PostgresStore.open(state, log);
}
