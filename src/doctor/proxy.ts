/** The Satellite proxy: from its name to a token, which is given back. */
import { type LookupAddress, lookup } from 'node:dns';
import { once } from 'node:events';
import net from 'node:net';
import tls, { type PeerCertificate } from 'node:tls';
import { satelliteAddress } from '../access/open.ts';
import {
  checkName,
  type Identity,
  type IssuedToken,
  SatelliteClient,
  transportProblem,
  trustAdvice,
  trusted,
} from '../access/satellite.ts';
import { PersonError } from '../errors.ts';
import type { ProxyAddress } from '../systems/system.ts';
import { formatDuration, shown } from '../values.ts';
import { complained, type Finding, fail, ok, skipped, warn } from './finding.ts';

const timeout = 10_000;
const day = 24 * 3600;
/** A certificate is usually renewed a month before its end. */
const soon = 14 * day;
/** Seconds. Tokens age by the proxy's own clock, but certificates don't. */
const tolerable = 60;

/** Everything after a step that fails is skipped. */
export async function proxyFindings(proxy: ProxyAddress): Promise<Finding[]> {
  const findings: Finding[] = [];
  for (const step of [nameStep, connectionStep, certificateStep, answerStep]) {
    const found = await step(proxy);
    findings.push(...found);
    if (found.some(({ result }) => result === 'fail')) {
      findings.push(skipped('The rest', 'the proxy was not asked any further'));
      break;
    }
  }
  return findings;
}

function hostAndPort({ endpoint }: ProxyAddress): { readonly host: string; readonly port: number } {
  const { hostname, port } = new URL(`https://manage.${endpoint}`);
  return { host: hostname, port: Number(port || 443) };
}

async function nameStep(proxy: ProxyAddress): Promise<Finding[]> {
  const title = 'Name';
  const { host } = hostAndPort(proxy);
  try {
    const addresses = await resolveName(host);
    return [ok(title, `${host} is ${addresses.map(({ address }) => address).join(', ')}`)];
  } catch (error) {
    return [fail(title, `${host}: ${transportProblem(error)}`, `${checkName} the DNS.`)];
  }
}

function resolveName(host: string): Promise<LookupAddress[]> {
  return new Promise((resolve, reject) => {
    lookup(host, { all: true }, (error, addresses) => (error ? reject(error) : resolve(addresses)));
  });
}

async function connectionStep(proxy: ProxyAddress): Promise<Finding[]> {
  const title = 'Connection';
  const { host, port } = hostAndPort(proxy);
  const started = performance.now();
  const socket = net.connect({ host, port, lookup, timeout });
  socket.once('timeout', () => socket.destroy(new Error('it does not answer')));
  try {
    await once(socket, 'connect');
    return [ok(title, `port ${port}, ${Math.round(performance.now() - started)} ms`)];
  } catch (error) {
    return [
      fail(
        title,
        `${host}, port ${port}: ${transportProblem(error)}`,
        'The proxy is down, or a firewall is between: ask whoever runs it. An HTTP proxy is of no use here.',
      ),
    ];
  } finally {
    socket.destroy();
  }
}

async function certificateStep(proxy: ProxyAddress): Promise<Finding[]> {
  const title = 'Certificate';
  const { host, port } = hostAndPort(proxy);
  let answer: { certificate: PeerCertificate; problem: string | undefined };
  try {
    answer = await peerCertificate(proxy);
  } catch (error) {
    if (error instanceof PersonError) return [complained(title, error)];
    const advice = trustAdvice(error, proxy.caFile);
    const found = advice === undefined ? shown((error as Error).message, 160) : transportProblem(error);
    return [
      fail(
        title,
        `${host}, port ${port}: ${found}`,
        `${advice ?? 'Check proxy.caFile, and that the port speaks HTTPS'}.`,
      ),
    ];
  }
  const { certificate, problem } = answer;
  const ends = Date.parse(certificate.valid_to);
  const seconds = (ends - Date.now()) / 1000;
  const validity = `until ${new Date(ends).toISOString().slice(0, 10)}`;
  if (seconds < 0)
    return [fail(title, `it has expired: valid ${validity}`, 'Ask whoever runs the proxy to renew it.')];
  if (problem !== undefined) {
    const advice = trustAdvice({ code: problem }, proxy.caFile) ?? 'Ask whoever runs the proxy';
    return [fail(title, `${host}: not trusted: ${problem}`, `${advice}.`)];
  }
  const found = `${validity}, ${proxy.caFile === undefined ? 'of a public authority' : `of that in ${proxy.caFile}`}`;
  return [
    seconds < soon
      ? warn(title, `${found}: ${formatDuration(seconds)} left`, 'Ask whoever runs the proxy to renew it.')
      : ok(title, found),
  ];
}

