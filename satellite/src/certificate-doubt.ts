import type { X509Certificate } from 'node:crypto';
import type { SatelliteConfig } from './config.ts';
import { decideHost } from './gate/host.ts';
import type { LogEntry } from './log.ts';

/** The names under which visitors come to this proxy; a site's is one with an asterisk. */
export function namesToCover({ domain, siteStyle, routes }: SatelliteConfig): string[] {
  const manage = `manage.${domain}`;
  const own = siteStyle === 'host' ? [manage, `*.${domain}`] : [manage, domain];
  const fixed = routes
    .map(({ host }) => host)
    .filter((name) => siteStyle === 'path' || decideHost(name, domain).kind !== 'site');
  return [...new Set([...own, ...fixed])];
}

/**
 * What browsers are going to hold against a certificate, as it is to stand in the log; undefined where that is nothing. Who
 * has signed it is not asked: they may know an authority that nobody here does.
 *
 * @param names for which one of `all` has to be
 */
export function doubtAbout(
  certificate: X509Certificate,
  all: readonly X509Certificate[],
  names: readonly string[],
): LogEntry | undefined {
  const now = Date.now();
  const [from, to] = [certificate.validFromDate, certificate.validToDate];
  const missing = names.filter((name) => !all.some((one) => covers(one, name)));
  const faults = [
    ...(to.getTime() < now ? [`it has expired on ${to.toISOString()}`] : []),
    ...(from.getTime() > now ? [`it is not valid before ${from.toISOString()}`] : []),
    ...(missing.length > 0
      ? [`${all.length > 1 ? 'no certificate is' : 'it is not'} for ${missing.join(', ')}`]
      : []),
  ];
  if (faults.length === 0) return undefined;
  return {
    event: 'certificate-doubtful',
    notAfter: to.toISOString(),
    names: certificate.subjectAltName,
    message: `${faults.join(', and ')}; it is shown all the same, and browsers will refuse it or warn of it`,
  };
}

/** By its alternative names: no browser looks at the subject any more. */
function covers(certificate: X509Certificate, name: string): boolean {
  return certificate.checkHost(name.replace('*', 'any-site-of-all'), { subject: 'never' }) !== undefined;
}
