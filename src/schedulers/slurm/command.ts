/** Slurm's commands, and what they all say in the same way. */
import {
  type CommandOutput,
  lines,
  runCommand,
  type StartedCommand,
  silentEnd,
  startCommand,
} from '../command.ts';

export function run(command: string, args: readonly string[], timeout?: number): Promise<CommandOutput> {
  return runCommand(command, args, { timeout, env: environmentOf(command) });
}

/** One that waits for its input. */
export function start(command: string, args: readonly string[]): StartedCommand {
  return startCommand(command, args, environmentOf(command));
}

/** Query commands print times as seconds since 1970; sbatch hands its environment on to the job and gets nothing extra. */
function environmentOf(command: string): Readonly<Record<string, string>> {
  return command === 'sbatch' ? {} : { SLURM_TIME_FORMAT: '%s' };
}

export const unreachablePattern =
  /Unable to contact slurm controller|Socket timed out|Connection refused|Connection timed out|Zero Bytes were transmitted|Unable to establish (?:controller|configuration)|slurm_persist_conn_open|Transport endpoint/i;

/** Slurm's own words without its prefixes: what it says of the submission, else the first thing that it complains of. */
export function complaint(output: CommandOutput): string {
  const { stdout, stderr } = output;
  const all = [...lines(stderr), ...lines(stdout)];
  const submission = all.find((line) => line.includes('Batch job submission failed: '));
  const said = submission ?? all.find((line) => /error|unrecognized|invalid|unable/i.test(line)) ?? all[0];
  if (said !== undefined)
    return said
      .replace(/^\w+: (?:error: )?/, '')
      .replace(/^Batch job submission failed: /, '')
      .replace(/\.$/, '');
  return silentEnd(output);
}

/** `30:00`, `1-00:00:00`, `infinite`. */
export function timeLimit(text: string): number | undefined {
  const match = /^(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+)$/.exec(text);
  if (!match) return undefined;
  const [days = '0', hours = '0', minutes = '0', seconds = '0'] = match.slice(1);
  return ((Number(days) * 24 + Number(hours)) * 60 + Number(minutes)) * 60 + Number(seconds);
}

/** Times come as seconds since 1970, see SLURM_TIME_FORMAT in squeue(1); `N/A` and `Unknown` are none. */
export function epoch(text: string | undefined): Date | undefined {
  return text !== undefined && /^\d{5,}$/.test(text) ? new Date(Number(text) * 1000) : undefined;
}
