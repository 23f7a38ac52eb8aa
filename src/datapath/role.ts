/** What a role does beside moving bytes, as session.control asks it: a server takes strangers and rotates ids, a client adopts them. */
import type { NetworkConfig } from '../session/types.ts';
import type { SessionId } from '../wire/header.ts';
import type { Micros } from '../wire/time.ts';
import type { Batches } from './batches.ts';
import type { Peer } from './host.ts';
import type { UdpPeer } from './udp-peer.ts';

export interface Stranger {
  /** Everything after the Lightway header. */
  readonly payload: Uint8Array;
  readonly header: Uint8Array;
  /** 40 bytes, laid out as ADDRESS. */
  readonly address: Uint8Array;
}

export interface Role {
  /**
   * Answers what it can of the strangers in `packets` that came in the trains from `first` to before `end`, without an object for any: those get
   * verdict answered, and come to `stranger` no more. Answers are appended to `trainsOut`. @returns how many
   */
  answerMany?(now: Micros, batches: Batches, first: number, end: number): number;
  stranger(now: Micros, stranger: Stranger): void;
  /** A ClientHello from the address of a session: a client that begins anew, or a repetition. */
  helloAgain(now: Micros, peer: UdpPeer, stranger: Stranger): void;
  /** An authentic datagram of `slot` carried `id`, or came from `address`. */
  moved(now: Micros, peer: UdpPeer, id: SessionId, address: Uint8Array | undefined): void;
  online(peer: Peer, networkConfig: NetworkConfig | undefined): void;
  ended(peer: Peer, code: string, reason: string): void;
}
