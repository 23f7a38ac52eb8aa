// A cursor over the fixed bytes of a snapshot: the control state of an Online session in its slot, from which another engine
// continues. Its only reader is Ringway itself on the same machine, hence little-endian and doubles for times.

import type { Expresslane } from './expresslane.ts';

/** Bytes of every snapshot, whatever the role. */
export const SNAPSHOT_SIZE = 256;

export const SnapshotRole = { server: 1, client: 2 } as const;

const LAYOUT = 1; // raised when a field moves: an engine does not read what another layout wrote
const FLAG_STAGED = 1;
const FLAG_DOUBTFUL = 2;
const FLAG_REFUSED = 4;

const toUtf8 = new TextEncoder();
const utf8 = new TextDecoder();

export class SnapshotCursor {
  readonly #view: DataView;
  #offset = 0;

  /** @throws RangeError if there are fewer than SNAPSHOT_SIZE bytes */
  constructor(bytes: Uint8Array) {
    if (bytes.length < SNAPSHOT_SIZE)
      throw new RangeError(`a snapshot has ${SNAPSHOT_SIZE} bytes, not ${bytes.length}`);
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, SNAPSHOT_SIZE);
  }

  putByte(value: number): this {
    this.#view.setUint8(this.#offset++, value);
    return this;
  }

  byte(): number {
    return this.#view.getUint8(this.#offset++);
  }

  putNumber(value: number): this {
    this.#view.setFloat64(this.#offset, value, true);
    this.#offset += 8;
    return this;
  }

  number(): number {
    this.#offset += 8;
    return this.#view.getFloat64(this.#offset - 8, true);
  }

  putBig(value: bigint): this {
    this.#view.setBigUint64(this.#offset, value, true);
    this.#offset += 8;
    return this;
  }

  big(): bigint {
    this.#offset += 8;
    return this.#view.getBigUint64(this.#offset - 8, true);
  }

  /** At most 23 bytes, in 24. */
  putText(text: string): this {
    const bytes = toUtf8.encode(text);
    this.putByte(bytes.length);
    for (let i = 0; i < 23; i++) this.putByte(i < bytes.length ? bytes[i] : 0);
    return this;
  }

  text(): string {
    const length = this.byte();
    const at = this.#view.byteOffset + this.#offset;
    this.#offset += 23;
    return utf8.decode(new Uint8Array(this.#view.buffer, at, length).slice());
  }
}

/** Opens a snapshot for writing. Bytes beyond its last field become zero. */
export function beginSnapshot(into: Uint8Array, role: number, minor: number): SnapshotCursor {
  const cursor = new SnapshotCursor(into);
  into.fill(0, 0, SNAPSHOT_SIZE);
  return cursor.putByte(LAYOUT).putByte(role).putByte(minor);
}

/** Opens one for reading. @returns undefined when another layout or role wrote it, or nobody */
export function openSnapshot(from: Uint8Array, role: number, minor: number): SnapshotCursor | undefined {
  const cursor = new SnapshotCursor(from);
  return cursor.byte() === LAYOUT && cursor.byte() === role && cursor.byte() === minor ? cursor : undefined;
}

export function putLane(cursor: SnapshotCursor, lane: Expresslane): void {
  const flags =
    (lane.staged ? FLAG_STAGED : 0) | (lane.doubtful ? FLAG_DOUBTFUL : 0) | (lane.refused ? FLAG_REFUSED : 0);
  cursor.putByte(lane.state).putByte(lane.version).putByte(lane.sentVersion).putByte(flags).putByte(lane.repeats);
  cursor.putByte(lane.missing).putByte(lane.inboundStrikes).putByte(lane.outboundStrikes);
  cursor.putNumber(lane.counter).putBig(lane.peerCounter).putNumber(lane.deadline).putNumber(lane.lastRotation);
  cursor.putNumber(lane.peerSent).putNumber(lane.peerReceived).putNumber(lane.sent).putNumber(lane.received);
}

export function takeLane(cursor: SnapshotCursor, lane: Expresslane): void {
  lane.state = cursor.byte();
  lane.version = cursor.byte();
  lane.sentVersion = cursor.byte();
  const flags = cursor.byte();
  lane.staged = (flags & FLAG_STAGED) !== 0;
  lane.doubtful = (flags & FLAG_DOUBTFUL) !== 0;
  lane.refused = (flags & FLAG_REFUSED) !== 0;
  lane.repeats = cursor.byte();
  lane.missing = cursor.byte();
  lane.inboundStrikes = cursor.byte();
  lane.outboundStrikes = cursor.byte();
  lane.counter = cursor.number();
  lane.peerCounter = cursor.big();
  lane.deadline = cursor.number();
  lane.lastRotation = cursor.number();
  lane.peerSent = cursor.number();
  lane.peerReceived = cursor.number();
  lane.sent = cursor.number();
  lane.received = cursor.number();
  lane.resume();
}
