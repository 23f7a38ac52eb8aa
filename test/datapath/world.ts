/**
 * A shard's nodes with sessions of every kind, once over the reference nodes and once over the native ones: the same calls on
 * both must leave the same entries, slots and counters.
 */
import { type Batch, COLUMNS, GsoType, HEADER, VERDICTS, viewBatch } from '../../src/datapath/batch.ts';
import { type IndexKind, IndexMap } from '../../src/datapath/index-map.ts';
import {
  PUBLIC_FIELDS,
  PUBLIC_OFFSETS,
  PUBLIC_SLOT_BYTES,
  SECRET_SLOT_BYTES,
  SlotFlag,
  SlotState,
} from '../../src/datapath/layout.ts';
import { type Limits, NO_LIMIT } from '../../src/datapath/limits.ts';
import { createNativeNodes, type Nodes } from '../../src/datapath/nodes.ts';
import { createNativePacer, type Pacer } from '../../src/datapath/pacer.ts';
import { createReferenceLanes } from '../../src/datapath/reference/lanes.ts';
import { createMemoryBatch, MemoryArena, wrapNativeBatch } from '../../src/datapath/reference/memory.ts';
import { createReferenceNodes } from '../../src/datapath/reference/nodes.ts';
import { ReferencePacer } from '../../src/datapath/reference/pacer.ts';
import { SecretTable } from '../../src/datapath/reference/secrets.ts';
import { SessionTable } from '../../src/datapath/table.ts';
import type { Addon } from '../../src/native/index.ts';
import { bytesOf, concat, pattern } from '../packet/packets.ts';
import { type RecordKey, SUITES } from './peer.ts';

export const SLOTS = 9;
export const GENERATION = 4;
export const BLOCK_BYTES = 66_560; // 65,536 and room for headers, a multiple of 64
export const BLOCKS = 32;
export const CAPACITY = 96;
/** So many that no queue is refused for want of them: the reference pacer counts no blocks. */
const PACER_BLOCKS = 1024;

export interface World {
  readonly nodes: Nodes;
  readonly limits: Limits;
  readonly table: SessionTable;
  readonly secrets: SecretTable;
  readonly index: { set(kind: IndexKind, key: Uint8Array, slot: number): void };
  /** Takes what was written to a slot for granted: cached keys are forgotten. */
  claim(slot: number): void;
  readonly trains: Batch;
  readonly packets: Batch;
  readonly toTun: Batch;
  readonly fromTun: Batch;
  readonly sealed: Batch;
  readonly released: Batch;
  /** One that has nothing waiting. */
  createPacer(trainSegments: number): Pacer;
}

export interface WorldOptions {
  readonly single?: number;
  readonly capacity?: number;
  readonly blocks?: number;
  /** Bytes of a block of `sealed`. */
  readonly sealedBlock?: number;
  /** Native nodes: what goes to the TUN is copied into blocks of its own; else it stays in those it came in, as in a shard. */
  readonly copies?: boolean;
}

export function createReferenceWorld(options: WorldOptions = {}): World {
  const { single = -1, capacity = CAPACITY, blocks = BLOCKS, sealedBlock = BLOCK_BYTES } = options;
  const table = new SessionTable(new ArrayBuffer(SLOTS * PUBLIC_SLOT_BYTES), SLOTS);
  const secrets = new SecretTable(new ArrayBuffer(SLOTS * SECRET_SLOT_BYTES));
  const index = new IndexMap();
  const lanes = createReferenceLanes({ table, secrets, index, shard: 0, shards: 2, generation: GENERATION, single });
  const received = new MemoryArena(BLOCK_BYTES, blocks * 2); // trains, and packets which are copied
  const create = (arena = new MemoryArena(BLOCK_BYTES, blocks)) => createMemoryBatch(arena, capacity);
  const released = create(new MemoryArena(BLOCK_BYTES, PACER_BLOCKS));
  return {
    nodes: createReferenceNodes(lanes) as Nodes,
    limits: lanes,
    table,
    secrets,
    index,
    claim: (slot) => table.fields.generation.set(slot, GENERATION),
    trains: create(received),
    packets: create(received),
    toTun: create(),
    fromTun: create(),
    sealed: create(new MemoryArena(sealedBlock, sealedBlocks(blocks, sealedBlock))),
    released,
    createPacer: (trainSegments) => new ReferencePacer(lanes, released, trainSegments) as Pacer,
  };
}

