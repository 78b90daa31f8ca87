/** Exit codes; those of the launcher mean the same. */
export const EXIT = { usage: 2, config: 3, proxy: 4, scheduler: 5 } as const;

/** One line for the person who started the program. */
export function fail(code: number, message: string): never {
  for (const line of message.split('\n')) process.stderr.write(`satellite: ${line}\n`);
  process.exit(code);
}
