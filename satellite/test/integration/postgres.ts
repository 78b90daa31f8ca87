import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, globSync, readFileSync } from 'node:fs';
import { chmod, chown, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { Client } from 'pg';
import { freePort } from '../free-port.ts';

const exec = promisify(execFile);

/** nobody: the server refuses to run as root. */
const UNPRIVILEGED = 65534;
const isRoot = process.getuid?.() === 0;
const asNobody = isRoot
  ? ['setpriv', `--reuid=${UNPRIVILEGED}`, `--regid=${UNPRIVILEGED}`, '--clear-groups', '--']
  : [];

/** Debian keeps every version's programs apart, and none of them on PATH. */
const programs = (): string | undefined => globSync('/usr/lib/postgresql/*/bin').toSorted().at(-1);

/** Why no server can be started here; undefined where one can. */
export function postgresObstacle(): string | undefined {
  return programs() || isRoot ? undefined : 'PostgreSQL is not installed';
}

/** A real server of its own, on a socket in a directory of its own. */
export class Postgres {
  readonly folder: string;
  /** Over TCP it asks for TLS and a password. */
  port = 0;
  readonly #bin: string;
  #databases = 0;

  private constructor(folder: string, bin: string) {
    this.folder = folder;
    this.#bin = bin;
  }

  /** Durable as it comes, or faster: what is written is in the kernel's hands, which no test takes down. */
  static async start({ isDurable = false } = {}): Promise<Postgres> {
    const bin = programs();
    if (bin === undefined) throw new Error('PostgreSQL is not installed');
    const folder = await mkdtemp(join(tmpdir(), 'satellite-postgres-'));
    if (isRoot) await chown(folder, UNPRIVILEGED, UNPRIVILEGED);
    await chmod(folder, 0o700);
    const server = new Postgres(folder, bin);
    server.port = await freePort('127.0.0.1');
    const flags = [
      '--auth=trust',
      '--username=satellite',
      '--encoding=UTF8',
      '--locale=C.UTF-8',
      '--no-sync',
    ];
    await server.#run('initdb', [...flags, `--pgdata=${server.#data}`]);
    const [key, certificate] = [join(server.#data, 'server.key'), join(server.#data, 'server.crt')];
    const made = ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
    const forName = ['-days', '2', '-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost'];
    await exec('openssl', [...made, ...forName, '-keyout', key, '-out', certificate]);
    if (isRoot) await chown(key, UNPRIVILEGED, UNPRIVILEGED);
    await server.#configure(`fsync = ${isDurable ? 'on' : 'off'}\nmax_connections = 40\n`);
    await writeFile(
      join(server.#data, 'pg_hba.conf'),
      'local all,replication all trust\nhostssl all all 127.0.0.1/32 scram-sha-256\n',
    );
    await server.up();
    return server;
  }

  /** Another one that follows this one, until it is promoted. */
  async standby(): Promise<Postgres> {
    const folder = await mkdtemp(join(tmpdir(), 'satellite-postgres-'));
    if (isRoot) await chown(folder, UNPRIVILEGED, UNPRIVILEGED);
    const standby = new Postgres(folder, this.#bin);
    standby.port = await freePort('127.0.0.1');
    const from = `host=${this.folder} port=${this.port} user=satellite application_name=standby`;
    await standby.#run('pg_basebackup', [
      ...[`--pgdata=${standby.#data}`, `--dbname=${from}`],
      ...['--write-recovery-conf', '--checkpoint=fast', '--no-sync'],
    ]);
    // Behind what is there: the last line of a name counts.
    await standby.#configure(await readFile(join(standby.#data, 'postgresql.auto.conf'), 'utf8'));
    await standby.up();
    return standby;
  }

  /** A standby becomes the primary. */
  async promote(): Promise<void> {
    await this.#control('promote');
  }

  async #configure(more: string): Promise<void> {
    const file = join(this.#data, 'postgresql.auto.conf');
    await writeFile(
      file,
      `${more}listen_addresses = '127.0.0.1'
port = ${this.port}
ssl = on
unix_socket_directories = '${this.folder}'
`,
    );
    if (isRoot) await chown(file, UNPRIVILEGED, UNPRIVILEGED);
  }

  get #data(): string {
    return join(this.folder, 'data');
  }

  /** The address of a database of this server. */
  url(database: string): string {
    return `postgresql:///${database}?host=${this.folder}&port=${this.port}&user=satellite`;
  }

  /** A new database, and its address. */
  async database(): Promise<string> {
    this.#databases += 1;
    const name = `state${this.#databases}`;
    await this.sql(`CREATE DATABASE ${name}`);
    return this.url(name);
  }

  /** Runs SQL, with everybody's rights. */
  async sql(text: string, database = 'postgres'): Promise<Record<string, unknown>[]> {
    const client = new Client({ host: this.folder, port: this.port, user: 'satellite', database });
    await client.connect();
    try {
      return (await client.query(text)).rows;
    } finally {
      await client.end();
    }
  }

  /** Breaks the connections of all satellites to a database. */
  async terminate(state: string): Promise<void> {
    await this.sql(
      `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
       WHERE datname = '${databaseOf(state)}' AND application_name = 'satellite'`,
    );
  }

  /** The certificate that it shows, which is its own authority. */
  get certificate(): string {
    return join(this.#data, 'server.crt');
  }

  /** Its log file. */
  get log(): string {
    return join(this.folder, 'log');
  }

  async up(): Promise<void> {
    if (existsSync(join(this.#data, 'postmaster.pid'))) return;
    await this.#control('start', '--log', this.log);
  }

  /** `fast` ends every connection with a word, `immediate` without, as a crash would. */
  async down(mode: 'fast' | 'immediate' = 'immediate'): Promise<void> {
    await this.#control('stop', '--mode', mode);
  }

  /** Its first process, whose children are all the others. */
  get pid(): number {
    return Number(readFileSync(join(this.#data, 'postmaster.pid'), 'utf8').split('\n', 1)[0]);
  }

  /** Stops or continues all of its processes. */
  async signal(signal: 'SIGSTOP' | 'SIGCONT'): Promise<void> {
    const main = this.pid;
    const children = await readdir('/proc').then((names) => names.filter((name) => /^\d+$/.test(name)));
    for (const pid of [main, ...children.map(Number).filter((pid) => parentOf(pid) === main)])
      process.kill(pid, signal);
  }

  /** Ends its first process as the kernel would; the others end by themselves. */
  async kill(): Promise<void> {
    process.kill(this.pid, 'SIGKILL');
    // Or else it would not come up again as long as nobody has taken note of its end.
    const left = [join(this.#data, 'postmaster.pid'), join(this.folder, `.s.PGSQL.${this.port}.lock`)];
    for (const file of left) await rm(file);
  }

  async remove(): Promise<void> {
    await this.down().catch(() => undefined);
    await rm(this.folder, { recursive: true });
  }

  async #control(action: string, ...options: string[]): Promise<void> {
    await this.#run('pg_ctl', [action, '--silent', '--wait', `--pgdata=${this.#data}`, ...options]);
  }

  async #run(program: string, args: readonly string[]): Promise<void> {
    const [file = '', ...all] = [...asNobody, join(this.#bin, program), ...args];
    // The server keeps what it is given: a pipe would never end.
    const child = spawn(file, all, { stdio: 'ignore', cwd: this.folder });
    const [code] = await once(child, 'close');
    if (code === 0) return;
    const log = await exec('tail', [this.log]).catch(() => ({ stdout: '' }));
    throw new Error(`${program} ended with ${code}: ${log.stdout}`);
  }
}

/** The name of a database in its address. */
export function databaseOf(state: string): string {
  return new URL(state).pathname.slice(1);
}

function parentOf(pid: number): number {
  try {
    // proc(5): the name is in parentheses, and may have any characters.
    const [, rest = ''] = /\) (.*)/s.exec(readFileSync(`/proc/${pid}/stat`, 'utf8')) ?? [];
    return Number(rest.split(' ')[1]);
  } catch {
    return 0;
  }
}
