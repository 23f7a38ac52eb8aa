/** What an endpoint takes and gives besides bytes: its options, its outputs, its reasons. */
import type { CryptoTask, TaskResult } from '../crypto/tasks.ts';
import type { Vault } from '../crypto/vault.ts';
import type { Micros, Random } from '../wire/time.ts';
import type { Direction, Opened, RecordProtection } from './protection.ts';

/** Why an endpoint closed. */
export type CloseCode =
  | 'LOCAL_CLOSE' /** `close` was called */
  | 'PEER_CLOSED' /** close_notify */
  | 'PEER_ALERT' /** the peer sent a fatal alert, in `alert` */
  | 'PEER_SILENT' /** seven sends in 12.7 s and no answer */
  | 'REFUSED'; /** this side sent a fatal alert, in `alert` */

export type Output =
  | { kind: 'datagram'; bytes: Uint8Array }
  /** Run it anywhere (`runTask`), then call `complete` with this id. */
  | { kind: 'task'; id: number; task: CryptoTask }
  /** Application data may flow. A server's ACK of the client's Finished is drained before it. */
  | { kind: 'established'; suite: number; group: number; peerChain: readonly Uint8Array[] }
  | { kind: 'data'; content: Uint8Array }
  /** Newest epoch of a direction after a key update. Take the snapshot before the datagrams that follow leave. */
  | { kind: 'keysUpdated'; direction: Direction; epoch: number }
  /** The last output. `reason` is a sentence for the log. */
  | { kind: 'closed'; code: CloseCode; alert: number | undefined; reason: string };

/** Why a record or message went no further; also the index of its counter. */
export const DtlsDrop = {
  malformed: 0 /** record header or length wrong */,
  unauthentic: 1 /** no key opens it: forged, corrupt, or of an epoch that is gone */,
  replayed: 2,
  early: 3 /** its keys are not there yet, and the place for holding such records is full */,
  wrongEpoch: 4 /** a message in an epoch it must not come in */,
  badMessage: 5 /** handshake header, ACK or alert that does not parse, in plaintext */,
  fragment: 6 /** contradicts fragments already here, or beyond what reassembly may hold */,
  unexpectedType: 7 /** content type without a meaning here */,
  afterClose: 8,
  unprotected: 9 /** an ACK, alert or data in plaintext that only a protected record could have said */,
} as const;

export const DTLS_DROPS = Object.keys(DtlsDrop).length;

export interface EndpointOptions {
  readonly vault: Vault;
  readonly random: Random;
  readonly protection: RecordProtection;
  /** Largest datagram of handshake bytes, 256 to 16,384, default 1,200: what every path carries. */
  readonly mtu?: number | undefined;
  /** One counter per `DtlsDrop`, shared by as many endpoints as wanted; default one's own. */
  readonly drops?: Uint32Array | undefined;
}

export type EndpointState = 'handshake' | 'established' | 'closed';

/** Bytes of a snapshot, always. */
export const SNAPSHOT_SIZE = 192;

/** What DtlsServer and DtlsClient have in common. Inputs first, then commands, then what to poll after each of them. */
export interface Endpoint {
  /** DTLS bytes of one datagram: one or more records. */
  receive(now: Micros, datagram: Uint8Array): void;
  /** A record of epoch 3 or later that its owner has opened. Replays must have been kept out. */
  receiveRecord(now: Micros, record: Opened): void;
  /** The answer to the task output of this id. */
  complete(now: Micros, id: number, result: TaskResult): void;
  /** Does what is due. Early calls do nothing. */
  advance(now: Micros): void;

  /** Seals application data as one record of 1 to 16,384 bytes. @throws RangeError before `established` or after closing */
  send(now: Micros, content: Uint8Array): void;
  /** Starts a key update of the send direction. @returns false while one is unanswered: ask again later */
  updateKeys(now: Micros, requestPeer: boolean): boolean;
  /** close_notify if the peer can read it; then the last output. */
  close(now: Micros): void;

  /** Takes the outputs gathered since the last call, in order. */
  drain(): Output[];
  /** The next deadline, or undefined if only the network can change anything. */
  nextDeadline(): Micros | undefined;
  readonly state: EndpointState;
  readonly drops: Uint32Array;
  /** `SNAPSHOT_SIZE` bytes from which `restoreEndpoint` goes on. @throws RangeError unless established */
  snapshot(): Uint8Array;
}
