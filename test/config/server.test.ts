import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { ConfigError, Problem } from '../../src/config/problem.ts';
import { loadServerConfig } from '../../src/config/server.ts';
import { serverKeys } from '../../src/config/server-keys.ts';
import { documentedKeys } from './documented.ts';
import { createFolder, type Folder, thrownBy } from './folder.ts';

const SECOND = 1_000_000;
let folder: Folder;

beforeEach(() => {
  folder = createFolder();
});
afterEach(() => folder.remove());

/** Loads a file with a user_db, so that only what the test is about can be wrong. */
function load(lines: string, flags: Record<string, string | boolean> = {}, env: Record<string, string> = {}) {
  return loadServerConfig(folder.write('server.yaml', `user_db: users\n${lines}`), { flags, env });
}

function problemsOf(
  lines: string,
  flags: Record<string, string | boolean> = {},
  env: Record<string, string> = {},
): Problem[] {
  return [...(thrownBy<ConfigError>(() => load(lines, flags, env))?.problems ?? [])];
}

const file = (line: number, column: number) => ({
  layer: 'file',
  file: join(folder.path, 'server.yaml'),
  line,
  column,
});

describe('loadServerConfig', () => {
  it('gives every key its stock default (protocol specification §11.2)', () => {
    expect(load('').config).toMatchObject({
      role: 'server',
      mode: 'tcp',
      tokenRsaPubKeyPem: null,
      serverCert: './server.crt',
      serverKey: './server.key',
      tunName: null,
      ipPool: { address: '10.125.0.0', prefix: 16 },
      ipMap: [],
      tunIp: null,
      lightwayServerIp: '10.125.0.6',
      lightwayClientIp: '10.125.0.5',
      lightwayDnsIp: '10.125.0.1',
      enableExpresslane: false,
      expresslaneKeysRotationInterval: 900 * SECOND,
      connectionAgeExpirationInterval: 60 * SECOND,
      statisticsReportingInterval: 30 * SECOND,
      enablePqc: false,
      enableTunOffload: false,
      enableTunIouring: false,
      iouringEntryCount: 1024,
      iouringSqpollIdleTime: 100_000,
      logFormat: 'full',
      logLevel: 'info',
      keyUpdateInterval: 900 * SECOND,
      bindAddress: { host: '0.0.0.0', portNumber: 27_690 },
      proxyProtocol: false,
      udpBufferSize: 15 * 2 ** 20,
      enableBatchReceive: false,
      enableBatchSend: false,
      io: 'auto',
      aead: 'auto',
      gro: 'inline',
      tunOffload: true,
      metricsAddress: null,
      runAs: 'nobody',
    });
  });

  it('reads the file that bench/rig writes', () => {
    const { config, notices } = load(`mode: udp
bind_address: 0.0.0.0:27690
server_cert: /tmp/rig/server.crt
server_key: /tmp/rig/server.key
tun_name: lws
ip_pool: 10.125.0.0/16
tun_ip: 10.125.0.1
enable_expresslane: true
log_level: warn
enable_tun_offload: true
enable_batch_receive: true
`);
    expect(config).toMatchObject({
      mode: 'udp',
      tunName: 'lws',
      tunIp: '10.125.0.1',
      enableExpresslane: true,
      logLevel: 'warn',
    });
    expect(notices.map(({ code, key }) => [code, key])).toEqual([
      ['CONFIG_INERT', 'enable_tun_offload'],
      ['CONFIG_INERT', 'enable_batch_receive'],
    ]);
  });

  it('takes metrics_address of the ringway map as a number or as text', () => {
    expect(load('ringway:\n  metrics_address: 9469\n').config.metricsAddress).toEqual({
      host: '127.0.0.1',
      portNumber: 9_469,
    });
    expect(load('', { metrics_address: '10.0.0.1:80' }).config.metricsAddress).toEqual({
      host: '10.0.0.1',
      portNumber: 80,
    });
  });

  it('freezes what it returns, all the way down', () => {
    const { config } = load('');
    expect(Object.isFrozen(config)).toBe(true);
    expect(Object.isFrozen(config.ipPool)).toBe(true);
  });

  it('reads an inline ip_map and one in a file of its own', () => {
    const entries = [{ localIp: '10.0.0.1', subnet: { address: '10.1.0.0', prefix: 16 } }];
    expect(load('ip_map:\n  10.0.0.1: 10.1.0.0/16\n').config.ipMap).toEqual(entries);
    const path = folder.write('map.yaml', '10.0.0.1: 10.1.0.0/16\n');
    expect(load(`ip_map: ${path}\n`).config.ipMap).toEqual(entries);
    expect(load('', { ip_map: path }).config.ipMap).toEqual(entries);
  });
});

