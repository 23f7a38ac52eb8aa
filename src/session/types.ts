// What a Lightway session is given and what it gives: the border between the sans-IO session and the datapath that owns sockets,
// (D)TLS, keys and inner packets.

import type { Auth } from '../wire/frames.ts';
import { type Micros, MS, SECOND } from '../wire/time.ts';
import type { PathMtuConfig } from './path-mtu.ts';

/** Over UDP frames are aligned to records and few errors are fatal; over TCP frames are split anywhere and every error is. */
export type Transport = 'udp' | 'tcp';

/**
 * Life of a session (protocol specification §5.1): the (D)TLS handshake runs · done, the server waits for an AuthRequest · the
 * client has sent one · packets flow · over, with Goodbye said where one was due.
 */
export type State = 'connecting' | 'linkUp' | 'authenticating' | 'online' | 'closed';

/** What the server tells a client about its inside network. All clients get the same; each side translates (§9.1). */
export type NetworkConfig = { localIp: string; peerIp: string; dnsIp: string; mtu: number };

/** Settings that sessions share; make one object and hand it to all of them. */
export type LaneConfig = {
  enabled: boolean;
  /** Age at which the next inner packet makes a side send a new key. */
  rotationInterval: Micros;
};

export type ServerConfig = {
  transport: Transport;
  expresslane: LaneConfig;
  /** Time to be Online, counted from `start`. */
  staleAge: Micros;
  /** Time for an AuthRequest to come, counted from `linkUp`. Over UDP the stock server gives 12.7 s (§2.9). */
  loginWait: Micros;
  /** Time without anything from the client after which an Online session is closed. */
  idleAge: Micros;
  counters: Counters;
};

export type KeepaliveConfig = {
  /** Quiet time after which a Ping is sent, and the time between Pings that nothing answers. */
  interval: Micros;
  /** Time after the first unanswered Ping at which the session is closed. */
  timeout: Micros;
  /** Off: Pings are sent only when packets leave and nothing has come for `tracerTimeout`. */
  continuous: boolean;
  tracerTimeout: Micros;
};

export type ClientConfig = {
  transport: Transport;
  expresslane: LaneConfig;
  keepalive: KeepaliveConfig;
  credentials: Auth;
  /** Time for an answer to the AuthRequest. The stock client waits for ever. */
  loginWait: Micros;
  /** Over UDP: find out what the path carries. Undefined: send as if it carried everything. */
  pathMtu?: PathMtuConfig | undefined;
  counters: Counters;
};

/** The stock defaults (§13.3), to be spread under what a configuration says. */
export const SERVER_DEFAULTS = {
  expresslane: { enabled: false, rotationInterval: 900 * SECOND },
  staleAge: 60 * SECOND,
  loginWait: 12_700 * MS,
  idleAge: 86_400 * SECOND,
} as const;

export const CLIENT_DEFAULTS = {
  expresslane: { enabled: false, rotationInterval: 900 * SECOND },
  keepalive: { interval: 10 * SECOND, timeout: 60 * SECOND, continuous: true, tracerTimeout: 10 * SECOND },
  loginWait: 60 * SECOND,
} as const;

/**
 * The Expresslane keys of one session, which live in its slot and not in JavaScript. There are four: the send key in use, the
 * staged one that the peer has yet to acknowledge, the receive key and the one before it. A key of zeros is no key.
 */
export type LaneKeys = {
  /** Makes 32 random bytes the staged key. @returns a copy for the frame, which the session zeroes */
  stage(): Uint8Array;
  /** Makes zeros the staged key: the peer's acknowledgement will end our sending. */
  stageNone(): void;
  /** @returns a copy of the staged key for a repeated frame, which the session zeroes */
  staged(): Uint8Array;
  /** Staged key → send key. */
  promote(): void;
  /** Receive key → previous receive key; `key` → receive key. `key` is a view: copy it. */
  installReceive(key: Uint8Array): void;
  /** Compares in constant time. */
  receiveKeyIs(key: Uint8Array): boolean;
  sendValid(): boolean;
  receiveValid(): boolean;
  /** Inner packets leave as Expresslane packets from now on, or as DTLS records. */
  setActive(on: boolean): void;
  /** Both directions have keys, or no longer: keepalives report packets as long as they have (§6.9). Not before this is called. */
  setReady(on: boolean): void;
  /** What the tag of data packets covers (§6.3). 2 until this is called. */
  setVersion(version: 1 | 2): void;
  /** Expresslane packets of this session so far, both monotonic. */
  packetsSent(): number;
  packetsReceived(): number;
};

/** Why a session ended. */
export type CloseCode = keyof typeof CLOSE_REASON;

