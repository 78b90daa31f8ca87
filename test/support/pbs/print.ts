/** What qstat and pbsnodes print, in the order and the shape of the recordings. */
import { type Job, now, type State } from './state.ts';

type Value = string | number | { readonly [name: string]: Value } | readonly string[];
type Attributes = readonly (readonly [name: string, value: Value])[];

/** As ctime(3) writes it. */
export function ctime(seconds: number): string {
  const parts = new Intl.DateTimeFormat('en-US', {
    weekday: 'short',
    month: 'short',
    day: 'numeric',
    year: 'numeric',
    hour: '2-digit',
    minute: '2-digit',
    second: '2-digit',
    hourCycle: 'h23',
    timeZone: process.env.TZ ?? 'UTC',
  }).formatToParts(seconds * 1000);
  const part = (type: string) => parts.find((each) => each.type === type)?.value ?? '';
  return `${part('weekday')} ${part('month')} ${part('day').padStart(2)} ${part('hour')}:${part('minute')}:${part('second')} ${part('year')}`;
}

export function clock(seconds: number): string {
  return [Math.floor(seconds / 3600), Math.floor((seconds % 3600) / 60), seconds % 60]
    .map((part) => String(part).padStart(2, '0'))
    .join(':');
}

/** In the order of the server's table of attributes (master_job_attr_def.xml). */
export function jobAttributes(state: State, job: Job): Attributes {
  const { server, user } = state.settings;
  const time = (seconds: number | undefined) => (seconds === undefined ? undefined : ctime(seconds));
  const used = job.used && {
    cpupercent: 0,
    cput: '00:00:00',
    mem: '0kb',
    ncpus: job.resources.ncpus ?? 1,
    vmem: '0kb',
    walltime: clock(job.used.walltime),
  };
  const all: [string, Value | undefined][] = [
    ['Job_Name', job.name],
    ['Job_Owner', `${user}@${server}`],
    ['resources_used', used],
    ['job_state', job.state],
    ['queue', job.queue],
    ['server', server],
    ['Account_Name', job.account],
    ['Checkpoint', 'u'],
    ['ctime', time(job.ctime)],
    ['Error_Path', job.error],
    ['exec_host', job.execHost],
    ['exec_vnode', job.execVnode],
    ['Hold_Types', job.hold],
    ['Join_Path', job.join],
    ['Keep_Files', 'n'],
    ['Mail_Points', 'a'],
    ['mtime', time(job.mtime)],
    ['Output_Path', job.output],
    ['Priority', 0],
    ['qtime', time(job.qtime)],
    ['Rerunable', job.rerunable ? 'True' : 'False'],
    ['Resource_List', job.resources],
    ['stime', time(job.stime)],
    ['obittime', time(job.obittime)],
    ['session_id', job.state === 'R' ? job.session : undefined],
    ['Shell_Path_List', job.shell],
    ['jobdir', job.session === undefined ? undefined : job.home],
    ['substate', job.substate],
    ['Variable_List', job.variables],
    ['comment', job.comment],
    ['etime', time(job.etime)],
    ['umask', job.umask],
    ['run_count', job.runCount],
    ['Stageout_status', job.stageout],
    ['Exit_status', job.exitStatus],
    ['Submit_arguments', job.submitArguments],
    ['history_timestamp', job.historyTime],
    ['project', '_pbs_project_default'],
    ['Submit_Host', server],
  ];
  return all.filter((pair): pair is [string, Value] => pair[1] !== undefined);
}

/** In the order of Torque's table (job_attr_def.c). */
export function torqueJobAttributes(state: State, job: Job): Attributes {
  const { server, user } = state.settings;
  const time = (seconds: number | undefined) => (seconds === undefined ? undefined : ctime(seconds));
  const { ncpus: _, nodect: __, place: ___, select: ____, ...resources } = job.resources;
  const all: [string, Value | undefined][] = [
    ['Job_Name', job.name],
    ['Job_Owner', `${user}@${server}`],
    ['resources_used', job.used && { cput: '00:00:00', walltime: clock(job.used.walltime) }],
    ['job_state', job.state === 'F' ? 'C' : job.state],
    ['queue', job.queue],
    ['server', server],
    ['Account_Name', job.account],
    ['Checkpoint', 'u'],
    ['ctime', time(job.ctime)],
    ['Error_Path', job.error],
    ['exec_host', job.execHost],
    ['Hold_Types', job.hold],
    ['Join_Path', job.join],
    ['Keep_Files', 'n'],
    ['Mail_Points', 'a'],
    ['mtime', time(job.mtime)],
    ['Output_Path', job.output],
    ['Priority', 0],
    ['qtime', time(job.qtime)],
    ['Rerunable', job.rerunable ? 'True' : 'False'],
    ['Resource_List', resources],
    ['session_id', job.session],
    ['Shell_Path_List', job.shell],
    ['Variable_List', job.variables],
    ['etime', time(job.etime)],
    ['exit_status', job.state === 'F' ? (job.exitStatus ?? 0) : undefined],
    ['submit_args', job.submitArguments],
    ['start_time', time(job.stime)],
    ['start_count', job.runCount],
    ['comp_time', time(job.historyTime)],
    ['fault_tolerant', 'False'],
    ['submit_host', server],
    ['init_work_dir', job.home],
  ];
  return all.filter((pair): pair is [string, Value] => pair[1] !== undefined);
}

/** Tabs, and values on the same line as their names. */
function json(value: Value, indent = ''): string {
  const inner = `${indent}\t`;
  if (typeof value === 'number') return String(value);
  if (typeof value === 'string') return JSON.stringify(value);
  if (Array.isArray(value)) return `[${value.map((each) => JSON.stringify(each)).join(', ')}]`;
  const rows = Object.entries(value).map(([name, each]) => `${inner}"${name}":\t${json(each, inner)}`);
  return `{\n${rows.join(',\n')}\n${indent}}`;
}

