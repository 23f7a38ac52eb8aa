/** Big-endian reading with bounds kept, and writing with length prefixes kept. */
import { Alert, DtlsError } from './alerts.ts';

export class Reader {
  readonly #bytes: Uint8Array;
  #offset = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  get remaining(): number {
    return this.#bytes.length - this.#offset;
  }

  /** A view. @throws DtlsError decode_error if fewer bytes are left, as all methods do */
  take(length: number): Uint8Array {
    if (length > this.remaining) throw new DtlsError(Alert.decodeError, 'message ends too early');
    this.#offset += length;
    return this.#bytes.subarray(this.#offset - length, this.#offset);
  }

  /** 1 to 6 bytes. */
  uint(size: number): number {
    if (size > this.remaining) throw new DtlsError(Alert.decodeError, 'message ends too early');
    let value = 0;
    for (const end = this.#offset + size; this.#offset < end; this.#offset++)
      value = value * 256 + this.#bytes[this.#offset];
    return value;
  }

  u8(): number {
    return this.uint(1);
  }

  u16(): number {
    return this.uint(2);
  }

  /** Bytes behind a length prefix of `size` bytes. */
  prefixed(size: number): Uint8Array {
    return this.take(this.uint(size));
  }

  /** Numbers of 16 bits behind a 16-bit length in bytes. */
  u16List(): number[] {
    const list = new Reader(this.prefixed(2));
    if (list.remaining % 2 !== 0) throw new DtlsError(Alert.decodeError, 'list of numbers has an odd length');
    const values: number[] = [];
    while (list.remaining > 0) values.push(list.u16());
    return values;
  }

  rest(): Uint8Array {
    return this.take(this.remaining);
  }

  end(): void {
    if (this.remaining !== 0) throw new DtlsError(Alert.decodeError, 'message goes on after its end');
  }
}

/** `value` in `size` bytes. */
export function uint(size: number, value: number): Uint8Array {
  const bytes = new Uint8Array(size);
  for (let i = size - 1, left = value; i >= 0; i--) {
    bytes[i] = left % 256;
    left = Math.floor(left / 256);
  }
  return bytes;
}

export function u16(value: number): Uint8Array {
  return uint(2, value);
}

export function join(...parts: readonly Uint8Array[]): Uint8Array {
  let length = 0;
  for (let i = 0; i < parts.length; i++) length += parts[i].length;
  const joined = new Uint8Array(length);
  let offset = 0;
  for (let i = 0; i < parts.length; i++) {
    joined.set(parts[i], offset);
    offset += parts[i].length;
  }
  return joined;
}

/** Writes one field behind the other into one piece of memory: for what strangers make us say, where every array would be garbage. */
export class Writer {
  readonly bytes: Uint8Array;
  length = 0;

  /** @param capacity a RangeError beyond it */
  constructor(capacity: number) {
    this.bytes = new Uint8Array(capacity);
  }

  /** What is written from here on replaces what was. */
  begin(): this {
    this.length = 0;
    return this;
  }

  /** 1 to 6 bytes. */
  uint(size: number, value: number): this {
    const at = this.length;
    this.length += size;
    if (this.length > this.bytes.length) throw new RangeError(`Expected at most ${this.bytes.length} bytes`);
    for (let i = at + size - 1, left = value; i >= at; i--) {
      this.bytes[i] = left % 256;
      left = Math.floor(left / 256);
    }
    return this;
  }

  add(bytes: Uint8Array): this {
    this.bytes.set(bytes, this.length);
    this.length += bytes.length;
    return this;
  }

  /** Bytes behind their length in `size` bytes. */
  prefixed(size: number, bytes: Uint8Array): this {
    return this.uint(size, bytes.length).add(bytes);
  }

  /** Leaves room for a length of `size` bytes, which `close` writes. @returns what to give it */
  open(size: number): number {
    this.uint(size, 0);
    return this.length;
  }

  close(size: number, opened: number): this {
    const end = this.length;
    this.length = opened - size;
    this.uint(size, end - opened);
    this.length = end;
    return this;
  }

  /** A view, until `begin`. */
  view(): Uint8Array {
    return this.bytes.subarray(0, this.length);
  }

  /** A copy. */
  take(): Uint8Array {
    return this.bytes.slice(0, this.length);
  }
}

/** The parts joined, behind their length in `size` bytes. */
export function prefixed(size: number, ...parts: readonly Uint8Array[]): Uint8Array {
  const content = join(...parts);
  return join(uint(size, content.length), content);
}

export function u16List(values: readonly number[]): Uint8Array {
  return prefixed(2, ...values.map(u16));
}
