/**
 * The native nodes in memory, against what no implementation can leave out: the bare AEAD, one copy and one checksum over the same bytes. Uplink
 * the nodes leave the copy out: payloads stay where they were opened, and the kernel gathers them, at a price that only `gather` shows.
 *
 *   downlink  lookup + seal          superpackets or small packets → sealed UDP_SEGMENT trains
 *   uplink    locate + open + admit + coalesce   trains → verified, coalesced superpackets
 *
 * The uplink's nodes run in one call of the addon, as in a pass (docs/decisions/0014).
 * Ratios of interleaved rounds, each the best of 20 passes; figures are nanoseconds a packet. Before timing, what one end sealed is opened by
 * the other and compared.
 */
import { deepEqual, equal } from 'node:assert/strict';
import { type Batch, Flag, GsoType, HEADER, viewBatch } from '../src/datapath/batch.ts';
import { nativeBatch, PACKETS } from '../src/datapath/batches.ts';
import { PUBLIC_OFFSETS, PUBLIC_SLOT_BYTES, SECRET_SLOT_BYTES, SlotFlag, SlotState } from '../src/datapath/layout.ts';
import { createNativeNodes, type Nodes } from '../src/datapath/nodes.ts';
import { SessionTable } from '../src/datapath/table.ts';
import { type Addon, type LanesHandle, loadAddon } from '../src/native/index.ts';
import { interleave, type Result, show } from './rounds.ts';
import type { Table } from './table.ts';

export type Aead = 'ipsec-mb' | 'openssl';
export type Transport = 'expresslane' | 'dtls';

const BLOCK = 66_048; // a superpacket or a train, and room for headers
const SUPERPACKETS = 8;
const SEGMENTS = 45;
const SMALL_PACKETS = 360;
const KEY = new Uint8Array(32).fill(0x11);
const ID = new Uint8Array(8).fill(0xa1);
const NOW = 1_000_000;
const WARM_PASSES = 1_000;

interface End {
  readonly nodes: Nodes;
  readonly lanes: LanesHandle;
  readonly table: SessionTable;
}

/** A table with the one session that all packets are of. */
function createEnd(addon: Addon, aead: Aead, transport: Transport): End {
  const slots = {
    public: addon.createMemfd('bench', PUBLIC_SLOT_BYTES),
    secret: addon.createMemfd('bench', SECRET_SLOT_BYTES),
  };
  const opened = addon.openTable({ ...slots, slots: 1 });
  for (const descriptor of Object.values(slots)) addon.closeDescriptor(descriptor);
  const index = addon.createIndex(1).handle;
  const { handle, counters } = addon.createLanes({
    table: opened.handle,
    index,
    shard: 0,
    shards: 1,
    generation: 1,
    aead,
    single: 0,
  });
  const table = new SessionTable(opened.public, 1);
  addon.claimSlot(handle, 0);
  const { state, versionMajor, versionMinor, currentId, sendId, flags, sendEpoch } = table.fields;
  state.set(0, SlotState.online);
  versionMajor.set(0, 1);
  versionMinor.set(0, 3);
  currentId.set(0, ID);
  sendId.set(0, ID);
  flags.set(0, transport === 'expresslane' ? SlotFlag.expresslane | SlotFlag.aadFlags : 0);
  sendEpoch.set(0, 3);
  for (const direction of ['send', 'receive'] as const)
    addon.slotInstall(handle, 0, direction, 3, 0x1302, addon.secretImport('sha384', new Uint8Array(48).fill(5)));
  const key = transport === 'expresslane' ? addon.laneStage(handle, 0) : KEY;
  addon.lanePromote(handle, 0);
  addon.laneInstallReceive(handle, 0, key);
  return { nodes: createNativeNodes(addon, handle, counters), lanes: handle, table };
}

export function createBatch(
  addon: Addon,
  blocks: number,
  arena = addon.createArena(BLOCK, blocks),
  capacity = 1024,
): { batch: Batch; arena: typeof arena } {
  const made = addon.createBatch(arena.handle, capacity);
  return { batch: viewBatch(made.buffer, capacity, new Uint8Array(arena.buffer), made.handle), arena };
}

// ---- packets -----------------------------------------------------------------------------------------------------------

function sumOf(bytes: Uint8Array, from: number, end: number): number {
  let sum = 0;
  for (let i = from; i < end; i++) sum += i % 2 === from % 2 ? bytes[i] << 8 : bytes[i];
  while (sum > 0xffff) sum = (sum & 0xffff) + Math.floor(sum / 0x10000);
  return sum;
}

