import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { loadClientConfig } from '../../src/config/client.ts';
import { clientKeys } from '../../src/config/client-keys.ts';
import type { ConfigError, Problem } from '../../src/config/problem.ts';
import { documentedKeys } from './documented.ts';
import { createFolder, type Folder, thrownBy } from './folder.ts';

const SECOND = 1_000_000;
const ENOUGH = 'server: 10.9.0.2:27690\nuser: user\npassword: password\n';
let folder: Folder;

beforeEach(() => {
  folder = createFolder();
});
afterEach(() => folder.remove());

function load(lines: string, flags: Record<string, string | boolean> = {}, env: Record<string, string> = {}) {
  return loadClientConfig(folder.write('client.yaml', lines), { flags, env });
}

function problemsOf(lines: string, flags: Record<string, string | boolean> = {}): Problem[] {
  return [...(thrownBy<ConfigError>(() => load(lines, flags))?.problems ?? [])];
}

describe('loadClientConfig', () => {
  it('gives every key its stock default (protocol specification §11.3)', () => {
    expect(load(ENOUGH).config).toMatchObject({
      role: 'client',
      servers: [
        {
          server: { host: '10.9.0.2', portNumber: 27_690 },
          mode: 'tcp',
          serverDn: '',
          cipher: 'aes256',
          user: 'user',
          password: 'password',
          token: null,
          outsideMtu: 1500,
          caCert: { kind: 'path', path: './ca_cert.crt' },
        },
      ],
      tunName: 'lightway',
      tunLocalIp: '100.64.0.6',
      tunPeerIp: '100.64.0.5',
      tunDnsIp: '100.64.0.1',
      keyshare: 'p521mlkem1024',
      keepaliveInterval: 10 * SECOND,
      keepaliveTimeout: 60 * SECOND,
      keepaliveContinuous: true,
      tracerPacketTimeout: 10 * SECOND,
      preferredConnectionWaitInterval: 0,
      sndbuf: 8 * 2 ** 20,
      rcvbuf: 8 * 2 ** 20,
      routeMode: 'default',
      fwmark: 0,
      dnsConfigMode: 'default',
      logLevel: 'info',
      enableExpresslane: false,
      expresslaneKeysRotationInterval: 900 * SECOND,
      enablePmtud: false,
      pmtudBaseMtu: null,
      enableInsidePktEncoding: false,
      shards: 1,
    });
  });

  it('can switch keepalive_continuous off, which the stock client cannot', () => {
    expect(load(`${ENOUGH}keepalive_continuous: false\n`).config.keepaliveContinuous).toBe(false);
  });

  it('keeps credentials as they are written, not as YAML would read them', () => {
    const { servers } = load('server: a:1\nuser: 007\npassword: 0x10\n').config;
    expect(servers[0]).toMatchObject({ user: '007', password: '0x10' });
    expect(load('server: a:1\nuser: yes\npassword: "0123"\n').config.servers[0]).toMatchObject({
      user: 'yes',
      password: '0123',
    });
  });

  it('takes the authority inline', () => {
    const pem = '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n';
    const block = pem.trimEnd().replaceAll(/^/gm, '  ');
    expect(load(`${ENOUGH}ca_cert: |\n${block}\n`).config.servers[0].caCert).toEqual({ kind: 'pem', pem });
  });

  it('fills entries of servers from the global credentials and authority, and nothing else', () => {
    const { servers } = load(`user: u
password: p
mode: udp
ca_cert: ca.pem
servers:
  - server: a.example:1
  - server: b.example:2
    mode: udp
    cipher: chacha20
    token: t
    ca_cert: b.pem
    outside_mtu: 1400
`).config;
    expect(servers).toMatchObject([
      { server: { host: 'a.example' }, mode: 'tcp', user: 'u', password: 'p', token: null, caCert: { path: 'ca.pem' } },
      {
        server: { host: 'b.example' },
        mode: 'udp',
        user: null,
        token: 't',
        cipher: 'chacha20',
        outsideMtu: 1400,
        caCert: { path: 'b.pem' },
      },
    ]);
  });

  it('takes the alias of enable_inside_pkt_encoding', () => {
    expect(load(`${ENOUGH}enable_inside_pkt_encoding_at_connect: true\n`).config.enableInsidePktEncoding).toBe(true);
  });

  it('takes a password from the environment', () => {
    expect(load('server: a:1\nuser: u\n', {}, { LW_CLIENT_PASSWORD: 's3' }).config.servers[0].password).toBe('s3');
  });
});

