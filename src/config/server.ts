/** `ringway server`: every key of the stock server (protocol specification §11.2), in its order, with its default and meaning. */

import { MS, SECOND } from '../wire/time.ts';
import { backendKeys, noteIpv6, ownEntries, RINGWAY_MAP, RINGWAY_PREFIX, settleBackends } from './backends.ts';
import { readYaml, type Written } from './file.ts';
import {
  bindAddress,
  bufferSize,
  choice,
  deviceName,
  duration,
  flag,
  integer,
  ipv4,
  key,
  optional,
  path,
  pool,
  someDuration,
} from './keys.ts';
import { freeze, type Layers, type Merged, merge, type Notice, refuse, unknowns } from './layers.ts';
import { logLevelFrom } from './log-level.ts';
import { readGuarded } from './permissions.ts';
import type { Problem } from './problem.ts';
import { readBitRate, readCidr, readIpv4, Wrong } from './text.ts';
import type { Cidr, ServerConfig } from './types.ts';

const MINUTE = 60 * SECOND;
const ALWAYS_BATCHED = 'Ringway always sends and receives in batches';
const OWN_OFFLOAD = 'see tun_offload in the ringway map, which is on by default';
const OWN_IO = 'see io in the ringway map';

export const serverKeys = {
  mode: key(choice('tcp', 'udp'), 'tcp', 'transport', { short: 'm', value: 'tcp|udp' }),
  user_db: key(optional(path()), null, 'file of users and password hashes', { value: 'FILE' }),
  token_rsa_pub_key_pem: key(optional(path()), null, 'RSA public key that tokens are checked with', { value: 'FILE' }),
  server_cert: key(path(), './server.crt', 'certificate chain, PEM', { value: 'FILE' }),
  server_key: key(path(), './server.key', 'private key, PEM', { value: 'FILE' }),
  tun_name: key(optional(deviceName()), null, 'TUN device, created unless it exists', {
    value: 'NAME',
    verbatim: true,
  }),
  ip_pool: key(pool(), { address: '10.125.0.0', prefix: 16 }, 'network that clients get addresses from', {
    value: 'CIDR',
  }),
  ip_map: key(optional(path()), null, 'YAML file with a map of local address to client network', { value: 'FILE' }),
  tun_ip: key(optional(ipv4()), null, 'address of the TUN device: never given to a client', { value: 'IP' }),
  lightway_server_ip: key(ipv4(), '10.125.0.6', 'peer address told to clients', { value: 'IP' }),
  lightway_client_ip: key(ipv4(), '10.125.0.5', 'own address told to clients', { value: 'IP' }),
  lightway_dns_ip: key(ipv4(), '10.125.0.1', 'name server told to clients', { value: 'IP' }),
  enable_expresslane: key(flag(), false, 'Expresslane packets (UDP only)'),
  expresslane_keys_rotation_interval: key(someDuration(), 15 * MINUTE, 'age at which Expresslane keys change', {
    value: 'TIME',
  }),
  connection_age_expiration_interval: key(
    duration(),
    MINUTE,
    'how often the stock server looks at the age of sessions',
    {
      value: 'TIME',
      inert: 'a session that has sent nothing for 24 h ends at that moment, not at the next look',
    },
  ),
  statistics_reporting_interval: key(duration(), 30 * SECOND, 'how often statistics are logged', { value: 'TIME' }),
  enable_pqc: key(flag(), false, 'post-quantum key exchange'),
  enable_tun_offload: key(flag(), false, 'TUN offload of the stock server', { inert: OWN_OFFLOAD }),
  enable_tun_iouring: key(flag(), false, 'io_uring of the stock server', { inert: OWN_IO }),
  iouring_entry_count: key(integer(1, 32_768), 1024, 'ring entries of the stock server', { value: 'N', inert: OWN_IO }),
  iouring_sqpoll_idle_time: key(duration(), 100 * MS, 'SQPOLL of the stock server', { value: 'TIME', inert: OWN_IO }),
  log_format: key(choice('full', 'compact', 'pretty', 'json'), 'full', 'form of log lines', {
    value: 'full|compact|pretty|json',
  }),
  log_level: key(choice('trace', 'debug', 'info', 'warn', 'error', 'off'), 'info', 'least severity logged', {
    value: 'LEVEL',
  }),
  key_update_interval: key(someDuration(), 15 * MINUTE, 'age at which DTLS and TLS keys change', { value: 'TIME' }),
  bind_address: key(bindAddress(), { host: '0.0.0.0', portNumber: 27_690 }, 'outside address', { value: 'IP:PORT' }),
  proxy_protocol: key(flag(), false, 'expect a PROXY protocol v2 header (TCP only)'),
  udp_buffer_size: key(bufferSize(), 15 * 2 ** 20, 'size of UDP socket buffers', { value: 'SIZE' }),
  enable_batch_receive: key(flag(), false, 'recvmmsg of the stock server', { inert: ALWAYS_BATCHED }),
  enable_batch_send: key(flag(), false, 'sendmmsg of the stock server', { inert: ALWAYS_BATCHED }),
  accept_unknowns: key(flag(), false, 'ignore unknown keys', { short: 'a' }),
};

