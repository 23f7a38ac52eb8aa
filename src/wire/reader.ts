// Bounds-checked reading and writing of big-endian fields. Every parser of hostile bytes in Ringway reads through
// `Reader`, so that the only thing such bytes can raise is a `WireError`.

/**
 * What was wrong with the bytes: the record or stream ends inside a field · not Lightway at all · a protocol version outside
 * 1.1 to 1.3 · a frame kind nobody knows · a field outside its enumeration · text that is not UTF-8 · a length above its limit.
 */
export type WireErrorCode =
  | 'TRUNCATED'
  | 'BAD_MAGIC'
  | 'BAD_VERSION'
  | 'UNKNOWN_KIND'
  | 'BAD_VALUE'
  | 'BAD_TEXT'
  | 'TOO_LARGE';

/** The one thing a wire parser throws. Carries no byte of what it parsed, since that may be a secret. */
export class WireError extends Error {
  readonly code: WireErrorCode;

  constructor(code: WireErrorCode, message: string) {
    super(message);
    this.name = 'WireError';
    this.code = code;
  }
}

/** Reads fields in order from `bytes[offset, end)`. What `take` returns is a view: copy it to keep it past its record. */
export class Reader {
  readonly bytes: Uint8Array;
  readonly end: number;
  offset: number;

  constructor(bytes: Uint8Array, offset = 0, end = bytes.length) {
    this.bytes = bytes;
    this.offset = offset;
    this.end = end;
  }

  get remaining(): number {
    return this.end - this.offset;
  }

  u8(): number {
    return this.bytes[this.#advance(1)];
  }

  u16(): number {
    const at = this.#advance(2);
    return (this.bytes[at] << 8) | this.bytes[at + 1];
  }

  u32(): number {
    const high = this.u16();
    return high * 0x1_0000 + this.u16();
  }

  u64(): bigint {
    const high = this.u32();
    return (BigInt(high) << 32n) | BigInt(this.u32());
  }

  take(length: number): Uint8Array {
    const at = this.#advance(length);
    return this.bytes.subarray(at, at + length);
  }

  skip(length: number): void {
    this.#advance(length);
  }

  #advance(length: number): number {
    const at = this.offset;
    if (length > this.end - at) throw new WireError('TRUNCATED', `needs ${length} bytes and has ${this.end - at}`);
    this.offset = at + length;
    return at;
  }
}

/** Writes fields in order into an array of exactly `size` bytes; what is never written stays zero. */
export class Writer {
  readonly bytes: Uint8Array;
  offset = 0;

  constructor(size: number) {
    this.bytes = new Uint8Array(size);
  }

  u8(value: number): this {
    this.bytes[this.offset++] = value;
    return this;
  }

  u16(value: number): this {
    return this.u8(value >>> 8).u8(value);
  }

  u32(value: number): this {
    return this.u16(value >>> 16).u16(value);
  }

  u64(value: bigint): this {
    return this.u32(Number((value >> 32n) & 0xffff_ffffn)).u32(Number(value & 0xffff_ffffn));
  }

  put(bytes: Uint8Array): this {
    this.bytes.set(bytes, this.offset);
    this.offset += bytes.length;
    return this;
  }

  /** Writes `bytes` and leaves the rest of a field of `size` zero. */
  padded(bytes: Uint8Array, size: number): this {
    this.bytes.set(bytes, this.offset);
    this.offset += size;
    return this;
  }
}