describe('what a client cannot start without (protocol specification §11.4)', () => {
  it.each([
    ['server: a:1\n', 'CONFIG_MISSING', 'user'],
    ['server: a:1\nuser: u\n', 'CONFIG_MISSING', 'password'],
    ['user: u\npassword: p\n', 'CONFIG_MISSING', 'server'],
    ['server: nowhere\nuser: u\npassword: p\n', 'CONFIG_VALUE', 'server'],
    [`${ENOUGH}outside_mtu: 1501\n`, 'CONFIG_VALUE', 'outside_mtu'],
    [`${ENOUGH}keepalive_interval: 0s\n`, 'CONFIG_VALUE', 'keepalive_interval'],
    [`${ENOUGH}generate: yaml\n`, 'CONFIG_UNKNOWN_KEY', 'generate'],
    [`${ENOUGH}servers: 3\n`, 'CONFIG_VALUE', 'servers'],
    [`${ENOUGH}servers:\n  - mode: udp\n`, 'CONFIG_MISSING', 'servers[0].server'],
    [`${ENOUGH}servers:\n  - server: a:1\n    mode: upd\n`, 'CONFIG_VALUE', 'servers[0].mode'],
    [`${ENOUGH}servers:\n  - server: a:1\n    moed: udp\n`, 'CONFIG_UNKNOWN_KEY', 'moed'],
  ])('%j', (lines, code, key) => {
    expect(problemsOf(lines)).toMatchObject([{ code, key }]);
  });

  it('gives the place of a key inside the list of servers', () => {
    const [{ origin }] = problemsOf(`${ENOUGH}servers:\n  - server: a:1\n    mode: upd\n`);
    expect(origin).toMatchObject({ line: 6, column: 11 });
  });

  it('refuses credentials longer than their field, where the stock client panics after the handshake', () => {
    const long = 'ä'.repeat(26); // 52 bytes
    expect(problemsOf(`server: a:1\nuser: ${long}\npassword: ${long}\n`).map(({ key }) => key)).toEqual([
      'user',
      'password',
    ]);
    expect(problemsOf(`server: a:1\nuser: ${'u'.repeat(50)}\npassword: p\n`)).toEqual([]);
  });

  it('never repeats a secret in a refusal', () => {
    const secret = 'correct-horse-battery-staple-'.repeat(3);
    const error = thrownBy<ConfigError>(() => load(`server: a:1\nuser: u\npassword: ${secret}\ntoken: [${secret}]\n`));
    expect(error?.problems).not.toHaveLength(0);
    expect(JSON.stringify(error?.problems) + error?.message).not.toContain('horse');
  });
});

describe("a key that is not the client's", () => {
  it('is told whose it is, or where it belongs', () => {
    expect(problemsOf(`${ENOUGH}ip_pool: 10.0.0.0/8\n`)[0].advice).toContain('is a key of the server');
    expect(problemsOf(`${ENOUGH}ipv6: block\n`)[0].advice).toContain('belongs below ringway:');
  });
});

describe('ipv6', () => {
  const codes = (lines: string) => load(`${ENOUGH}server_dn: x\n${lines}`).notices.map(({ code, key }) => [code, key]);

  it('is left as it is unless it is to be blocked, which needs routes of ours', () => {
    expect(load(ENOUGH).config.ipv6).toBe('leave');
    expect(load(ENOUGH, { ipv6: 'block' }).config.ipv6).toBe('block');
    expect(codes('ringway: { ipv6: block }\n')).toEqual([]);
    expect(codes('route_mode: noexec\nringway: { ipv6: block }\n')).toEqual([['CONFIG_INERT', 'ringway.ipv6']]);
  });
});

describe('clientKeys', () => {
  it('are those of protocol specification §11.3, the list of servers apart', () => {
    expect(Object.keys(clientKeys).sort()).toEqual(documentedKeys('11.3').sort());
  });
});

describe('a client is not started with', () => {
  it.each([
    ['server: 10.0.0.1:0', 'server', /server cannot be 10\.0\.0\.1:0/],
    ['server: "-x:5"', 'server', /server cannot be -x:5/],
    ['tun_name: a/b', 'tun_name', /tun_name cannot be a\/b/],
    ['tun_name: ""', 'tun_name', /tun_name cannot be empty/],
    ['tun_peer_ip: 0.0.0.0', 'tun_peer_ip', /tun_peer_ip cannot be 0\.0\.0\.0/],
    ['tun_local_ip: 100.64.0.5', 'tun_peer_ip', /both 100\.64\.0\.5/],
    ['sndbuf: 0', 'sndbuf', /sndbuf cannot be 0/],
    ['rcvbuf: -4', 'rcvbuf', /rcvbuf cannot be -4/],
    ['expresslane_keys_rotation_interval: 0s', 'expresslane_keys_rotation_interval', /cannot be 0s/],
    ['ca_cert: ""', 'ca_cert', /ca_cert cannot be empty/],
    ['keepalive_timeout: 5s\nkeepalive_timeout: 6s', '', /keepalive_timeout is set a second time/],
  ])('%s', (line, key, message) => {
    const replaced = new Set(line.split('\n').map((each) => each.split(':')[0]));
    const rest = ENOUGH.split('\n').filter((each) => !replaced.has(each.split(':')[0]));
    const [problem, ...others] = problemsOf([...rest, line].join('\n'));
    expect(others).toEqual([]);
    expect(problem).toMatchObject({ key, message: expect.stringMatching(message), origin: { layer: 'file' } });
  });

  it('a password that a message would repeat', () => {
    const [problem] = problemsOf('server: a:1\nuser: u\npassword: {very: secret}\n');
    expect(problem.message).toBe('password cannot be this value');
  });

  it('settings without effect, unless it is said', () => {
    const { config, notices } = load(`${ENOUGH}server_dn: a.example\nmode: tcp\nfwmark: 7\nringway: {shards: 4}\n`);
    expect(config.shards).toBe(1);
    expect(notices.map(({ code, key }) => [code, key])).toEqual([
      ['CONFIG_INERT', 'ringway.shards'],
      ['CONFIG_INERT', 'fwmark'],
    ]);
  });

  it('what only io_uring has, with epoll', () => {
    const { notices } = load(`${ENOUGH}server_dn: a.example\nringway: {io: epoll, sqpoll: true}\n`);
    expect(notices.map(({ code, key }) => [code, key])).toEqual([['CONFIG_INERT', 'ringway.sqpoll']]);
  });

  it('a server whose name is not checked', () => {
    const [notice, ...others] = load(ENOUGH).notices;
    expect(others).toEqual([]);
    expect(notice).toMatchObject({
      code: 'CERT_UNCHECKED',
      key: 'server_dn',
      message: expect.stringContaining('10.9.0.2'),
    });
  });
});
