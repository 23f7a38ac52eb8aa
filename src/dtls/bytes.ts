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
    let value = 0;
    for (const byte of this.take(size)) value = value * 256 + byte;
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
  const joined = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let offset = 0;
  for (const part of parts) {
    joined.set(part, offset);
    offset += part.length;
  }
  return joined;
}

/** The parts joined, behind their length in `size` bytes. */
export function prefixed(size: number, ...parts: readonly Uint8Array[]): Uint8Array {
  const content = join(...parts);
  return join(uint(size, content.length), content);
}

export function u16List(values: readonly number[]): Uint8Array {
  return prefixed(2, ...values.map(u16));
}
