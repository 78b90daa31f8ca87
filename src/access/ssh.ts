/**
 * The way without a proxy: one `ssh` command on a person's own machine, whose tunnel ends where Jupyter listens. There a
 * tunnel comes from the login node to the compute node's internal address, or, where compute nodes take ssh, from the node
 * itself to its loopback.
 */
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import os from 'node:os';
import * as z from 'zod/mini';
import type { LaunchSpec } from '../launch-spec.ts';
import type { JupyterAddress } from '../sessions/session.ts';

/** What is known of a tunnel before Jupyter listens. A function, as whatever reads records: most launches read none. */
export const tunnelPlanSchema = () =>
  z.readonly(
    z.object({
      /** Null where no command line could name it: then the person's own ssh says who it is. */
      user: z.nullable(z.string()),
      /** `HOST` or `HOST:PORT` */
      login: z.string(),
      /** What `ssh -J` takes; null: the login node is reached directly. */
      jump: z.nullable(z.string()),
      /** The tunnel ends on the compute node, behind the login node. */
      throughNode: z.boolean(),
      /** On the person's own machine. */
      localPort: z.int(),
    }),
  );

export type TunnelPlan = z.output<ReturnType<typeof tunnelPlanSchema>>;

/** Whether Jupyter may stay on its node's loopback, since that is where the tunnel ends. */
export function endsOnLoopback({ access, here, system }: LaunchSpec): boolean {
  return access === 'ssh' && (system.ssh?.computeNodes === true || isThisMachine({ here, system }));
}

/** A machine without a scheduler is its own login node. */
function isThisMachine({ here, system }: Pick<LaunchSpec, 'here' | 'system'>): boolean {
  return here && system.scheduler === 'none';
}

/** @param portsInUse local ports of this user's other sessions */
export function tunnelPlan(
  spec: Pick<LaunchSpec, 'here' | 'system'>,
  portsInUse: ReadonlySet<number>,
  environment: NodeJS.ProcessEnv = process.env,
): TunnelPlan {
  const { login = reachedAs(environment), jump, computeNodes = false } = spec.system.ssh ?? {};
  const user = accountName();
  return {
    user,
    login,
    jump: jump ?? null,
    throughNode: computeNodes && !isThisMachine(spec),
    localPort: localPort(`${user}@${login}`, portsInUse),
  };
}

/** Characters that mean nothing to bash, zsh, fish, cmd and PowerShell alike: the same line works in all of them. */
function accountName(): string | null {
  const { username } = os.userInfo();
  return /^[A-Za-z0-9_][A-Za-z0-9_.-]*$/.test(username) ? username : null;
}

/** The login node: this machine, or within an allocation the one that it was asked for on. */
export function loginHost(environment: NodeJS.ProcessEnv = process.env): string {
  const { SLURM_SUBMIT_HOST, PBS_O_HOST, SGE_O_HOST, LSB_SUB_HOST } = environment;
  return SLURM_SUBMIT_HOST ?? PBS_O_HOST ?? SGE_O_HOST ?? LSB_SUB_HOST ?? os.hostname();
}

/** The address that this login came to, where the machine's own name can't be one that others know. */
function reachedAs(environment: NodeJS.ProcessEnv): string {
  const name = loginHost(environment);
  const { SSH_CONNECTION = '' } = environment;
  // Client's address and port, server's address and port; see ssh(1), ENVIRONMENT.
  const [, , address, port = '22'] = SSH_CONNECTION.split(' ');
  if (name !== os.hostname() || name.includes('.') || address === undefined || !/^[\d.]+$/.test(address))
    return name;
  return port === '22' ? address : `${address}:${port}`;
}

const portsEach = 16;
/** Below what Linux, macOS and Windows hand out for connections, above what services have. */
const lowestPort = 10_240;
const highestPort = 32_767;

/**
 * The first port in this user's own small range that no other session has. What is taken on the machine at the other end
 * can't be seen from here, but one that worked once will work again.
 */
function localPort(name: string, inUse: ReadonlySet<number>): number {
  const ranges = Math.floor((highestPort - lowestPort + 1) / portsEach);
  const first = lowestPort + (createHash('sha256').update(name).digest().readUInt32BE() % ranges) * portsEach;
  const ports = Array.from({ length: portsEach }, (_, index) => first + index);
  return ports.find((port) => !inUse.has(port)) ?? first;
}

/**
 * The command to paste. It needs no quotes in any shell. The local end is bound to 127.0.0.1 by name, so that a port that is
 * taken there ends it at once, and GatewayPorts in somebody's configuration opens it to nobody.
 */
export function tunnelCommand(plan: TunnelPlan, { address, port, node }: JupyterAddress): string {
  const { user, login, jump, throughNode, localPort: local } = plan;
  const [loginName = '', loginPort] = login.split(':');
  const at = (host: string) => (user === null ? host : `${user}@${host}`);
  const keepUp = ['-o', 'ExitOnForwardFailure=yes', '-o', 'ServerAliveInterval=30'];
  const forward = ['-L', `127.0.0.1:${local}:${address}:${port}`];
  const words = throughNode
    ? [
        ...['-J', [jump, at(login)].filter(Boolean).join(',')],
        // Nodes of several clusters have the same names.
        ...['-o', `HostKeyAlias=${node}.${loginName}`],
        at(node),
      ]
    : [
        ...(jump === null ? [] : ['-J', jump]),
        ...(loginPort === undefined ? [] : ['-p', loginPort]),
        at(loginName),
      ];
  return ['ssh', '-N', ...keepUp, ...forward, ...words].join(' ');
}

/**
 * Whether Jupyter answers where a tunnel is to end. From here only the network can be seen, no other host's loopback: there
 * the job's own word counts.
 */
export async function tunnelEndAnswers(
  plan: TunnelPlan | undefined,
  jupyter: JupyterAddress | undefined,
): Promise<boolean> {
  if (jupyter === undefined) return false;
  return plan?.throughNode === true || (await jupyterAnswers(jupyter.address, jupyter.port));
}

/** Whether a Jupyter answers there: its `/api` is open and tells its version. Whatever is wrong is no answer. */
export async function jupyterAnswers(address: string, port: number): Promise<boolean> {
  // Without a pool no connection outlives the question; proxies for the outside world are asked by nobody here.
  const http = await import('node:http');
  const request = http.get({ host: address, port, path: '/api', agent: false, timeout: 10_000 });
  request.on('timeout', () => request.destroy());
  try {
    const [response] = (await once(request, 'response')) as [IncomingMessage];
    let body = '';
    for await (const chunk of response.setEncoding('utf8')) {
      body += chunk;
      if (body.length > 10_000) break;
    }
    return response.statusCode === 200 && typeof JSON.parse(body).version === 'string';
  } catch {
    return false;
  } finally {
    request.destroy();
  }
}
