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

/** A whole nginx.conf (nginx 1.19.4 or later). */
export function nginx(plan: FrontPlan): string {
  const names = plan.names.join(' ');
  const challenges = `    location ^~ ${CHALLENGES} { root ${plan.acme}; default_type text/plain; }`;
  return `${preamble(plan, 'nginx (1.19.4 or later)', [
    'As it is, this is a whole /etc/nginx/nginx.conf. Beside other sites that nginx has already, put what is between the',
    'braces of http into /etc/nginx/conf.d/satellite.conf, and take out one of two default_servers. Then',
    '  nginx -t && systemctl reload nginx',
    'and a reload again whenever the certificate is renewed. A reload cuts no WebSocket.',
    '',
    'SELinux (RHEL and its kin): nginx may not connect to satellite until',
    '  setsebool -P httpd_can_network_connect on',
    `${plan.listen.port === 443 && plan.redirectFrom.port === 80 ? 'Other' : 'These'} ports than 80 and 443 need  semanage port -a -t http_port_t -p tcp PORT,`,
    'certificates copied from a home  restorecon -v FILE,  a directory of challenges outside of /var/www',
    `  semanage fcontext -a -t httpd_sys_content_t '${plan.acme}(/.*)?' && restorecon -Rv ${plan.acme}`,
  ])}

user www-data;   # "nginx" on RHEL and its kin
pid /run/nginx.pid;
error_log /var/log/nginx/error.log;
worker_processes auto;
worker_rlimit_nofile 65536;

events {
  # Two for every WebSocket.
  worker_connections 30000;
}

http {
  ssl_protocols TLSv1.2 TLSv1.3;
  ssl_ciphers ${profile.ciphers.join(':')};
  ssl_prefer_server_ciphers off;
  ssl_ecdh_curve ${profile.curves.join(':')};
  ssl_session_timeout 1d;
  ssl_session_cache shared:satellite:10m;
  ssl_session_tickets off;

  upstream satellite {
    server ${written(plan.satellite)};
    keepalive 64;
    keepalive_timeout ${KEPT_SECONDS}s;
  }

  map $http_upgrade $satellite_connection {
    default upgrade;
    '' '';
  }

  # Names that are nobody's here get no certificate, and no answer.
  server {
${listens(plan, 'listen', ' ssl http2 default_server')}
    ssl_reject_handshake on;
  }
  server {
${listens(plan, 'redirectFrom', ' default_server')}
    return 421;
  }

  server {
${listens(plan, 'redirectFrom')}
    server_name ${names};
${challenges}
    location / { access_log off; return 308 https://$host${portSuffix(plan.listen)}$request_uri; }
  }

  server {
${listens(plan, 'listen', ' ssl http2')}
    server_name ${names};
    ssl_certificate ${plan.certificate};
    ssl_certificate_key ${plan.key};
    access_log off;
    # Its lesser errors are logged with the query.
    error_log /var/log/nginx/error.log crit;

    # Everything as it came: paths, fields, bodies of any size, and at once.
    merge_slashes off;
    underscores_in_headers on;
    large_client_header_buffers 4 ${HEADER_SIZE};
    client_max_body_size 0;
    gzip off;
    client_header_timeout ${PATIENCE.header}s;
    client_body_timeout ${PATIENCE.request}s;
    send_timeout ${PATIENCE.request}s;
    keepalive_timeout ${PATIENCE.idle}s;
${plan.hsts === undefined ? '' : `\n    add_header Strict-Transport-Security "max-age=${plan.hsts}" always;\n    proxy_hide_header Strict-Transport-Security;\n`}
    location / {
      # No path behind the name, or else nginx would write the visitor's anew.
      proxy_pass http://satellite;
      proxy_http_version 1.1;
      proxy_set_header Host $http_host;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection $satellite_connection;
      # In place of what a visitor says of himself, never behind it.
      proxy_set_header X-Forwarded-For $remote_addr;
      proxy_set_header X-Forwarded-Proto $scheme;
      proxy_set_header X-Forwarded-Port $server_port;
      proxy_set_header X-Forwarded-Host $http_host;
      proxy_set_header X-Real-IP $remote_addr;
      proxy_set_header Forwarded '';
${plan.userField === undefined ? '' : `      # Who he is says the front; whoever authenticates him here writes his name in place of ''.\n      proxy_set_header ${plan.userField} '';\n`}
      proxy_request_buffering off;
      proxy_buffering off;
      proxy_buffer_size ${HEADER_SIZE};
      proxy_buffers 4 ${HEADER_SIZE};
      proxy_connect_timeout ${PATIENCE.connect}s;
      proxy_read_timeout ${PATIENCE.socket}s;
      proxy_send_timeout ${PATIENCE.socket}s;
    }
  }
${plan.otherSites.map((site) => other(plan, site, challenges)).join('')}}
`;
}

function other(plan: FrontPlan, { name, upstream, certificate, key }: OtherSite, challenges: string): string {
  return `
  # Another site, which has nothing to do with satellite.
  server {
${listens(plan, 'redirectFrom')}
    server_name ${name};
${challenges}
    location / { return 308 https://$host${portSuffix(plan.listen)}$request_uri; }
  }
  server {
${listens(plan, 'listen', ' ssl http2')}
    server_name ${name};
    ssl_certificate ${certificate};
    ssl_certificate_key ${key};
    location / {
      proxy_pass http://${written(upstream)};
      proxy_http_version 1.1;
      proxy_set_header Host $http_host;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection $satellite_connection;
      proxy_set_header X-Forwarded-For $remote_addr;
      proxy_set_header X-Forwarded-Proto $scheme;
    }
  }
`;
}

function listens(plan: FrontPlan, which: 'listen' | 'redirectFrom', more = ''): string {
  const { host, port } = plan[which];
  const places = host === '::' ? [String(port), written({ host, port })] : [written({ host, port })];
  return places.map((place) => `    listen ${place}${more};`).join('\n');
}
