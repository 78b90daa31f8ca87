import { createHash } from 'node:crypto';
import type { SatelliteConfig } from '../../config.ts';
import type { Log } from '../../log.ts';
import { accountOf } from './account.ts';
import { haproxyConfiguration, settingsOf } from './configuration.ts';
import { fileNames, namedForHaproxy } from './files.ts';
import { backends } from './names.ts';
import type { Address, Haproxy } from './process.ts';
import type { RuntimeApi } from './runtime.ts';
import { adviceOn, OLDEST } from './version.ts';

/*
 * A HAProxy that somebody else runs, systemd for one, with a configuration of its own. Satellite's part of that is
 * printed; nobody here starts, stops or reloads it.
 */

/** How often it is looked at: whether it is there, and still knows what it was told. */
const LOOK_MS = 500;

/** The process-wide variable by which a running HAProxy tells whose configuration it has. */
const STAMP = 'proc.satellite';

/** How long a process may go on that a reload has left behind: nobody can tell it that a site is over. */
const HARD_STOP = '30s';

/** Satellite's part of the configuration, and its stamp. Throws a ConfigError. */
export function haproxyPart(config: SatelliteConfig): { readonly text: string; readonly stamp: string } {
  const { tls, haproxy, listen } = config;
  const { directory = '', socket = '', chroot, user } = haproxy;
  const account = accountOf(user);
  const files = fileNames(directory);
  const certificates = tls === 'off' ? [] : 'pairs' in tls ? tls.pairs : [tls];
  const host = listen.host.includes(':') ? `[${listen.host}]` : listen.host;
  const written = (stamp: string): string =>
    haproxyConfiguration({
      bind: `${host}:${listen.port}${listen.host === '::' ? ' v4v6' : ''}`,
      certificates: certificates.map((_, i) => files.certificate(i)),
      ...settingsOf(config),
      ...namedForHaproxy(files, chroot, account),
      log: 'global',
      global: [
        `set-var ${STAMP} str(${stamp})`,
        `stats socket ${socket} mode 660 group ${account.group} level admin`,
        '# The process that a reload leaves behind hears no more of sites that end, whose WebSockets it has.',
        `hard-stop-after ${HARD_STOP}`,
      ],
    });
  const stamp = createHash('sha256').update(written('')).digest('hex').slice(0, 16);
  return { text: `${preamble(config)}\n${written(stamp)}`, stamp };
}

function preamble({ domain, haproxy }: SatelliteConfig): string {
  return `# Satellite's part of the configuration of a HAProxy that is not run by satellite, for ${domain}.
# Written by "satellite haproxy-config"; write it anew when satellite.yaml has changed, or satellite itself.
#
# As root, into a file that satellite can't write, which HAProxy reads behind the site's own:
#   haproxy -f /etc/haproxy/haproxy.cfg -f /etc/haproxy/satellite.cfg
# With Debian's unit: EXTRAOPTS="-S /run/haproxy-master.sock -f /etc/haproxy/satellite.cfg" in /etc/default/haproxy.
# HAProxy finds certificates in ${haproxy.directory} once satellite has been started: start that first.
# What is said in "global" holds for all of this HAProxy; the rest begins with names of its own.

.if version_atleast(${OLDEST})
.else
  .alert "satellite needs HAProxy ${OLDEST} or later"
.endif`;
}

export interface AttachedOptions {
  readonly config: SatelliteConfig;
  readonly runtime: RuntimeApi;
  /** The map of live sites. */
  readonly map: string;
  readonly log: Log;
  /** Does it know what we have told it? Rejects where it can't be asked. */
  readonly isTold: () => Promise<boolean>;
  readonly onUp: () => void;
  readonly onDown: () => void;
  /** It has another configuration than ours, and hands visitors over to us all the same, or doesn't. */
  readonly onOther: (handsOver: boolean) => void;
}

/** Watches it. While it is away, or another one, sites are satellite's to serve, and are asked for in vain or not at all. */
export class AttachedHaproxy implements Haproxy {
  readonly #options: AttachedOptions;
  readonly #stamp: string;
  readonly address: Address;
  readonly isFound = true;
  /** What was last said of it. */
  #state: 'unknown' | 'up' | 'away' | 'other' = 'unknown';
  #timer: NodeJS.Timeout | undefined;
  #isClosed = false;

  /** Throws a ConfigError. */
  constructor(options: AttachedOptions) {
    this.#options = options;
    this.#stamp = haproxyPart(options.config).stamp;
    this.address = options.config.listen;
  }

  watch(): void {
    this.#look()
      .catch((error: Error) => this.#isAway(error))
      .finally(() => {
        if (!this.#isClosed) this.#timer = setTimeout(() => this.watch(), LOOK_MS).unref();
      });
  }

  /** It goes on, with the sites that are live: the next satellite finds them there. */
  async drain(): Promise<void> {
    await this.close();
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    clearTimeout(this.#timer);
  }

  giveUp(): void {
    this.#state = 'unknown';
  }

  async #look(): Promise<void> {
    const { runtime, isTold, onUp } = this.#options;
    const said = await runtime.ask(`get var ${STAMP}`);
    if (this.#isClosed) return;
    if (!said.includes(`<${this.#stamp}>`)) {
      await this.#isOther(said);
      return;
    }
    const isNew = this.#state !== 'up';
    if (isNew) await this.#advise();
    this.#state = 'up';
    if (isNew || !(await isTold())) onUp();
  }

  async #advise(): Promise<void> {
    const { runtime, log } = this.#options;
    const [, version = ''] = /^Version: (\S+)$/m.exec(await runtime.ask('show info')) ?? [];
    const advice = adviceOn(version);
    if (advice !== undefined) log({ event: 'haproxy-untested', message: advice });
  }

  #isAway(error: Error): void {
    if (this.#isClosed || this.#state === 'away') return;
    const { config, log, onDown } = this.#options;
    this.#state = 'away';
    onDown();
    const { socket } = config.haproxy;
    const how =
      (error as NodeJS.ErrnoException).code === 'EACCES'
        ? "satellite's user must be in the group that may use it"
        : 'is HAProxy running, with what "satellite haproxy-config" prints?';
    log({
      event: 'haproxy-away',
      message: `${socket} can't be used: ${error.message}; ${how} Until then nobody comes in`,
    });
  }

  /** What it has been told once by one that wrote another configuration must not outlive its sites. */
  async #isOther(said: string): Promise<void> {
    const { runtime, map, log, onDown, onOther } = this.#options;
    if (this.#state !== 'other') {
      onDown();
      const what = said.includes(`${STAMP}:`)
        ? 'another one than this satellite prints'
        : 'none of what satellite prints';
      log({
        event: 'haproxy-differs',
        message: `the running HAProxy has ${what} in its configuration: write it anew with "satellite haproxy-config --config FILE", and reload HAProxy. Until then satellite serves all sites itself`,
      });
    }
    // Whoever has the map was printed for our folder, in which it finds us. Another answer is that there is no such map.
    const isOurs = (await runtime.ask(`clear map ${map}`)).trim() === '';
    await runtime.askAll(Object.values(backends).map((name) => `shutdown sessions server ${name}/notebook`));
    this.#state = 'other';
    onOther(isOurs);
  }
}
