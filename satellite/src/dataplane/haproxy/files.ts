import path from 'node:path';

/** What is in the folder between satellite and HAProxy. */
export function fileNames(folder: string) {
  const file = (name: string): string => path.join(folder, name);
  return {
    /** Where satellite listens, for visitors and for lines about requests. */
    satellite: file('satellite.sock'),
    log: file('log.sock'),
    /** The map of live sites. */
    sites: file('sites.map'),
    /** Certificate, chain and key of the pair with this number. */
    certificate: (number: number): string => file(`certificate-${number}.pem`),
  };
}
