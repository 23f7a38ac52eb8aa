/**
 * The control state of an established endpoint in a fixed number of bytes, so that another engine can go on with it. Keys,
 * send counters and replay windows are not in it: they belong to whoever protects the records.
 *
 *   version u8 | role u8 | suite u16 | group u16 | send epoch u32 | receive epoch u32 | next sent u16 | next received u16
 *   update u8 | repeats u8 | copies u8 | fragment length u8 | piece epoch u32 | deadline f64 | fragment 16 | copies 8 × u64
 */

import { SNAPSHOT_SIZE } from './events.ts';
import type { Piece } from './flight.ts';
import type { UpdateState } from './key-update.ts';

const VERSION = 1;
const FIXED_LENGTH = 34;
/** A KeyUpdate with its header has 13 bytes. */
const MAX_FRAGMENT = 16;
const MAX_COPIES = 8;
const UPDATE_STATES: readonly UpdateState[] = ['idle', 'sent', 'sentAndOwing'];
const ROLES = ['server', 'client'] as const;

export interface Snapshot {
  readonly role: 'server' | 'client';
  readonly suite: number;
  readonly group: number;
  readonly sendEpoch: number;
  readonly receiveEpoch: number;
  readonly nextSent: number;
  readonly nextReceived: number;
  readonly update: UpdateState;
  /** The unacknowledged KeyUpdate, its repeats and when it is repeated next. */
  readonly piece: Piece | undefined;
  readonly repeats: number;
  readonly deadline: number;
}

export function encodeSnapshot(snapshot: Snapshot): Uint8Array {
  const bytes = new Uint8Array(SNAPSHOT_SIZE);
  const view = new DataView(bytes.buffer);
  const { piece } = snapshot;
  bytes[0] = VERSION;
  bytes[1] = ROLES.indexOf(snapshot.role);
  view.setUint16(2, snapshot.suite);
  view.setUint16(4, snapshot.group);
  view.setUint32(6, snapshot.sendEpoch);
  view.setUint32(10, snapshot.receiveEpoch);
  view.setUint16(14, snapshot.nextSent);
  view.setUint16(16, snapshot.nextReceived);
  bytes[18] = UPDATE_STATES.indexOf(snapshot.update);
  bytes[19] = snapshot.repeats;
  if (piece === undefined) return bytes;
  const copies = piece.copies.slice(-MAX_COPIES);
  bytes[20] = copies.length;
  bytes[21] = piece.fragment.length;
  view.setUint32(22, piece.epoch);
  view.setFloat64(26, snapshot.deadline);
  bytes.set(piece.fragment, FIXED_LENGTH);
  copies.forEach((copy, i) => {
    view.setBigUint64(FIXED_LENGTH + MAX_FRAGMENT + 8 * i, BigInt(copy.sequence));
  });
  return bytes;
}

/** @throws RangeError if it is not a snapshot of this version */
export function decodeSnapshot(bytes: Uint8Array): Snapshot {
  const update = UPDATE_STATES[bytes[18]];
  const role = ROLES[bytes[1]];
  const sound =
    bytes.length === SNAPSHOT_SIZE && bytes[0] === VERSION && bytes[20] <= MAX_COPIES && bytes[21] <= MAX_FRAGMENT;
  if (!sound || update === undefined || role === undefined)
    throw new RangeError('Expected a DTLS snapshot of version 1');
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  return {
    role,
    suite: view.getUint16(2),
    group: view.getUint16(4),
    sendEpoch: view.getUint32(6),
    receiveEpoch: view.getUint32(10),
    nextSent: view.getUint16(14),
    nextReceived: view.getUint16(16),
    update,
    piece: update === 'idle' ? undefined : decodePiece(bytes, view),
    repeats: bytes[19],
    deadline: view.getFloat64(26),
  };
}

function decodePiece(bytes: Uint8Array, view: DataView): Piece {
  const epoch = view.getUint32(22);
  const fragment = new Uint8Array(bytes.subarray(FIXED_LENGTH, FIXED_LENGTH + bytes[21]));
  const copies = Array.from({ length: bytes[20] }, (_, i) => {
    return { epoch, sequence: Number(view.getBigUint64(FIXED_LENGTH + MAX_FRAGMENT + 8 * i)) };
  });
  return { epoch, fragment, copies };
}
