/** `--access reverse`: Jupyter here, its site at a satellite that is reached with ssh. */
import { freePort } from '../../free-port.ts';
import { type SatelliteAddress, SatelliteClient } from '../satellite.ts';
import { reverseKey } from './key.ts';
import { ReverseTunnel } from './tunnel.ts';
import { viaOf } from './via.ts';

/**
 * @param proxy the satellite as its visitors know it
 * @param note is told when the connection is lost, and when it is back
 * @throws ConfigurationError, ProxyError
 */
export async function openReverseAccess(
  viaText: string,
  proxy: SatelliteAddress,
  note: (text: string) => void,
  interrupted: AbortSignal,
): Promise<{ proxy: SatelliteAddress; close: () => Promise<void> }> {
  const via = viaOf(viaText);
  const key = await reverseKey();
  const jupyterPort = await freePort();
  const managePort = Number(new URL(proxy.manageUrl).port || 443);
  const tunnel = new ReverseTunnel({ via, key, managePort, jupyterPort });
  const through = { ...proxy, socket: tunnel.socket, sitePort: key.sitePort, jupyterPort };
  const ask = async () => {
    const client = new SatelliteClient(through);
    try {
      await client.identify();
    } finally {
      await client.close();
    }
  };
  try {
    await tunnel.open(ask, interrupted);
  } catch (error) {
    await tunnel.close();
    throw error;
  }
  tunnel.on('lost', (reason) =>
    note(`The connection to ${via.host} is lost (${reason}); it is tried again.`),
  );
  tunnel.on('back', () => note(`The connection to ${via.host} is back; the link is the same.`));
  return { proxy: through, close: () => tunnel.close() };
}
