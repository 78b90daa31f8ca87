/** Every job script as it leaves the launcher, for tools that read shell: the templates alone are no valid shell. */
import { jobScript } from '../src/batch/job-script.ts';
import type { LaunchSpec } from '../src/launch-spec.ts';

const spec: LaunchSpec = {
  system: {
    name: 'example',
    title: 'Example',
    scheduler: 'slurm',
    proxy: { endpoint: 'user-content.example.edu' },
    nodeAddress: '{hostname -s}.eth.cluster',
    requireAccount: false,
    gpuDirective: 'gpus',
    partitions: {},
  },
  access: 'satellite',
  via: undefined,
  keepLink: undefined,
  here: false,
  service: 'lab',
  directory: '/home/a user/work',
  resources: {
    account: 'abc123',
    partition: 'gpu-shared',
    timeLimit: 7200,
    nodes: 1,
    cpus: 4,
    memory: 8192,
    gpu: { type: 'v100', count: 1 },
    gres: 'nvme:200',
    reservation: 'workshop',
    qos: 'high',
    constraint: 'skylake&ib',
  },
  environment: {
    modules: ['gcc/12', 'python/3.11'],
    modulePath: ['/home/a user/modules'],
    venv: '/home/a user/venv',
    conda: undefined,
    container: undefined,
    variables: ['OMP_NUM_THREADS=4'],
    setup: '/home/a user/setup.sh',
    scratchDirectory: '/scratch/{user}/{job}',
  },
  idleTimeout: 3600,
  template: undefined,
};

/** The scripts by the name of their template. */
export function jobScripts(): ReadonlyMap<string, string> {
  const proxy = { manageUrl: 'https://manage.user-content.example.edu', caFile: '/etc/ca.pem' };
  return new Map([
    ['slurm', jobScript(spec, 'example', proxy)],
    ['pbs', jobScript({ ...spec, system: { ...spec.system, scheduler: 'pbs' } }, 'example', proxy)],
    ['torque', jobScript({ ...spec, system: { ...spec.system, scheduler: 'torque' } }, 'example', proxy)],
    ['sge', jobScript({ ...spec, system: { ...spec.system, scheduler: 'sge' } }, 'example', proxy)],
    ['lsf', jobScript({ ...spec, system: { ...spec.system, scheduler: 'lsf' } }, 'example', proxy)],
    ['none', jobScript({ ...spec, here: true }, 'example', proxy)],
  ]);
}