/** A TCP superpacket as the TUN gives it (`segment` = payload of each segment), or a UDP packet with a right checksum. */
function ipPacket(protocol: 6 | 17, payload: number, sequence: number): Uint8Array {
  const header = protocol === 6 ? 40 : 28;
  const bytes = new Uint8Array(header + payload).map((_, i) => i * 31 + sequence);
  const view = new DataView(bytes.buffer);
  bytes.fill(0, 0, header);
  view.setUint32(0, 0x4500_0000 + bytes.length);
  view.setUint32(4, ((sequence & 0xffff) << 16) | 0x4000);
  view.setUint16(8, (64 << 8) | protocol);
  view.setUint32(12, 0x0a00_0001);
  view.setUint32(16, 0x0a7d_0002);
  view.setUint16(10, ~sumOf(bytes, 0, 20) & 0xffff);
  view.setUint32(20, (443 << 16) | 40_000);
  const pseudo = protocol + bytes.length - 20 + sumOf(bytes, 12, 20);
  const fold = (sum: number) => (sum & 0xffff) + (sum >> 16);
  if (protocol === 6) {
    view.setUint32(24, sequence);
    view.setUint32(28, 1);
    view.setUint32(32, 0x5010_0200);
    view.setUint16(36, fold(fold(pseudo))); // NEEDS_CSUM: the kernel leaves the sum of the pseudo-header
  } else {
    view.setUint16(24, bytes.length - 20);
    view.setUint16(26, ~fold(fold(pseudo + sumOf(bytes, 20, bytes.length))) & 0xffff);
  }
  return bytes;
}

function fill(end: End, batch: Batch, packetBytes: number, superpackets: number): number {
  if (packetBytes < 1000) {
    for (let i = 0; i < SMALL_PACKETS; i++)
      end.nodes.put(batch, -1, GsoType.none, undefined, ipPacket(17, packetBytes - 28, i));
    return SMALL_PACKETS;
  }
  const segment = packetBytes - 40;
  for (let i = 0; i < superpackets; i++) {
    end.nodes.put(batch, -1, GsoType.tcp4, undefined, ipPacket(6, segment * SEGMENTS, i * SEGMENTS * segment));
    batch.segmentSize[i] = segment;
    batch.flags[i] = Flag.needsChecksum;
    batch.checksumStart[i] = 20;
    batch.checksumOffset[i] = 16;
  }
  return superpackets * SEGMENTS;
}

// ---- the two pipelines ---------------------------------------------------------------------------------------------------

interface Pipeline {
  readonly packets: number;
  /** Nanoseconds for all packets. */
  downlink(): number;
  uplink(): number;
}

function nanoseconds(work: () => void): number {
  const began = process.hrtime.bigint();
  work();
  return Number(process.hrtime.bigint() - began);
}

export interface PipelineOptions {
  /** Coalesces into blocks of their own. */
  readonly copies?: boolean;
  /** Of a pass. */
  readonly superpackets?: number;
  /** Gets every vector of superpackets, within what is timed: node by node. Without it the nodes run in one call, as in a pass. */
  readonly write?: (superpackets: Batch) => void;
}

export function createPipeline(
  addon: Addon,
  aead: Aead,
  transport: Transport,
  packetBytes: number,
  { copies = false, superpackets = SUPERPACKETS, write }: PipelineOptions = {},
): Pipeline {
  const end = createEnd(addon, aead, transport);
  const { nodes, table } = end;
  const fromTun = createBatch(addon, superpackets + 16).batch;
  const { batch: trains, arena } = createBatch(addon, 8 * superpackets);
  const packets = createBatch(addon, 64, arena, PACKETS).batch;
  // of the same arena, as in a shard: payloads stay where they were opened
  const toTun = copies ? createBatch(addon, 64).batch : createBatch(addon, 64, arena, PACKETS).batch;
  const count = fill(end, fromTun, packetBytes, superpackets);

  const given = Array.from({ length: fromTun.header[HEADER.count] }, (_, i) =>
    fromTun.bytes.slice(fromTun.offset[i], fromTun.offset[i] + fromTun.length[i]),
  );
  // superpackets do not outlive being sealed: their bytes are put back
  const sealInto = (out: Batch) => {
    nodes.clear(out);
    for (const [i, bytes] of given.entries()) fromTun.bytes.set(bytes, fromTun.offset[i]);
    fromTun.header[HEADER.consumed] = 0;
    return nanoseconds(() => {
      nodes.lookup(fromTun);
      nodes.seal(fromTun, out, 64, NOW);
    });
  };
  const apart = createBatch(addon, 8 * superpackets).batch; // what is timed leaves the trains to be opened alone
  sealInto(trains);
  equal(fromTun.header[HEADER.consumed], fromTun.header[HEADER.count]);
  const entries = trains.header[HEADER.count];
  const offsets = trains.offset.slice(0, entries);
  const sealed = Array.from({ length: entries }, (_, i) =>
    trains.bytes.slice(trains.offset[i], trains.offset[i] + trains.length[i]),
  );
  // what was sealed last is opened again and again: the window forgets it, the bytes are put back
  const uplink = (take?: (superpackets: Batch) => void) => {
    for (const [i, bytes] of sealed.entries()) {
      trains.bytes.set(bytes, offsets[i]);
      trains.offset[i] = offsets[i];
      trains.length[i] = bytes.length;
    }
    table.bytes.fill(0, PUBLIC_OFFSETS.laneHighest, PUBLIC_OFFSETS.packetsOpened);
    trains.header[HEADER.consumed] = 0;
    if (!take) {
      const handles = [nativeBatch(trains), nativeBatch(packets), nativeBatch(toTun)] as const;
      return nanoseconds(() => addon.uplinkNodes(end.lanes, ...handles, 'inline', NOW));
    }
    return nanoseconds(() => {
      nodes.locate(trains);
      do {
        nodes.clear(packets);
        nodes.clear(toTun);
        nodes.open(trains, packets, NOW, 'inline');
        nodes.admit(packets, NOW);
        nodes.coalesce(packets, toTun, 'inline');
        take(toTun);
      } while (trains.header[HEADER.consumed] < entries);
    });
  };
  const taken: Uint8Array[] = [];
  uplink((superpackets) => taken.push(payloadsOf(superpackets)));
  for (const [i, bytes] of given.entries()) fromTun.bytes.set(bytes, fromTun.offset[i]);
  deepEqual(Buffer.concat(taken).equals(payloadsOf(fromTun)), true, 'what was opened is not what was sealed');
  return { packets: count, downlink: () => sealInto(apart), uplink: () => uplink(write) };
}

