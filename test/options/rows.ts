/**
 * Every launch option on every scheduler: the directives that it becomes, or why it is refused. docs/options.md is made from
 * this, and `options.test.ts` compares it with what the launcher does.
 */
import type { OptionKey } from '../../src/options.ts';
import type { SubmittingScheduler } from '../../src/schedulers/registry.ts';
import type { System } from '../../src/systems/system.ts';

/** Options with the text that stands behind their flag, or true for a switch. */
export type Typed = { readonly [K in OptionKey]?: string | true };

/** Directives without their prefix, beside those of every job; or what the complaint says. */
export type Cell = readonly string[] | { readonly refused: string };

export interface ResourceRow extends Readonly<Record<SubmittingScheduler, Cell>> {
  readonly typed: Typed;
}

/** What a job's directives are where nothing is asked for. */
export const always: Readonly<Record<SubmittingScheduler, readonly string[]>> = {
  slurm: ['--job-name=start-jupyter', '--output=LOG', '--open-mode=append', '--no-requeue'],
  pbs: ['-S /bin/bash', '-N start-jupyter', '-j oe', '-o LOG.pbs', '-r n'],
  torque: ['-S /bin/bash', '-N start-jupyter', '-j oe', '-o LOG.pbs', '-r n'],
  sge: ['-S /bin/bash', '-N start-jupyter', '-j y', '-o /dev/null', '-notify', '-r n'],
  lsf: ['-J start-jupyter', '-o /dev/null', '-rn'],
};

/** What the examples' systems say of themselves. */
export const dialects: Readonly<Record<SubmittingScheduler, Partial<System>>> = {
  slurm: { gpuDirective: 'gpus' },
  pbs: { pbs: { gpuType: 'gpu_model' } },
  torque: {},
  sge: { sge: { parallelEnvironment: 'smp', memory: 'h_vmem', gpu: 'gpu', gpuType: 'gpu_type' } },
  lsf: {},
};

const wordOfSlurm = (title: string): Cell => ({
  refused: `this is a word of Slurm, and the system has ${title}`,
});
const noWordOfTorque: Cell = { refused: 'Torque itself has no word for this' };
const oneQueue = (title: string): Cell => ({ refused: `${title} takes one queue` });

