/** `ringway client`: what its configuration says, read, merged and checked (protocol specification §11.3). */

import {
  backendKeys,
  noteIpv6,
  noteRing,
  noteShards,
  ownEntries,
  RINGWAY_MAP,
  RINGWAY_PREFIX,
  settleBackends,
} from './backends.ts';
import { CLIENT_PREFIX, clientKeys, serverEntryKeys } from './client-keys.ts';
import { readYaml, type Written } from './file.ts';
import type { Values } from './keys.ts';
import { freeze, type Layers, type Merged, merge, type Notice, refuse, unknowns } from './layers.ts';
import { logLevelFrom } from './log-level.ts';
import { readGuarded } from './permissions.ts';
import type { Origin, Problem } from './problem.ts';
import type { Loaded } from './server.ts';
import { strangers } from './strangers.ts';
import { readPeer, Wrong } from './text.ts';
import type { CaSource, ClientConfig, Endpoint, ServerEntry } from './types.ts';

const LONGEST_NAME = 50; // protocol specification §3.5: user and password fields of the AuthRequest
const LONGEST_TOKEN = 1_347; // §3.5
const PEM_BEGIN = '-----BEGIN CERTIFICATE-----';

const ALIAS = 'enable_inside_pkt_encoding_at_connect';

/** @see loadServerConfig */
export function loadClientConfig(configFile: string, layers: Omit<Layers, 'file'>): Loaded<ClientConfig> {
  const file = renamed(readYaml(readGuarded(configFile, 'config_file', 'secret'), configFile));
  const problems: Problem[] = [];
  const own = ownEntries(file.get(RINGWAY_MAP), problems);
  const stock = merge(clientKeys, { ...layers, file }, CLIENT_PREFIX);
  const ours = merge(backendKeys, { ...layers, file: own }, RINGWAY_PREFIX, `${RINGWAY_MAP}.`);
  problems.push(...stock.problems, ...ours.problems);
  const inert = [...noteShards(ours.values, ours.origins.shards), ...noteRing(ours.values, ours.origins)];
  const notices = [...stock.notices, ...ours.notices, ...inert];
  const { values } = stock;
  const unrouted = values.route_mode === 'noexec' ? 'route_mode: noexec leaves routes alone' : undefined;
  notices.push(...noteIpv6(ours.values, unrouted, ours.origins.ipv6));

  strangers('client', { file, own, env: layers.env }, values.accept_unknowns === true, problems, notices);
  const servers = entries(file.get('servers'), values, stock.origins, problems, notices);
  conflicts(stock, servers, problems, notices);
  const logLevel = logLevelFrom(layers.env[`${CLIENT_PREFIX}RUST_LOG`], values.log_level);
  refuse(problems);

  const config: ClientConfig = {
    role: 'client',
    configFile,
    ...settleBackends(ours.values, 'client'),
    logLevel,
    logFormat: 'full',
    servers,
    tunName: values.tun_name,
    tunLocalIp: values.tun_local_ip,
    tunPeerIp: values.tun_peer_ip,
    tunDnsIp: values.tun_dns_ip,
    keyshare: values.keyshare,
    keepaliveInterval: values.keepalive_interval,
    keepaliveTimeout: values.keepalive_timeout,
    keepaliveContinuous: values.keepalive_continuous,
    tracerPacketTimeout: values.tracer_packet_timeout,
    preferredConnectionWaitInterval: values.preferred_connection_wait_interval,
    sndbuf: values.sndbuf,
    rcvbuf: values.rcvbuf,
    enableBatchReceive: values.enable_batch_receive,
    routeMode: values.route_mode,
    fwmark: values.fwmark,
    dnsConfigMode: values.dns_config_mode,
    enableExpresslane: values.enable_expresslane,
    expresslaneKeysRotationInterval: values.expresslane_keys_rotation_interval,
    enablePmtud: values.enable_pmtud,
    pmtudBaseMtu: values.pmtud_base_mtu,
    enableTunIouring: values.enable_tun_iouring,
    iouringEntryCount: values.iouring_entry_count,
    iouringSqpollIdleTime: values.iouring_sqpoll_idle_time,
    enableInsidePktEncoding: values.enable_inside_pkt_encoding,
  };
  return { config: freeze(config), notices };
}

/** What one key says and another unsays. */
function conflicts(
  { values, origins }: Merged<typeof clientKeys>,
  servers: readonly ServerEntry[],
  problems: Problem[],
  notices: Notice[],
): void {
  if (values.tun_local_ip !== undefined && values.tun_local_ip === values.tun_peer_ip)
    problems.push({
      code: 'CONFIG_CONFLICT',
      key: 'tun_peer_ip',
      origin: origins[origins.tun_peer_ip.layer === 'default' ? 'tun_local_ip' : 'tun_peer_ip'],
      message: `tun_local_ip and tun_peer_ip are both ${values.tun_local_ip}`,
      advice: 'give the two ends of the tunnel an address each',
    });
  if (values.fwmark && servers.some(({ mode }) => mode === 'tcp'))
    notices.push({
      code: 'CONFIG_INERT',
      key: 'fwmark',
      origin: origins.fwmark,
      message: 'fwmark is without effect where mode is tcp: only sockets for UDP are marked',
    });
  for (const { server, serverDn } of servers)
    if (serverDn === '')
      notices.push({
        code: 'CERT_UNCHECKED',
        key: 'server_dn',
        origin: origins.server_dn,
        message: `server_dn of ${server.host} is empty: whoever has a certificate that ca_cert vouches for passes for this server`,
      });
}