describe('precedence', () => {
  it('is flag over environment over file over default, key by key', () => {
    const lines = 'mode: udp\ntun_name: fromfile\nlog_level: warn\n';
    const env = { LW_SERVER_TUN_NAME: 'fromenv', LW_SERVER_LOG_LEVEL: 'error' };
    const { config } = load(lines, { log_level: 'debug' }, env);
    expect(config).toMatchObject({ mode: 'udp', tunName: 'fromenv', logLevel: 'debug', logFormat: 'full' });
  });

  it('takes variables of several words without calling their first word an unknown key', () => {
    expect(load('', {}, { LW_SERVER_UDP_BUFFER_SIZE: '8MB' }).config.udpBufferSize).toBe(8_000_000);
  });

  it('lets a later layer switch something off again', () => {
    const lines = 'mode: udp\nenable_expresslane: true\n';
    expect(load(lines, {}, { LW_SERVER_ENABLE_EXPRESSLANE: 'false' }).config.enableExpresslane).toBe(false);
    expect(load(lines, { enable_expresslane: 'false' }).config.enableExpresslane).toBe(false);
    expect(load('mode: udp\n', { enable_expresslane: true }).config.enableExpresslane).toBe(true);
  });

  it('gives RUST_LOG the last word on the level, as the stock server does', () => {
    const env = { LW_SERVER_RUST_LOG: 'lightway_core=trace,debug' };
    expect(load('log_level: warn\n', { log_level: 'error' }, env).config.logLevel).toBe('debug');
    expect(load('log_level: warn\n', {}, { LW_SERVER_RUST_LOG: 'lightway_core=trace' }).config.logLevel).toBe('warn');
  });

  it("has Ringway's own keys in a map of the file, as flags, and as RINGWAY_ variables", () => {
    const lines = 'ringway:\n  io: epoll\n  tun_offload: off\n  shards: 3\n  aead: noble\n';
    const { config } = load(lines, { shards: '2' }, { RINGWAY_AEAD: 'openssl' });
    expect(config).toMatchObject({ io: 'epoll', tunOffload: false, shards: 2, aead: 'openssl' });
    expect(load('', { shards: 'auto' }).config.shards).toBeGreaterThanOrEqual(1);
  });
});

