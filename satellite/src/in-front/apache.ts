import {
  CHALLENGES,
  type FrontPlan,
  HEADER_SIZE,
  KEPT_SECONDS,
  type OtherSite,
  PATIENCE,
  portSuffix,
  preamble,
  profile,
  written,
} from './plan.ts';

const modules = [
  'mpm_event',
  'alias',
  'authz_core',
  'headers',
  'http2',
  'proxy',
  'proxy_http',
  'reqtimeout',
  'rewrite',
  'socache_shmcb',
  'ssl',
];

/** Threads of one process. */
const THREADS = 64;
const PROCESSES = 64;

/** A whole apache2.conf (Apache httpd 2.4.54 or later). */
export function apache(plan: FrontPlan): string {
  const at = ({ host, port }: { host: string; port: number }): string =>
    host === '::' ? `*:${port}` : written({ host, port });
  const listen = ({ host, port }: { host: string; port: number }, protocol: string): string =>
    `Listen ${host === '::' ? port : written({ host, port })} ${protocol}`;
  const names = (list: readonly string[]): string => {
    const [name, ...aliases] = list;
    return `  ServerName ${name}${aliases.length > 0 ? `\n  ServerAlias ${aliases.join(' ')}` : ''}`;
  };
  const tls = (certificate: string, key: string): string => `  SSLEngine on
  SSLCertificateFile ${certificate}
  SSLCertificateKeyFile ${key}
  Protocols h2 http/1.1`;
  const redirect = (list: readonly string[]): string => `<VirtualHost ${at(plan.redirectFrom)}>
${names(list)}
  Alias ${CHALLENGES} ${plan.acme}${CHALLENGES}
  # Or else what has %2F in it would be 404.
  AllowEncodedSlashes NoDecode
  RewriteEngine on
  RewriteCond %{REQUEST_URI} !^${CHALLENGES.replaceAll('.', '\\.')}
  # The path as it was sent; Apache adds the query.
  RewriteCond %{THE_REQUEST} "^[^ ]+ (/[^ ?]*)"
  RewriteRule ^ https://%{SERVER_NAME}${portSuffix(plan.listen)}%1 [R=308,NE,L]
</VirtualHost>
`;
  const other = ({ name, upstream, certificate, key }: OtherSite): string => `
# Another site, which has nothing to do with satellite.
${redirect([name])}
<VirtualHost ${at(plan.listen)}>
${names([name])}
${tls(certificate, key)}
  ProxyPreserveHost On
  RequestHeader unset X-Forwarded-For
  RequestHeader set X-Forwarded-Proto https
  ProxyPass / http://${written(upstream)}/ upgrade=websocket
</VirtualHost>
`;

  return `${preamble(plan, 'Apache (2.4.54 or later)', [
    'As it is, this is a whole /etc/apache2/apache2.conf for Debian; on RHEL and its kin a whole /etc/httpd/conf/httpd.conf,',
    'with the paths, the user and the group below changed. In an installation that has sites already, put what begins with the',
    'line "Sites" into a file of its own (Debian: sites-available/satellite.conf), without the Listen lines that are there',
    'already, after',
    `  a2enmod ${modules.slice(1).join(' ')} && a2ensite satellite`,
    'Then  apachectl configtest && systemctl reload apache2,  and a reload again whenever the certificate is renewed.',
    '',
    'Every WebSocket and every open page takes a thread: MaxRequestWorkers is how many there can be at a time.',
    '',
    'SELinux (RHEL and its kin): setsebool -P httpd_can_network_connect on',
  ])}

ServerRoot /etc/apache2
ServerName ${plan.domain}
PidFile /run/apache2/apache2.pid
ErrorLog /var/log/apache2/error.log
# Without the page that a visitor comes from, whose address may hold a secret.
ErrorLogFormat "[%{cu}t] [%-m:%l] [pid %P] %E: %M"
User www-data
Group www-data

${modules
  .map(
    (name) => `<IfModule !${name}_module>
  LoadModule ${name}_module /usr/lib/apache2/modules/mod_${name}.so
</IfModule>`,
  )
  .join('\n')}

ServerLimit ${PROCESSES}
ThreadsPerChild ${THREADS}
MaxRequestWorkers ${PROCESSES * THREADS}

<Directory />
  AllowOverride None
  Require all denied
</Directory>

# Sites

${listen(plan.listen, 'https')}
${listen(plan.redirectFrom, 'http')}

SSLProtocol -all +TLSv1.2 +TLSv1.3
SSLCipherSuite ${profile.ciphers.join(':')}
SSLCipherSuite TLSv1.3 ${profile.tls13.join(':')}
SSLHonorCipherOrder off
SSLSessionTickets off
SSLSessionCache shmcb:/run/apache2/satellite-tls(512000)
SSLOpenSSLConfCmd Curves ${profile.curves.join(':')}
LimitRequestLine ${HEADER_SIZE}
LimitRequestFieldSize ${HEADER_SIZE}
RequestReadTimeout header=${PATIENCE.header}-${2 * PATIENCE.header},MinRate=500 body=0
Timeout ${PATIENCE.request}
KeepAliveTimeout ${PATIENCE.idle}
MaxKeepAliveRequests 0

<Directory ${plan.acme}>
  AllowOverride None
  Options None
  ForceType text/plain
  Require all granted
</Directory>

# The first of a port is for names that are nobody's here.
<VirtualHost ${at(plan.listen)}>
  ServerName unknown.invalid
${tls(plan.certificate, plan.key)}
  Redirect 421 /
</VirtualHost>
<VirtualHost ${at(plan.redirectFrom)}>
  ServerName unknown.invalid
  Redirect 421 /
</VirtualHost>

${redirect(plan.names)}
<VirtualHost ${at(plan.listen)}>
${names(plan.names)}
${tls(plan.certificate, plan.key)}
  # Lesser errors name what was asked for.
  LogLevel crit

  # Everything as it came: paths, the host, bodies of any size.
  AllowEncodedSlashes NoDecode
  MergeSlashes Off
  ProxyPreserveHost On
  LimitRequestBody 0
${plan.hsts === undefined ? '' : `\n  Header onsuccess unset Strict-Transport-Security\n  Header always set Strict-Transport-Security "max-age=${plan.hsts}"\n`}
  # In place of what a visitor says of himself, never behind it: mod_proxy writes X-Forwarded-For anew once it is gone.
  # Nor may he name these fields in Connection, which would take them away (CVE-2022-31813).
  RequestHeader edit* Connection "(?i)[^, ]*(forwarded|real-ip${plan.userField === undefined ? '' : `|${plan.userField}`})[^, ]*" close
  RequestHeader unset X-Forwarded-For
  RequestHeader unset X-Forwarded-Host
  RequestHeader unset X-Forwarded-Server
  RequestHeader unset X-Real-IP
  RequestHeader unset Forwarded
  RequestHeader set X-Forwarded-Proto https
  RequestHeader set X-Forwarded-Port ${plan.listen.port}
${plan.userField === undefined ? '' : `  # Who he is says the front; whoever authenticates him here sets the field in place of this line.\n  RequestHeader unset ${plan.userField}\n`}
  ProxyPass / http://${written(plan.satellite)}/ nocanon upgrade=websocket connectiontimeout=${PATIENCE.connect} timeout=${PATIENCE.socket} ttl=${KEPT_SECONDS}
</VirtualHost>
${plan.otherSites.map(other).join('')}`;
}