export function createNativeWorld(addon: Addon, aead: 'ipsec-mb' | 'openssl', options: WorldOptions = {}): World {
  const { single = -1, capacity = CAPACITY, blocks = BLOCKS, copies = false, sealedBlock = BLOCK_BYTES } = options;
  const opened = openTable(addon);
  const index = addon.createIndex(SLOTS).handle;
  const made = { table: opened.handle, index, shard: 0, shards: 2, generation: GENERATION, aead };
  const lanes = addon.createLanes(single >= 0 ? { ...made, single } : made);
  const createArena = (count: number, size = BLOCK_BYTES) => addon.createArena(size, count);
  const create = (arena = createArena(blocks)) => {
    const batch = addon.createBatch(arena.handle, capacity);
    return viewBatch(batch.buffer, capacity, new Uint8Array(arena.buffer), batch.handle);
  };
  const received = createArena(blocks * 2);
  const released = create(createArena(PACER_BLOCKS));
  return {
    nodes: createNativeNodes(addon, lanes.handle, lanes.counters),
    limits: lanes,
    table: new SessionTable(opened.public, SLOTS),
    secrets: new SecretTable(opened.secret!),
    index: { set: (kind, key, slot) => addon.indexSet(index, kind, key, slot) },
    claim: (slot) => addon.claimSlot(lanes.handle, slot),
    trains: create(received),
    packets: create(received),
    toTun: copies ? create() : create(received),
    fromTun: create(),
    sealed: create(createArena(sealedBlocks(blocks, sealedBlock), sealedBlock)),
    released,
    createPacer: (trainSegments) => createNativePacer(addon, lanes.handle, released, trainSegments),
  };
}

/** The reference nodes over the addon's memory, table and index: what `--aead noble` runs. */
export function createNobleWorld(addon: Addon, options: WorldOptions = {}): World {
  const { single = -1, capacity = CAPACITY, blocks = BLOCKS, sealedBlock = BLOCK_BYTES } = options;
  const opened = openTable(addon);
  const index = addon.createIndex(SLOTS).handle;
  const table = new SessionTable(opened.public, SLOTS);
  const secrets = new SecretTable(opened.secret!);
  const get = (kind: IndexKind, key: Uint8Array) => addon.indexGet(index, kind, key);
  const lanes = createReferenceLanes({
    table,
    secrets,
    index: { get },
    shard: 0,
    shards: 2,
    generation: GENERATION,
    single,
  });
  const create = (blockSize = BLOCK_BYTES) => {
    const blockCount = sealedBlocks(blocks, blockSize);
    const arena = addon.createArena(blockSize, blockCount);
    const batch = addon.createBatch(arena.handle, capacity);
    const view = viewBatch(batch.buffer, capacity, new Uint8Array(arena.buffer), batch.handle);
    return wrapNativeBatch(addon, view, { handle: arena.handle, blockSize, blockCount });
  };
  const released = create();
  return {
    nodes: createReferenceNodes(lanes) as Nodes,
    limits: lanes,
    table,
    secrets,
    index: { set: (kind, key, slot) => addon.indexSet(index, kind, key, slot) },
    claim: (slot) => table.fields.generation.set(slot, GENERATION),
    trains: create(),
    packets: create(), // in an arena of its own: what is opened is copied
    toTun: create(),
    fromTun: create(),
    sealed: create(sealedBlock),
    released,
    createPacer: (trainSegments) => new ReferencePacer(lanes, released, trainSegments) as Pacer,
  };
}

/** So many that there is room for as much as ever. */
const sealedBlocks = (blocks: number, size: number) => Math.ceil((blocks * BLOCK_BYTES) / size);

function openTable(addon: Addon) {
  const descriptors = {
    public: addon.createMemfd('public', SLOTS * PUBLIC_SLOT_BYTES),
    secret: addon.createMemfd('secret', SLOTS * SECRET_SLOT_BYTES),
  };
  const opened = addon.openTable({ ...descriptors, slots: SLOTS, exposeSecrets: true });
  for (const descriptor of Object.values(descriptors)) addon.closeDescriptor(descriptor);
  return opened;
}

// ---- sessions -----------------------------------------------------------------------------------------------------------

/** What each slot is there for. */
export const Slot = {
  lane: 0, // Expresslane version 2, a server's translation
  records: 1, // DTLS with ChaCha20
  oldLane: 2, // Expresslane version 1, protocol 1.1, DTLS with AES-128, no UDP_SEGMENT
  linkUp: 3,
  handshake: 4,
  elsewhere: 5, // another shard's
  superseded: 6, // another engine's
  stream: 7, // TCP
  client: 8, // the client's end: translation with DNS, no version to check
} as const;

