/**
 * The border between the sessions of a shard and what is around them: what a peer may ask of its shard, and what shard and
 * engine (its main thread) say to each other. Messages are plain values; they cross a MessagePort.
 */
import type { CryptoTask, TaskResult } from '../crypto/tasks.ts';
import type { ShardStatistics } from '../observe/statistics.ts';
import type { NetworkConfig, CloseCode as SessionCloseCode } from '../session/types.ts';
import type { Auth } from '../wire/frames.ts';
import type { Micros } from '../wire/time.ts';

export type { ShardStatistics } from '../observe/statistics.ts';

/** Restarts of shards that fit between two generations of engines. */
export const GENERATIONS_PER_ENGINE = 256;

/** What a client is told in AuthSuccess and which inside address is its own. */
export interface Grant {
  readonly insideAddress: number;
  readonly networkConfig: NetworkConfig;
  /** Kilobits a second that it is sent outside, 0 = as they come. */
  readonly paceRate: number;
}

export type ShardReport =
  | { type: 'ready'; io: 'io_uring' | 'epoll'; aead: string; note: string | undefined }
  | { type: 'task'; id: number; task: CryptoTask }
  | { type: 'authenticate'; id: number; auth: Auth; localAddress: string; peerAddress: string }
  /** A session that had a lease is over. */
  | { type: 'released'; insideAddress: number; user: string }
  /** Client: logged in, or over for good. */
  | { type: 'online'; networkConfig: NetworkConfig }
  | { type: 'ended'; code: string; reason: string }
  /** Another path was chosen than the best: for the log. */
  | { type: 'note'; text: string }
  | { type: 'statistics'; statistics: ShardStatistics }
  | { type: 'stopped' };

/** What is in `transfer` is the receiver's from then on: no copy stays behind. */
export type ReportSender = (report: ShardReport, transfer?: readonly ArrayBuffer[]) => void;

export type ShardCommand =
  | { type: 'taskDone'; id: number; result: TaskResult }
  | { type: 'authorised'; id: number; grant: Grant | undefined; code: 'ACCESS_DENIED' | 'NO_ADDRESS' }
  | { type: 'statistics' }
  /** Goodbye to every session, then `stopped`. */
  | { type: 'stop' }
  /** Leave without a word: a successor goes on. */
  | { type: 'yield' };

/** What a session's peer object may ask of its shard. */
export interface PeerHost {
  readonly now: () => Micros;
  /** Hands a public-key task to the crypto pool; the answer comes to `peer.complete`. */
  compute(peer: Peer, id: number, task: CryptoTask): void;
  authenticate(peer: Peer, auth: Auth): void;
  /** The session is Online: its routes may be entered. */
  online(peer: Peer, networkConfig: NetworkConfig | undefined): void;
  /** An inner packet that came as a frame. */
  inject(slot: number, packet: Uint8Array): void;
  /** A datagram of DTLS bytes for the session's own address, `repeat` times. */
  transmit(slot: number, bytes: Uint8Array, repeat: number): void;
  /** The same, once, in a datagram that no router may fragment. */
  probe(slot: number, bytes: Uint8Array): void;
  /** The session is over: its slot is freed when this returns. */
  ended(peer: Peer, code: SessionCloseCode | string, reason: string): void;
}

/** One session as its shard sees it, over UDP or TCP. */
export interface Peer {
  readonly slot: number;
  user: string;
  /** Packets have passed since `advance` was last called, which is to be told of them. */
  readonly stirred: boolean;
  complete(now: Micros, id: number, result: TaskResult): void;
  authorise(now: Micros, grant: Grant | undefined, code: 'ACCESS_DENIED' | 'NO_ADDRESS'): void;
  advance(now: Micros): void;
  nextDeadline(): Micros | undefined;
  /** Says Goodbye and ends. */
  close(now: Micros): void;
}