/** The payloads of all packets one behind the other, however they were joined. What went in must come out. */
function payloadsOf({ header, bytes, offset, length, kind }: Batch): Uint8Array {
  const parts: Uint8Array[] = [];
  for (let i = 0; i < header[HEADER.count]; i++) {
    const packet = bytes.subarray(offset[i], offset[i] + length[i]);
    parts.push(packet.slice(kind[i] === GsoType.piece ? 0 : packet[9] === 6 ? 40 : 28));
  }
  return Buffer.concat(parts);
}

export async function bench(quick: boolean, table: Table): Promise<void> {
  const rounds = quick ? 1 : 15;
  const repeats = quick ? 2 : 20;
  const addon = loadAddon();
  console.log(`\nInstruction sets: ${addon.about().cpu.join(' ')}`);
  for (const aead of addon.about().aead)
    for (const packetBytes of [1400, 64]) {
      const lane = createPipeline(addon, aead, 'expresslane', packetBytes);
      const records = createPipeline(addon, aead, 'dtls', packetBytes);
      for (const pipeline of [lane, records]) warm(pipeline, quick ? 1 : WARM_PASSES);
      // the least of some passes: one that another process interrupted says nothing of ours
      const perPacket = (once: () => number) => () => {
        let least = Number.POSITIVE_INFINITY;
        for (let i = 0; i < repeats; i++) least = Math.min(least, once());
        return least / lane.packets;
      };
      for (const direction of ['downlink', 'uplink'] as const) {
        const bare = (copies: boolean) =>
          perPacket(() => addon.bareCost(aead, direction === 'uplink', packetBytes, lane.packets, copies));
        const contenders = [
          { name: 'bare AEAD, copy, checksum', run: bare(true) },
          { name: 'bare AEAD', run: bare(false) },
          { name: 'Expresslane', run: perPacket(lane[direction]) },
          { name: 'DTLS', run: perPacket(records[direction]) },
        ];
        const title = `${direction}, ${packetBytes}-byte packets, ${aead}`;
        const results = await interleave(contenders, rounds);
        show(title, 'ns a packet, less is better', results, rounds);
        if (aead === addon.about().aead[0]) enter(table, direction, packetBytes, aead, results);
      }
    }
}

/** The calls are compiled before they are timed, as those of a shard are. */
function warm(pipeline: Pipeline, passes: number): void {
  for (let i = 0; i < passes; i++) {
    pipeline.downlink();
    pipeline.uplink();
  }
}

/** Large packets against all that cannot be left out, small ones against the AEAD alone. */
function enter(
  table: Table,
  direction: 'downlink' | 'uplink',
  packetBytes: number,
  aead: Aead,
  results: readonly Result[],
): void {
  const [, bare, ...transports] = results;
  const steps = direction === 'downlink' ? 'segment, seal' : 'open, verify, coalesce';
  for (const { name, ratios } of transports) {
    const [bound, values] =
      packetBytes > 1_000 ? [1.35, ratios] : [2, ratios.map((ratio, round) => ratio / bare.ratios[round])];
    const what = `${steps}, ${packetBytes} bytes, ${name}`;
    const group = `In memory, against the bare AEAD of ${aead} (64 bytes) with copy and checksum (1,400 bytes)`;
    table.add({ group, what, sense: 'at most', bound, unit: '×' }, values);
  }
}
