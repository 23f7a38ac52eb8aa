/**
 * A whole shard between synthetic ports: its TUN queue gives superpackets without end, and what it sends to a session comes back as if that
 * session had sent it. So every packet goes down one pipeline and up the other, through the very turns of the product, and no kernel is
 * asked for anything. Each end of the wire copies once, as the kernel does.
 */
import { encodeAddress, parseIpv4 } from '../../src/datapath/address.ts';
import type { NativeAead } from '../../src/datapath/backends.ts';
import { ADDRESS, type Batch, Flag, GsoType, HEADER, VERDICTS, Verdict, viewBatch } from '../../src/datapath/batch.ts';
import { VECTOR } from '../../src/datapath/batches.ts';
import { PUBLIC_SLOT_BYTES, SECRET_SLOT_BYTES, SlotFlag, SlotState } from '../../src/datapath/layout.ts';
import { Shard } from '../../src/datapath/shard.ts';
import type { Addon, BatchHandle, PortHandle } from '../../src/native/index.ts';
import { build, concat, pattern, TCP } from '../packet/packets.ts';
import type { Memory } from '../server/memory-server.ts';
import { offloaded } from './traffic.ts';
import { headsOf, wholeAt } from './world.ts';

/** Segments of a superpacket: with what seals them, one UDP_SEGMENT train of at most 65,000 bytes. */
const SEGMENTS = 44;
/** A turn: less than what is a full vector, or the sessions would take turns. */
const SUPERPACKETS = 4;
export const SESSIONS = 16;
const WIRE_BLOCK = 66_048;
/** Bits of `wait`: both have something. */
const READY = 3;
const FIRST_INSIDE = parseIpv4('10.125.0.16');

export interface LoopOptions {
  readonly aead: NativeAead;
  /** Bytes of an inner packet. */
  readonly packetBytes: number;
  /** Shared by the shards of one process. */
  readonly memory: Memory;
  readonly index: number;
  readonly shard: number;
  readonly shards: number;
}

type Ports = Pick<
  Addon,
  | 'createArena'
  | 'createBatch'
  | 'openPort'
  | 'closePort'
  | 'wait'
  | 'udpReceive'
  | 'tunReceive'
  | 'udpTransmit'
  | 'tunTransmit'
  | 'portCounters'
  | 'stampArrivals'
  | 'arrivalDelay'
>;

export class Loop {
  readonly shard: Shard;
  /** Packets that have gone down one pipeline, and come up the other. */
  down = 0;
  up = 0;
  /** Looks at the first packets that come up; undefined: they are only counted. */
  check: ((superpacket: Uint8Array) => void) | undefined;
  readonly superpackets: readonly Uint8Array[];
  readonly #addon: Addon;
  readonly #segment: number;
  readonly #batches = new Map<BatchHandle, Batch>();
  readonly #wire: Batch;
  /** Views of places that come again and again: a warm loop makes no new ones. */
  readonly #views = new Map<number, Uint8Array>();
  readonly #addresses: Uint8Array[] = [];
  readonly #shard: number;
  readonly #shards: number;
  #tun!: Batch;
  #udp!: Batch;
  #next = 0;
  #now = 1_000_000;

