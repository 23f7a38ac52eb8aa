/**
 * What a packet of the load lab carries behind its UDP header. Both ends read and write it in `native/load`; this is the reference.
 *
 *     magic u32 "RWLD" | version u8 | type u8 | flags u8 | 0 u8 | run u32 | client u32 | sequence u64 | time u64 | count u32
 *
 * Big-endian. `time` is when the packet was due (a reply: copied from what it answers), in ns of the sender's CLOCK_MONOTONIC.
 */
export const PAYLOAD_BYTES = 36;
const MAGIC = 0x5257_4c44;
const VERSION = 1;

/** hello: makes a client's address known; data: counted; ack: how much has come; echo: sent back at once, for a round trip. */
export const PayloadType = { hello: 0, data: 1, ack: 2, echo: 3 } as const;
/** measured: due within the measured part of the run; echo: send one back; window: acknowledge. */
export const PayloadFlag = { measured: 1, echo: 2, window: 4 } as const;

export interface Payload {
  readonly type: number;
  readonly flags: number;
  readonly run: number;
  readonly client: number;
  readonly sequence: number;
  readonly timeNs: number;
  /** ack: packets that have come, each counted once. */
  readonly count: number;
}

export function encodePayload(payload: Payload): Uint8Array {
  const bytes = new Uint8Array(PAYLOAD_BYTES);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, MAGIC);
  view.setUint8(4, VERSION);
  view.setUint8(5, payload.type);
  view.setUint8(6, payload.flags);
  view.setUint32(8, payload.run);
  view.setUint32(12, payload.client);
  view.setBigUint64(16, BigInt(payload.sequence));
  view.setBigUint64(24, BigInt(payload.timeNs));
  view.setUint32(32, payload.count);
  return bytes;
}

/** @returns undefined for what is not of the load lab. Never throws: anybody may send to a sink */
export function decodePayload(bytes: Uint8Array): Payload | undefined {
  if (bytes.length < PAYLOAD_BYTES) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  if (view.getUint32(0) !== MAGIC || view.getUint8(4) !== VERSION) return undefined;
  return {
    type: view.getUint8(5),
    flags: view.getUint8(6),
    run: view.getUint32(8),
    client: view.getUint32(12),
    sequence: Number(view.getBigUint64(16)),
    timeNs: Number(view.getBigUint64(24)),
    count: view.getUint32(32),
  };
}