describe('a mistake in a value', () => {
  it.each([
    ['mode: tpc', 'mode', 7],
    ['key_update_interval: 10', 'key_update_interval', 22],
    ['key_update_interval: 0s', 'key_update_interval', 22],
    ['udp_buffer_size: lots', 'udp_buffer_size', 18],
    ['bind_address: :27690', 'bind_address', 15],
    ['ip_pool: 10.125.0.0/40', 'ip_pool', 10],
    ['enable_pqc: perhaps', 'enable_pqc', 13],
    ['iouring_entry_count: 1.5', 'iouring_entry_count', 22],
    ['tun_name: a/b', 'tun_name', 11],
    ['log_level: [warn]', 'log_level', 12],
    ['server_cert:', 'server_cert', 1],
    ['udp_buffer_size: 0', 'udp_buffer_size', 18],
    ['expresslane_keys_rotation_interval: 0s', 'expresslane_keys_rotation_interval', 37],
    ['ip_pool: 0.0.0.0/0', 'ip_pool', 10],
    ['ip_pool: 224.0.0.0/8', 'ip_pool', 10],
    ['tun_ip: 0.0.0.0', 'tun_ip', 9],
    ['lightway_dns_ip: 255.255.255.255', 'lightway_dns_ip', 18],
    ['ringway: 5', 'ringway', 10],
    ['ringway: {run_as: ""}', 'ringway.run_as', 19],
    ['ringway: {groups: P-224}', 'ringway.groups', 19],
  ])('%s names the key and its place', (line, key, column) => {
    expect(problemsOf(`${line}\n`)).toMatchObject([{ code: 'CONFIG_VALUE', key, origin: { layer: 'file', line: 2 } }]);
    if (column > 1) expect(problemsOf(`${line}\n`)[0].origin).toEqual(file(2, column));
  });

  it('an ip_pool without an address to give is refused where it stands', () => {
    for (const line of ['ip_pool: 10.9.0.0/31', 'ip_pool: 10.125.0.4/30']) // of the second, .5 and .6 are the defaults' own
      expect(problemsOf(`${line}\n`)).toMatchObject([{ code: 'IP_POOL_EMPTY', origin: file(2, 10) }]);
    expect(problemsOf('ip_pool: 10.9.0.0/30\n')).toEqual([]);
  });

  it('a key that is set twice is named', () => {
    expect(problemsOf('mode: udp\nmode: tcp\n')).toMatchObject([
      { code: 'CONFIG_SYNTAX', message: 'mode is set a second time', origin: file(3, 1) },
    ]);
  });

  it('says what would be right', () => {
    expect(problemsOf('ringway: {groups: P-224}\n')[0].advice).toContain('X25519MLKEM768');
    expect(problemsOf('mode: tpc\n')[0].advice).toContain('tcp | udp');
    expect(problemsOf('bind_address: vpn\n')[0].advice).toContain('0.0.0.0:27690');
  });

  it('in a flag or variable names that flag or variable', () => {
    expect(problemsOf('', { mode: 'x' })[0].origin).toEqual({ layer: 'flag', flag: '--mode' });
    expect(problemsOf('', {}, { LW_SERVER_MODE: 'x' })[0].origin).toEqual({
      layer: 'environment',
      variable: 'LW_SERVER_MODE',
    });
    expect(problemsOf('', { tun_offload: 'x' })[0]).toMatchObject({
      key: 'ringway.tun_offload',
      origin: { flag: '--tun-offload' },
    });
  });

  it('does not hide the next mistake', () => {
    const found = problemsOf('mode: x\nlog_level: y\nringway:\n  io: z\nip_map:\n  10.0.0.1: w\n');
    expect(found.map(({ key, origin }) => [key, 'line' in origin && origin.line])).toEqual([
      ['mode', 2],
      ['log_level', 3],
      ['ringway.io', 5],
      ['ip_map.10.0.0.1', 7],
    ]);
  });
});

