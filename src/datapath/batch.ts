/**
 * The batch: what one node hands to the next. A struct of columns over an arena that JavaScript and the addon both see.
 *
 * An *arena* is one native mapping cut into blocks of equal size; blocks are lent to the kernel, filled, described by
 * entries and given back when the last entry that refers to them is done (reference counts live in the addon). A *batch*
 * belongs to one arena. Its columns lie behind a header of 64 bytes in the order of `COLUMNS`, each starting on a
 * 64-byte boundary; the addon computes the same offsets and is asked for them at start-up (`addon.batchLayout`).
 *
 * The four batches of a shard, in pipeline order:
 *
 *   uplink    trains (what UDP received) → packets (opened, one entry a packet or a diverted record) → superpackets (to the TUN)
 *   downlink  superpackets (what the TUN gave) → trains (sealed, to the socket)
 */

type ColumnType = 'u64' | 'i32' | 'u32' | 'u16' | 'u8';

/** Name, element type and elements per entry, widest first. */
export const COLUMNS = [
  ['counter', 'u64', 1], // Expresslane counter or DTLS record number
  ['offset', 'u32', 1], // of the entry's first byte in the arena
  ['length', 'u32', 1], // of this entry alone, without the pieces behind it
  ['segmentSize', 'u32', 1], // trains: bytes of every datagram but the last; superpackets, assembled packets: gso_size; 0 = a single one
  ['train', 'u32', 1], // packets: index of the train they came in (its address is the peer's)
  ['slot', 'i32', 1], // session, or -1
  ['error', 'i32', 1], // transmit: errno of a failed send, else 0
  ['epoch', 'u16', 1], // DTLS epoch; 0 with Expresslane
  ['block', 'u16', 1], // arena block the entry holds a reference to
  ['headerLength', 'u16', 1], // superpackets: bytes of IP and transport header
  ['checksumStart', 'u16', 1], // virtio_net_hdr csum_start, csum_offset
  ['checksumOffset', 'u16', 1],
  ['flags', 'u16', 1], // Flag
  ['verdict', 'u8', 1], // Verdict
  ['kind', 'u8', 1], // packets: Kind; superpackets: GsoType; trains: 0 = datagrams, 1 = stream bytes for a TCP session
  ['address', 'u8', 40], // trains: outside address, see ADDRESS
] as const satisfies readonly (readonly [string, ColumnType, number])[];

export const BATCH_HEADER_BYTES = 64;
/**
 * Header words (u32): entries in use; capacity; how many input entries the last node consumed; packets: entries that session.control has to look at,
 * and packets that are in the entry of another one; superpackets to the TUN: errno of the last one of TCP, and of UDP, that it refused as one, or 0.
 */
export const HEADER = {
  count: 0,
  capacity: 1,
  consumed: 2,
  wanted: 3,
  followed: 4,
  refusedTcp: 5,
  refusedUdp: 6,
} as const;

/** Layout of one `address` element. Bytes not used by the family are zero, so that equal addresses are equal bytes. */
export const ADDRESS = {
  size: 40,
  family: 0, // u8: 4 or 6; 0 = none
  portNumber: 2, // u16 big-endian
  remote: 4, // 16 bytes; IPv4 in the first four
  local: 20, // 16 bytes: address the datagram came to (IP_PKTINFO), zero = let the kernel choose
  key: 20, // bytes 0..19 identify the peer
} as const;

export const Flag = {
  needsChecksum: 1, // superpackets: transport checksum holds only the pseudo-header sum (VIRTIO_NET_HDR_F_NEEDS_CSUM)
  checksumValid: 2, // inner checksums were verified (written to the TUN as VIRTIO_NET_HDR_F_DATA_VALID)
  floating: 4, // came from an address that is not the session's own
  newId: 8, // header carried an id that is not the session's current one
  expresslane: 16, // opened by (or to be sealed by) the Expresslane
  unsegmented: 32, // trains, by transmit: refused as one (`error` says why), its datagrams have gone one by one
} as const;

/** What an entry of `packets` is. Content types are those of TLS (RFC 8446 §5.1, RFC 9147 §5.2). */
export const Kind = {
  raw: 0, // a datagram or record nobody could open here: handshake epochs, unknown peers
  alert: 21,
  handshake: 22,
  application: 23, // verdict pass: bytes are one inner packet; verdict divert: bytes are Lightway frames
  ack: 26,
} as const;

/** Of superpackets. A `piece` is none: its bytes come behind those of the entry in front of it, which has the columns (of those to the TUN only). */
export const GsoType = { none: 0, tcp4: 1, tcp6: 4, udp: 5, piece: 255 } as const;

/**
 * What becomes of an entry. From `tooShort` on a verdict is a drop, and its number is the index of its counter, so no
 * drop is silent. The addon holds the same list (`addon.verdicts`), compared at start-up.
 */