/** What is asked of the scheduler. Without one all of it is refused. */
export const resourceRows: readonly ResourceRow[] = [
  {
    typed: { account: 'abc123' },
    slurm: ['--account=abc123'],
    pbs: ['-A abc123'],
    torque: ['-A abc123'],
    sge: ['-P abc123'],
    lsf: ['-P abc123'],
  },
  {
    typed: { partition: 'shared' },
    slurm: ['--partition=shared'],
    pbs: ['-q shared'],
    torque: ['-q shared'],
    sge: ['-q shared'],
    lsf: ['-q "shared"'],
  },
  {
    typed: { partition: 'shared,compute' },
    slurm: ['--partition=shared,compute'],
    pbs: oneQueue('PBS'),
    torque: oneQueue('Torque'),
    sge: ['-q shared,compute'],
    lsf: ['-q "shared compute"'],
  },
  {
    typed: { time: '1-12:00:30' },
    slurm: ['--time=1-12:01:00', '--signal=B:USR1@300'],
    pbs: ['-l walltime=36:00:30'],
    torque: ['-l walltime=36:00:30'],
    sge: ['-l h_rt=129630'],
    lsf: ['-W 36:01'],
  },
  {
    typed: { nodes: '2' },
    slurm: ['--nodes=2'],
    pbs: ['-l select=2', '-l place=scatter'],
    torque: ['-l nodes=2'],
    sge: { refused: 'Grid Engine gives slots, not nodes' },
    lsf: ['-n 2', '-R "span[ptile=1]"'],
  },
  {
    typed: { cpus: '4' },
    slurm: ['--cpus-per-task=4'],
    pbs: ['-l select=1:ncpus=4'],
    torque: ['-l nodes=1:ppn=4'],
    sge: ['-pe smp 4'],
    lsf: ['-n 4', '-R "span[hosts=1]"'],
  },
  {
    typed: { memory: '8' },
    slurm: ['--mem=8192M'],
    pbs: ['-l select=1:mem=8192mb'],
    torque: ['-l nodes=1', '-l mem=8192mb'],
    sge: ['-l h_vmem=8192M'],
    lsf: ['-M 8192MB', '-R "rusage[mem=8192MB]"'],
  },
  {
    typed: { cpus: '4', memory: '8' },
    slurm: ['--cpus-per-task=4', '--mem=8192M'],
    pbs: ['-l select=1:ncpus=4:mem=8192mb'],
    torque: ['-l nodes=1:ppn=4', '-l mem=8192mb'],
    sge: ['-pe smp 4', '-l h_vmem=2048M'],
    lsf: ['-n 4', '-R "span[hosts=1]"', '-M 8192MB', '-R "rusage[mem=8192MB]"'],
  },
  {
    typed: { nodes: '2', cpus: '4', memory: '8', gpu: '1' },
    slurm: ['--nodes=2', '--cpus-per-task=4', '--mem=8192M', '--gpus=1'],
    pbs: ['-l select=2:ncpus=4:mem=8192mb:ngpus=1', '-l place=scatter'],
    torque: ['-l nodes=2:ppn=4:gpus=1', '-l mem=16384mb'],
    sge: { refused: 'Grid Engine gives slots, not nodes' },
    lsf: ['-n 8', '-R "span[ptile=4]"', '-M 8192MB', '-R "rusage[mem=8192MB]"', '-gpu "num=1"'],
  },
  {
    typed: { gpu: '2' },
    slurm: ['--gpus=2'],
    pbs: ['-l select=1:ngpus=2'],
    torque: ['-l nodes=1:gpus=2'],
    sge: ['-l gpu=2'],
    lsf: ['-gpu "num=2"'],
  },
  {
    typed: { gpu: 'a100:2' },
    slurm: ['--gpus=a100:2'],
    pbs: ['-l select=1:ngpus=2:gpu_model=a100'],
    torque: ['-l nodes=1:gpus=2:a100'],
    sge: ['-l gpu=2', '-l gpu_type=a100'],
    lsf: ['-gpu "num=2:gmodel=a100"'],
  },
  {
    typed: { gres: 'gpu:a100:1,nvme:200' },
    slurm: ['--gres=gpu:a100:1,nvme:200'],
    pbs: wordOfSlurm('PBS'),
    torque: noWordOfTorque,
    sge: wordOfSlurm('Grid Engine'),
    lsf: wordOfSlurm('LSF'),
  },
  {
    typed: { reservation: 'course' },
    slurm: ['--reservation=course'],
    pbs: ['-q course'],
    torque: noWordOfTorque,
    sge: { refused: 'reservations of Grid Engine have numbers' },
    lsf: ['-U course'],
  },
  {
    typed: { reservation: '42' },
    slurm: ['--reservation=42'],
    pbs: ['-q 42'],
    torque: noWordOfTorque,
    sge: ['-ar 42'],
    lsf: ['-U 42'],
  },
  {
    typed: { reservation: 'course', partition: 'shared' },
    slurm: ['--partition=shared', '--reservation=course'],
    pbs: { refused: 'a reservation of PBS is a queue of its own' },
    torque: noWordOfTorque,
    sge: { refused: 'reservations of Grid Engine have numbers' },
    lsf: ['-q "shared"', '-U course'],
  },
  {
    typed: { qos: 'high' },
    slurm: ['--qos=high'],
    pbs: wordOfSlurm('PBS'),
    torque: noWordOfTorque,
    sge: wordOfSlurm('Grid Engine'),
    lsf: wordOfSlurm('LSF'),
  },
  {
    typed: { constraint: 'ib' },
    slurm: ['--constraint=ib'],
    pbs: wordOfSlurm('PBS'),
    torque: noWordOfTorque,
    sge: ['-l ib'],
    lsf: ['-R "select[ib]"'],
  },
  {
    typed: { constraint: 'skylake&ib' },
    slurm: ['--constraint="skylake&ib"'],
    pbs: wordOfSlurm('PBS'),
    torque: noWordOfTorque,
    sge: ['-l "skylake&ib"'],
    lsf: { refused: 'with LSF this is the name of one resource' },
  },
];

