// Reassembly of inner packets that came as DataFrag frames (protocol specification §3.4). Made when the first piece comes, and
// bounded: what exceeds a limit gives up the oldest packet, counted.

import type { DataFrag } from '../wire/frames.ts';
import { type Micros, SECOND } from '../wire/time.ts';
import type { Counters, DropReason } from './types.ts';

const MAX_PACKET = 0xffff; // offsets alone would allow 131 KB
const MAX_PACKETS = 64; // under way at once; a client has one or two. The stock server keeps 4,096
const MAX_HELD = 262_144; // bytes of all of them, four packets of the greatest size
const MAX_GAPS = 64; // separate runs of bytes in one packet; a packet of a 1,350-byte TUN has two pieces
const MAX_AGE: Micros = 10 * SECOND; // of a packet, from its first piece

/** Runs are `start, end, start, end …`, ascending, never touching. `length` is -1 until the last piece has come. */
type Partial = { bytes: Uint8Array; runs: number[]; length: number; deadline: Micros };

export class Fragments {
  readonly #packets = new Map<number, Partial>(); // oldest first
  #held = 0;

  /** When the oldest packet is given up. */
  get deadline(): Micros {
    for (const partial of this.#packets.values()) return partial.deadline;
    return Number.POSITIVE_INFINITY;
  }

  get size(): number {
    return this.#packets.size;
  }

  /** Bytes allocated for packets under way. */
  get held(): number {
    return this.#held;
  }

  /**
   * Adds a piece, in any order.
   * @returns the whole packet, which is the caller's; undefined while it is not whole; or why the piece, and with it
   * all of its packet, was dropped
   */
  add(now: Micros, frame: DataFrag, counters: Counters): Uint8Array | DropReason | undefined {
    const { id, offset, piece, more } = frame;
    const partial = this.#packets.get(id) ?? this.#begin(now, id);
    const refused = place(partial, offset, offset + piece.length, more);
    if (refused !== undefined) {
      this.#forget(id, partial);
      return refused;
    }
    this.#grow(partial, offset + piece.length);
    partial.bytes.set(piece, offset);
    const { runs, length } = partial;
    if (runs.length === 2 && runs[0] === 0 && runs[1] === length) {
      this.#forget(id, partial);
      return partial.bytes.subarray(0, length);
    }
    this.#evict(counters);
    return undefined;
  }

  /** Gives up what is too old. */
  advance(now: Micros, counters: Counters): void {
    for (const [id, partial] of this.#packets) {
      if (now < partial.deadline) return;
      this.#forget(id, partial);
      counters.fragmentEvicted++;
    }
  }

  #begin(now: Micros, id: number): Partial {
    const partial = { bytes: new Uint8Array(0), runs: [], length: -1, deadline: now + MAX_AGE };
    this.#packets.set(id, partial);
    return partial;
  }

  #forget(id: number, partial: Partial): void {
    this.#packets.delete(id);
    this.#held -= partial.bytes.length;
  }

  #grow(partial: Partial, end: number): void {
    const { bytes } = partial;
    if (end <= bytes.length) return;
    const grown = new Uint8Array(Math.min(MAX_PACKET, Math.max(end, 2 * bytes.length, 2048)));
    grown.set(bytes);
    partial.bytes = grown;
    this.#held += grown.length - bytes.length;
  }

  #evict(counters: Counters): void {
    for (const [id, partial] of this.#packets) {
      if (this.#packets.size <= MAX_PACKETS && this.#held <= MAX_HELD) return;
      this.#forget(id, partial);
      counters.fragmentEvicted++;
    }
  }
}

/** Enters [start, end) into the runs. @returns why it cannot be */
function place(partial: Partial, start: number, end: number, more: boolean): DropReason | undefined {
  const { runs } = partial;
  if (start === end) return 'fragmentEmpty';
  if (end > MAX_PACKET) return 'fragmentTooLarge';
  if (partial.length >= 0 && (end > partial.length || !more)) {
    return end > partial.length ? 'fragmentBeyondEnd' : 'fragmentOverlap';
  }
  if (!more && runs.length > 0 && runs[runs.length - 1] > end) return 'fragmentBeyondEnd';

  let i = 0; // index of the first run that starts at or behind `start`
  while (i < runs.length && runs[i] < start) i += 2;
  if ((i > 0 && runs[i - 1] > start) || (i < runs.length && runs[i] < end)) return 'fragmentOverlap';

  const joinsBefore = i > 0 && runs[i - 1] === start;
  const joinsBehind = i < runs.length && runs[i] === end;
  if (joinsBefore && joinsBehind) runs.splice(i - 1, 2);
  else if (joinsBefore) runs[i - 1] = end;
  else if (joinsBehind) runs[i] = start;
  else runs.splice(i, 0, start, end);
  if (runs.length > 2 * MAX_GAPS) return 'fragmentOverlap';
  if (!more) partial.length = end;
  return undefined;
}