export const VERDICTS = [
  'pass',
  'divert', // for session.control
  'elsewhere', // belongs to another shard: hand over
  'handedOver',
  'reject', // unknown session: answer with Lightway's reject datagram
  'held', // copied into the pacer's queue of its session
  'answered', // a stranger's hello, judged, or a session's Ping: nothing is left to do with it
  'tooShort',
  'badMagic',
  'badVersion',
  'versionMismatch',
  'rejectedId',
  'notOnline',
  'replayed',
  'forged',
  'noKey',
  'malformed',
  'notIpv4',
  'badInnerChecksum',
  'noRoute',
  'tooLarge',
  'badGso',
  'superseded',
  'handoverFull',
  'noBlock',
  'sendFailed',
  'tunRefused',
  'overload',
  'truncated',
  'pacerFull', // its session has too much waiting at the pacer already
  'unprotected', // plaintext for a session that is Online
  'unknownId', // unknown session, and the answers of this second are used up
] as const;

export type VerdictName = (typeof VERDICTS)[number];
export const Verdict = Object.fromEntries(VERDICTS.map((name, index) => [name, index])) as Record<VerdictName, number>;
export const FIRST_DROP = VERDICTS.indexOf('tooShort');

/** Entries of `packets` that session.control has to look at. */
export function wantsControl(verdict: number, flags: number): boolean {
  return verdict === Verdict.divert || (flags & (Flag.floating | Flag.newId)) !== 0;
}

const BYTES: Record<ColumnType, number> = { u64: 8, i32: 4, u32: 4, u16: 2, u8: 1 };

/** Where each column begins, in bytes, and how many bytes a batch of `capacity` entries needs. */
export function batchLayout(capacity: number): { offsets: Record<string, number>; bytes: number } {
  let at = BATCH_HEADER_BYTES;
  const offsets: Record<string, number> = {};
  for (const [name, type, elements] of COLUMNS) {
    offsets[name] = at;
    at += Math.ceil((capacity * elements * BYTES[type]) / 64) * 64;
  }
  return { offsets, bytes: at };
}

export interface Batch {
  /** Native side of the batch and its arena; undefined in a batch made without the addon. */
  readonly native: unknown;
  readonly header: Uint32Array;
  /** The whole arena. */
  readonly bytes: Uint8Array;
  readonly capacity: number;
  readonly counter: BigUint64Array;
  readonly offset: Uint32Array;
  readonly length: Uint32Array;
  readonly segmentSize: Uint32Array;
  readonly train: Uint32Array;
  readonly slot: Int32Array;
  readonly error: Int32Array;
  readonly epoch: Uint16Array;
  readonly block: Uint16Array;
  readonly headerLength: Uint16Array;
  readonly checksumStart: Uint16Array;
  readonly checksumOffset: Uint16Array;
  readonly flags: Uint16Array;
  readonly verdict: Uint8Array;
  readonly kind: Uint8Array;
  readonly address: Uint8Array;
}

/** The columns of a batch over `buffer` (as laid out by `batchLayout`) and its arena. */
export function viewBatch(buffer: ArrayBuffer, capacity: number, bytes: Uint8Array, native?: unknown): Batch {
  const { offsets } = batchLayout(capacity);
  return {
    native,
    bytes,
    capacity,
    header: new Uint32Array(buffer, 0, BATCH_HEADER_BYTES / 4),
    counter: new BigUint64Array(buffer, offsets.counter, capacity),
    offset: new Uint32Array(buffer, offsets.offset, capacity),
    length: new Uint32Array(buffer, offsets.length, capacity),
    segmentSize: new Uint32Array(buffer, offsets.segmentSize, capacity),
    train: new Uint32Array(buffer, offsets.train, capacity),
    slot: new Int32Array(buffer, offsets.slot, capacity),
    error: new Int32Array(buffer, offsets.error, capacity),
    epoch: new Uint16Array(buffer, offsets.epoch, capacity),
    block: new Uint16Array(buffer, offsets.block, capacity),
    headerLength: new Uint16Array(buffer, offsets.headerLength, capacity),
    checksumStart: new Uint16Array(buffer, offsets.checksumStart, capacity),
    checksumOffset: new Uint16Array(buffer, offsets.checksumOffset, capacity),
    flags: new Uint16Array(buffer, offsets.flags, capacity),
    verdict: new Uint8Array(buffer, offsets.verdict, capacity),
    kind: new Uint8Array(buffer, offsets.kind, capacity),
    address: new Uint8Array(buffer, offsets.address, capacity * ADDRESS.size),
  };
}

/** A train of no bytes is one empty datagram. */
export function datagramsOf({ length, segmentSize }: Batch, train: number): number {
  return segmentSize[train] === 0 ? 1 : Math.max(1, Math.ceil(length[train] / segmentSize[train]));
}
