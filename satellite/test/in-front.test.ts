import { describe, expect, test } from 'vitest';
import { ConfigError } from '../src/config.ts';
import { apache } from '../src/in-front/apache.ts';
import { caddy } from '../src/in-front/caddy.ts';
import { haproxy } from '../src/in-front/haproxy.ts';
import { nginx } from '../src/in-front/nginx.ts';
import { type FrontOptions, frontPrograms, planFront } from '../src/in-front/plan.ts';

const writers = { nginx, apache, haproxy, caddy };
const domain = 'sites.test';

const plan = (given: Record<string, unknown> = {}, options: FrontOptions = {}) =>
  planFront('nginx', { domain, ...given }, options);

describe('a front takes from satellite’s configuration', () => {
  test('where visitors come in, and the certificate, while satellite still serves them itself', () => {
    const given = {
      listen: '192.0.2.7:443',
      redirectHttpFrom: '192.0.2.7:80',
      tls: { cert: '/etc/satellite/chain.pem', key: '/etc/satellite/key.pem' },
      hsts: '1d',
    };
    expect(plan(given)).toMatchObject({
      listen: { host: '192.0.2.7', port: 443 },
      redirectFrom: { host: '192.0.2.7', port: 80 },
      satellite: { host: '127.0.0.1', port: 8080 },
      seenFrom: '127.0.0.1/32',
      certificate: '/etc/satellite/chain.pem',
      key: '/etc/satellite/key.pem',
      hsts: 86_400,
    });
  });

  test.each([
    ['127.0.0.1:9000', '127.0.0.1', '127.0.0.1/32'],
    ['0.0.0.0:9000', '127.0.0.1', '127.0.0.1/32'],
    ['[::1]:9000', '::1', '::1/128'],
    ['10.21.0.1:9000', '10.21.0.1', '10.21.0.1/32'],
  ])('where satellite listens once it is behind: %s', (listen, host, seenFrom) => {
    const known = plan({ listen, tls: 'off', hsts: 'off' });
    expect(known).toMatchObject({ satellite: { host, port: 9000 }, seenFrom, hsts: undefined });
    expect(known.listen).toEqual({ host: '::', port: 443 });
    expect(nginx(known)).toContain(`#   listen: ${host === '::1' ? '[::1]' : host}:9000\n`);
    expect(nginx(known)).not.toContain('Strict-Transport-Security "');
  });

  test('its names: of sites, by name or path, and of fixed sites elsewhere', () => {
    const routes = {
      [`hub.${domain}`]: 'http://10.21.0.5:8000',
      'www.example.test/docs': 'http://10.21.0.6',
    };
    expect(plan({ routes }).names).toEqual([domain, `*.${domain}`, 'www.example.test']);
    expect(plan({ routes: {}, siteStyle: 'path' }).names).toEqual([domain, `manage.${domain}`]);
  });

  test.each(frontPrograms)('%s: the field in which it names users, which no visitor may bring', (name) => {
    const auth = { header: 'X-Remote-User' };
    const printed = writers[name](planFront(name, { domain, trustedProxies: ['127.0.0.1'], auth }, {}));
    expect(printed).toMatch(
      /(?:proxy_set_header X-Remote-User '';|unset X-Remote-User|del-header X-Remote-User|-X-Remote-User)$/m,
    );
  });
});