/** The same options on systems that say something else of themselves. */
export const dialectRows: readonly {
  readonly scheduler: SubmittingScheduler;
  /** As a configuration file has it. */
  readonly says: string;
  readonly system: Partial<System>;
  readonly typed: Typed;
  readonly cell: Cell;
}[] = [
  {
    scheduler: 'slurm',
    says: 'gpuDirective: gres',
    system: { gpuDirective: 'gres' },
    typed: { gpu: 'a100:2', gres: 'nvme:200' },
    cell: ['--gres=nvme:200,gpu:a100:2'],
  },
  {
    scheduler: 'slurm',
    says: 'gpuDirective: none, a partition with gpu: true',
    system: { gpuDirective: 'none', partitions: { volta: { gpu: true } } },
    typed: { gpu: '1', partition: 'volta' },
    cell: ['--partition=volta'],
  },
  {
    scheduler: 'slurm',
    says: 'gpuDirective: none',
    system: { gpuDirective: 'none' },
    typed: { gpu: '1' },
    cell: { refused: 'on Test GPUs come with whole nodes of a partition that has them' },
  },
  {
    scheduler: 'pbs',
    says: 'pbs: { request: nodes }',
    system: { pbs: { request: 'nodes' } },
    typed: { nodes: '2', cpus: '4', memory: '8' },
    cell: ['-l nodes=2:ppn=4', '-l mem=16384mb'],
  },
  {
    scheduler: 'pbs',
    says: 'pbs: { memory: vmem, gpu: gpus, place: scatter:excl }',
    system: { pbs: { memory: 'vmem', gpu: 'gpus', place: 'scatter:excl' } },
    typed: { memory: '8', gpu: '1' },
    cell: ['-l select=1:vmem=8192mb:gpus=1', '-l place=scatter:excl'],
  },
  {
    scheduler: 'pbs',
    says: 'no gpuType',
    system: { pbs: {} },
    typed: { gpu: 'a100:1' },
    cell: { refused: 'this system has no name for types of GPUs' },
  },
  {
    scheduler: 'sge',
    says: 'no parallelEnvironment',
    system: { sge: {} },
    typed: { cpus: '2' },
    cell: { refused: 'nobody has said what Test calls the parallel environment for several CPUs' },
  },
  {
    scheduler: 'sge',
    says: 'no memory',
    system: { sge: {} },
    typed: { memory: '8' },
    cell: { refused: 'nobody has said what Test calls memory' },
  },
  {
    scheduler: 'sge',
    says: 'no gpu',
    system: { sge: {} },
    typed: { gpu: '1' },
    cell: { refused: 'nobody has said what Test calls GPUs' },
  },
  {
    scheduler: 'lsf',
    says: 'lsf: { memoryPer: task }',
    system: { lsf: { memoryPer: 'task' } },
    typed: { cpus: '4', memory: '8' },
    cell: ['-n 4', '-R "span[hosts=1]"', '-M 2048MB', '-R "rusage[mem=2048MB]"'],
  },
];

/** What the job script does itself, the same on every scheduler and without one: the assignments that it gets. */
export const scriptRows: readonly { readonly typed: Typed; readonly assignments: readonly string[] }[] = [
  { typed: { service: 'jupyterlab' }, assignments: ['service=lab'] },
  { typed: { lab: true }, assignments: ['service=lab'] },
  { typed: { notebook: true }, assignments: ['service=notebook'] },
  { typed: { voila: true }, assignments: ['service=voila'] },
  { typed: { dir: "it's here" }, assignments: [`start_dir='/project/it'\\''s here'`] },
  { typed: { idleTimeout: '1h' }, assignments: ['idle_timeout=3600'] },
  { typed: { module: 'gcc,python/3.11' }, assignments: ['modules=(gcc python/3.11)'] },
  { typed: { modulePath: '/opt/modules,more' }, assignments: ['module_path=(/opt/modules /project/more)'] },
  { typed: { venv: '/opt/ml' }, assignments: ['venv=/opt/ml'] },
  { typed: { condaEnv: 'course' }, assignments: ['conda_env=course', 'conda_program=conda'] },
  {
    typed: { condaEnv: '/opt/course', condaInit: '/opt/conda.sh' },
    assignments: ['conda_env=/opt/course', 'conda_init=/opt/conda.sh', 'conda_program=conda'],
  },
  {
    typed: { condaYml: 'environment.yml' },
    assignments: ['conda_yml=/project/environment.yml', 'conda_program=conda'],
  },
  {
    typed: { condaYml: 'environment.yml', mamba: true, cache: true },
    assignments: [
      'conda_yml=/project/environment.yml',
      'conda_program=mamba',
      'conda_cache=/home/a/.cache/start-jupyter/conda',
    ],
  },
  { typed: { image: 'image.sif' }, assignments: ['image=/project/image.sif'] },
  {
    typed: { image: 'docker://quay.io/jupyter/scipy-notebook', bind: '/scratch,data:/mnt:ro', nv: true },
    assignments: [
      'image=docker://quay.io/jupyter/scipy-notebook',
      'binds=(/scratch /project/data:/mnt:ro)',
      'container_flags=(--nv)',
    ],
  },
  {
    typed: { image: '/opt/image.sif', rocm: true },
    assignments: ['image=/opt/image.sif', 'container_flags=(--rocm)'],
  },
  { typed: { env: 'OMP_NUM_THREADS=4' }, assignments: ['variables=(OMP_NUM_THREADS=4)'] },
  { typed: { setup: 'course.sh' }, assignments: ['setup_file=/project/course.sh'] },
  { typed: { scratchDir: '/scratch/{user}' }, assignments: [`scratch_dir='/scratch/{user}'`] },
];

/** Options that choose which script it is. */
export const templateOptions: readonly OptionKey[] = [
  'batchScript',
  'force',
  'here',
  'access',
  'via',
  'keepLink',
];

/** Options that neither the scheduler nor the job hears of. */
export const launcherOptions: readonly OptionKey[] = [
  'system',
  'profile',
  'config',
  'yes',
  'interactive',
  'wait',
  'open',
  'qr',
  'quiet',
  'info',
  'json',
  'dryRun',
];
