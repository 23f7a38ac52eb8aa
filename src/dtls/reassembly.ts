/** Puts fragments back into messages and messages back into order, within bounds (RFC 9147 §5.5). */
import type { Fragment, Message } from './handshake.ts';

/** Messages held beyond the next one, as stock peers (protocol specification §2.9). */
const MAX_AHEAD = 20;
/** Fragments with gaps between them in one message; more means someone cuts it to hurt. */
const MAX_GAPS = 128;

interface Assembly {
  readonly type: number;
  readonly body: Uint8Array;
  /** Half-open ranges that are here: disjoint, ascending, never touching. */
  ranges: Array<[number, number]>;
}

export class Reassembly {
  /** Limits of one message and of all that are under way: bytes. */
  readonly #maxMessage: number;
  readonly #maxTotal: number;
  readonly #assemblies = new Map<number, Assembly>();
  #next: number;
  #total = 0;

  constructor(next: number, maxMessage: number, maxTotal: number) {
    this.#next = next;
    this.#maxMessage = maxMessage;
    this.#maxTotal = maxTotal;
  }

  /** Number of the next message in order. */
  get next(): number {
    return this.#next;
  }

  /** Whether anything is here that has not been taken. */
  get pending(): boolean {
    return this.#assemblies.size > 0;
  }

  /** Copies the fragment in; bytes that came first win. @returns false if it contradicts what is here or exceeds a limit */
  add(fragment: Fragment): boolean {
    const { sequence, length, type, offset, body } = fragment;
    if (sequence < this.#next || sequence > this.#next + MAX_AHEAD) return false;
    let assembly = this.#assemblies.get(sequence);
    if (assembly === undefined) {
      if (length > this.#maxMessage || this.#total + length > this.#maxTotal) return false;
      assembly = { type, body: new Uint8Array(length), ranges: [] };
      this.#assemblies.set(sequence, assembly);
      this.#total += length;
    }
    if (assembly.type !== type || assembly.body.length !== length) return false;
    return insert(assembly, offset, body);
  }

  /** The next message if it is whole. The caller keeps its body. */
  take(): Message | undefined {
    const sequence = this.#next;
    const assembly = this.#assemblies.get(sequence);
    if (assembly === undefined || !isWhole(assembly)) return undefined;
    this.#assemblies.delete(sequence);
    this.#total -= assembly.body.length;
    this.#next++;
    return { type: assembly.type, sequence, body: assembly.body };
  }
}

function isWhole({ ranges, body }: Assembly): boolean {
  return body.length === 0 || (ranges.length === 1 && ranges[0][0] === 0 && ranges[0][1] === body.length);
}

function insert(assembly: Assembly, offset: number, bytes: Uint8Array): boolean {
  let [from, to] = [offset, offset + bytes.length];
  if (bytes.length === 0) return true;
  const kept: Array<[number, number]> = [];
  const fresh = assembly.body.slice(from, to);
  assembly.body.set(bytes, from);
  for (const [start, end] of assembly.ranges) {
    const [low, high] = [Math.max(start, offset), Math.min(end, offset + bytes.length)];
    if (low < high) assembly.body.set(fresh.subarray(low - offset, high - offset), low); // what came first stays
    if (end < from || start > to) {
      kept.push([start, end]);
    } else {
      [from, to] = [Math.min(from, start), Math.max(to, end)];
    }
  }
  if (kept.length >= MAX_GAPS) return false;
  kept.push([from, to]);
  assembly.ranges = kept.sort((a, b) => a[0] - b[0]);
  return true;
}
