import {
  CHALLENGES,
  type FrontPlan,
  HEADER_SIZE,
  PATIENCE,
  portSuffix,
  preamble,
  profile,
  written,
} from './plan.ts';

/** A whole haproxy.cfg (HAProxy 2.6 or later). */
export function haproxy(plan: FrontPlan): string {
  const { domain, listen, redirectFrom, otherSites } = plan;
  const bind = ({ host, port }: { host: string; port: number }): string =>
    host === '::' ? `bind :::${port} v4v6` : `bind ${written({ host, port })}`;
  const pem = (name: string, certificate: string, key: string): string =>
    key === certificate ? certificate : `/etc/haproxy/certs/${name}.pem`;
  const pairs = [{ name: domain, ...plan }, ...otherSites].filter(
    (pair, i, all) => all.findIndex(({ certificate }) => certificate === pair.certificate) === i,
  );
  const files = pairs.map(({ name, certificate, key }) => pem(name, certificate, key));
  const recipe = pairs
    .filter(({ certificate, key }) => key !== certificate)
    .map(
      ({ name, certificate, key }) =>
        `  (umask 077; cat ${certificate} ${key} >${pem(name, certificate, key)})`,
    );
  const exact = plan.names.filter((name) => !name.startsWith('*'));
  const isSatellites = `  # The name without port and final dot.
  http-request set-var(txn.name) req.hdr(host),field(1,:),lower,rtrim(.)
  acl is_satellite var(txn.name) -m str ${exact.join(' ')}
${plan.names.length > exact.length ? `  acl is_satellite var(txn.name) -m end .${domain}\n` : ''}`;
  const isOthers = otherSites
    .map(({ name }, i) => `  acl is_other_${i} var(txn.name) -m str ${name}\n`)
    .join('');
  const known = ['is_satellite', ...otherSites.map((_, i) => `is_other_${i}`)];
  const refuse = `http-request return status 421 content-type text/plain string "This host is not served here." unless ${known.join(' or ')}`;

  return `${preamble(plan, 'HAProxy (2.6 or later)', [
    'This is a whole /etc/haproxy/haproxy.cfg.',
    ...(recipe.length > 0
      ? [
          'HAProxy reads a certificate and its key from one file. Make it, as root, now and whenever it is renewed:',
          ...recipe,
        ]
      : []),
    'Then  haproxy -c -f /etc/haproxy/haproxy.cfg && systemctl reload haproxy.  A reload cuts no WebSocket.',
    '',
    `It serves no files: challenges go to an ACME client that listens on ${plan.acme} while it asks for a certificate:`,
    `  certbot certonly --standalone --http-01-address ${plan.acme.replace(/:\d+$/, '')} --http-01-port ${/\d+$/.exec(plan.acme)?.[0]} -d NAME`,
    '',
    'SELinux (RHEL and its kin): setsebool -P haproxy_connect_any on',
  ])}

global
  user haproxy
  group haproxy
  chroot /var/lib/haproxy
  # For headers as large as satellite takes them.
  tune.bufsize ${2 * HEADER_SIZE}
  ssl-default-bind-options ssl-min-ver TLSv1.2 prefer-client-ciphers no-tls-tickets
  ssl-default-bind-ciphers ${profile.ciphers.join(':')}
  ssl-default-bind-ciphersuites ${profile.tls13.join(':')}
  ssl-default-bind-curves ${profile.curves.join(':')}

defaults
  mode http
  # What comes is passed on at once.
  option http-no-delay
  timeout connect ${PATIENCE.connect}s
  timeout http-request ${PATIENCE.header}s
  timeout http-keep-alive ${PATIENCE.idle}s
  timeout client ${PATIENCE.request}s
  timeout server ${PATIENCE.request}s
  # WebSockets.
  timeout tunnel ${PATIENCE.socket}s

frontend plain
  ${bind(redirectFrom)}
${isSatellites}${isOthers}  acl is_challenge path_beg ${CHALLENGES}
  ${refuse}
  http-request redirect code 308 location https://%[var(txn.name)]${portSuffix(listen)}%[pathq] unless is_challenge
  default_backend acme

backend acme
  server client ${plan.acme}

frontend secure
  # Names that are nobody's here get no certificate, and no answer.
  ${bind(listen)} ssl ${files.map((file) => `crt ${file}`).join(' ')} alpn h2,http/1.1 strict-sni
${isSatellites}${isOthers}  ${refuse}
${otherSites.map((_, i) => `  use_backend other_${i} if is_other_${i}\n`).join('')}  default_backend satellite

backend satellite
  # In place of what a visitor says of himself, never behind it.
  http-request set-header X-Forwarded-For %[src]
  http-request set-header X-Forwarded-Proto https
  http-request set-header X-Forwarded-Port ${listen.port}
  http-request del-header X-Forwarded-Host
  http-request del-header X-Real-IP
  http-request del-header Forwarded
${plan.userField === undefined ? '' : `  # Who he is says the front; whoever authenticates him here sets the field in place of this line.\n  http-request del-header ${plan.userField}\n`}${plan.hsts === undefined ? '' : `  http-after-response set-header Strict-Transport-Security "max-age=${plan.hsts}"\n`}  server satellite ${written(plan.satellite)}
${otherSites
  .map(
    ({ upstream }, i) => `
# Another site, which has nothing to do with satellite.
backend other_${i}
  http-request set-header X-Forwarded-For %[src]
  http-request set-header X-Forwarded-Proto https
  server other ${written(upstream)}
`,
  )
  .join('')}`;
}
