import { describe, expect, test } from 'vitest';
import { decideHost, hostName } from '../src/gate/host.ts';
import { Networks, normalizeAddress } from '../src/gate/networks.ts';
import { api, DOMAIN, NODE1, satellite } from './support.ts';

describe('networks', () => {
  test('an address has one spelling', () => {
    expect(normalizeAddress('::ffff:10.21.0.1')).toBe('10.21.0.1');
    expect(normalizeAddress('::ffff:a15:1')).toBe('10.21.0.1');
    expect(normalizeAddress('fe80::1%eth0')).toBe('fe80::1');
    expect(normalizeAddress('fe80::1%2')).toBe('fe80::1');
    expect(normalizeAddress('2001:DB8:0:0:0:0:0:1')).toBe('2001:db8::1');
    for (const odd of [
      '',
      'localhost',
      '10.1',
      '0x0a.1.1.1',
      '010.1.1.1',
      '10.0.0.256',
      '1.2.3.4:80',
      ' 1.2.3.4',
      '10.21.0.1%00',
      '10.21.0.1%eth0',
      '::ffff:10.21.0.1%eth0',
      '::ffff:a15:1%eth0',
      'fe80::1%',
      'fe80::1%eth0%eth1',
      'fe80::1%\0',
      'fe80::1%a b',
    ]) {
      expect(normalizeAddress(odd), odd).toBeUndefined();
    }
  });

  test('contain what they say, and nothing if empty', () => {
    const networks = new Networks(['10.21.0.0/16', '192.0.2.7', '2001:db8::/32']);
    for (const inside of ['10.21.255.255', '::ffff:10.21.0.1', '192.0.2.7', '2001:db8::1']) {
      expect(networks.contains(inside), inside).toBe(true);
    }
    for (const outside of ['10.22.0.0', '192.0.2.8', '2001:db9::1', '::1', '::10.21.0.1', 'nonsense', '']) {
      expect(networks.contains(outside), outside).toBe(false);
    }
    expect(new Networks([]).contains('127.0.0.1')).toBe(false);
    expect(String(networks)).toBe('10.21.0.0/16 192.0.2.7 2001:db8::/32');
  });

  test.each(['10.0.0.0/33', '10.0.0.0/', '10.0/8', 'example.com', '::/129', '10.0.0.0/8/8', ''])(
    '"%s" is refused',
    (cidr) => {
      expect(() => new Networks([cidr])).toThrow(/is not a network/);
    },
  );

  test.each([
    ['10.0.0.1/8', '10.0.0.0/8, or 10.0.0.1/32'],
    ['10.21.5.9/31', '10.21.5.8/31, or 10.21.5.9/32'],
    ['192.0.2.1/0', '0.0.0.0/0, or 192.0.2.1/32'],
    ['2001:DB8:0::1/32', '2001:db8::/32, or 2001:db8::1/128'],
  ])('"%s" is an address or a network, and nobody guesses which', (cidr, meant) => {
    expect(() => new Networks([cidr])).toThrow(
      `"${cidr}" is not a network; write ${meant} for that one address`,
    );
  });

  test.each(['0.0.0.0/0', '10.21.5.8/31', '10.21.5.9/32', '::/0', '2001:DB8:0::/32', '::1/128'])(
    '"%s" is one',
    (cidr) => {
      expect(new Networks([cidr]).isEmpty).toBe(false);
    },
  );
});

describe('hosts', () => {
  test.each([
    ['manage.sites.test', { kind: 'manage' }],
    ['MANAGE.sites.TEST.:443', { kind: 'manage' }],
    ['sites.test', { kind: 'apex' }],
    ['a-b-c.sites.test:8443', { kind: 'site', label: 'a-b-c' }],
    ['manage.evil.test', { kind: 'foreign' }],
    ['xsites.test', { kind: 'foreign' }],
    ['a.b.sites.test', { kind: 'foreign' }],
    ['manage.sites.test.evil.test', { kind: 'foreign' }],
    ['.sites.test', { kind: 'invalid' }],
    ['manage.sites.test..', { kind: 'invalid' }],
    ['user@manage.sites.test', { kind: 'invalid' }],
    ['manage.sites.test:x', { kind: 'invalid' }],
    ['manage.sites.test/', { kind: 'invalid' }],
    ['[::1]', { kind: 'invalid' }],
    ['', { kind: 'invalid' }],
    ['mänage.sites.test', { kind: 'invalid' }],
  ])('%s', (header, decision) => {
    expect(decideHost(hostName(header), DOMAIN)).toEqual(decision);
  });
});

describe('targets', () => {
  test('the proxy itself is none, and neither is a port below 1024', async () => {
    const { port } = await satellite({ listen: '0.0.0.0:0' });
    const { token } = (await api(port, 'POST', '/tokens')).json<{ token: string }>();
    const own = await api(port, 'POST', `/tokens/${token}/redeem`, { port }, NODE1);
    expect([own.status, own.json().error]).toEqual([400, expect.objectContaining({ code: 'own-address' })]);
    for (const bad of [80, 1023, 65536, 8888.5, '8888', null]) {
      expect(
        (await api(port, 'POST', `/tokens/${token}/redeem`, { port: bad }, NODE1)).status,
        String(bad),
      ).toBe(400);
    }
    expect((await api(port, 'GET', `/tokens/${token}`)).json().state).toBe('pending');
  });
});