describe('an unknown key', () => {
  it('is refused, with its place and the nearest key', () => {
    const [problem] = problemsOf('mode: udp\nenable_expreslane: true\n');
    expect(problem).toMatchObject({ code: 'CONFIG_UNKNOWN_KEY', key: 'enable_expreslane', origin: file(3, 1) });
    expect(problem.advice).toContain('enable_expresslane');
  });

  it('of two forms is refused with both', () => {
    expect(problemsOf('ringway:\n  shards: 0\n')[0]).toMatchObject({
      message: expect.stringMatching(/shards cannot be 0/),
    });
    expect(JSON.stringify(problemsOf('ringway:\n  shards: 0\n')[0])).toContain('a whole number from 1 to 64, or auto');
  });

  it('in the environment or in the ringway map is refused too', () => {
    expect(problemsOf('', {}, { LW_SERVER_TUNNAME: 'x' })[0]).toMatchObject({
      code: 'CONFIG_UNKNOWN_KEY',
      key: 'tunname',
    });
    expect(problemsOf('ringway:\n  oi: epoll\n')[0]).toMatchObject({
      code: 'CONFIG_UNKNOWN_KEY',
      key: 'oi',
      origin: file(3, 3),
    });
  });

  it('that has its place elsewhere is told where', () => {
    const advice = (lines: string, env: Record<string, string> = {}) => problemsOf(lines, {}, env)[0]?.advice;
    for (const name of ['io', 'shards', 'aead', 'pace_rate', 'metrics_address', 'tun-offload'])
      expect(advice(`${name}: x\n`)).toContain('belongs below ringway:');
    expect(advice('', { LW_SERVER_IO: 'epoll' })).toBe('set RINGWAY_IO');
    expect(advice('keepalive_interval: 5s\n')).toContain('is a key of the client');
    expect(advice('Log-Level: info\n')).toContain('did you mean log_level?'); // which the client has, too
    expect(advice('ringway:\n  mode: udp\n')).toContain('belongs at the top of the file');
    expect(advice('ringway:\n  keepalive_interval: 5s\n')).toContain('is a key of the client');
    const [notice] = load('io: epoll\naccept_unknowns: true\n').notices;
    expect(notice.message).toContain('belongs below ringway:');
  });

  it('is a notice under accept_unknowns, in the file or by flag', () => {
    for (const [lines, flags] of [
      ['foo: 1\naccept_unknowns: true\n', {}] as const,
      ['foo: 1\n', { accept_unknowns: true }] as const,
    ]) {
      expect(load(lines, flags).notices.map(({ code, key }) => [code, key])).toEqual([['CONFIG_UNKNOWN_KEY', 'foo']]);
    }
  });
});

describe('keys that exclude each other (protocol specification §11.4)', () => {
  it.each([
    ['mode: tcp\nenable_expresslane: true\n', 'enable_expresslane', 3],
    ['mode: udp\nproxy_protocol: true\n', 'proxy_protocol', 3],
    ['enable_tun_offload: true\nenable_batch_send: true\n', 'enable_batch_send', 3],
    ['enable_tun_offload: true\nenable_tun_iouring: true\n', 'enable_tun_iouring', 3],
  ])('%j', (lines, key, line) => {
    expect(problemsOf(lines)).toMatchObject([{ code: 'CONFIG_CONFLICT', key, origin: { layer: 'file', line } }]);
  });

  it('include that somebody must be able to log in', () => {
    const path = folder.write('nobody.yaml', 'mode: udp\n');
    const error = thrownBy<ConfigError>(() => loadServerConfig(path, { flags: {}, env: {} }));
    expect(error).toMatchObject({ code: 'CONFIG_MISSING', problems: [{ key: 'user_db' }] });
    expect(
      loadServerConfig(path, { flags: { token_rsa_pub_key_pem: 'k.pem' }, env: {} }).config.tokenRsaPubKeyPem,
    ).toBe('k.pem');
  });
});

describe('YAML that cannot be read', () => {
  it.each([
    ['mode: udp\nmode: tcp\n', 3],
    ['mode: [udp\n', 2],
    ['mode: udp\n\ttun_name: x\n', 3],
  ])('%j is refused with its line', (lines, line) => {
    const error = thrownBy<ConfigError>(() => load(lines));
    expect(error?.code).toBe('CONFIG_SYNTAX');
    const [{ origin }] = (error as ConfigError).problems;
    expect('line' in origin && origin.line).toBeGreaterThanOrEqual(line);
  });

  it('that is a list and not a map is refused', () => {
    const path = folder.write('list.yaml', '- mode\n');
    expect(thrownBy<ConfigError>(() => loadServerConfig(path, { flags: {}, env: {} }))?.code).toBe('CONFIG_SYNTAX');
  });
});