export const SERVER_PREFIX = 'LW_SERVER_';

export interface Loaded<C> {
  readonly config: C;
  readonly notices: readonly Notice[];
}

/**
 * Reads, merges and checks. @param layers flags by key in snake_case, and the environment
 * @throws ConfigError with every problem at once; RingwayError FILE_… when a file cannot be believed
 */
export function loadServerConfig(configFile: string, layers: Omit<Layers, 'file'>): Loaded<ServerConfig> {
  const file = readYaml(readGuarded(configFile, 'config_file', 'public'), configFile);
  const mapWritten = file.get('ip_map');
  const ipMapInline = mapWritten?.entries;
  const problems: Problem[] = [];
  const own = ownEntries(file.get(RINGWAY_MAP), problems);
  const flat = ipMapInline ? new Map([...file].filter(([name]) => name !== 'ip_map')) : file;

  const stock = merge(serverKeys, { ...layers, file: flat }, SERVER_PREFIX);
  const ours = merge(backendKeys, { ...layers, file: own }, RINGWAY_PREFIX, `${RINGWAY_MAP}.`);
  problems.push(...stock.problems, ...ours.problems);
  const notices = [
    ...stock.notices,
    ...ours.notices,
    ...noteIpv6(ours.values, 'a server leaves routes to you', ours.origins.ipv6),
  ];
  const { values } = stock;

  strangers(
    file,
    own,
    layers.env,
    SERVER_PREFIX,
    Object.keys(serverKeys),
    values.accept_unknowns === true,
    problems,
    notices,
  );
  const logLevel = logLevelFrom(layers.env[`${SERVER_PREFIX}RUST_LOG`], values.log_level);
  const ipMap = values.ip_map ? mapFile(values.ip_map) : ipMapInline;
  const networks = ipMap ? readIpMap(ipMap, problems) : [];
  const userRates = ours.values.user_rates ? readUserRates(ours.values.user_rates, problems) : [];
  conflicts(stock, problems);
  refuse(problems);

  const config: ServerConfig = {
    role: 'server',
    configFile,
    ...settleBackends(ours.values, 'server'),
    userRates,
    logLevel,
    logFormat: values.log_format,
    mode: values.mode,
    userDb: values.user_db,
    tokenRsaPubKeyPem: values.token_rsa_pub_key_pem,
    serverCert: values.server_cert,
    serverKey: values.server_key,
    tunName: values.tun_name,
    ipPool: values.ip_pool,
    ipMap: networks,
    tunIp: values.tun_ip,
    lightwayServerIp: values.lightway_server_ip,
    lightwayClientIp: values.lightway_client_ip,
    lightwayDnsIp: values.lightway_dns_ip,
    enableExpresslane: values.enable_expresslane,
    expresslaneKeysRotationInterval: values.expresslane_keys_rotation_interval,
    connectionAgeExpirationInterval: values.connection_age_expiration_interval,
    statisticsReportingInterval: values.statistics_reporting_interval,
    enablePqc: values.enable_pqc,
    enableTunOffload: values.enable_tun_offload,
    enableTunIouring: values.enable_tun_iouring,
    iouringEntryCount: values.iouring_entry_count,
    iouringSqpollIdleTime: values.iouring_sqpoll_idle_time,
    keyUpdateInterval: values.key_update_interval,
    bindAddress: values.bind_address,
    proxyProtocol: values.proxy_protocol,
    udpBufferSize: values.udp_buffer_size,
    enableBatchReceive: values.enable_batch_receive,
    enableBatchSend: values.enable_batch_send,
  };
  return { config: freeze(config), notices };
}

