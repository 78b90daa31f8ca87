import {
  CHALLENGES,
  type FrontPlan,
  HEADER_SIZE,
  KEPT_SECONDS,
  PATIENCE,
  portSuffix,
  preamble,
  profile,
  written,
} from './plan.ts';

/** The profile's suites and groups by the names that Go has for them. */
const goSuites = profile.ciphers.map((name) => {
  const [exchange, kind, ...rest] = name.split('-');
  const isChaCha = rest[0] === 'CHACHA20';
  const cipher = isChaCha ? 'CHACHA20_POLY1305_SHA256' : rest.join('_').replace(/^AES(\d+)/, 'AES_$1');
  return `TLS_${exchange}_${kind}_WITH_${cipher}`;
});
const goCurves = { X25519: 'x25519', prime256v1: 'secp256r1', secp384r1: 'secp384r1' } as const;

/** A whole Caddyfile (Caddy 2.6 or later). */
export function caddy(plan: FrontPlan): string {
  const { listen, redirectFrom, otherSites } = plan;
  const bind = ({ host }: { host: string }): string => (host === '::' ? '' : `\tbind ${host}\n`);
  const at = (scheme: string, names: readonly string[], port: number): string =>
    names.map((name) => `${scheme}://${name}:${port}`).join(', ');
  const tls = (certificate: string, key: string): string => `\ttls ${certificate} ${key} {
		protocols tls1.2 tls1.3
		ciphers ${goSuites.join(' ')}
		curves ${profile.curves.map((curve) => goCurves[curve]).join(' ')}
	}
`;
  const challenges = `\t@challenge path ${CHALLENGES}*
	handle @challenge {
		root * ${plan.acme}
		header Content-Type text/plain
		file_server
	}
	handle {
		redir https://{host}${portSuffix(listen)}{uri} 308
	}
`;

  return `${preamble(plan, 'Caddy (2.6 or later)', [
    'This is a whole /etc/caddy/Caddyfile.',
    '  caddy validate --config /etc/caddy/Caddyfile --adapter caddyfile && systemctl reload caddy',
    'and a reload again whenever the certificate is renewed. A reload cuts WebSockets; Jupyter opens them again.',
    "(From Caddy 2.7 on,  stream_close_delay 24h  in satellite's reverse_proxy leaves them be.)",
    '',
    'The user "caddy" must be able to read certificate and key. SELinux (RHEL and its kin): nothing to do.',
  ])}

{
	# Any user of this host could change the configuration on Caddy's usual port of loopback.
	admin unix//var/lib/caddy/admin.sock
	# Certificates and redirects are below.
	auto_https off
	log {
		# Its lesser errors are logged with the query.
		exclude http.log.error http.handlers.reverse_proxy
	}
	servers {
		protocols h1 h2
		max_header_size ${HEADER_SIZE}B
		timeouts {
			read_header ${PATIENCE.header}s
			idle ${PATIENCE.idle}s
		}
	}
}

${at('http', [...plan.names, ...otherSites.map(({ name }) => name)], redirectFrom.port)} {
${bind(redirectFrom)}${challenges}}

${at('https', plan.names, listen.port)} {
${bind(listen)}${tls(plan.certificate, plan.key)}${insist(plan)}	reverse_proxy ${written(plan.satellite)} {
		# In place of what a visitor says of himself, never behind it.
		header_up X-Forwarded-For {remote_host}
		header_up X-Forwarded-Proto https
		header_up X-Forwarded-Port ${listen.port}
		header_up -X-Real-IP
		header_up -Forwarded
${plan.userField === undefined ? '' : `\t\t# Who he is says the front; whoever authenticates him here sets the field in place of this line.\n\t\theader_up -${plan.userField}\n`}		# What comes is passed on at once, and as it came.
		flush_interval -1
		transport http {
			versions 1.1
			compression off
			dial_timeout ${PATIENCE.connect}s
			keepalive ${KEPT_SECONDS}s
		}
	}
}
${otherSites
  .map(
    ({ name, upstream, certificate, key }) => `
# Another site, which has nothing to do with satellite.
${at('https', [name], listen.port)} {
${bind(listen)}${tls(certificate, key)}	reverse_proxy ${written(upstream)}
}
`,
  )
  .join('')}
# Names that are nobody's here.
http://:${redirectFrom.port} {
${bind(redirectFrom)}	respond "This host is not served here." 421
}
https://:${listen.port} {
${bind(listen)}${tls(plan.certificate, plan.key)}	respond "This host is not served here." 421
}
`;
}

/** In answers of satellite's, whose own field or the notebook's is replaced, and in Caddy's when it has none. */
function insist({ hsts }: FrontPlan): string {
  if (hsts === undefined) return '';
  const field = `Strict-Transport-Security "max-age=${hsts}"`;
  return `	header {
		defer
		${field}
	}
	handle_errors {
		header ${field}
		respond "{err.status_code} {err.status_text}"
	}
`;
}
