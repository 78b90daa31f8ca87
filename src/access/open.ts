/** How the browser gets to Jupyter: which proxy gives out the token, or that none does, and what must be closed afterwards. */
import type { Launch } from '../launch/launch.ts';
import type { LaunchSpec } from '../launch-spec.ts';
import type { ProxyAddress } from '../systems/system.ts';
import { viaOf } from './reverse/via.ts';
import type { SatelliteAddress } from './satellite.ts';

export interface OpenAccess {
  /** Undefined: nobody is asked for a token, since the browser comes through a tunnel. */
  readonly proxy: SatelliteAddress | undefined;
  close(): Promise<void>;
}

/**
 * The site's proxy, the one at the other end of an ssh connection, one of our own on loopback, or none.
 * @throws ConfigurationError, ProxyError where there is no connection
 */
export async function openAccess(
  spec: LaunchSpec,
  { progress, interrupted }: Pick<Launch, 'progress' | 'interrupted'>,
): Promise<OpenAccess> {
  if (spec.via !== undefined) {
    const { openReverseAccess } = await import('./reverse/open.ts');
    const note = (text: string) => progress.note(text);
    return openReverseAccess(spec.via, reverseAddress(spec, spec.via), note, interrupted);
  }
  if (spec.access === 'local') return openLocalAccess();
  return { proxy: plannedAddress(spec), close: async () => {} };
}

export function satelliteAddress({ endpoint, caFile }: ProxyAddress): SatelliteAddress {
  return { manageUrl: `https://manage.${endpoint}`, caFile };
}

/** Where nothing says otherwise, sites are below the name of the server itself. */
function reverseAddress({ system }: LaunchSpec, via: string): SatelliteAddress {
  return satelliteAddress(system.proxy ?? { endpoint: viaOf(via).host });
}

/** What the script of a dry run shows for a proxy that isn't there yet. */
export function plannedAddress(spec: LaunchSpec): SatelliteAddress | undefined {
  if (spec.access === 'ssh') return undefined;
  if (spec.access === 'local') return { manageUrl: 'http://manage.localhost:80', connectTo: '127.0.0.1' };
  if (spec.via !== undefined)
    return { ...reverseAddress(spec, spec.via), socket: '/tmp/sj-XXXXXX/satellite' };
  return satelliteAddress(spec.system.proxy as ProxyAddress);
}

/** A satellite within this process, for this machine's own browsers: `http://<words>.localhost:<port>/`. */
async function openLocalAccess(): Promise<OpenAccess> {
  const { startSatellite } = await import('satellite');
  const satellite = await startSatellite(
    {
      domain: 'localhost',
      listen: '127.0.0.1:0',
      tls: 'off',
      internalNetworks: ['127.0.0.0/8'],
      state: ':memory:',
    },
    { log: () => {} },
  );
  return {
    proxy: { manageUrl: satellite.manageUrl.replace(/\/$/, ''), connectTo: '127.0.0.1' },
    close: () => satellite.close(),
  };
}