export const idOf = (slot: number) => bytesOf('u32', 0x1d00_0000 + slot, 'u32', 0xabcd_0000 + slot);
export const insideOf = (slot: number) => 0x0a7d_0002 + slot;

/** Family, port, address of the peer; the local address the datagram came to. */
export function addressOf(slot: number, local = 0x7f00_0001): Uint8Array {
  const address = new Uint8Array(40);
  address.set(bytesOf('u8', 4, 'u8', 0, 'u16', 5000 + slot, 'u32', 0xc633_6401 + slot));
  address.set(bytesOf('u32', local), 20);
  return address;
}

export const laneKey = (slot: number, name: 'send' | 'receive' | 'previous') =>
  pattern(32, slot * 3 + ['send', 'receive', 'previous'].indexOf(name));
export const laneSalt = (slot: number) => pattern(4, slot + 90);

const suiteOf = (slot: number): RecordKey['suite'] =>
  slot === Slot.records ? SUITES.chacha20 : slot === Slot.oldLane ? SUITES.aes128 : SUITES.aes256;

export function recordKey(slot: number, direction: 'send' | 'receive', epoch: number): RecordKey {
  const suite = suiteOf(slot);
  const size = suite === SUITES.aes128 ? 16 : 32;
  const seed = slot * 11 + epoch * 3 + (direction === 'send' ? 1 : 0);
  return { suite, epoch, key: pattern(size, seed), iv: pattern(12, seed + 40), number: pattern(size, seed + 80) };
}

/** Epochs 3 to 5 receive, 4 and 5 send; 2 and 6 are not installed. */
export function setUp(world: World): void {
  const { fields } = world.table;
  world.table.bytes.fill(0);
  world.nodes.counters.fill(0n);
  world.limits.arrivals.fill(0);
  world.limits.limits.set([NO_LIMIT, 0, 0, NO_LIMIT, NO_LIMIT]);
  const { trains, packets, toTun, fromTun, sealed, released } = world;
  for (const batch of [trains, packets, toTun, fromTun, sealed, released]) world.nodes.clear(batch);
  for (let slot = 0; slot < SLOTS; slot++) {
    world.claim(slot);
    fields.state.set(
      slot,
      slot === Slot.linkUp ? SlotState.linkUp : slot === Slot.handshake ? SlotState.handshake : SlotState.online,
    );
    fields.generation.set(slot, slot === Slot.superseded ? GENERATION - 1 : GENERATION);
    fields.shard.set(slot, slot === Slot.elsewhere ? 1 : 0);
    fields.currentId.set(slot, idOf(slot));
    fields.sendId.set(slot, idOf(slot));
    fields.remote.set(slot, addressOf(slot));
    fields.versionMajor.set(slot, 1);
    fields.versionMinor.set(slot, slot === Slot.oldLane ? 1 : 3);
    fields.suite.set(slot, suiteOf(slot));
    fields.insideAddress.set(slot, insideOf(slot));
    fields.laneSendCounter.set(slot, slot * 1000);
    setUpLanes(world, slot);
    setUpTranslation(world, slot);
    world.index.set('id', idOf(slot), slot);
    world.index.set('outside', addressOf(slot).subarray(0, 20), slot);
    world.index.set('inside', bytesOf('u32', insideOf(slot)), slot);
  }
  fields.flags.set(Slot.lane, SlotFlag.expresslane | SlotFlag.aadFlags);
  fields.flags.set(Slot.oldLane, SlotFlag.expresslane | SlotFlag.noGso);
  fields.flags.set(Slot.superseded, SlotFlag.expresslane | SlotFlag.aadFlags);
  fields.flags.set(Slot.stream, SlotFlag.stream);
  fields.flags.set(Slot.client, SlotFlag.client | SlotFlag.aadFlags | SlotFlag.expresslane);
  fields.mssClamp.set(Slot.lane, 1298);
  fields.mssClamp.set(Slot.records, 1200);
}

function setUpLanes({ table, secrets }: World, slot: number): void {
  const { sendEpoch, receiveEpochs, recordSendCounter } = table.fields;
  secrets.clear(slot);
  sendEpoch.set(slot, 5);
  for (const epoch of [3, 4, 5]) {
    secrets.installRecord(slot, 'receive', recordKey(slot, 'receive', epoch));
    receiveEpochs.set(slot, epoch, epoch & 3);
    if (epoch > 3) secrets.installRecord(slot, 'send', recordKey(slot, 'send', epoch));
    recordSendCounter.set(slot, slot === Slot.records ? 65_534 : 0, epoch & 3); // its numbers cross 2^16
  }
  if (slot === Slot.records || slot === Slot.stream) return;
  secrets.installLane(slot, 'laneSend', laneKey(slot, 'send'), laneSalt(slot));
  secrets.installLane(slot, 'laneReceive', laneKey(slot, 'receive'), new Uint8Array(4));
  secrets.installLane(slot, 'lanePrevious', laneKey(slot, 'previous'), new Uint8Array(4));
}

