import { readFile, stat } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { fileFault } from '../file-fault.ts';
import { isReadableByOthers } from '../secret-file.ts';

interface Login {
  readonly host: string;
  readonly port: number;
  readonly database: string;
  readonly user: string;
}

/**
 * The password in a file as libpq has it (libpq-pgpass in PostgreSQL's manual): lines of HOST:PORT:DATABASE:USER:PASSWORD, `*`
 * for any. Without `given` it is the one that PGPASSFILE names, or ~/.pgpass. Undefined where there is none; rejects for a file
 * that others can read, or that was named and can't be read.
 */
export async function passwordFrom(given: string | null, login: Login): Promise<string | undefined> {
  const path = given ?? process.env.PGPASSFILE ?? join(homedir(), '.pgpass');
  try {
    if (isReadableByOthers(path, await stat(path)))
      throw new Error(`${path} can be read by others; chmod 600 it`);
    return find(await readFile(path, 'utf8'), login);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (given === null && code === 'ENOENT') return undefined;
    throw code === undefined ? error : new Error(`passfile: ${path} can't be read: ${fileFault(error)}`);
  }
}

function find(text: string, { host, port, database, user }: Login): string | undefined {
  // A server on a socket is "localhost" here.
  const wanted = [host.startsWith('/') ? 'localhost' : host, String(port), database, user];
  for (const line of text.split('\n')) {
    if (line.startsWith('#')) continue;
    const fields = [...line.matchAll(/((?:\\.|[^:\\])*)(?::|$)/g)].map(([, field = '']) =>
      field.replace(/\\(.)/g, '$1'),
    );
    if (wanted.every((value, i) => fields[i] === '*' || fields[i] === value)) return fields[4];
  }
  return undefined;
}
