import { ConfigError } from '../config.ts';
import type { Log } from '../log.ts';
import { openStore } from '../tokens/open.ts';
import { type SecretKind, StoreError } from '../tokens/store.ts';

/** What was copied. */
export interface Copied {
  readonly tokens: number;
  readonly jobs: number;
  readonly secrets: number;
}

/** Settings are left behind: they are those of the satellites that used the state, and each that starts tells its own. */
const isCopied: Readonly<Record<SecretKind, boolean>> = {
  access: true,
  'sign-in': true,
  code: true,
  check: true,
  settings: false,
};
const copiedKinds = (Object.keys(isCopied) as SecretKind[]).filter((kind) => isCopied[kind]);

/**
 * Copies everything in one state into another that is empty, of whichever kind they are. What is sealed stays sealed with the
 * same keys. Throws a ConfigError or a StoreError, also while a proxy uses one of them.
 */
export async function copyState(from: string, to: string, log: Log): Promise<Copied> {
  if (from === to) throw new ConfigError('This is the state of the configuration itself.');
  const source = await openStore(from, log);
  try {
    const target = await openStore(to, log);
    try {
      for (const store of [source, target])
        if ((await store.others()) > 0)
          throw new StoreError(
            `${store.name} is in use; stop all satellites that share it, so that nothing is left behind.`,
          );
      const there = target.load();
      if (there.tokens.length + there.jobs.length > 0)
        throw new StoreError(`There are tokens in ${target.name} already; a copy begins with an empty one.`);
      const { tokens, jobs } = source.load();
      const secrets = copiedKinds.flatMap((kind) => source.loadSecrets(kind));
      const added = <T>(records: readonly T[]) => records.map((record) => ({ record, before: undefined }));
      await target.save({ tokens: added(tokens), jobs, secrets: added(secrets) });
      return { tokens: tokens.length, jobs: jobs.length, secrets: secrets.length };
    } finally {
      await target.close();
    }
  } finally {
    await source.close();
  }
}