export const CLOSE_REASON = {
  LOCAL: 'closed by this side',
  GOODBYE: 'the peer said Goodbye',
  PEER_GONE: 'the peer closed the outer connection',
  OUTER_FAILED: 'the outer connection failed',
  STALE: 'not Online in time',
  LOGIN_TIMEOUT: 'no login in time',
  IDLE: 'nothing came from the client for too long',
  EXPIRED: 'the authorisation expired',
  KEEPALIVE_TIMEOUT: 'the server did not answer keepalives',
  NETWORK_CHANGED: 'the network changed under a TCP connection',
  ACCESS_DENIED: 'the login was refused',
  NO_ADDRESS: 'no inside address is free',
  UNAUTHORIZED: 'the server refused the login',
  WRONG_ROLE: 'the peer sent a frame of the other role',
  BAD_FRAME: 'the peer sent a malformed frame',
  INVALID_STATE: 'the peer sent a frame out of its time',
  INVALID_PACKET: 'the peer sent something that is no IPv4 packet',
  INVALID_FRAGMENT: 'the peer sent a fragment that does not fit',
  NOT_SUPPORTED: 'the peer sent a frame this transport does not have',
  BAD_NETWORK_CONFIG: 'the server sent a network configuration that is none',
  NO_CODEC: 'the peer encodes packets, and there is no codec',
} as const;

/**
 * One thing to do, in the order of `drain`. Byte fields are views into what was handed to `receive`, or belong to whoever drains.
 *
 * - `frame`: send it in one application-data record, or write it to the stream. Over UDP send the sealed datagram `repeat` times, back
 *   to back (§1.6). With `secret` set, zero `bytes` once they are sealed.
 * - `probe`: send it in one record, in a datagram that no router may fragment; one that the own interface refuses counts as sent.
 * - `pathMtu`: the longest inner packet that the path carries in one datagram is now `packet` bytes long, or nobody knows (0). What is longer
 *   goes through `sendLong`.
 * - `authenticate`: answer with `authorise` when the password or token has been checked. A password is a view: copy it, then zero it.
 * - `online`: the client has its network configuration; the server gets the event without one.
 * - `packet`: an inner packet that came by Data or DataFrag.
 * - `closed`: send close_notify `repeat` times if `notify`, then forget the session. Always the last output there is.
 */
export type Output =
  | { kind: 'frame'; bytes: Uint8Array; repeat: number; secret: boolean }
  | { kind: 'probe'; bytes: Uint8Array }
  | { kind: 'pathMtu'; packet: number }
  | { kind: 'authenticate'; auth: Auth }
  | { kind: 'online'; networkConfig: NetworkConfig | undefined }
  | { kind: 'packet'; bytes: Uint8Array }
  | { kind: 'closed'; code: CloseCode; reason: string; notify: boolean; repeat: number };

/** The server's answer to `authenticate`. */
export type Decision =
  | { granted: true; networkConfig: NetworkConfig; sessionId: bigint }
  | { granted: false; code: 'ACCESS_DENIED' | 'NO_ADDRESS' };

const DROP_REASONS = [
  'truncatedFrame', // a record ended inside a frame
  'unknownKind',
  'badVersion', // a VersionedToken of a version outside 1.1 to 1.3
  'badFrame', // any other field that is wrong: fatal
  'wrongRole',
  'invalidState',
  'afterClose',
  'authUnderWay', // an AuthRequest while one is being checked: the copies of aggressive mode, and ticks
  'lateAuthSuccess', // a copy of what made us Online
  'serverConfig', // stock clients log it and go on
  'noCodec', // encoding requests and encoded packets
  'notSupported', // an ExpresslaneConfig over TCP, or before version 1.3
  'invalidPacket', // not one IPv4 packet
  'fragmentEmpty',
  'fragmentOverlap',
  'fragmentBeyondEnd',
  'fragmentTooLarge', // the packet would be longer than 65,535 bytes
  'fragmentEvicted', // given up for a newer one, or for its age
  'lateProbe', // a Pong with an id other than 0
  'lateAck', // an ack for no outstanding config
  'staleConfig', // a config older than one already seen
  'repeatedConfig', // a config that was acknowledged before: acknowledged again
  'emptyKey', // enabled, and the key is zeros
  'configWhileDegraded',
  'versionLocked', // the version would change after packets were sent with the old one
] as const;

export type DropReason = (typeof DROP_REASONS)[number];

/** Frames that were ignored, by reason; shared by the sessions of a shard. Always the same keys, so its shape never changes. */
export type Counters = Record<DropReason, number>;

export function createCounters(): Counters {
  return Object.fromEntries(DROP_REASONS.map((reason) => [reason, 0])) as Counters;
}
