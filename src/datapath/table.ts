/**
 * The public half of the session table, as TypeScript sees it: one accessor per field of `layout.ts`, none of which
 * allocates, so that a node may read a slot per entry. The memory belongs to the keeper and outlives this process.
 *
 *     const { state, flags } = table.fields;
 *     if (state.get(slot) === SlotState.online && flags.get(slot) & SlotFlag.expresslane) …
 *
 * A slot is written by the shard it belongs to (slot mod shards) and by nobody else; other threads may read it.
 */
import { RingwayError } from '../errors.ts';
import type { Addon } from '../native/index.ts';
import { ADDRESS, batchLayout, VERDICTS } from './batch.ts';
import {
  type Field,
  PUBLIC_FIELDS,
  PUBLIC_OFFSETS,
  PUBLIC_SLOT_BYTES,
  SECRET_OFFSETS,
  SECRET_SLOT_BYTES,
  SlotState,
} from './layout.ts';

/** A field of one or more numbers. u64 fields are exact to 2⁵³ here: session lifetimes end long before (§6.5 of the protocol). */
export interface NumberField {
  /** @param index 0 to elements − 1 */
  get(slot: number, index?: number): number;
  set(slot: number, value: number, index?: number): void;
}

/** A u64 field: beside the exact-to-2⁵³ view, the full one. Reading it allocates a BigInt. */
export interface CounterField extends NumberField {
  getBig(slot: number, index?: number): bigint;
  setBig(slot: number, value: bigint, index?: number): void;
  /** Adds in one atomic step. @returns the value before: what claims of send counters are made with */
  claim(slot: number, by: number, index?: number): bigint;
}

/** A field of bytes. */
export interface BytesField {
  readonly size: number;
  /** Where the field of `slot` begins in `table.bytes`. */
  at(slot: number): number;
  /** A view into the table: it changes as the slot does. Allocates. */
  view(slot: number): Uint8Array;
  /** Copies `size` bytes from `source` at `from`; shorter sources leave the rest zero. */
  set(slot: number, source: Uint8Array, from?: number): void;
  equals(slot: number, other: Uint8Array, from?: number): boolean;
  isZero(slot: number): boolean;
  clear(slot: number): void;
}

type FieldOf<F extends Field> = F[1] extends 'u64'
  ? CounterField
  : F[1] extends 'u8'
    ? F[2] extends 1
      ? NumberField
      : BytesField
    : NumberField;

export type TableFields = { readonly [F in (typeof PUBLIC_FIELDS)[number] as F[0]]: FieldOf<F> };

/** Snapshots up to this long are replaced in one step: a process killed while it writes leaves the one before. */
export const ATOMIC_SNAPSHOT_BYTES = 352;
const SNAPSHOT_BYTES = 704;
const SECOND_HALF = 0x8000_0000;

export class SessionTable {
  readonly slots: number;
  readonly bytes: Uint8Array;
  readonly fields: TableFields;
  readonly #words: Uint32Array;

  /** @param buffer `slots` × PUBLIC_SLOT_BYTES bytes, as `addon.openTable` returns it */
  constructor(buffer: ArrayBuffer | SharedArrayBuffer, slots: number) {
    if (buffer.byteLength < slots * PUBLIC_SLOT_BYTES)
      throw new RangeError(
        `SessionTable: ${slots} slots need ${slots * PUBLIC_SLOT_BYTES} bytes, got ${buffer.byteLength}`,
      );
    this.slots = slots;
    this.bytes = new Uint8Array(buffer);
    this.#words = new Uint32Array(buffer);
    this.fields = Object.fromEntries(
      PUBLIC_FIELDS.map(([name, type, elements]) => [name, createField(buffer, PUBLIC_OFFSETS[name], type, elements)]),
    ) as unknown as TableFields;
  }

  /** Address leased to the session (10.0.0.1 = 0x0a000001), or 0. */
  insideAddress(slot: number): number {
    return this.fields.insideAddress.get(slot);
  }

  /** True while data may pass: linkUp and online. */
  carriesData(slot: number): boolean {
    const state = this.fields.state.get(slot);
    return state === SlotState.linkUp || state === SlotState.online;
  }

  /** True when an outside address (`at` in a batch's address column) is the session's own; the local address does not count. */
  isRemote(slot: number, address: Uint8Array, at: number): boolean {
    const own = this.fields.remote.at(slot);
    for (let i = 0; i < ADDRESS.key; i++) if (this.bytes[own + i] !== address[at + i]) return false;
    return true;
  }

