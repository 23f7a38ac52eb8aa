/**
 * The layout of the session table: one slot of fixed size per session in memory that the keeper owns, so that it survives
 * the engine. Declared here once; `native/table/layout.h` holds the same as C structs and the addon reports it
 * (`addon.tableLayout`), and `checkLayout` compares both at start-up. Numbers are in the machine's own byte order;
 * IPv4 addresses are numbers (10.0.0.1 = 0x0a000001).
 *
 * Public slots are seen from TypeScript through `SessionTable`; secret slots only by the addon (and, when the table was
 * opened for the reference nodes, by `--aead noble`).
 */

export type FieldType = 'u8' | 'u16' | 'u32' | 'i32' | 'u64' | 'f64';
export type Field = readonly [name: string, type: FieldType, elements: number];

/** Slot states, in the order a session goes through them. */
export const SlotState = { free: 0, handshake: 1, linkUp: 2, online: 3, closing: 4 } as const;

export const SlotFlag = {
  client: 1, // this end is the client: adopts ids instead of choosing them
  stream: 2, // TCP: no records here; seal makes plain Data frames
  expresslane: 4, // seal data packets by the Expresslane (else as DTLS records)
  aadFlags: 8, // Expresslane version 2: flags are part of the AAD
  noGso: 16, // UDP_SEGMENT failed for this session: one datagram a send
  laneReady: 32, // both directions of the Expresslane have keys: keepalives report its packets
} as const;

export const PUBLIC_FIELDS = [
  // identity and state
  ['state', 'u32', 1], // SlotState
  ['generation', 'u32', 1], // of the engine that may seal
  ['shard', 'u32', 1],
  ['flags', 'u32', 1], // SlotFlag
  ['currentId', 'u8', 8],
  ['pendingId', 'u8', 8], // zero = none
  ['sendId', 'u8', 8], // what the header of our datagrams carries: pending if any, else current (client: EMPTY, then adopted)
  ['remote', 'u8', 40], // outside address, laid out as ADDRESS in batch.ts
  ['versionMajor', 'u8', 1],
  ['versionMinor', 'u8', 1],
  ['suite', 'u16', 1],
  ['sendEpoch', 'u16', 1], // epoch that seal uses for DTLS records
  ['mssClamp', 'u16', 1], // longest TCP segment the path carries, 0 = leave alone; packets longer than 40 more are session.control's to cut
  // addresses: translation of inner packets (0 = leave alone)
  ['insideAddress', 'u32', 1], // lease; routes.lookup finds the slot by it
  ['sealSource', 'u32', 1], // inside → tunnel: source becomes this
  ['sealDestination', 'u32', 1], // inside → tunnel: destination becomes this
  ['sealMatch', 'u32', 1], // inside → tunnel: destination equal to this ...
  ['sealReplace', 'u32', 1], // ... becomes this
  ['openSource', 'u32', 1], // tunnel → inside: source becomes this
  ['openDestination', 'u32', 1], // tunnel → inside: destination becomes this
  ['openMatch', 'u32', 1], // tunnel → inside: source equal to this ...
  ['openReplace', 'u32', 1], // ... becomes this
  ['receiveEpochs', 'u16', 4], // epoch installed at index epoch & 3, 0 = none
  // numbers that must never repeat: claimed with an atomic add before anything is sealed
  ['laneSendCounter', 'u64', 1], // Expresslane: last counter claimed; first packet has 1
  ['recordSendCounter', 'u64', 4], // DTLS: next record number of send epoch & 3
  // replay windows
  ['laneHighest', 'u64', 1],
  ['laneWindow', 'u64', 128], // 8,192 bits, bit = counter mod 8,192
  ['recordNext', 'u64', 4], // highest record number seen + 1, per epoch & 3
  ['recordWindow', 'u64', 32], // 4 × 512 bits, bit = record number mod 512
  // statistics
  ['packetsOpened', 'u64', 1],
  ['bytesOpened', 'u64', 1], // inner bytes
  ['packetsSealed', 'u64', 1],
  ['bytesSealed', 'u64', 1],
  ['laneSent', 'u64', 1], // Expresslane packets, for its health check
  ['laneReceived', 'u64', 1],
  ['lastOutside', 'f64', 1], // Micros of the last authentic datagram
  ['lastInside', 'f64', 1], // Micros of the last inner packet either way
  // control state, written by session.control before the output of a transition leaves
  ['snapshotLength', 'u32', 1],
  ['paceRate', 'u32', 1], // kbit/s outside, of what seal sends; 0 = no pacing
  ['snapshot', 'u8', 704],
] as const satisfies readonly Field[];

/** One direction of one DTLS epoch, or one Expresslane key. Only the addon reads these. */
export const SECRET_FIELDS = [
  ['sendRecord', 'u8', 128 * 4], // RecordSecret[epoch & 3]: key[32] iv[12] suite u16 epoch u16 sn[32] traffic[48]
  ['receiveRecord', 'u8', 128 * 4],
  ['laneSend', 'u8', 48], // LaneSecret: key[32] salt[4] (first bytes of every IV) valid u32 pad[8]
  ['laneStaged', 'u8', 48],
  ['laneReceive', 'u8', 48],
  ['lanePrevious', 'u8', 48],
] as const satisfies readonly Field[];

export const PUBLIC_SLOT_BYTES = 2560;
export const SECRET_SLOT_BYTES = 1280;

const BYTES: Record<FieldType, number> = { u8: 1, u16: 2, u32: 4, i32: 4, u64: 8, f64: 8 };

/** Byte offset of every field; fields are naturally aligned, as a C compiler lays them out. @throws Error if they do not fit */
export function fieldOffsets(fields: readonly Field[], limit: number): Record<string, number> {
  const offsets: Record<string, number> = {};
  let at = 0;
  for (const [name, type, elements] of fields) {
    at = Math.ceil(at / BYTES[type]) * BYTES[type];
    offsets[name] = at;
    at += BYTES[type] * elements;
  }
  if (at > limit) throw new Error(`slot layout needs ${at} bytes, has ${limit}`);
  return offsets;
}

export const PUBLIC_OFFSETS = fieldOffsets(PUBLIC_FIELDS, PUBLIC_SLOT_BYTES);
export const SECRET_OFFSETS = fieldOffsets(SECRET_FIELDS, SECRET_SLOT_BYTES);
