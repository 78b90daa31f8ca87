import { DOMAIN } from '../bench.ts';
import { CIPHER, GROUP } from '../load.ts';
import type { Stage } from './proxies.ts';

/*
 * Each as its documentation has it for a notebook server behind TLS: one worker or thread, connections kept alive on both
 * sides without an end, an access log in the program's usual form (or none), the fields that tell the server who visits.
 * All speak TLS 1.3 with whatever the visitor offers, without tickets.
 */

/** Connections on either side. */
const CONNECTIONS = 64_000;
const FOREVER = 1_000_000_000;

const preamble = `user root;
worker_processes 1;
daemon off;
pid nginx.pid;
events { worker_connections ${CONNECTIONS}; }`;

const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
  .map((name) => `  ${name}_temp_path temporary;`)
  .join('\n');

/** A body of 100 KB fits into its buffers: it needn't be written to a file while the visitor reads. */
export const nginx = (
  { cert, key, target, logs }: Stage,
  port: number,
  folder: string,
): string => `${preamble}
error_log stderr;
http {
${temporary}
  access_log ${logs ? `${folder}/access.log combined` : 'off'};
  keepalive_requests ${FOREVER};
  map $http_upgrade $for_upgrade { default upgrade; '' ''; }
  upstream notebook { server ${target.address}:${target.port}; keepalive 128; keepalive_requests ${FOREVER}; }
  server {
    listen 127.0.0.1:${port} ssl backlog=4096;
    server_name *.${DOMAIN};
    ssl_certificate ${cert};
    ssl_certificate_key ${key};
    ssl_protocols TLSv1.3;
    ssl_session_tickets off;
    proxy_http_version 1.1;
    proxy_set_header Host $host;
    proxy_set_header X-Forwarded-For $remote_addr;
    proxy_set_header X-Forwarded-Proto https;
    proxy_set_header Upgrade $http_upgrade;
    proxy_set_header Connection $for_upgrade;
    proxy_buffers 16 16k;
    proxy_max_temp_file_size 0;
    proxy_read_timeout 1h;
    location / { proxy_pass http://notebook; }
  }
}
`;

/** nginx again, with files. */
export const fileServer = (address: string, port: number, folder: string): string => `${preamble}
error_log stderr;
http {
${temporary}
  access_log off;
  keepalive_requests ${FOREVER};
  open_file_cache max=10;
  default_type application/octet-stream;
  sendfile on;
  tcp_nopush on;
  server { listen ${address}:${port} backlog=4096; root ${folder}/files; }
}
`;

export const haproxy = ({ both, target, logs }: Stage, port: number): string => `global
  nbthread 1
  log stdout format raw daemon
  ssl-default-bind-options ssl-min-ver TLSv1.3 no-tls-tickets prefer-client-ciphers
  ssl-default-bind-curves ${GROUP}
  ssl-default-bind-ciphersuites ${CIPHER}
defaults
  mode http
  ${logs ? 'log global' : 'no log'}
  option httplog
  timeout connect 10s
  timeout http-request 20s
  timeout http-keep-alive 65s
  timeout client 1h
  timeout server 1h
  timeout tunnel 1h
frontend visitors
  bind 127.0.0.1:${port} backlog 4096 ssl crt ${both} alpn http/1.1
  option forwardfor
  http-request set-header X-Forwarded-Proto https
  default_backend notebook
backend notebook
  server notebook ${target.address}:${target.port}
`;

/** One process; a thread for each request that is under way, and for each WebSocket. */
export const apache = (
  { cert, key, target, logs }: Stage,
  port: number,
  folder: string,
): string => `ServerRoot ${folder}
ServerName ${DOMAIN}
PidFile ${folder}/apache.pid
DefaultRuntimeDir ${folder}
ErrorLog ${folder}/error.log
User www-data
Group www-data
${['mpm_event', 'authz_core', 'headers', 'proxy', 'proxy_http', 'ssl']
  .map((name) => `LoadModule ${name}_module /usr/lib/apache2/modules/mod_${name}.so`)
  .join('\n')}
ServerLimit 1
StartServers 1
ThreadLimit 256
ThreadsPerChild 256
MaxRequestWorkers 256
AsyncRequestWorkerFactor 8
KeepAliveTimeout 65
MaxKeepAliveRequests 0
LogFormat "%h %l %u %t \\"%r\\" %>s %O \\"%{Referer}i\\" \\"%{User-Agent}i\\"" combined
${logs ? `CustomLog ${folder}/access.log combined` : ''}
Listen 127.0.0.1:${port} https
SSLProtocol TLSv1.3
SSLSessionTickets off
SSLSessionCache none
<VirtualHost 127.0.0.1:${port}>
  ServerName ${DOMAIN}
  ServerAlias *.${DOMAIN}
  SSLEngine on
  SSLCertificateFile ${cert}
  SSLCertificateKeyFile ${key}
  ProxyPreserveHost On
  RequestHeader set X-Forwarded-Proto https
  ProxyPass / http://${target.address}:${target.port}/ upgrade=websocket enablereuse=on
</VirtualHost>
`;

export const caddy = ({ cert, key, target, logs }: Stage, port: number, folder: string): string => `{
	admin off
	auto_https off
	storage file_system ${folder}
}
https://*.${DOMAIN}:${port} {
	bind 127.0.0.1
	tls ${cert} ${key} {
		protocols tls1.3
	}
	${
    logs
      ? `log {
		output file ${folder}/access.log
	}`
      : ''
  }
	reverse_proxy ${target.address}:${target.port}
}
`;