  constructor(addon: Addon, { aead, packetBytes, memory, index, shard, shards }: LoopOptions) {
    this.#addon = addon;
    this.#segment = packetBytes - 40;
    this.#shard = shard;
    this.#shards = shards;
    const { handle: arena, buffer } = addon.createArena(WIRE_BLOCK, 64);
    const wire = addon.createBatch(arena, 64);
    this.#wire = viewBatch(wire.buffer, 64, new Uint8Array(buffer), wire.handle);
    this.shard = new Shard(
      { ...addon, ...this.#ports() },
      {
        shard,
        shards,
        generation: 1,
        io: 'epoll',
        aead,
        gro: 'inline',
        sqpoll: false,
        zeroCopy: false,
        trainSegments: 64,
        paced: false,
        tun: 0,
        vnetHeader: true,
        udp: 0,
        doors: [],
        table: memory,
        index,
        handover: undefined,
        single: undefined,
        stepwise: true, // the ports below are not the addon's
      },
      () => {},
    );
    for (let session = 0; session < SESSIONS; session++) this.#open(this.#slot(session));
    this.superpackets = Array.from({ length: SUPERPACKETS }, (_, i) => this.#superpacket(i));
  }

  /** A turn of the shard: a vector down, and what went down in the turn before it up. */
  turn(): void {
    this.#now += 10;
    this.shard.turn(this.#now, 0);
  }

  /** Entries that became anything but a packet that passed, by verdict. */
  drops(): Record<string, number> {
    const { verdicts } = this.shard.statistics();
    return Object.fromEntries(VERDICTS.filter((name) => verdicts[name] > 0).map((name) => [name, verdicts[name]]));
  }

  close(): void {
    this.shard.stop();
  }

  #slot(session: number): number {
    return session * this.#shards + this.#shard;
  }

  /** A session that is its own peer: what it seals it can open. */
  #open(slot: number): void {
    const { addon, lanes, index, table } = this.shard.control;
    addon.claimSlot(lanes, slot);
    const { fields } = table;
    const address = encodeAddress(`198.18.0.${slot + 1}`, 27_690, '');
    const id = Uint8Array.of(slot + 1, 2, 3, 4, 5, 6, 7, 8);
    const inside = new Uint8Array(4);
    new DataView(inside.buffer).setUint32(0, FIRST_INSIDE + slot);
    fields.state.set(slot, SlotState.online);
    fields.versionMajor.set(slot, 1);
    fields.versionMinor.set(slot, 3);
    fields.currentId.set(slot, id);
    fields.sendId.set(slot, id);
    fields.remote.set(slot, address);
    fields.shard.set(slot, this.#shard);
    fields.flags.set(slot, SlotFlag.expresslane | SlotFlag.aadFlags);
    const key = addon.laneStage(lanes, slot);
    addon.lanePromote(lanes, slot);
    addon.laneInstallReceive(lanes, slot, key);
    addon.indexSet(index, 'inside', inside, slot);
    addon.indexSet(index, 'outside', address.subarray(0, ADDRESS.key), slot);
    addon.indexSet(index, 'id', id, slot);
    this.#addresses[slot] = address;
  }

  #superpacket(i: number): Uint8Array {
    const destination = FIRST_INSIDE + this.#slot(i % SESSIONS);
    const payload = pattern(this.#segment * SEGMENTS, i);
    return offloaded(build({ ...TCP, destination, payload, flags: 0x10 }), GsoType.tcp4, this.#segment).bytes;
  }

  #ports(): Ports {
    const addon = this.#addon;
    const bytesOf = new Map<unknown, Uint8Array>();
    return {
      createArena: (size, count) => {
        const arena = addon.createArena(size, count);
        bytesOf.set(arena.handle, new Uint8Array(arena.buffer));
        return arena;
      },
      createBatch: (arena, capacity) => {
        const made = addon.createBatch(arena, capacity);
        this.#batches.set(made.handle, viewBatch(made.buffer, capacity, bytesOf.get(arena)!, made.handle));
        return made;
      },
      openPort: ({ tunReceive, udpReceive }) => {
        this.#tun = this.#batches.get(tunReceive!)!;
        this.#udp = this.#batches.get(udpReceive!)!;
        return {} as PortHandle;
      },
      closePort: () => {},
      wait: () => READY,
      udpReceive: () => this.#fromWire(),
      tunReceive: () => this.#fromTun(),
      udpTransmit: (_port, handle) => this.#toWire(this.#batches.get(handle)!),
      tunTransmit: (_port, handle) => this.#toTun(this.#batches.get(handle)!),
      stampArrivals: () => {},
      arrivalDelay: () => -1,
      portCounters: () => ({ socketDrops: 0, truncated: 0, badVnet: 0, sendErrors: 0, tunErrors: 0 }),
    };
  }

  #fromTun(): number {
    const batch = this.#tun;
    for (let i = 0; i < SUPERPACKETS; i++) {
      const superpacket = this.superpackets[this.#next];
      this.#next = (this.#next + 1) % SUPERPACKETS;
      if (!this.#addon.put(batch.native as BatchHandle, -1, GsoType.tcp4, undefined, superpacket)) return i;
      batch.segmentSize[i] = this.#segment;
      batch.flags[i] = Flag.needsChecksum;
      batch.checksumStart[i] = 20;
      batch.checksumOffset[i] = 16;
    }
    return SUPERPACKETS;
  }

  #toWire(trains: Batch): number {
    const wire = this.#wire;
    for (let i = 0; i < trains.header[HEADER.count]; i++) {
      if (trains.verdict[i] !== Verdict.pass) continue;
      const entry = wire.header[HEADER.count];
      const { slot, segmentSize } = trains;
      if (!this.#addon.put(wire.native as BatchHandle, slot[i], 0, this.#addresses[slot[i]], this.#view(trains, i)))
        throw new Error('the wire is full');
      wire.segmentSize[entry] = segmentSize[i];
      this.down += Math.ceil(trains.length[i] / (segmentSize[i] || trains.length[i]));
    }
    return 0;
  }

  #fromWire(): number {
    const wire = this.#wire;
    const count = wire.header[HEADER.count];
    if (count > VECTOR) throw new Error('more trains than a vector takes');
    for (let i = 0; i < count; i++) {
      const address = this.#addresses[wire.slot[i]];
      this.#addon.put(this.#udp.native as BatchHandle, -1, 0, address, this.#view(wire, i));
      this.#udp.segmentSize[i] = wire.segmentSize[i];
    }
    this.#addon.clear(wire.native as BatchHandle);
    return count;
  }

  #toTun(batch: Batch): number {
    const { header, verdict, length, headerLength, segmentSize, kind } = batch;
    for (let i = 0; i < header[HEADER.count]; ) {
      const head = i;
      let payload = length[i] - headerLength[i];
      for (i++; i < header[HEADER.count] && kind[i] === GsoType.piece; i++) payload += length[i];
      if (verdict[head] !== Verdict.pass) continue;
      this.up += segmentSize[head] === 0 ? 1 : Math.ceil(payload / segmentSize[head]);
    }
    if (this.check) for (const i of headsOf(batch)) this.check(wholeAt(batch, i));
    return 0;
  }

  /** The bytes of an entry. Lengths are few and places come again, so that a view made once serves for long. */
  #view({ bytes, offset, length }: Batch, i: number): Uint8Array {
    const key = bytes === this.#wire.bytes ? offset[i] : -1 - offset[i];
    let view = this.#views.get(key);
    if (view === undefined || view.length !== length[i]) {
      view = bytes.subarray(offset[i], offset[i] + length[i]);
      this.#views.set(key, view);
    }
    return view;
  }
}

/** Payloads of superpackets one behind the other, as bytes of their TCP streams. */
export function payloads(superpackets: readonly Uint8Array[]): Uint8Array {
  return concat(...superpackets.map((each) => each.slice(40)));
}

/** A loop of its own: one shard. */
export function createLoop(addon: Addon, { aead, packetBytes }: Pick<LoopOptions, 'aead' | 'packetBytes'>): Loop {
  const memory = createLoopMemory(addon, 1);
  return new Loop(addon, { aead, packetBytes, memory, index: addon.createIndex(memory.slots).id, shard: 0, shards: 1 });
}

export function createLoopMemory(addon: Addon, shards: number): Memory {
  const slots = SESSIONS * shards;
  return {
    public: addon.createMemfd('loop-public', slots * PUBLIC_SLOT_BYTES),
    secret: addon.createMemfd('loop-secret', slots * SECRET_SLOT_BYTES),
    slots,
  };
}
