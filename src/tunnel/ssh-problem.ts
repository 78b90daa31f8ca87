/** What ssh complains of, in words for a person. The messages are those of OpenSSH 7 to 10. */
import { ConnectionError } from '../errors.ts';
import { shown } from '../values.ts';

interface Complaint {
  readonly pattern: RegExp;
  readonly message: (destination: string) => string;
  readonly hint: (destination: string) => string;
  /** It will be the same the next time. */
  readonly final?: true;
}

const complaints: readonly Complaint[] = [
  {
    pattern: /REMOTE HOST IDENTIFICATION HAS CHANGED|Offending .* key in/,
    message: (to) => `The host key of ${to} is not the one that this machine knows, so nothing was sent.`,
    hint: () =>
      'Somebody may stand in between. Ask your site whether it has new keys; then "ssh-keygen -R HOST" forgets the old one.',
    final: true,
  },
  {
    pattern: /Host key verification failed/,
    message: (to) => `The host key of ${to} is not known here, and nobody could be asked.`,
    hint: (to) => `Type "ssh ${to}" once and compare the key with the one that your site publishes.`,
    final: true,
  },
  {
    pattern: /Permission denied|Too many authentication failures|No more authentication methods/,
    message: (to) => `${to} does not let you in (permission denied).`,
    hint: (to) => `"ssh ${to}" must work first: check the user name and the key or password.`,
    final: true,
  },
  {
    // Windows' ssh before version 8.1 looks for itself in vain: PowerShell/Win32-OpenSSH#1172.
    pattern: /CreateProcessW failed|posix_spawn/,
    message: (to) => `This machine's ssh can't go on to ${to} through another host.`,
    hint: () => 'Windows\' OpenSSH can from version 8.1 on; "ssh -V" says which one this is.',
    final: true,
  },
  {
    pattern: /Could not resolve hostname/,
    message: (to) => `The name of ${to} is not known here.`,
    hint: () => 'Check its spelling, and that this machine is online.',
  },
  {
    pattern: /Connection refused/,
    message: (to) => `Nobody takes ssh connections at ${to} (connection refused).`,
    hint: () => 'Check the name and the port: ssh://USER@HOST:PORT names another one.',
  },
  {
    pattern: /timed out|No route to host|Network is unreachable/,
    message: (to) => `${to} does not answer.`,
    hint: () => 'Perhaps it is reached through a jump host (--jump HOST), a VPN, or from some networks only.',
  },
];

/** @param said what ssh wrote on its standard error */
export function sshProblem(destination: string, said: string): ConnectionError {
  const known = complaints.find(({ pattern }) => pattern.test(said));
  const last = said.trim().split('\n').at(-1)?.trim() ?? '';
  return new ConnectionError(
    known?.message(destination) ??
      `The connection to ${destination} failed${last === '' ? '' : `: ${shown(last.replace(/\.$/, ''), 200)}`}.`,
    known?.hint(destination) ?? `"ssh ${destination}" must work first.`,
    { final: known?.final ?? false },
  );
}

/** @param said what ssh wrote about a port of this machine that it can't take, though nobody has it */
export function portProblem(said: string): ConnectionError {
  const [first = ''] = said.trim().split('\n');
  return new ConnectionError(
    `ssh can't listen on this machine for the tunnel${first === '' ? '' : `: ${shown(first.trim().replace(/\.$/, ''), 200)}`}.`,
    'Another port may do (--port N, from 1024 on); else look at what ~/.ssh/config says of this host.',
    { final: true },
  );
}