function setUpTranslation({ table }: World, slot: number): void {
  const { openSource, openDestination, openMatch, openReplace, sealSource, sealDestination, sealMatch, sealReplace } =
    table.fields;
  if (slot === Slot.client) {
    openDestination.set(slot, 0x6440_0001);
    openMatch.set(slot, 0xc000_0201);
    openReplace.set(slot, 0x6440_0002);
    sealSource.set(slot, 0xc0a8_fe0a);
    sealMatch.set(slot, 0x0a00_0003);
    sealReplace.set(slot, 0xc000_0201);
  } else if (slot !== Slot.records) {
    openSource.set(slot, insideOf(slot));
    sealDestination.set(slot, 0xc0a8_fe0a);
  }
}

// ---- what both sides must agree on ---------------------------------------------------------------------------------------

export interface Entry {
  readonly verdict: string;
  readonly bytes: string;
  readonly [column: string]: unknown;
}

/**
 * Every column but the places, and the bytes of what was not dropped; a superpacket with its pieces is one entry.
 * @param front bytes before an entry that must be readable
 */
export function entriesOf(batch: Batch, front = 0): { consumed: number; entries: Entry[] } {
  const entries = headsOf(batch).map((i): Entry => {
    const columns = COLUMNS.filter(([name]) => name !== 'offset' && name !== 'block').map(([name, , size]) => [
      name,
      size === 1 ? batch[name][i] : Buffer.from(batch.address.subarray(i * size, i * size + size)).toString('hex'),
    ]);
    const verdict = VERDICTS[batch.verdict[i]];
    const kept = verdict === 'pass' || verdict === 'divert' || verdict === 'elsewhere' || verdict === 'reject';
    const length = wholeAt(batch, i).length;
    return { ...Object.fromEntries(columns), length, verdict, bytes: kept ? hexOf(batch, i, front) : '' };
  });
  return { consumed: batch.header[HEADER.consumed], entries };
}

/** Indexes of the entries that are no pieces. */
export function headsOf({ header, kind }: Batch): number[] {
  return Array.from({ length: header[HEADER.count] }, (_, i) => i).filter((i) => kind[i] !== GsoType.piece);
}

/** The bytes of an entry and of the pieces behind it. */
export function wholeAt(batch: Batch, head: number): Uint8Array {
  const parts = [bytesAt(batch, head)];
  for (let i = head + 1; i < batch.header[HEADER.count] && batch.kind[i] === GsoType.piece; i++)
    parts.push(bytesAt(batch, i));
  return concat(...parts);
}

function hexOf(batch: Batch, i: number, front: number): string {
  const before = batch.bytes.subarray(batch.offset[i] - front, batch.offset[i]);
  return Buffer.concat([before, wholeAt(batch, i)]).toString('hex');
}

export function bytesAt({ bytes, offset, length }: Batch, i: number): Uint8Array {
  return bytes.slice(offset[i], offset[i] + length[i]);
}

/** Counters that are not zero, by name. */
export function countersOf({ nodes }: World): Record<string, number> {
  const all = VERDICTS.map((name, verdict) => [name, Number(nodes.counters[verdict])] as const);
  return Object.fromEntries(all.filter(([, value]) => value > 0));
}

/** Fields in which two tables differ, as `slot.field`; empty when all bytes are equal. */
export function tableDifferences(a: SessionTable, b: SessionTable): string[] {
  if (Buffer.compare(a.bytes, b.bytes) === 0) return [];
  const found: string[] = [];
  for (let slot = 0; slot < a.slots; slot++)
    for (const [name, type, elements] of PUBLIC_FIELDS) {
      const at = slot * PUBLIC_SLOT_BYTES + PUBLIC_OFFSETS[name];
      const size = elements * { u8: 1, u16: 2, u32: 4, u64: 8, f64: 8 }[type];
      const [left, right] = [a, b].map(({ bytes }) => Buffer.from(bytes.subarray(at, at + size)).toString('hex'));
      if (left !== right) found.push(`${slot}.${name}: ${left} ${right}`);
    }
  return found;
}
