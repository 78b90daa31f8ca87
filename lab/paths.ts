import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** The checkout this lab belongs to; inside the lab it is `/opt/start-jupyter`, read-only. */
export const checkout = dirname(dirname(fileURLToPath(import.meta.url)));

/** Everything the lab keeps. `down` removes it. Only root can enter it. */
export const stateDirectory = '/var/lib/start-jupyter-lab';

/** What the lab's machines see as `/`. */
export const rootDirectory = join(stateDirectory, 'root');

/** Where one daemon's pid and log are found from outside the lab. */
export const daemonDirectory = join(stateDirectory, 'daemons');

export const domain = 'user-content.test';

/** Address of the login host: scheduler, name server and Satellite listen here. */
export const address = '10.21.0.1';

/** The test CA's certificate, as a path of the machine itself: for browsers and clients outside the lab. */
export const caFile = join(rootDirectory, 'etc/start-jupyter/ca.pem');

export type NodeName = 'login' | 'c1' | 'c2';

export const nodeAddresses: Record<NodeName, string> = { login: address, c1: '10.21.0.11', c2: '10.21.0.12' };

export const nodeNames = Object.keys(nodeAddresses) as NodeName[];

/** A path as the lab's machines name it, as the machine itself finds it. Only for what all of them share. */
export function labPath(path: string): string {
  return join(rootDirectory, path);
}
