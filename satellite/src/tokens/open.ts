import { SqliteStore } from './sqlite-store.ts';
import type { TokenStore } from './store.ts';

/** The store that a configuration's `state` names. Rejects with a StoreError. */
export async function openStore(state: string): Promise<TokenStore> {
  return new SqliteStore(state);
}
