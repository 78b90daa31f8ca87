/** Runs the program with the arguments of this process. */
import { program } from './cli.ts';
import { ConfigError } from './config.ts';
import { EXIT, fail } from './exit.ts';
import { StoreError } from './tokens/store.ts';

// A log whose reader has died is no reason to drop everybody's sessions.
process.stderr.on('error', () => undefined);

program.parseAsync().catch((error: unknown) => {
  if (error instanceof ConfigError) fail(EXIT.config, error.message);
  if (error instanceof StoreError) fail(EXIT.proxy, error.message);
  throw error;
});
