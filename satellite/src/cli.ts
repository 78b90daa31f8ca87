import { existsSync } from 'node:fs';
import { Argument, Command, InvalidArgumentError, Option } from 'commander';
import packageJson from '../package.json' with { type: 'json' };
import { ConfigError, parseDuration } from './config.ts';
import { isPasswordIn, namingFile, parseConfigFile, readConfigFile } from './config-file.ts';
import { configOptions } from './config-options.ts';
import { haproxyPart } from './dataplane/haproxy/attached.ts';
import { EXIT, fail } from './exit.ts';
import { apache } from './in-front/apache.ts';
import { caddy } from './in-front/caddy.ts';
import { haproxy } from './in-front/haproxy.ts';
import { nginx } from './in-front/nginx.ts';
import {
  type FrontOptions,
  type FrontPlan,
  type FrontProgram,
  frontPrograms,
  planFront,
} from './in-front/plan.ts';
import { lsf } from './jobs/lsf.ts';
import { pbs } from './jobs/pbs.ts';
import { JobReporter } from './jobs/reporter.ts';
import type { Scheduler } from './jobs/scheduler.ts';
import { several } from './jobs/several.ts';
import { sge } from './jobs/sge.ts';
import { slurm } from './jobs/slurm.ts';
import { logToStderr } from './log.ts';
import { nearest } from './nearest.ts';
import { copyState } from './operation/copy-state.ts';
import { importOriginal } from './operation/import.ts';
import { askStatus, statusTable } from './operation/status.ts';
import { serve } from './serve.ts';
import { databaseFault, databaseName, isDatabase } from './tokens/postgres-url.ts';

const schedulers = { slurm, pbs, sge, lsf } satisfies Record<string, Scheduler>;

type Scheduling = keyof typeof schedulers;
const schedulerNames = Object.keys(schedulers) as Scheduling[];

const fronts = { nginx, apache, haproxy, caddy } satisfies Record<FrontProgram, (plan: FrontPlan) => string>;

/** As it may be shown. */
function stateName(state: string): string {
  return isDatabase(state) ? databaseName(state) : state;
}

/** Why there is no status. */
function unanswered(state: string, error: NodeJS.ErrnoException & { address?: string }): string {
  if (error.code === 'EACCES')
    return `${error.address} is not for this user: the proxy answers its own user and root.`;
  return `No proxy answers for ${stateName(state)}: ${error.message}. Is it running, with this configuration?`;
}

function interval(text: string): number {
  const milliseconds = parseDuration(text);
  if (milliseconds === undefined) throw new InvalidArgumentError('Write it as 5s or 1m.');
  return milliseconds;
}

/** Takes one of these names, and says which of them another one may stand for: commander itself would only list them. */
function oneOf<T extends string>(names: readonly T[]) {
  return (text: string): T => {
    const known = names.find((name) => name === text);
    if (known !== undefined) return known;
    const meant = nearest(text, names);
    const guess = meant === undefined ? '' : `Did you mean ${meant}? `;
    throw new InvalidArgumentError(`${guess}There are ${names.join(', ')}.`);
  };
}

function httpUrl(text: string): URL {
  const url = URL.parse(text);
  if (url === null || !/^https?:$/.test(url.protocol)) {
    throw new InvalidArgumentError('Write it as https://manage.DOMAIN/.');
  }
  return url;
}

/** The program with all its commands and options. */
export const program = new Command('satellite')
  .description('Turns tokens into live https://<three-words>.<domain>/ sites.')
  .version(packageJson.version)
  .exitOverride((error) => {
    // After help or the version: whether they could be written is not known yet.
    if (error.exitCode === 0) throw error;
    process.exit(EXIT.usage);
  });

const serveCommand = program
  .command('serve')
  .description('run the proxy')
  .option('--config <file>', 'configuration file (YAML or JSON)')
  .action(serve);
for (const option of configOptions()) serveCommand.addOption(option);

program
  .command('status')
  .description('show the sites and tokens of the running proxy; for the user it runs as')
  .requiredOption('--config <file>', "the proxy's configuration file (YAML or JSON)")
  .option('--json', 'as JSON')
  .action(async ({ config, json }: { config: string; json?: true }) => {
    const checked = parseConfigFile(config);
    const { sites, state } = await askStatus(checked).catch((error: Error) =>
      fail(EXIT.proxy, unanswered(checked.state, error)),
    );
    if (state.trouble !== null) process.stderr.write(`satellite: ${state.trouble}\n`);
    process.stdout.write(json ? `${JSON.stringify(sites)}\n` : statusTable(sites));
  });