type ClientValues = Values<typeof clientKeys>;
type ClientOrigins = Readonly<Record<keyof typeof clientKeys, Origin>>;

function renamed(file: ReadonlyMap<string, Written>): ReadonlyMap<string, Written> {
  return new Map([...file].map(([name, written]) => [name === ALIAS ? 'enable_inside_pkt_encoding' : name, written]));
}

/** The list of servers, or the lone server as a list of one. */
function entries(
  listed: Written | undefined,
  global: ClientValues,
  origins: ClientOrigins,
  problems: Problem[],
  notices: Notice[],
): ServerEntry[] {
  if (listed && listed.value !== null && !listed.elements) {
    problems.push({
      code: 'CONFIG_VALUE',
      key: 'servers',
      origin: listed.origin,
      message: 'servers is not a list',
      advice: 'write "- server: HOST:PORT" below it',
    });
    return [];
  }
  const elements = listed?.elements ?? [];
  if (elements.length === 0) return single(global, origins, problems);
  return elements.flatMap((element, i) => {
    const within = `servers[${i}].`;
    if (!element.entries) {
      problems.push({
        code: 'CONFIG_VALUE',
        key: `servers[${i}]`,
        origin: element.origin,
        message: `servers[${i}] is not a map`,
        advice: 'write "- server: HOST:PORT"',
      });
      return [];
    }
    const merged = merge(serverEntryKeys, { flags: {}, env: {}, file: element.entries }, '', within);
    const strange = [...element.entries].filter(([name]) => !(name in serverEntryKeys));
    const found = strange.map(([name, { origin, keyOrigin }]) => [name, keyOrigin ?? origin] as const);
    unknowns(found, Object.keys(serverEntryKeys), global.accept_unknowns === true, problems, notices);
    problems.push(...merged.problems);
    notices.push(...merged.notices);
    if (merged.problems.length > 0) return [];
    const { server } = merged.values;
    if (!server) {
      problems.push({
        code: 'CONFIG_MISSING',
        key: `${within}server`,
        origin: element.origin,
        message: `${within}server is missing`,
        advice: 'add server: HOST:PORT',
      });
      return [];
    }
    if (global.ca_cert === undefined) return []; // said already
    const own = { ...merged.values, server };
    return credentials(within, element.origin, entry(own, global), problems);
  });
}

/** The keys at the top of the file describe the only server. */
function single(global: ClientValues, origins: ClientOrigins, problems: Problem[]): ServerEntry[] {
  if (global.server === undefined || global.mode === undefined || global.ca_cert === undefined) return [];
  if (global.server.trim() === '') {
    problems.push({
      code: 'CONFIG_MISSING',
      key: 'server',
      origin: origins.server,
      message: 'no server is set',
      advice: 'set server: HOST:PORT, or a list servers',
    });
    return [];
  }
  const server = readPeer(global.server);
  if (server instanceof Wrong) {
    problems.push({
      code: 'CONFIG_VALUE',
      key: 'server',
      origin: origins.server,
      message: `server cannot be ${global.server}`,
      advice: `expected: ${server.expected}`,
    });
    return [];
  }
  return credentials('', origins.user, entry({ ...global, server, ca_cert: null }, global), problems);
}

function entry(
  own: Omit<Values<typeof serverEntryKeys>, 'server'> & { server: Endpoint },
  global: ClientValues,
): ServerEntry {
  const hasOwn = own.token !== null || own.user !== null;
  const { token, user, password } = hasOwn ? own : global;
  return {
    server: own.server,
    mode: own.mode,
    serverDn: own.server_dn,
    cipher: own.cipher,
    token,
    user,
    password,
    outsideMtu: own.outside_mtu,
    caCert: authority(own.ca_cert ?? global.ca_cert),
  };
}

function authority(written: string): CaSource {
  const begin = written.trimStart();
  return begin.startsWith(PEM_BEGIN) ? { kind: 'pem', pem: begin } : { kind: 'path', path: written };
}

/** A login has to be possible, and to fit its frame; the stock client finds out after the handshake, and panics. */
function credentials(within: string, origin: Origin, server: ServerEntry, problems: Problem[]): ServerEntry[] {
  const wrong = (code: Problem['code'], name: string, message: string, advice: string) =>
    problems.push({ code, key: within + name, origin, message: within + message, advice });
  const { token, user, password } = server;
  const length = (value: string | null) => Buffer.byteLength(value ?? '');
  if (!token && !user)
    wrong('CONFIG_MISSING', 'user', 'user and password, or token, are missing', 'set user and password, or token');
  else if (!token && !password)
    wrong('CONFIG_MISSING', 'password', 'password is missing for the user', 'set password, or use a token');
  for (const [name, value] of [
    ['user', user],
    ['password', password],
  ] as const) {
    if (length(value) > LONGEST_NAME)
      wrong(
        'CONFIG_VALUE',
        name,
        `${name} is longer than ${LONGEST_NAME} bytes`,
        `the protocol carries at most ${LONGEST_NAME}`,
      );
  }
  if (length(token) > LONGEST_TOKEN)
    wrong(
      'CONFIG_VALUE',
      'token',
      `token is longer than ${LONGEST_TOKEN} bytes`,
      `the protocol carries at most ${LONGEST_TOKEN}`,
    );
  return [server];
}