export function jsonAnswer(state: State, content: { readonly [kind: string]: Value }): string {
  return `${json({
    timestamp: now(),
    pbs_version: '23.06.06',
    pbs_server: state.settings.server,
    ...content,
  })}\n`;
}

const lineLimit = 80;

/** `qstat -f`: values are broken at commas, and what is longer than a line anywhere. Commas don't count. */
export function text(heading: string, attributes: Attributes): string {
  const rows = attributes.flatMap(([name, value]) =>
    typeof value === 'object' && !Array.isArray(value) && name !== 'Variable_List'
      ? Object.entries(value).map(([part, each]) => textLine(`${name}.${part}`, String(each)))
      : [
          textLine(
            name,
            typeof value === 'object'
              ? Object.entries(value)
                  .map(([variable, each]) => `${variable}=${each}`)
                  .join(',')
              : String(value),
          ),
        ],
  );
  return `${heading}\n${rows.join('')}\n`;
}

function textLine(name: string, value: string): string {
  let line = `    ${name} = `;
  let column = name.length + 7;
  value.split(',').forEach((word, index, words) => {
    if (column + word.length < lineLimit) {
      line += word;
      column += word.length;
    } else {
      if (index > 0) {
        line += '\n\t';
        column = 9;
      }
      for (const character of word) {
        line += character;
        column += 1;
        if (column > lineLimit) {
          line += '\n\t';
          column = 8;
        }
      }
    }
    if (index < words.length - 1) line += ',';
  });
  return `${line}\n`;
}

/** `qstat ID` */
export function table(jobs: readonly Job[], { settings: { user } }: State): string {
  const rows = jobs.map(
    ({ id, name, state, queue, used }) =>
      `${id.padEnd(23)} ${name.slice(0, 16).padEnd(16)} ${user.padEnd(16)}  ${(used ? clock(used.walltime) : '0').padStart(10)} ${state} ${queue.padEnd(16)}`,
  );
  return [
    'Job id            Name             User              Time Use S Queue',
    '----------------  ---------------- ----------------  -------- - -----',
    ...rows,
    '',
  ].join('\n');
}

/** `qstat -T ID`, for jobs whose start nobody estimates. */
export function estimates(jobs: readonly Job[], { settings: { server, user } }: State): string {
  const rows = jobs.map(({ id, name, queue, resources, state }) => {
    const shortName = name.length > 10 ? `${name.slice(0, 9)}*` : name;
    const cpus = String(resources.ncpus ?? 1);
    const tasks = cpus.length > 3 ? `${cpus.slice(0, 2)}*` : cpus;
    const limit = String(resources.walltime ?? '--').replace(/:\d\d$/, '');
    return `${id.padEnd(21)} ${user.padEnd(10)} ${queue.padEnd(8)} ${shortName}    --  ${String(resources.nodect ?? 1).padStart(3)} ${tasks.padStart(3)}    --  ${limit} ${state}    --`;
  });
  return [
    '',
    `${server}: `,
    '                                                                           Est',
    "                                                            Req'd  Req'd   Start",
    'Job ID          Username Queue    Jobname    SessID NDS TSK Memory Time  S Time',
    '--------------- -------- -------- ---------- ------ --- --- ------ ----- - -----',
    ...rows,
    '',
  ].join('\n');
}

export function queueAttributes(state: State, name: string): Attributes {
  const jobs = state.jobs().filter((job) => job.queue === name && job.state !== 'F');
  const running = jobs.filter((job) => job.state === 'R');
  const count = (letter: string) => jobs.filter((job) => job.state === letter).length;
  const maxSeconds = state.settings.queues[name]?.maxSeconds;
  const sum = (resource: string) =>
    running.reduce(
      (total, { resources }) => total + (Number.parseInt(String(resources[resource] ?? 0), 10) || 0),
      0,
    );
  const all: [string, Value | undefined][] = [
    ['queue_type', 'Execution'],
    ['total_jobs', jobs.length],
    [
      'state_count',
      `Transit:0 Queued:${count('Q')} Held:${count('H')} Waiting:0 Running:${count('R')} Exiting:0 Begun:0 `,
    ],
    ['resources_max', maxSeconds === undefined ? undefined : { walltime: clock(maxSeconds) }],
    [
      'resources_assigned',
      running.length === 0
        ? undefined
        : { mem: `${sum('mem')}mb`, ncpus: sum('ncpus'), nodect: running.length },
    ],
    ['enabled', 'True'],
    ['started', 'True'],
  ];
  return all.filter((pair): pair is [string, Value] => pair[1] !== undefined);
}

export function nodes(state: State): { readonly [name: string]: Value } {
  const { server, ncpus } = state.settings;
  const running = state.jobs().filter((job) => job.state === 'R');
  const megabytes = running.reduce(
    (sum, { resources }) => sum + (Number.parseInt(String(resources.mem ?? 0), 10) || 0),
    0,
  );
  return {
    [server]: {
      Mom: server,
      ntype: 'PBS',
      state: 'free',
      pcpus: ncpus,
      jobs: running.map(({ id }) => id),
      resources_available: { arch: 'linux', host: server, mem: '24684096kb', ncpus, vnode: server },
      resources_assigned: {
        mem: `${megabytes * 1024}kb`,
        ncpus: running.reduce((sum, { resources }) => sum + Number(resources.ncpus ?? 1), 0),
      },
      resv_enable: 'True',
      sharing: 'default_shared',
      license: 'l',
      last_state_change_time: now(),
      last_used_time: now(),
    },
  };
}
