/** Routes on the real kernel: in a network namespace with one way out. */
import { execFileSync } from 'node:child_process';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { loadClientConfig } from '../../src/config/client.ts';
import { dressDevice, goOnline, routeServer } from '../../src/keeper/client-host.ts';
import { Host, thisShell } from '../../src/keeper/host.ts';
import { createFolder, type Folder } from '../config/folder.ts';

const NAMESPACE = `rwr-${process.pid}`;
const NETWORK = {
  serverAddress: '203.0.113.7',
  localIp: '10.125.0.5',
  peerIp: '10.125.0.6',
  dnsIp: '10.125.0.1',
  mtu: 1350,
};

const inside = (...args: string[]) => execFileSync('ip', ['-n', NAMESPACE, ...args], { encoding: 'utf8' });
const wayTo = (address: string) =>
  (JSON.parse(inside('-j', 'route', 'get', address)) as { dev: string; gateway?: string }[])[0];

describe.skipIf(process.geteuid?.() !== 0)('routes in a namespace (needs root)', () => {
  let folder: Folder;
  let host: Host;
  let before: string;

  beforeAll(() => {
    execFileSync('ip', ['netns', 'add', NAMESPACE]);
    for (const [name, address] of [
      ['out0', '192.0.2.2/24'],
      ['out1', '198.51.100.2/24'],
    ]) {
      inside('link', 'add', name, 'type', 'veth', 'peer', 'name', `${name}p`);
      inside('address', 'add', address, 'dev', name);
      inside('link', 'set', name, 'up');
      inside('link', 'set', `${name}p`, 'up');
    }
  });
  afterAll(() => {
    execFileSync('ip', ['netns', 'delete', NAMESPACE]);
  });
  beforeEach(() => {
    folder = createFolder();
    inside('route', 'replace', 'default', 'via', '192.0.2.1', 'dev', 'out0');
    inside('tuntap', 'add', 'dev', 'rwkt', 'mode', 'tun');
    const shell = thisShell();
    host = new Host({ ...shell, run: (_program, args) => shell.run('ip', ['-n', NAMESPACE, ...args]) });
    before = inside('route', 'show');
  });
  afterEach(() => {
    host.undo();
    inside('link', 'delete', 'rwkt');
    folder.remove();
  });

  function online(lines: string, network = NETWORK): boolean {
    const file = folder.write('c.yaml', `server: a:1\nuser: u\npassword: p\ndns_config_mode: noexec\n${lines}`);
    const { config } = loadClientConfig(file, { flags: {}, env: {} });
    dressDevice(host, 'rwkt', config, true);
    return goOnline(host, 'rwkt', config, network).isBeside;
  }

  it('take everything through the tunnel but the server', () => {
    online('route_mode: default\n');
    expect(wayTo('198.18.0.1')).toMatchObject({ dev: 'rwkt', gateway: '100.64.0.5' });
    expect(wayTo('10.1.2.3')).toMatchObject({ dev: 'rwkt' });
    expect(wayTo('100.64.0.1')).toMatchObject({ dev: 'rwkt' });
    expect(wayTo(NETWORK.serverAddress)).toMatchObject({ dev: 'out0', gateway: '192.0.2.1' });
  });

  it('leave private networks where they were under lan', () => {
    online('route_mode: lan\n');
    expect(wayTo('10.1.2.3')).toMatchObject({ dev: 'out0', gateway: '192.0.2.1' });
    expect(wayTo('198.18.0.1')).toMatchObject({ dev: 'rwkt' });
  });

  it('are afterwards what they were before', () => {
    online('route_mode: lan\n');
    expect(inside('route', 'show')).not.toBe(before);
    host.undo();
    expect(inside('route', 'show')).toBe(before);
  });

  describe('of IPv6', () => {
    const routes6 = () => inside('-6', 'route', 'show');
    const goes = (address: string) => {
      try {
        return wayTo(address).dev;
      } catch {
        return 'unreachable';
      }
    };
    let before6: string;

    beforeEach(() => {
      inside('address', 'replace', '2001:db8:1::2/64', 'dev', 'out0', 'nodad');
      inside('-6', 'route', 'replace', 'default', 'via', '2001:db8:1::1', 'dev', 'out0', 'metric', '100');
      before6 = routes6();
    });
    afterEach(() => {
      inside('-6', 'route', 'flush', 'default');
    });

    it('stay beside the tunnel, which is said where there is a default route', () => {
      expect(online('route_mode: default\n')).toBe(true);
      expect(goes('2001:db8:2::1')).toBe('out0');
      expect(online('route_mode: noexec\n')).toBe(false);
      inside('-6', 'route', 'flush', 'default');
      expect(online('route_mode: lan\n')).toBe(false);
    });

    it('under ipv6: block lead nowhere but to neighbours and the server, also when another default comes', () => {
      const network = { ...NETWORK, serverAddress: '2001:db8:2::7' };
      expect(online('route_mode: default\nringway: { ipv6: block }\n', network)).toBe(false);
      inside('-6', 'route', 'add', 'default', 'via', '2001:db8:1::3', 'dev', 'out0', 'metric', '50');
      expect(goes('2001:db8:3::1')).toBe('unreachable');
      expect(goes('2001:db8:2::7')).toBe('out0');
      expect(goes('2001:db8:1::9')).toBe('out0');
      inside('-6', 'route', 'delete', 'default', 'metric', '50');
      inside('-6', 'route', 'replace', 'default', 'via', '2001:db8:1::4', 'dev', 'out0', 'metric', '100');
      routeServer(host, 'rwkt', network.serverAddress, 'block');
      expect(wayTo('2001:db8:2::7')).toMatchObject({ gateway: '2001:db8:1::4' });
      inside('-6', 'route', 'replace', 'default', 'via', '2001:db8:1::1', 'dev', 'out0', 'metric', '100');
      host.undo();
      expect(routes6()).toBe(before6);
    });
  });

  it('to the server follow a new default route', () => {
    online('route_mode: default\n');
    inside('route', 'replace', 'default', 'via', '198.51.100.1', 'dev', 'out1');
    routeServer(host, 'rwkt', NETWORK.serverAddress, 'leave');
    expect(wayTo(NETWORK.serverAddress)).toMatchObject({ dev: 'out1', gateway: '198.51.100.1' });
  });
});