program
  .command('front')
  .description(
    'print a configuration for a web server in front of the proxy, which shares port 443 with other sites',
  )
  .addArgument(
    new Argument('<program>', 'which web server').choices(frontPrograms).argParser(oneOf(frontPrograms)),
  )
  .option('--config <file>', "the proxy's configuration file (YAML or JSON)")
  .option('--domain <name>', 'the domain, where there is no configuration file yet')
  .option('--listen <address>', 'where visitors come in; every address, port 443')
  .option('--redirect-http-from <address>', 'whose plain HTTP is sent to HTTPS; every address, port 80')
  .option(
    '--certificate <file>',
    "certificate chain (PEM); the configuration file's, or certbot's for the domain",
  )
  .option('--key <file>', 'its private key, where it is not in the same file')
  .option(
    '--other-site <name=url>',
    'another site on this port: NAME=http://HOST:PORT[,CERTIFICATE[,KEY]]; may be repeated',
    (site: string, before: string[] = []) => [...before, site],
  )
  .option(
    '--acme <place>',
    'where answers to ACME challenges are: a directory (/var/www/acme); for haproxy a server (127.0.0.1:8402)',
  )
  .action((name: FrontProgram, { config, ...options }: FrontOptions & { config?: string }) => {
    const given = config === undefined ? {} : readConfigFile(config);
    const plan = () => planFront(name, given, options);
    // What begins with no key is about another option.
    const isItsKey = (key: string): boolean =>
      key !== '' && !(key === 'domain' && options.domain !== undefined);
    process.stdout.write(fronts[name](config === undefined ? plan() : namingFile(config, isItsKey, plan)));
  });

program
  .command('haproxy-config')
  .description('print what a HAProxy that somebody else runs needs in its configuration (haproxy.socket)')
  .requiredOption('--config <file>', "the proxy's configuration file (YAML or JSON)")
  .action(({ config }: { config: string }) => {
    const checked = parseConfigFile(config);
    if (checked.haproxy.socket === undefined)
      throw new ConfigError('haproxy.socket: is needed; without it satellite starts a HAProxy of its own');
    process.stdout.write(haproxyPart(checked).text);
  });

program
  .command('import')
  .description("take over the sites and tokens of SDSC's Satellite; while the proxy is stopped")
  .argument('<file>', "the original's state.sqlite")
  .requiredOption('--config <file>', "the proxy's configuration file (YAML or JSON)")
  .action(async (file: string, { config }: { config: string }) => {
    const done = await importOriginal(file, parseConfigFile(config));
    for (const line of done.leftOut) process.stderr.write(`satellite: left out ${line}.\n`);
    process.stdout.write(
      `Imported ${done.mapped} sites, ${done.pending} waiting tokens and ${done.jobs} jobs; left out ${done.leftOut.length}.\n`,
    );
  });

program
  .command('copy-state')
  .description(
    'copy everything from one state to another, such as from a file to a database; while the proxies are stopped',
  )
  .argument('<from>', 'an SQLite file, or postgresql://HOST/DATABASE')
  .requiredOption('--config <file>', 'the configuration file (YAML or JSON) whose state it is copied to')
  .action(async (from: string, { config }: { config: string }) => {
    if (isPasswordIn(from))
      throw new ConfigError('everybody on this host can read a password here; put it into a passfile');
    const fault = isDatabase(from) ? databaseFault(from) : existsSync(from) ? undefined : 'is not there';
    if (fault !== undefined) throw new ConfigError(`${isDatabase(from) ? 'the address' : from} ${fault}`);
    const done = await copyState(from, parseConfigFile(config).state, logToStderr);
    process.stdout.write(
      `Copied ${done.tokens} tokens, ${done.jobs} jobs and ${done.secrets} sealed entries.\n`,
    );
  });

program
  .command('report-jobs')
  .description("post the scheduler's job states to a proxy; runs on a host that sees the queue")
  .addOption(
    new Option('--scheduler <name...>', 'whose queue; several at a site that has them')
      .choices(schedulerNames)
      .argParser((name, before: Scheduling[] = []) => [...before, oneOf(schedulerNames)(name)])
      .makeOptionMandatory(),
  )
  .addOption(new Option('--to <url>', "the proxy's management host").argParser(httpUrl).makeOptionMandatory())
  .option('--ca-file <file>', 'trust the certificates in this file too (PEM)')
  .option('--once', 'report once and end')
  .addOption(
    new Option('--interval <duration>', 'pause between reports').argParser(interval).conflicts('once'),
  )
  .action(
    async (given: { scheduler: Scheduling[]; to: URL; caFile?: string; once?: true; interval?: number }) => {
      const reporter = new JobReporter({
        scheduler: several(given.scheduler.map((name) => schedulers[name])),
        to: given.to,
        ...(given.caFile && { caFile: given.caFile }),
        log: logToStderr,
      });
      const stop = new AbortController();
      for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => stop.abort());
      if (given.once) {
        const failure = await reporter.report(stop.signal);
        await reporter.close();
        if (failure) fail(failure.by === 'scheduler' ? EXIT.scheduler : EXIT.proxy, failure.message);
        return;
      }
      await reporter.run(given.interval ?? 5000, stop.signal);
      await reporter.close();
    },
  );
