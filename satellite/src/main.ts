/** Runs the program with the arguments of this process. */
import { CommanderError } from 'commander';
import { program } from './cli.ts';
import { ConfigError } from './config.ts';
import { EXIT, fail } from './exit.ts';
import { StoreError } from './tokens/store.ts';

// A log whose reader has died is no reason to drop everybody's sessions.
process.stderr.on('error', () => undefined);

// Who reads what is printed may stop before its end ("| head").
process.stdout.on('error', ({ code, message }: NodeJS.ErrnoException) => {
  if (code !== 'EPIPE') fail(EXIT.config, `The output can't be written: ${message}`);
});

program.parseAsync().catch((error: unknown) => {
  if (error instanceof CommanderError) return;
  if (error instanceof ConfigError) fail(EXIT.config, error.message);
  if (error instanceof StoreError) fail(EXIT.proxy, error.message);
  throw error;
});
