// Expresslane on the wire: the config frame that carries a key (protocol specification §6.2), the statistics in keepalives (§6.9)
// and the layout of a data packet (§6.5), whose sealing and opening is work of the vector nodes.

import type { SessionId } from './header.ts';
import { Reader, Writer } from './reader.ts';

export const KEY_SIZE = 32;

/** The highest version we speak: 2 authenticates the flags as well. */
export const EXPRESSLANE_VERSION = 2;

const FLAG_ENABLED = 0x80;
const FLAG_ACK = 0x40;
const STATISTICS_SIZE = 16;

/** `version u8 | flags u8 | reserved u16 | counter u64 | key 32`, after the kind byte. `key` is a view: it goes with its record. */
export type ExpresslaneConfig = {
  kind: 'expresslaneConfig';
  /** As the peer wrote it: 1, 2, or what a later peer may say. */
  version: number;
  enabled: boolean;
  ack: boolean;
  counter: bigint;
  key: Uint8Array;
};

export function decodeExpresslaneConfig(from: Reader): ExpresslaneConfig {
  const version = from.u8();
  const flags = from.u8();
  from.skip(2);
  const counter = from.u64();
  const key = from.take(KEY_SIZE);
  return {
    kind: 'expresslaneConfig',
    version,
    enabled: (flags & FLAG_ENABLED) !== 0,
    ack: (flags & FLAG_ACK) !== 0,
    counter,
    key,
  };
}

export function encodeExpresslaneConfig(config: ExpresslaneConfig, to: Writer): void {
  const flags = (config.enabled ? FLAG_ENABLED : 0) | (config.ack ? FLAG_ACK : 0);
  to.u8(config.version).u8(flags).u16(0).u64(config.counter).put(config.key);
}

/** Packets sent and received through Expresslane since the session began, in keepalive Pings and Pongs. */
export type Statistics = { sent: number; received: number };

export function encodeStatistics(sent: number, received: number): Uint8Array {
  return new Writer(STATISTICS_SIZE).u64(BigInt(sent)).u64(BigInt(received)).bytes;
}

/** @returns undefined for a payload of any other length: its sender's Expresslane is not ready */
export function decodeStatistics(payload: Uint8Array): Statistics | undefined {
  if (payload.length !== STATISTICS_SIZE) return undefined;
  const from = new Reader(payload);
  return { sent: Number(from.u64()), received: Number(from.u64()) };
}

/** Where the fields of a data packet stand, counted from the end of the Lightway header. */
export const DataOffset = { counter: 0, iv: 8, tag: 20, length: 36, flags: 38, ciphertext: 40 } as const;

/** The inner packet went through a packet codec. Nobody ships one. */
export const DATA_FLAG_ENCODED = 0x8000;

/** What stands before the ciphertext of a data packet. `iv`, `tag` and `ciphertext` are views. */
export type DataPacket = { counter: bigint; iv: Uint8Array; tag: Uint8Array; flags: number; ciphertext: Uint8Array };

/** Reads a data packet; bytes behind its ciphertext are ignored (§6.5). @throws WireError TRUNCATED */
export function decodeDataPacket(from: Reader): DataPacket {
  const counter = from.u64();
  const iv = from.take(DataOffset.tag - DataOffset.iv);
  const tag = from.take(DataOffset.length - DataOffset.tag);
  const length = from.u16();
  const flags = from.u16();
  return { counter, iv, tag, flags, ciphertext: from.take(length) };
}

export function encodeDataPacket(packet: DataPacket): Uint8Array {
  const to = new Writer(DataOffset.ciphertext + packet.ciphertext.length).u64(packet.counter).put(packet.iv);
  return to.put(packet.tag).u16(packet.ciphertext.length).u16(packet.flags).put(packet.ciphertext).bytes;
}

/** What the tag covers beside the ciphertext: the id of *this* datagram's header, the counter, and from version 2 the flags. */
export function dataAad(version: number, sessionId: SessionId, counter: bigint, flags: number): Uint8Array {
  const to = new Writer(version >= 2 ? 18 : 16).u64(sessionId).u64(counter);
  return version >= 2 ? to.u16(flags).bytes : to.bytes;
}
