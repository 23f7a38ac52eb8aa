/**
 * What the programs are told to do, after every layer was merged and checked. Nothing here is optional "by accident": a value
 * nobody set carries its default. Objects are frozen all the way down. Secrets (passwords, tokens) are plain fields of
 * `ServerEntry`: never log a config, log its keys.
 */
import type { Micros } from '../wire/time.ts';

export type Mode = 'tcp' | 'udp';
export type Cipher = 'aes256' | 'chacha20';
export type KeyShare = 'p521mlkem1024' | 'x25519mlkem768';
export type LogLevel = 'trace' | 'debug' | 'info' | 'warn' | 'error' | 'off';
export type LogFormat = 'full' | 'compact' | 'pretty' | 'json';
export type RouteMode = 'default' | 'lan' | 'noexec';
export type DnsConfigMode = 'default' | 'noexec';
export type Io = 'auto' | 'io_uring' | 'epoll';
export type Aead = 'auto' | 'ipsec-mb' | 'openssl' | 'noble';
export type Gro = 'inline' | 'off';

/** A literal address or a name, and a port. `host` carries no brackets. */
export interface Endpoint {
  readonly host: string;
  readonly portNumber: number;
}

/** An IPv4 network. Host bits are kept as they were written: the stock programs take `10.125.0.1/16`. */
export interface Cidr {
  readonly address: string;
  readonly prefix: number;
}

/** What Ringway has beyond the stock programs: flags, or keys in the `ringway:` map of the same file. */
export interface Backends {
  readonly io: Io;
  readonly aead: Aead;
  readonly gro: Gro;
  readonly tunOffload: boolean;
  /** Server: key-exchange groups to ask for, best first, as codes (`src/crypto/groups.ts`). */
  readonly groups: readonly number[];
  /** io_uring: submission by a kernel thread, which spins for it. */
  readonly sqpoll: boolean;
  /** io_uring: SENDMSG_ZC. Loopback and veth copy all the same, and it costs more there. */
  readonly zeroCopy: boolean;
  /** Kilobits a second that a session is sent outside, 0 = as they come. */
  readonly paceRate: number;
  /** Datagrams of one send, 1 to 128; 0 = as many as the kernel takes. */
  readonly trainSegments: number;
  /** Server: users with a `paceRate` of their own. */
  readonly userRates: readonly { readonly user: string; readonly paceRate: number }[];
  /** Threads that carry packets, 1 to 64. `auto` in the file: one per core for a server, one for a client. */
  readonly shards: number;
  /** Slots of the session table, 1 to 1,048,576. Memory is touched only where sessions live. */
  readonly sessions: number;
  /** Folder of the control socket, made by the keeper; `auto` in the file: `/run/ringway`, or XDG_RUNTIME_DIR without root. */
  readonly state: string;
  /** Where the engine answers GET /metrics; null: nowhere. */
  readonly metricsAddress: Endpoint | null;
  /** Client: what becomes of the host's IPv6, which the tunnel does not carry, while the routes are the tunnel's. */
  readonly ipv6: 'leave' | 'block';
  /** Whom the engine runs as when the keeper is root: a name of /etc/passwd or a number. */
  readonly runAs: string;
}

export interface Logging {
  readonly logLevel: LogLevel;
  readonly logFormat: LogFormat;
}

/** Protocol specification §11.2, key by key; `null` is "none". Times are spans in `Micros`, sizes are bytes. */
export interface ServerConfig extends Backends, Logging {
  readonly role: 'server';
  readonly configFile: string;
  readonly mode: Mode;
  readonly userDb: string | null;
  readonly tokenRsaPubKeyPem: string | null;
  readonly serverCert: string;
  readonly serverKey: string;
  readonly tunName: string | null;
  readonly ipPool: Cidr;
  readonly ipMap: readonly { readonly localIp: string; readonly subnet: Cidr }[];
  readonly tunIp: string | null;
  readonly lightwayServerIp: string;
  readonly lightwayClientIp: string;
  readonly lightwayDnsIp: string;
  readonly enableExpresslane: boolean;
  readonly expresslaneKeysRotationInterval: Micros;
  readonly connectionAgeExpirationInterval: Micros;
  readonly statisticsReportingInterval: Micros;
  readonly enablePqc: boolean;
  readonly enableTunOffload: boolean;
  readonly enableTunIouring: boolean;
  readonly iouringEntryCount: number;
  readonly iouringSqpollIdleTime: Micros;
  readonly keyUpdateInterval: Micros;
  readonly bindAddress: Endpoint;
  readonly proxyProtocol: boolean;
  readonly udpBufferSize: number;
  readonly enableBatchReceive: boolean;
  readonly enableBatchSend: boolean;
}

/** Where the authority that signs server certificates is to be found. */
export type CaSource =
  | { readonly kind: 'path'; readonly path: string }
  | { readonly kind: 'pem'; readonly pem: string };

/** One server a client may use, with the global credentials filled in where it has none of its own. */
export interface ServerEntry {
  readonly server: Endpoint;
  readonly mode: Mode;
  /** Expected name in the certificate; empty: the name is not checked. */
  readonly serverDn: string;
  readonly cipher: Cipher;
  readonly user: string | null;
  readonly password: string | null;
  readonly token: string | null;
  readonly outsideMtu: number;
  readonly caCert: CaSource;
}

/** Protocol specification §11.3, key by key. `servers` is never empty: a lone `server` becomes its only entry. */
export interface ClientConfig extends Backends, Logging {
  readonly role: 'client';
  readonly configFile: string;
  readonly servers: readonly ServerEntry[];
  readonly tunName: string;
  readonly tunLocalIp: string;
  readonly tunPeerIp: string;
  readonly tunDnsIp: string;
  readonly keyshare: KeyShare;
  readonly keepaliveInterval: Micros;
  readonly keepaliveTimeout: Micros;
  readonly keepaliveContinuous: boolean;
  readonly tracerPacketTimeout: Micros;
  readonly preferredConnectionWaitInterval: Micros;
  readonly sndbuf: number;
  readonly rcvbuf: number;
  readonly enableBatchReceive: boolean;
  readonly routeMode: RouteMode;
  /** SO_MARK of the outside socket; 0: none. */
  readonly fwmark: number;
  readonly dnsConfigMode: DnsConfigMode;
  readonly enableExpresslane: boolean;
  readonly expresslaneKeysRotationInterval: Micros;
  readonly enablePmtud: boolean;
  readonly pmtudBaseMtu: number | null;
  readonly enableTunIouring: boolean;
  readonly iouringEntryCount: number;
  readonly iouringSqpollIdleTime: Micros;
  readonly enableInsidePktEncoding: boolean;
}

export type Config = ServerConfig | ClientConfig;
