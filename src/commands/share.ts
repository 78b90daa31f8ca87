/** `start-jupyter share ID [USER...]` */
import { SatelliteClient } from '../access/satellite.ts';
import { SessionError, UsageError } from '../errors.ts';
import { proxyOf } from '../sessions/proxy.ts';
import { findSession, readSecrets } from '../sessions/store.ts';
import { shown } from '../values.ts';

interface ShareOptions {
  readonly remove?: boolean;
  readonly json?: boolean;
}

/**
 * Opens a session to others, or closes it to them again; without users shows to whom it is open.
 * @throws UsageError where the proxy asks nobody who he is; SessionError where the session is over; ProxyError
 */
export async function run(
  id: string,
  users: readonly string[],
  { remove, json }: ShareOptions,
): Promise<number> {
  const record = findSession(id);
  const secrets = readSecrets(record.id);
  const proxy = proxyOf(record);
  if (!record.gated || proxy === undefined)
    throw new UsageError(
      `Session ${record.id} can't be shared: its proxy does not ask visitors who they are.`,
      'Whoever has its link ("start-jupyter url") can use it, and your account with it.',
    );
  if (secrets === undefined)
    throw new SessionError(`Session ${record.id} is over.`, 'Start another one: start-jupyter');
  const odd = users.find((user) => !/^[\x21-\x7e]{1,200}$/.test(user));
  if (odd !== undefined)
    throw new UsageError(`"${shown(odd)}" is not the name of an account.`, 'Names are separated by spaces.');
  const client = new SatelliteClient(proxy);
  try {
    const { proxyToken, jupyterToken } = secrets;
    const now = await client.setAccess(proxyToken, { jupyterToken });
    const sharedWith = remove
      ? now.sharedWith.filter((user) => !users.includes(user))
      : [...new Set([...now.sharedWith, ...users])];
    if (users.length > 0) await client.setAccess(proxyToken, { jupyterToken, sharedWith });
    if (json) process.stdout.write(`${JSON.stringify({ id: record.id, owner: now.owner, sharedWith })}\n`);
    else {
      process.stdout.write(sharedWith.map((user) => `${user}\n`).join(''));
      process.stderr.write(
        sharedWith.length === 0
          ? `Session ${record.id} is open to you alone.\n`
          : `Session ${record.id} is open to these, too. They can do there whatever you can, with your files.\n`,
      );
    }
    return 0;
  } finally {
    await client.close();
  }
}