describe('serverKeys', () => {
  it('are those of protocol specification §11.2', () => {
    expect(Object.keys(serverKeys).sort()).toEqual(documentedKeys('11.2').sort());
  });

  it('have defaults that their own schemas would take, were they written down', () => {
    for (const [name, { schema, fallback }] of Object.entries(serverKeys)) {
      if (typeof fallback === 'string' || typeof fallback === 'boolean')
        expect(schema.safeParse(fallback), name).toMatchObject({ success: true });
    }
  });
});

describe('what only io_uring has', () => {
  const said = (lines: string, flags: Record<string, string | boolean> = {}) =>
    load(lines, flags).notices.map(({ code, key, message }) => [code, key, message.replace(/^.*effect: /, '')]);
  const word = 'io is epoll, and only io_uring has it';

  it('is accepted with epoll, and said to be without effect', () => {
    expect(said('ringway: {io: epoll, zero_copy: true}', { sqpoll: true })).toEqual([
      ['CONFIG_INERT', 'ringway.sqpoll', word],
      ['CONFIG_INERT', 'ringway.zero_copy', word],
    ]);
  });

  it('is said nothing of where it is off, or io_uring may be had', () => {
    expect(said('ringway: {io: epoll, zero_copy: false, sqpoll: false}')).toEqual([]);
    for (const io of ['auto', 'io_uring'])
      expect(said(`ringway: {io: ${io}, sqpoll: true, zero_copy: true}`)).toEqual([]);
  });
});

describe('pacing', () => {
  const pacing = (lines: string, flags: Record<string, string> = {}) => {
    const { paceRate, trainSegments, userRates } = load(lines, flags).config;
    return { paceRate, trainSegments, userRates };
  };

  it('is off unless asked for, and what is said of rate and trains goes before the preset', () => {
    expect(pacing('')).toEqual({ paceRate: 0, trainSegments: 0, userRates: [] });
    expect(pacing('ringway: { pacing: internet }')).toEqual({ paceRate: 1_000_000, trainSegments: 16, userRates: [] });
    expect(pacing('', { pacing: 'internet', pace_rate: '50M' })).toMatchObject({ paceRate: 50_000, trainSegments: 16 });
    expect(pacing('', { pacing: 'internet', pace_rate: 'off' })).toMatchObject({ paceRate: 0, trainSegments: 16 });
    expect(pacing('', { train_segments: '8' })).toMatchObject({ paceRate: 0, trainSegments: 8 });
    expect(pacing('', { train_segments: '128' })).toMatchObject({ trainSegments: 128 });
    expect(problemsOf('', { train_segments: '129' })).toMatchObject([
      { key: 'ringway.train_segments', advice: expect.stringContaining('from 1 to 128') },
    ]);
  });

  it.each(['fast', '0', '-5M', '1', '63k', ''])('refuses a rate of %j with what it can be', (rate) => {
    expect(problemsOf('', { pace_rate: rate })[0]?.advice).toBe(
      'expected: a rate in bits a second from 64k to 400G, such as 200M, or off, or auto',
    );
  });

  it('reads rates of users from a file, and says which user has none that can be', () => {
    const good = folder.write('rates.yaml', 'alice: 20M\n"bob smith": 1.5G\ncarol: off\n');
    expect(pacing('', { user_rates: good }).userRates).toEqual([
      { user: 'alice', paceRate: 20_000 },
      { user: 'bob smith', paceRate: 1_500_000 },
      { user: 'carol', paceRate: 0 },
    ]);
    const bad = folder.write('bad.yaml', 'alice: 20M\nmallory: 5\n');
    expect(problemsOf('', { user_rates: bad })).toMatchObject([{ code: 'CONFIG_VALUE', key: 'user_rates.mallory' }]);
  });
});
