import type { LaunchSpec } from '../../src/launch-spec.ts';

/** A launch on a Slurm cluster for which nothing is asked but half an hour; tests change what they are about. */
export const plainLaunch: LaunchSpec = {
  system: {
    name: 'test',
    title: 'Test',
    scheduler: 'slurm',
    proxy: { endpoint: 'sites.test' },
    nodeAddress: undefined,
    requireAccount: false,
    gpuDirective: 'gpus',
    partitions: {},
  },
  access: 'satellite',
  here: false,
  service: undefined,
  directory: '/home/a',
  resources: {
    account: undefined,
    partition: undefined,
    timeLimit: 1800,
    nodes: undefined,
    cpus: undefined,
    memory: undefined,
    gpu: undefined,
    gres: undefined,
    reservation: undefined,
    qos: undefined,
    constraint: undefined,
  },
  environment: {
    modules: [],
    modulePath: [],
    venv: undefined,
    conda: undefined,
    container: undefined,
    variables: [],
    setup: undefined,
    scratchDirectory: undefined,
  },
  idleTimeout: undefined,
  template: undefined,
};
