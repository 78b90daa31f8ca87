import { execa } from 'execa';
import { LabError } from './errors.ts';
import { enter } from './hosts.ts';

/** Accounts of the cluster and who may charge them. */
const accounts = { demo: ['alice', 'bob'], other: ['bob'], class: ['carol'] };

/** Makes the files of an empty database server. */
export async function makeDatabase(): Promise<void> {
  await run([
    ...['mariadb-install-db', '--no-defaults', '--user=mysql', '--datadir=/var/lib/mysql', '--skip-test-db'],
    '--auth-root-authentication-method=socket',
  ]);
}

/** Makes the database that slurmdbd writes to; slurmdbd logs in by being the user slurm. */
export async function makeAccountingDatabase(): Promise<void> {
  await run(
    ['mariadb', '--no-defaults', '--socket=/run/mysqld/mysqld.sock'],
    [
      'CREATE DATABASE slurm_acct_db;',
      'CREATE USER slurm@localhost IDENTIFIED VIA unix_socket;',
      'GRANT ALL ON slurm_acct_db.* TO slurm@localhost;',
    ].join('\n'),
  );
}

/** Tells the accounting about the cluster, its accounts and its users. */
export async function makeAccounts(): Promise<void> {
  await add('cluster', 'lab');
  for (const [account, users] of Object.entries(accounts)) {
    await add('account', account, `Description=${account}`, 'Organization=lab', 'Cluster=lab');
    await addToAccount(account, users);
  }
}

/**
 * Lets users charge an account of the lab's own cluster: without its name, of every cluster that there is. The first that
 * they are added to is their default.
 */
export function addToAccount(account: string, users: readonly string[]): Promise<void> {
  return add('user', users.join(','), `Account=${account}`, 'Cluster=lab');
}

function add(...args: string[]): Promise<void> {
  return run(['sacctmgr', '--immediate', '--quiet', 'add', ...args]);
}

async function run(argv: string[], input = ''): Promise<void> {
  const [command = '', ...args] = enter('login', argv);
  const result = await execa(command, args, { reject: false, all: true, input });
  if (result.exitCode !== 0)
    throw new LabError(`could not set up the accounting ("${argv[0]}"):\n${result.all}`);
}
