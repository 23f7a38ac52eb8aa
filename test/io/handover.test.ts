import { deepEqual, equal, ok } from 'node:assert/strict';
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { afterEach, describe, it } from 'vitest';
import { Verdict } from '../../src/datapath/batch.ts';
import { PUBLIC_OFFSETS, PUBLIC_SLOT_BYTES, SECRET_SLOT_BYTES } from '../../src/datapath/layout.ts';
import type { HandoverHandle, LanesHandle, PortHandle } from '../../src/native/index.ts';
import {
  addon,
  backends,
  createPool,
  datagramsOf,
  type Io,
  loopback,
  openSocket,
  openUdpPort,
  type Pool,
  putTrain,
} from './rig.ts';

const SLOTS = 16;
const opened: (() => void)[] = [];

afterEach(() => {
  for (const close of opened.splice(0).reverse()) close();
});

/** Lanes of shard 0 over a table in which slot n belongs to shard n mod `shards`. */
function openLanes(shards: number): LanesHandle {
  const memories = [
    addon.createMemfd('public', SLOTS * PUBLIC_SLOT_BYTES),
    addon.createMemfd('secret', SLOTS * SECRET_SLOT_BYTES),
  ];
  const table = addon.openTable({ public: memories[0], secret: memories[1], slots: SLOTS });
  for (const memory of memories) addon.closeDescriptor(memory);
  const view = new DataView(table.public);
  for (let slot = 0; slot < SLOTS; slot++)
    view.setUint32(slot * PUBLIC_SLOT_BYTES + PUBLIC_OFFSETS.shard, slot % shards, true);
  const { handle: index } = addon.createIndex(SLOTS);
  return addon.createLanes({ table: table.handle, index, shard: 0, shards, generation: 1, aead: addon.about().aead[0] })
    .handle;
}

function openTarget(io: Io, handover: HandoverHandle, shard: number): { port: PortHandle; trains: Pool } {
  const socket = openSocket();
  const end = openUdpPort(io, socket, { handover, shard });
  opened.push(() => addon.closeDescriptor(socket.descriptor));
  opened.push(() => addon.closePort(end.port));
  return end;
}

function putElsewhere(pool: Pool, slot: number, number: number, datagrams = 1): void {
  const entry = putTrain(pool, loopback(1000 + slot), number, datagrams, 100);
  pool.batch.slot[entry] = slot;
  pool.batch.verdict[entry] = Verdict.elsewhere;
}

describe.each(backends())('handover, ports over %s', (io) => {
  it('brings entries to the shard of their slot, in order, with every column, and wakes it', async () => {
    const { handle } = addon.createHandover(2, 1 << 20);
    const lanes = openLanes(2);
    const target = openTarget(io, handle, 1);
    const woken = new Promise<void>((resolve) => equal(addon.arm(target.port, resolve), false));
    const from = createPool(65_536, 8);
    for (let i = 0; i < 10; i++) putElsewhere(from, 1 + 2 * (i % 3), i * 4, 4);
    const stays = putTrain(from, loopback(9), 1000, 1, 100);
    equal(addon.handOver(handle, lanes, from.handle, 'udp'), 10);
    deepEqual([...from.batch.verdict.slice(0, 10)], Array(10).fill(Verdict.handedOver));
    equal(from.batch.verdict[stays], Verdict.pass);
    await woken;
    equal(addon.wait(target.port, 0) & 4, 4);
    equal(addon.takeOver(handle, target.port, 'tun', 100), 0);
    equal(addon.takeOver(handle, target.port, 'udp', 3), 3);
    equal(addon.wait(target.port, 0) & 4, 4);
    equal(addon.takeOver(handle, target.port, 'udp', 100), 7);
    equal(addon.wait(target.port, 0) & 4, 0);
    const { batch } = target.trains;
    deepEqual([...batch.slot.slice(0, 4)], [1, 3, 5, 1]);
    deepEqual(batch.address.slice(0, 40), loopback(1001));
    deepEqual(
      datagramsOf(batch).map((datagram) => datagram.number),
      Array.from({ length: 40 }, (_, i) => i),
    );
    addon.clear(target.trains.handle);
    equal(addon.freeBlocks(target.trains.arena), 32);
    equal(addon.portCounters(target.port).takenOver, 10);
  });

  it('refuses what a full ring cannot hold, as handoverFull, and loses nothing it took', () => {
    const { handle } = addon.createHandover(2, 4096);
    const lanes = openLanes(2);
    const target = openTarget(io, handle, 1);
    const from = createPool(65_536, 8);
    let next = 0;
    const seen: number[] = [];
    for (let round = 0; round < 40; round++) {
      const first = next;
      for (let i = 0; i < 30; i++) putElsewhere(from, 1, first + i);
      const handed = addon.handOver(handle, lanes, from.handle, 'udp');
      ok(handed > 10 && handed < 30);
      const verdicts = [...from.batch.verdict.slice(0, 30)];
      deepEqual(verdicts, [
        ...Array(handed).fill(Verdict.handedOver),
        ...Array(30 - handed).fill(Verdict.handoverFull),
      ]);
      next += handed;
      addon.clear(from.handle);
      addon.takeOver(handle, target.port, 'udp', 1000);
      seen.push(...datagramsOf(target.trains.batch).map((datagram) => datagram.number));
      addon.clear(target.trains.handle);
    }
    deepEqual(
      seen,
      Array.from({ length: next }, (_, i) => i),
    );
  });

  it('keeps the order of each of three shards that hand over at once', async () => {
    const shards = 4;
    const each = 2000;
    const { handle, id } = addon.createHandover(shards, 1 << 20);
    const target = openTarget(io, handle, 0);
    const workers = [1, 2, 3].map(
      (shard) =>
        new Worker(new URL('./handing.worker.ts', import.meta.url), { workerData: { id, shard, shards, each } }),
    );
    const ended = workers.map((worker) => once(worker, 'exit'));
    const seen: number[][] = [[], [], [], []];
    for (let total = 0; total < 3 * each; ) {
      ok(addon.wait(target.port, 10_000_000) & 4, 'nothing came for ten seconds');
      total += addon.takeOver(handle, target.port, 'udp', 256);
      const { batch } = target.trains;
      for (const [i, datagram] of datagramsOf(batch).entries()) seen[batch.epoch[i]].push(datagram.number);
      addon.clear(target.trains.handle);
    }
    deepEqual(await Promise.all(ended), [[0], [0], [0]]);
    const inOrder = Array.from({ length: each }, (_, i) => i);
    deepEqual(seen, [[], inOrder, inOrder, inOrder]);
  });
});

describe('handover', () => {
  it('forgets an id when its last handle is gone, and refuses unknown ones', () => {
    throwsRange(() => addon.attachHandover(4_000_000), /attachHandover: id must be the id of handover rings/);
  });
});

function throwsRange(call: () => unknown, message: RegExp): void {
  try {
    call();
  } catch (error) {
    ok(error instanceof RangeError && message.test(error.message), String(error));
    return;
  }
  ok(false, 'nothing was thrown');
}
