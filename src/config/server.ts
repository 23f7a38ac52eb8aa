/** `ringway server`: what its configuration says, read, merged and checked (protocol specification §11.2). */

import {
  backendKeys,
  noteIpv6,
  noteRing,
  ownEntries,
  RINGWAY_MAP,
  RINGWAY_PREFIX,
  settleBackends,
} from './backends.ts';
import { readYaml, type Written } from './file.ts';
import { freeze, type Layers, type Merged, merge, type Notice, refuse } from './layers.ts';
import { logLevelFrom } from './log-level.ts';
import { readGuarded } from './permissions.ts';
import type { Problem } from './problem.ts';
import { SERVER_PREFIX, serverKeys } from './server-keys.ts';
import { strangers } from './strangers.ts';
import { readBitRate, readCidr, readIpv4, Wrong } from './text.ts';
import type { Cidr, ServerConfig } from './types.ts';

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
    ...noteRing(ours.values, ours.origins),
  ];
  const { values } = stock;

  strangers('server', { file, own, env: layers.env }, values.accept_unknowns === true, problems, notices);
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