test('satellite stays the only one with its names, and other sites have their own certificates if they want', () => {
  const site = 'www.other.test=http://127.0.0.1:3000';
  const files = { certificate: '/etc/a.pem', key: '/etc/a.key' };
  const upstream = { host: '127.0.0.1', port: 3000 };
  const otherSites = (otherSite: string) => plan({}, { ...files, otherSite: [otherSite] }).otherSites;
  expect(otherSites(site)).toEqual([{ name: 'www.other.test', upstream, ...files }]);
  expect(otherSites(`${site},/b.pem`)).toEqual([
    { name: 'www.other.test', upstream, certificate: '/b.pem', key: '/b.pem' },
  ]);
  expect(otherSites(`${site},/b.pem,/b.key`)).toMatchObject([{ certificate: '/b.pem', key: '/b.key' }]);
  for (const name of [domain, `manage.${domain}`, `a-b-c.${domain}`, `deep.down.${domain}`])
    expect(() => otherSites(`${name}=http://127.0.0.1:3000`), name).toThrow(/satellite's own/);
});

test('HAProxy is told how to make the file that it reads', () => {
  const apart = haproxy(planFront('haproxy', { domain }, { certificate: '/etc/a.pem', key: '/etc/a.key' }));
  expect(apart).toContain(`#   (umask 077; cat /etc/a.pem /etc/a.key >/etc/haproxy/certs/${domain}.pem)\n`);
  expect(apart).toContain(` crt /etc/haproxy/certs/${domain}.pem `);
  const together = haproxy(planFront('haproxy', { domain }, { certificate: '/etc/a.pem' }));
  expect(together).toContain(' crt /etc/a.pem ');
  expect(together).not.toContain('umask');
});

const hostile = [
  '/a b',
  '/a;b',
  '/a\n}',
  '/a"b',
  "/a'b",
  '/a{b}',
  '/$a',
  '/a#b',
  '/a`b`',
  '/a%b',
  '/a\\b',
  'a',
  '../a',
  '',
];

test.each(hostile)('no path breaks out of a configuration: %j', (text) => {
  const attempts: FrontOptions[] = [
    { certificate: text },
    { certificate: '/etc/a.pem', key: text },
    { acme: text },
    { otherSite: [`www.other.test=http://127.0.0.1:1,${text}`] },
    { otherSite: [`www.other.test=http://127.0.0.1:1,/a.pem,${text}`] },
  ];
  for (const options of attempts)
    expect(() => plan({}, options), JSON.stringify(options)).toThrow(ConfigError);
  expect(() => plan({ tls: { cert: text, key: '/etc/a.key' } })).toThrow(ConfigError);
});

test.each([
  ['listen', '127.0.0.1;:443'],
  ['listen', 'a b:443'],
  ['listen', '443'],
  ['listen', '0.0.0.0:0'],
  ['redirectHttpFrom', 'x{}:80'],
  ['domain', 'sites.test; }'],
  ['otherSite', 'www.other.test'],
  ['otherSite', 'www other.test=http://127.0.0.1:1'],
  ['otherSite', '*.other.test=http://127.0.0.1:1'],
  ['otherSite', 'www.other.test=http://127.0.0.1:1/path'],
  ['otherSite', 'www.other.test=http://user@127.0.0.1:1'],
  ['otherSite', 'www.other.test=http://a$b:1'],
  ['otherSite', 'www.other.test=https://127.0.0.1:1'],
  ['otherSite', 'www.other.test=unix:/run/a.sock'],
] as const)('%s says what to write instead of %j', (key, text) => {
  const options = { [key]: key === 'otherSite' ? [text] : text };
  expect(() => plan({}, options)).toThrow(ConfigError);
  if (key !== 'otherSite' && key !== 'domain' && text !== '443')
    expect(() => plan({ [key]: text, tls: 'off' })).toThrow(ConfigError);
});

test('for HAProxy challenges go to a server, and with several certificates somebody has to choose', () => {
  expect(() => planFront('haproxy', { domain }, { acme: '/var/www/acme' })).toThrow(/not an address/);
  expect(planFront('haproxy', { domain }, { acme: '127.0.0.1:9' }).acme).toBe('127.0.0.1:9');
  const pair = { cert: '/a.pem', key: '/a.key' };
  expect(() => plan({ tls: [pair, pair] })).toThrow(/--certificate and --key/);
  expect(() => plan({}, { key: '/a.key' })).toThrow(/--certificate, too/);
});
