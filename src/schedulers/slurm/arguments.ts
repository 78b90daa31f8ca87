/** Options of sbatch(1): those of 22.05 as it takes them, and those that came since, up to 25.05. */
import { type Argument, readGetopt, type Unfit, unfitAmong } from '../arguments.ts';

const letters = 'a:A:b:B:c:C:d:D:e:F:G:hHi:J:k::L:m:M:n:N:o:Op:q:Qs::S:t:vVw:Wx:';

const needingValue = `
  account acctg-freq array batch bb bbf begin chdir cluster cluster-constraint clusters comment constraint container
  container-id context core-spec cores-per-socket cpu-freq cpus-per-gpu cpus-per-task deadline delay-boot dependency
  distribution error exclude export export-file extra extra-node-info gid gpu-bind gpu-freq gpus gpus-per-node
  gpus-per-socket gpus-per-task gres gres-flags hint input job-name kill-on-invalid-dep licenses mail-type mail-user
  mcs-label mem mem-bind mem-per-cpu mem-per-gpu mincpus network nodefile nodelist nodes ntasks ntasks-per-core
  ntasks-per-gpu ntasks-per-node ntasks-per-socket ntasks-per-tres open-mode output partition power prefer priority profile
  qos reservation segment signal sockets-per-node switches tasks-per-node thread-spec threads-per-core time time-min tmp
  tres-bind tres-per-task uid wait-all-nodes wckey wrap`;
const takingValue = 'exclusive get-user-env nice no-kill oom-kill-step propagate resv-ports';
const withoutValue = `
  consolidate-segments contiguous help hold ignore-pbs no-requeue overcommit oversubscribe parsable quiet reboot requeue
  spread-job spread-segments stepmgr test-only usage use-min-nodes verbose version wait`;

const words = (text: string) => text.trim().split(/\s+/);
const names = new Map([
  ...words(needingValue).map((name) => [name, 'required'] as const),
  ...words(takingValue).map((name) => [name, 'optional'] as const),
  ...words(withoutValue).map((name) => [name, 'none'] as const),
]);

/** Options that would take the job's log, its single script or its answer away from the launcher. */
const own = /^(?:--(?:output|error|array|wrap|wait|requeue|input)|-[oeaWi])$/;
const time = /^(?:--time|--time-min|-t)$/;
const answer = /^(?:--(?:help|usage|version|test-only)|-[hV])$/;

/** The arguments that a launch can't pass on to sbatch. */
export function unfit(args: readonly string[]): Unfit[] {
  return unfitAmong(read(args), ({ option, unknown, value }) => {
    if (own.test(option)) return 'own';
    if (time.test(option)) return 'time';
    if (answer.test(option)) return 'answer';
    return unknown && value !== undefined ? 'unclear' : undefined;
  });
}

/**
 * The clusters that the arguments name, or SLURM_CLUSTERS, which the commands themselves don't get: a question about a job that
 * is here would go elsewhere.
 */
export function clusters(args: readonly string[]): string | undefined {
  const named = read(args).filter(({ option = '' }) => /^(?:-M|--clusters?)$/.test(option));
  return named.at(-1)?.value ?? (process.env.SLURM_CLUSTERS || undefined);
}

function read(args: readonly string[]): Argument[] {
  return readGetopt(args, { letters, names });
}
