/**
 * What keeper and engine say to each other, over Node's own channel on descriptor 3 (JSON, one message a line; channel.ts reads it for the keeper). It hands
 * over what needed privileges, as descriptors and as the contents of files, so that the engine opens nothing by itself; neither
 * argv nor the environment carries a secret. An engine may be of a newer version than its keeper: both state `version`, and
 * a keeper refuses an engine that speaks another one.
 *
 *     engine  hello ──▶                code is loaded; nothing has been touched
 *             ◀── start       keeper   the predecessor is gone: descriptors and session memory are yours
 *             ready ──▶
 *             clientOnline, fatal ──▶  when they happen
 *             ◀── statistics           an operator asks; the answer has the same id
 *             ◀── stop | yield
 *             stopped ──▶ (exit 0)
 */
import type { ClientConfig, ServerConfig } from '../config/types.ts';
import type { EngineStatistics } from '../observe/statistics.ts';

export const KEEPER_PROTOCOL = 3;

/** The session table's memory (memfds): it outlives engines. A table is all zero when `generation` is 1. */
export interface TableDescriptors {
  readonly public: number;
  readonly publicBytes: number;
  readonly secret: number;
  readonly secretBytes: number;
  readonly slots: number;
}

/** Descriptors as the engine sees them (4 and up). Two engines of one keeper get the same kernel objects. */
export interface Descriptors {
  /** TUN queues, opened without O_NONBLOCK. Fewer than shards where the device existed with one queue. */
  readonly tun: readonly number[];
  /**
   * Server: a SO_REUSEPORT group, one socket a shard, in steering order. Client: one a server entry, −1 where that is TCP; bound
   * to the wildcard address and not connected, so that it goes on working when the host's addresses change (a roam needs no other).
   */
  readonly udp: readonly number[];
  /**
   * Server: further sockets of that group for what names no session, where the kernel lets datagrams be steered: one a shard for handshakes that
   * go on, one a shard for strangers, one a shard for suspects. Else none: everything comes to `udp`.
   */
  readonly doors: readonly number[];
  /** Server: listening TCP sockets, one a shard. Client: empty, the engine dials by itself. */
  readonly tcp: readonly number[];
  readonly table: TableDescriptors;
  /** The steering map inner address → shard (BPF_F_MMAPABLE array of u32), where the kernel allowed programs; null: handovers do the work. */
  readonly steering: { readonly map: number; readonly entries: number } | null;
  /**
   * Server: the map of the filters on `udp` and `doors` (BPF_F_MMAPABLE, native/steering/floors.h), with `entries` a shard, where the kernel allowed
   * programs; null: shards refuse all themselves.
   */
  readonly filter: { readonly map: number; readonly entries: number } | null;
  /** Server: the map of the program on the device (BPF_F_MMAPABLE, native/steering/tun_shares.cc), where the kernel allowed it. */
  readonly tunShares: { readonly map: number } | null;
}

export interface TunDevice {
  readonly name: string;
  readonly vnetHeader: boolean;
  /** The TUN_F_ mask the device accepted; 0: packets come in one by one. */
  readonly offloads: number;
}

interface EngineStartBase {
  readonly type: 'start';
  readonly version: typeof KEEPER_PROTOCOL;
  /** 1 for the first engine of this keeper, one more for each later one: the number that shuts out a predecessor. */
  readonly generation: number;
  /** True when session memory may hold sessions to go on with. */
  readonly restart: boolean;
  readonly descriptors: Descriptors;
  readonly tun: TunDevice;
}

/** PEM and text, as read by the keeper while it could. */
export interface ServerFiles {
  readonly cert: string;
  readonly key: string;
  readonly userDb: string | null;
  readonly tokenKey: string | null;
}

export interface ClientFiles {
  /** One a server entry, in the order of `config.servers`. */
  readonly caCerts: readonly string[];
}

export interface ServerStart extends EngineStartBase {
  readonly role: 'server';
  readonly config: ServerConfig;
  readonly files: ServerFiles;
}

export interface ClientStart extends EngineStartBase {
  readonly role: 'client';
  readonly config: ClientConfig;
  readonly files: ClientFiles;
  /** Addresses of each server entry as the keeper resolved them, best first; never empty. */
  readonly addresses: readonly (readonly string[])[];
}

export type EngineStart = ServerStart | ClientStart;

export type KeeperMessage =
  | EngineStart
  /** What has been counted so far? The keeper waits 2 s for the answer: an engine that does not know the question is silent. */
  | { readonly type: 'statistics'; readonly id: number }
  /** Say Goodbye to every session, then exit 0. The keeper waits 400 ms, then kills. */
  | { readonly type: 'stop' }
  /** A successor takes over: finish the turn, close TCP sessions, write snapshots, exit 0 without a Goodbye. The keeper waits 1 s, then kills. */
  | { readonly type: 'yield' };

/** What the server assigned at login, as far as the host must know (protocol specification §3.6). */
export interface NetworkConfig {
  /** The outside address in use: the one that must not be routed into the tunnel. */
  readonly serverAddress: string;
  readonly localIp: string;
  readonly peerIp: string;
  readonly dnsIp: string;
  readonly mtu: number;
}

export type EngineMessage =
  | { readonly type: 'hello'; readonly version: number; readonly release: string }
  /** Packets flow (server), or the first handshake is under way (client). A reload is done when its engine says so. */
  | { readonly type: 'ready' }
  /** Client: logged in. The keeper installs routes and DNS as `route_mode` and `dns_config_mode` say; said again after a roam. */
  | { readonly type: 'clientOnline'; readonly networkConfig: NetworkConfig }
  | { readonly type: 'statistics'; readonly id: number; readonly statistics: EngineStatistics }
  /** There is no point in another engine: print this, undo everything, exit 1. */
  | { readonly type: 'fatal'; readonly code: string; readonly message: string; readonly advice: string }
  /** The answer to `stop` and `yield`, last thing before exit. */
  | { readonly type: 'stopped' };