  /**
   * Stores a session's control state so that a successor finds either the old or the new one. Longer ones than
   * ATOMIC_SNAPSHOT_BYTES are absent for as long as the copy takes. @param snapshot at most 704 bytes
   */
  writeSnapshot(slot: number, snapshot: Uint8Array): void {
    if (snapshot.length > SNAPSHOT_BYTES)
      throw new RangeError(`writeSnapshot: snapshot must be at most ${SNAPSHOT_BYTES} bytes, got ${snapshot.length}`);
    const word = wordOf(slot, PUBLIC_OFFSETS.snapshotLength);
    const start = slot * PUBLIC_SLOT_BYTES + PUBLIC_OFFSETS.snapshot;
    if (snapshot.length > ATOMIC_SNAPSHOT_BYTES) {
      Atomics.store(this.#words, word, 0);
      this.bytes.set(snapshot, start);
      Atomics.store(this.#words, word, snapshot.length);
      return;
    }
    const inUse = Atomics.load(this.#words, word);
    const second = inUse <= ATOMIC_SNAPSHOT_BYTES; // the first half holds it, or nothing does
    if (inUse > ATOMIC_SNAPSHOT_BYTES && inUse < SECOND_HALF) Atomics.store(this.#words, word, 0); // it fills both
    this.bytes.set(snapshot, second ? start + ATOMIC_SNAPSHOT_BYTES : start);
    Atomics.store(this.#words, word, second ? (snapshot.length | SECOND_HALF) >>> 0 : snapshot.length);
  }

  /** @returns a copy, empty when there is none */
  readSnapshot(slot: number): Uint8Array {
    const stored = Atomics.load(this.#words, wordOf(slot, PUBLIC_OFFSETS.snapshotLength));
    const length = stored & (SECOND_HALF - 1);
    const half = stored >= SECOND_HALF ? ATOMIC_SNAPSHOT_BYTES : 0;
    const start = slot * PUBLIC_SLOT_BYTES + PUBLIC_OFFSETS.snapshot + half;
    return this.bytes.slice(start, start + Math.min(length, SNAPSHOT_BYTES - half));
  }

  /** Slots that sessions may have: all but the last, whose snapshot holds how many were ever used. */
  get usableSlots(): number {
    return this.slots - 1;
  }

  /** No slot from this number on was ever used: nobody need look at them. */
  get usedSlots(): number {
    return Atomics.load(this.#words, wordOf(this.slots - 1, PUBLIC_OFFSETS.snapshot));
  }

  /** Raises `usedSlots` beyond `slot`. */
  markUsed(slot: number): void {
    const word = wordOf(this.slots - 1, PUBLIC_OFFSETS.snapshot);
    for (let used = this.usedSlots; used <= slot; ) {
      const found = Atomics.compareExchange(this.#words, word, used, slot + 1);
      if (found === used) return;
      used = found; // another shard was faster
    }
  }

  /** Zeroes the public half of a slot. The addon's `clearSlot` does both halves: use this one only without it. */
  clear(slot: number): void {
    this.bytes.fill(0, slot * PUBLIC_SLOT_BYTES, (slot + 1) * PUBLIC_SLOT_BYTES);
  }
}

/**
 * The free slots of one shard: those with slot mod shards = shard. Lowest first, and none is looked at before it is needed, so
 * that memory is touched only where sessions live: 16,384 slots are 40 MB, and even a look at a page makes the kernel find one.
 */
export class SlotPool {
  readonly #free: number[] = [];
  readonly #table: SessionTable;
  readonly #shards: number;
  /** The lowest slot of this shard that no session ever had. */
  #fresh: number;

  /** Rebuilt from the states in the table, so that a new engine continues with what its predecessor left. */
  constructor(table: SessionTable, shard: number, shards: number) {
    this.#table = table;
    this.#shards = shards;
    this.#fresh = shard;
    for (; this.#fresh < table.usedSlots; this.#fresh += shards)
      if (table.fields.state.get(this.#fresh) === SlotState.free) this.#free.push(this.#fresh);
    this.#free.reverse();
  }

  get free(): number {
    const fresh = Math.max(0, Math.ceil((this.#table.usableSlots - this.#fresh) / this.#shards));
    return this.#free.length + fresh;
  }

  /** @returns a free slot, or −1 when the shard is full. The caller sets its state. */
  take(): number {
    const slot = this.#free.pop();
    if (slot !== undefined) return slot;
    if (this.#fresh >= this.#table.usableSlots) return -1;
    const fresh = this.#fresh;
    this.#fresh += this.#shards;
    this.#table.markUsed(fresh);
    return fresh;
  }

  /** Gives a slot back. It has been cleared by then. */
  give(slot: number): void {
    this.#free.push(slot);
  }
}

/**
 * Holds the contracts that both languages write down: a mismatch is a build from another version, and would corrupt sessions.
 * @throws RingwayError LAYOUT_MISMATCH
 */
export function checkLayout(addon: Pick<Addon, 'about' | 'batchLayout' | 'verdicts' | 'tableLayout'>): void {
  const own = {
    table: {
      public: PUBLIC_OFFSETS,
      secret: SECRET_OFFSETS,
      publicSlotBytes: PUBLIC_SLOT_BYTES,
      secretSlotBytes: SECRET_SLOT_BYTES,
    },
    batch: [1, 7, 64, 1000].map(batchLayout),
    verdicts: [...VERDICTS],
  };
  const theirs = {
    table: addon.tableLayout(),
    batch: [1, 7, 64, 1000].map((capacity) => addon.batchLayout(capacity)),
    verdicts: addon.verdicts(),
  };
  const wrong = firstDifference(own, theirs, '');
  if (wrong)
    throw new RingwayError(
      'LAYOUT_MISMATCH',
      `the native addon ${addon.about().version} disagrees about ${wrong}`,
      'build the addon of this checkout: npm run setup',
    );
}

function firstDifference(own: unknown, theirs: unknown, path: string): string | undefined {
  if (typeof own !== 'object' || own === null || typeof theirs !== 'object' || theirs === null)
    return own === theirs ? undefined : `${path}: ${own} here, ${theirs} there`;
  const names = new Set([...Object.keys(own), ...Object.keys(theirs)]);
  for (const name of names) {
    const found = firstDifference(
      own[name as keyof typeof own],
      theirs[name as keyof typeof theirs],
      `${path}.${name}`,
    );
    if (found) return found;
  }
  return undefined;
}

function wordOf(slot: number, offset: number): number {
  return (slot * PUBLIC_SLOT_BYTES + offset) / 4;
}

type Memory = ArrayBuffer | SharedArrayBuffer;

function createField(buffer: Memory, offset: number, type: Field[1], elements: number): NumberField | BytesField {
  if (type === 'u8' && elements > 1) return new BytesAccess(buffer, offset, elements);
  switch (type) {
    case 'u8':
      return new NumberAccess(new Uint8Array(buffer), offset);
    case 'u16':
      return new NumberAccess(new Uint16Array(buffer), offset);
    case 'u32':
      return new NumberAccess(new Uint32Array(buffer), offset);
    case 'i32':
      return new NumberAccess(new Int32Array(buffer), offset);
    case 'f64':
      return new NumberAccess(new Float64Array(buffer), offset);
    case 'u64':
      return new CounterAccess(buffer, offset);
  }
}

/** Offsets and PUBLIC_SLOT_BYTES are multiples of every element size (layout.ts), so a typed array reaches every slot. */
class NumberAccess implements NumberField {
  readonly #view: { [index: number]: number };
  readonly #first: number;
  readonly #stride: number;

  constructor(view: Uint8Array | Uint16Array | Uint32Array | Int32Array | Float64Array, offset: number) {
    this.#view = view;
    this.#first = offset / view.BYTES_PER_ELEMENT;
    this.#stride = PUBLIC_SLOT_BYTES / view.BYTES_PER_ELEMENT;
  }

  get(slot: number, index = 0): number {
    return this.#view[slot * this.#stride + this.#first + index];
  }

  set(slot: number, value: number, index = 0): void {
    this.#view[slot * this.#stride + this.#first + index] = value;
  }
}

const HIGH_WORD = 2 ** 32;

/** Two u32 halves where a number will do, since a BigInt costs an allocation. Little-endian machines only, like the addon. */
class CounterAccess implements CounterField {
  readonly #words: Uint32Array;
  readonly #wide: BigUint64Array;
  readonly #first: number;

  constructor(buffer: Memory, offset: number) {
    this.#words = new Uint32Array(buffer);
    this.#wide = new BigUint64Array(buffer);
    this.#first = offset / 8;
  }

  get(slot: number, index = 0): number {
    const at = this.#at(slot, index) * 2;
    return this.#words[at] + this.#words[at + 1] * HIGH_WORD;
  }

  set(slot: number, value: number, index = 0): void {
    const at = this.#at(slot, index) * 2;
    this.#words[at] = value;
    this.#words[at + 1] = Math.floor(value / HIGH_WORD);
  }

  getBig(slot: number, index = 0): bigint {
    return this.#wide[this.#at(slot, index)];
  }

  setBig(slot: number, value: bigint, index = 0): void {
    this.#wide[this.#at(slot, index)] = value;
  }

  claim(slot: number, by: number, index = 0): bigint {
    return Atomics.add(this.#wide, this.#at(slot, index), BigInt(by));
  }

  #at(slot: number, index: number): number {
    return slot * (PUBLIC_SLOT_BYTES / 8) + this.#first + index;
  }
}

class BytesAccess implements BytesField {
  readonly size: number;
  readonly #bytes: Uint8Array;
  readonly #offset: number;

  constructor(buffer: Memory, offset: number, size: number) {
    this.#bytes = new Uint8Array(buffer);
    this.#offset = offset;
    this.size = size;
  }

  at(slot: number): number {
    return slot * PUBLIC_SLOT_BYTES + this.#offset;
  }

  view(slot: number): Uint8Array {
    return this.#bytes.subarray(this.at(slot), this.at(slot) + this.size);
  }

  set(slot: number, source: Uint8Array, from = 0): void {
    const at = this.at(slot);
    for (let i = 0; i < this.size; i++) this.#bytes[at + i] = source[from + i]; // undefined past the end stores 0
  }

  equals(slot: number, other: Uint8Array, from = 0): boolean {
    const at = this.at(slot);
    for (let i = 0; i < this.size; i++) if (this.#bytes[at + i] !== other[from + i]) return false;
    return true;
  }

  isZero(slot: number): boolean {
    const at = this.at(slot);
    for (let i = 0; i < this.size; i++) if (this.#bytes[at + i] !== 0) return false;
    return true;
  }

  clear(slot: number): void {
    this.#bytes.fill(0, this.at(slot), this.at(slot) + this.size);
  }
}
