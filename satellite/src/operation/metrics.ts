import { createServer, type Server } from 'node:http';
import { Counter, collectDefaultMetrics, Gauge, Registry } from 'prom-client';
import type { Certificates } from '../tls.ts';
import type { TokenRegistry } from '../tokens/registry.ts';
import { type Health, healthReply } from './health.ts';
import type { Traffic } from './traffic.ts';

type Samples = Iterable<readonly [labels: Record<string, string>, value: number]>;

/** The metrics in Prometheus's text format. Labels never hold anything that came from a client. */
export function metricsOf(
  tokens: TokenRegistry,
  traffic: Traffic,
  certificates: Certificates | undefined,
): Registry {
  const registry = new Registry();
  // The process's own: CPU, memory, file descriptors, event-loop lag.
  collectDefaultMetrics({ register: registry });
  const add = (
    Kind: typeof Counter | typeof Gauge,
    name: string,
    help: string,
    labelNames: string[],
    read: () => Samples,
  ): void => {
    new Kind({
      name: `satellite_${name}`,
      help,
      labelNames,
      registers: [registry],
      collect() {
        this.reset();
        for (const [labels, value] of read()) this.inc(labels, value);
      },
    });
  };
  const one = (value: number): Samples => [[{}, value]];

  add(Gauge, 'tokens', 'Tokens known, by state.', ['state'], () =>
    Object.entries(tokens.counts()).map(([state, count]) => [{ state }, count]),
  );
  add(Counter, 'tokens_issued_total', 'Tokens issued.', [], () => one(traffic.issued));
  add(Counter, 'tokens_redeemed_total', 'Tokens redeemed.', [], () => one(traffic.redeemed));
  add(Counter, 'tokens_gone_total', 'Tokens that are gone, by what ended them.', ['by'], () =>
    Object.entries(traffic.gone).map(([by, count]) => [{ by }, count]),
  );
  add(Counter, 'requests_total', 'Requests answered, by kind and status class.', ['kind', 'status'], () =>
    [...traffic.requests].map(({ kind, status, count }) => [{ kind, status }, count]),
  );
  add(Gauge, 'open_requests', 'Requests to notebooks that are under way.', [], () =>
    one(traffic.totals().openRequests),
  );
  add(Gauge, 'open_websockets', 'WebSockets to notebooks that are open.', [], () =>
    one(traffic.totals().openWebSockets),
  );
  add(Counter, 'site_bytes_total', 'Bytes of bodies and tunnels, by direction.', ['direction'], () => {
    const { bytesIn, bytesOut } = traffic.totals();
    return [
      [{ direction: 'in' }, bytesIn],
      [{ direction: 'out' }, bytesOut],
    ];
  });
  add(Counter, 'upstream_failures_total', 'Requests that a notebook did not answer.', ['failure'], () =>
    [...traffic.failures].map(([failure, count]) => [{ failure }, count]),
  );
  add(Counter, 'limited_total', 'Requests and connections over a limit.', ['limit'], () =>
    [...traffic.limits].map(([limit, count]) => [{ limit }, count]),
  );
  add(Counter, 'state_errors_total', 'Changes that could not be written.', [], () =>
    one(traffic.stateErrors),
  );
  add(
    Gauge,
    'news_age_seconds',
    'For how long nothing was heard of other proxies that share the state; 0 where none do.',
    [],
    () => one(tokens.newsAge / 1000),
  );
  add(
    Gauge,
    'job_report_age_seconds',
    'Time since job states were last reported, or since the start.',
    [],
    () => one(tokens.reportAge / 1000),
  );
  if (certificates)
    add(
      Gauge,
      'certificate_expiry_timestamp_seconds',
      'When a certificate expires, in seconds since the epoch.',
      ['cert'],
      () => certificates.expiries().map(([cert, time]) => [{ cert }, time / 1000]),
    );
  return registry;
}

/**
 * The listener for Prometheus and for health checks from this side of the firewall. Not started yet. Before metrics are read
 * `bringIn` takes in what others have counted; where it rejects they are as of the last time.
 */
export function metricsServer(registry: Registry, health: Health, bringIn: () => Promise<void>): Server {
  return createServer({ headersTimeout: 10_000, requestTimeout: 10_000 }, (request, response) => {
    const reply = (status: number, type: string, body: string): void => {
      response.writeHead(status, { 'Content-Type': type, 'Content-Length': Buffer.byteLength(body) });
      response.end(request.method === 'HEAD' ? undefined : body);
    };
    const reads = request.method === 'GET' || request.method === 'HEAD';
    const notFound = 'Metrics are at /metrics, health is at /healthz and /livez.\n';
    if (!reads) reply(404, 'text/plain', notFound);
    else if (request.url === '/metrics') {
      const brought = bringIn().catch(() => undefined);
      void brought
        .then(() => registry.metrics())
        .then(
          (text) => reply(200, registry.contentType, text),
          (error: Error) => reply(500, 'text/plain', `${error.message}\n`),
        );
    } else
      void healthReply(health, request.url ?? '').then((checked) =>
        checked ? reply(checked.status, 'text/plain', checked.body) : reply(404, 'text/plain', notFound),
      );
  });
}
