import { ConfigError } from '../config.ts';
import { ConflictError, type SecretRecord, type TokenStore } from '../tokens/store.ts';
import type { Keys } from './keys.ts';

const ID = 'keys';
const PLACE = `check ${ID}`;

/**
 * Satellites that share a state must have the same keys: what one of them seals and signs, all must be able to read. Rejects
 * with a ConfigError where they can't, or with a StoreError.
 */
export async function agreeOnKeys(store: TokenStore, keys: Keys): Promise<void> {
  let known: SecretRecord | undefined = store.loadSecrets('check')[0];
  store.follow(({ secrets }) => {
    known = secrets.find(({ kind }) => kind === 'check') ?? known;
  });
  for (;;) {
    if (known !== undefined && keys.unseal(known.sealed, PLACE) === undefined)
      throw new ConfigError('auth.keyFile: the satellites that share this state have other keys');
    try {
      // With our newest key, so that it can be read when older ones are taken away.
      const record = { kind: 'check' as const, id: ID, sealed: keys.seal(ID, PLACE) };
      await store.save({ secrets: [{ record, before: known }] });
      return;
    } catch (error) {
      if (!(error instanceof ConflictError)) throw error;
    }
  }
}