async function peerCertificate(
  proxy: ProxyAddress,
): Promise<{ certificate: PeerCertificate; problem: string | undefined }> {
  const { host, port } = hostAndPort(proxy);
  // Looked at whether it is trusted or not: why it isn't is what is asked here. Nothing is sent.
  const socket = tls.connect({
    host,
    port,
    servername: host,
    lookup,
    timeout,
    rejectUnauthorized: false,
    ...trusted(proxy.caFile),
  });
  socket.once('timeout', () => socket.destroy(new Error('it does not answer')));
  try {
    await once(socket, 'secureConnect');
    const certificate = socket.getPeerCertificate();
    const problem = socket.authorized
      ? undefined
      : (socket.authorizationError?.message ?? String(socket.authorizationError));
    return { certificate, problem };
  } finally {
    socket.destroy();
  }
}

async function answerStep(proxy: ProxyAddress): Promise<Finding[]> {
  const client = new SatelliteClient(satelliteAddress(proxy));
  try {
    const identity = await client.identify();
    const named = identity.version === undefined ? 'the original Satellite' : `Satellite ${identity.version}`;
    return [
      ok('Satellite', named),
      clockFinding(identity),
      ...(identity.version === undefined ? [await admission(client)] : await tokenFindings(client, proxy)),
    ];
  } catch (error) {
    return [complained('Satellite', error)];
  } finally {
    await client.close();
  }
}

function clockFinding({ date }: Identity): Finding {
  const title = 'Clock';
  if (date === undefined) return skipped(title, 'the proxy does not say what time it is');
  // A Date header has no fractions of a second.
  const difference = Math.round((Date.now() - date.getTime()) / 1000);
  const found =
    Math.abs(difference) <= 1
      ? 'the same here and there'
      : `${Math.abs(difference)} s ${difference > 0 ? 'ahead of' : 'behind'} the proxy's`;
  return Math.abs(difference) > tolerable
    ? warn(title, found, 'Set the clock (NTP): certificates and times in lists go by it.')
    : ok(title, found);
}

const outside =
  "Start on a login node, or ask for this machine's network to be added to the proxy's internalNetworks.";

/** An original is asked for nothing that it would have to keep. */
async function admission(client: SatelliteClient): Promise<Finding> {
  const title = 'Lets this host in';
  const refusal = await client.outsiderRefusal();
  return refusal === undefined
    ? ok(title, 'yes; no token was asked for, as it could not be given back')
    : fail(title, refusal, outside);
}

async function tokenFindings(client: SatelliteClient, proxy: ProxyAddress): Promise<Finding[]> {
  const title = 'Lets this host in';
  let issued: IssuedToken;
  const started = performance.now();
  try {
    issued = await client.issueToken();
  } catch (error) {
    if (!(error instanceof PersonError)) throw error;
    return [fail(title, error.message, / networks? /.test(error.message) ? outside : error.hint)];
  }
  const took = Math.round(performance.now() - started);
  await client.destroyToken(issued);
  const left = await client.tokenStatus(issued.token);
  const isBack = left === undefined || left.state === 'gone';
  return [
    isBack
      ? ok(title, `a token in ${took} ms, and given back`)
      : warn(
          title,
          'a token was given, but not taken back',
          'Tell whoever runs the proxy; it ends by itself in time.',
        ),
    await siteNameFinding(issued.site, proxy),
  ];
}

/** Browsers need a name below the proxy's, and a certificate that covers it. */
async function siteNameFinding(site: string, proxy: ProxyAddress): Promise<Finding> {
  const title = 'Names of sites';
  const { hostname, pathname } = new URL(site);
  if (pathname !== '/') return ok(title, `sites are by path, at ${hostname}`);
  const pattern = hostname.replace(/^[^.]+/, '*');
  const { certificate } = await peerCertificate(proxy);
  const problem = tls.checkServerIdentity(hostname, certificate);
  if (problem !== undefined)
    return fail(
      title,
      `the certificate is not for ${pattern}: browsers will warn`,
      'Whoever runs the proxy needs a wildcard certificate, or sites by path (siteStyle: path).',
    );
  try {
    await resolveName(hostname);
    return ok(title, `${pattern}: in the certificate and in the DNS`);
  } catch {
    return ok(
      title,
      `${pattern}: in the certificate; the DNS of this machine does not know it, that of laptops must`,
    );
  }
}