/** What excludes each other in the stock server (protocol specification §11.4), so that one file serves both. */
function conflicts({ values, origins }: Merged<typeof serverKeys>, problems: Problem[]): void {
  const conflict = (at: keyof typeof serverKeys, message: string, advice: string) =>
    problems.push({ code: 'CONFIG_CONFLICT', key: at, origin: origins[at], message, advice });

  if (values.mode === 'tcp' && values.enable_expresslane) {
    conflict(
      'enable_expresslane',
      'enable_expresslane needs mode: udp',
      'set mode: udp, or leave enable_expresslane out',
    );
  }
  if (values.mode === 'udp' && values.proxy_protocol) {
    conflict('proxy_protocol', 'proxy_protocol needs mode: tcp', 'set mode: tcp, or leave proxy_protocol out');
  }
  if (values.enable_tun_offload && values.enable_batch_send) {
    conflict(
      'enable_batch_send',
      'enable_batch_send and enable_tun_offload exclude each other',
      'leave one of them out',
    );
  }
  if (values.enable_tun_offload && values.enable_tun_iouring) {
    conflict(
      'enable_tun_iouring',
      'enable_tun_iouring and enable_tun_offload exclude each other',
      'leave one of them out',
    );
  }
  if (values.ip_pool && poolIsEmpty(values)) {
    const { address, prefix } = values.ip_pool;
    problems.push({
      code: 'IP_POOL_EMPTY',
      key: 'ip_pool',
      origin: origins.ip_pool,
      message: `ip_pool ${address}/${prefix} has no address to give`,
      advice:
        'choose a larger network: its first, its last, and the addresses of server, client, DNS and TUN are taken out of it',
    });
  }
  if (values.user_db === null && values.token_rsa_pub_key_pem === null) {
    problems.push({
      code: 'CONFIG_MISSING',
      key: 'user_db',
      origin: { layer: 'default' },
      message: 'nobody could log in: neither user_db nor token_rsa_pub_key_pem is set',
      advice: 'set user_db: FILE with lines of user:hash, or token_rsa_pub_key_pem: FILE',
    });
  }
}

function poolIsEmpty(values: Merged<typeof serverKeys>['values']): boolean {
  const number = (address: string) => address.split('.').reduce((sum, byte) => sum * 256 + Number(byte), 0);
  const size = 2 ** (32 - values.ip_pool.prefix);
  const first = Math.floor(number(values.ip_pool.address) / size) * size;
  const { lightway_server_ip, lightway_client_ip, lightway_dns_ip, tun_ip } = values;
  const own = [lightway_server_ip, lightway_client_ip, lightway_dns_ip, tun_ip].flatMap((ip) => (ip ? number(ip) : []));
  const taken = new Set([first, first + size - 1, ...own.filter((ip) => ip >= first && ip < first + size)]);
  return taken.size >= size;
}

function mapFile(path: string): ReadonlyMap<string, Written> {
  return readYaml(readGuarded(path, 'ip_map', 'public'), path);
}

function readIpMap(entries: ReadonlyMap<string, Written>, problems: Problem[]): { localIp: string; subnet: Cidr }[] {
  const networks: { localIp: string; subnet: Cidr }[] = [];
  for (const [address, written] of entries) {
    const subnet = readCidr(written.written ?? '');
    const localIp = readIpv4(address);
    const wrong = localIp instanceof Wrong ? localIp : subnet instanceof Wrong ? subnet : undefined;
    if (wrong || localIp instanceof Wrong || subnet instanceof Wrong) {
      const message = `ip_map cannot have ${address}: ${written.written ?? 'nothing'}`;
      const advice = `expected: local address: client network; ${wrong?.expected ?? ''}`;
      problems.push({ code: 'CONFIG_VALUE', key: `ip_map.${address}`, origin: written.origin, message, advice });
    } else networks.push({ localIp, subnet });
  }
  return networks;
}

function readUserRates(path: string, problems: Problem[]): { user: string; paceRate: number }[] {
  const rates: { user: string; paceRate: number }[] = [];
  for (const [user, written] of readYaml(readGuarded(path, 'user_rates', 'public'), path)) {
    const paceRate = readBitRate(written.written ?? '');
    if (paceRate instanceof Wrong) {
      const message = `user_rates cannot have ${user}: ${written.written ?? 'nothing'}`;
      const advice = `expected: user: ${paceRate.expected}`;
      problems.push({ code: 'CONFIG_VALUE', key: `user_rates.${user}`, origin: written.origin, message, advice });
    } else rates.push({ user, paceRate });
  }
  return rates;
}

/** Unknown keys of the file, of the `ringway:` map and of the environment. */
export function strangers(
  file: ReadonlyMap<string, Written>,
  own: ReadonlyMap<string, Written>,
  env: Layers['env'],
  prefix: string,
  known: readonly string[],
  accept: boolean,
  problems: Problem[],
  notices: Notice[],
): void {
  const settled = new Set([...known, RINGWAY_MAP, 'rust_log', 'config_file']);
  const inFile = [...file]
    .filter(([name]) => !settled.has(name))
    .map(([name, { origin, keyOrigin }]) => [name, keyOrigin ?? origin] as const);
  const inEnvironment = Object.keys(env)
    .filter((variable) => variable.startsWith(prefix) && !settled.has(variable.slice(prefix.length).toLowerCase()))
    .map((variable) => [variable.slice(prefix.length).toLowerCase(), { layer: 'environment', variable }] as const);
  const candidates = [...known, ...Object.keys(backendKeys).map((name) => `${RINGWAY_MAP}.${name}`)];
  unknowns([...inFile, ...inEnvironment], candidates, accept, problems, notices);

  const inOwn = [...own]
    .filter(([name]) => !(name in backendKeys))
    .map(([name, { origin, keyOrigin }]) => [name, keyOrigin ?? origin] as const);
  unknowns(inOwn, Object.keys(backendKeys), accept, problems, notices);
}
