/** Which ids there are, as the kernel is told: what an index sets and deletes, read from the map of the filters. */
import { afterEach, describe, expect, it } from 'vitest';
import { PUBLIC_SLOT_BYTES, SECRET_SLOT_BYTES } from '../../src/datapath/layout.ts';
import type { IndexHandle } from '../../src/native/index.ts';
import { bitOf, FilterMap } from './filtered.ts';
import { addon, FEWEST_ENTRIES, filterRefusal, openSocket } from './rig.ts';

const refusal = filterRefusal();
if (refusal) console.warn(`skipped: ${refusal}`);

const SHARDS = 2;
const SLOTS = 1_024;
const BITS = 2 ** 12;
/** Ids of one bit: it is bits 8 to 19 that count. */
const sameBit = (bit: number, which: number) => (BigInt(which) << 20n) | (BigInt(bit) << 8n) | 1n;

const closing: (() => void)[] = [];
afterEach(() => {
  for (const close of closing.splice(0).reverse()) close();
});

function open() {
  const sockets = [openSocket(), openSocket()].map(({ descriptor }) => descriptor);
  const { map } = addon.filterUdp(sockets, [], FEWEST_ENTRIES);
  const memory = {
    public: addon.createMemfd('public', SLOTS * PUBLIC_SLOT_BYTES),
    secret: addon.createMemfd('secret', SLOTS * SECRET_SLOT_BYTES),
  };
  for (const each of [...sockets, map, ...Object.values(memory)]) closing.push(() => addon.closeDescriptor(each));
  const { handle: table } = addon.openTable({ ...memory, slots: SLOTS });
  return {
    told: new FilterMap(map, SHARDS),
    createIndex: () => addon.createIndex(SLOTS).handle,
    attach: (index: IndexHandle, shard: number, half: number) => {
      const of = { table, index, shard, shards: SHARDS, generation: 1, aead: addon.about().aead[0] };
      addon.attachFloors(addon.createLanes(of).handle, map, FEWEST_ENTRIES, half);
    },
  };
}

function keyOf(id: bigint): Uint8Array {
  const key = Buffer.alloc(8);
  key.writeBigUInt64LE(id);
  return key;
}

const set = (index: IndexHandle, id: bigint, slot = 0) => addon.indexSet(index, 'id', keyOf(id), slot);
const remove = (index: IndexHandle, id: bigint, slot = 0) => addon.indexDelete(index, 'id', keyOf(id), slot);
const sorted = (bits: number[]) => bits.sort((a, b) => a - b);

describe.skipIf(refusal !== undefined)('the ids that the kernel is told of', () => {
  it('are those that there were before, and those that come later, until they go', () => {
    const { told, createIndex, attach } = open();
    const index = createIndex();
    const ids = Array.from({ length: 60 }, (_, i) => BigInt(i * 65 + 3) << 8n);
    for (const id of ids.slice(0, 20)) set(index, id);
    expect(told.bitsOfIds(0)).toEqual([]);
    attach(index, 0, 0);
    expect(told.bitsOfIds(0)).toEqual(sorted(ids.slice(0, 20).map(bitOf)));
    for (const id of ids.slice(20)) set(index, id);
    expect(told.bitsOfIds(0)).toEqual(sorted(ids.map(bitOf)));
    for (const id of ids.slice(10, 50)) remove(index, id);
    expect(told.bitsOfIds(0)).toEqual(sorted([...ids.slice(0, 10), ...ids.slice(50)].map(bitOf)));
  });

  it('are ids alone, each once however often it is set, and none that is still another slot’s', () => {
    const { told, createIndex, attach } = open();
    const index = createIndex();
    attach(index, 0, 0);
    addon.indexSet(index, 'inside', Uint8Array.of(10, 1, 2, 3), 0);
    addon.indexSet(index, 'outside', new Uint8Array(20).fill(7), 0);
    expect(told.bitsOfIds(0)).toEqual([]);
    const id = sameBit(77, 0);
    set(index, id, 4);
    set(index, id, 5);
    remove(index, id, 4);
    expect(told.bitsOfIds(0)).toEqual([77]);
    remove(index, id, 5);
    expect(told.bitsOfIds(0)).toEqual([]);
    remove(index, id, 5);
    set(index, id, 6);
    expect(told.bitsOfIds(0)).toEqual([77]);
  });

  it('share a bit, which stays until the last of them is gone', () => {
    const { told, createIndex, attach } = open();
    const index = createIndex();
    set(index, sameBit(4_095, 1));
    attach(index, 0, 0);
    set(index, sameBit(4_095, 2));
    remove(index, sameBit(4_095, 1));
    expect(told.bitsOfIds(0)).toEqual([4_095]);
    set(index, sameBit(0, 1));
    remove(index, sameBit(4_095, 2));
    expect(told.bitsOfIds(0)).toEqual([0]);
  });

  it('stay told of when another shard is attached, which adds nothing twice', () => {
    const { told, createIndex, attach } = open();
    const index = createIndex();
    attach(index, 0, 1);
    set(index, sameBit(9, 1));
    attach(index, 1, 1);
    expect(told.bitsOfIds(1)).toEqual([9]);
    remove(index, sameBit(9, 1));
    expect(told.bitsOfIds(1)).toEqual([]);
  });

  it('are those of one engine: its successor has another half, and begins it anew', () => {
    const { told, createIndex, attach } = open();
    const engines = [createIndex(), createIndex(), createIndex()];
    for (const [i, engine] of engines.entries()) set(engine, sameBit(100 + i, 1));
    attach(engines[0], 0, 0);
    attach(engines[1], 0, 1);
    expect([told.bitsOfIds(0), told.bitsOfIds(1)]).toEqual([[100], [101]]);
    set(engines[0], sameBit(200, 1)); // the two live at once
    remove(engines[1], sameBit(101, 1));
    expect([told.bitsOfIds(0), told.bitsOfIds(1)]).toEqual([[100, 200], []]);
    attach(engines[2], 0, 0);
    expect([told.bitsOfIds(0), told.bitsOfIds(1)]).toEqual([[102], []]);
  });

  it.each([
    [254, []],
    [255, [33]],
    [300, [33]],
  ])('leave their bit when %i of them shared it, and all are gone: %j', (count, left) => {
    const { told, createIndex, attach } = open();
    const index = createIndex();
    attach(index, 0, 0);
    const ids = Array.from({ length: count }, (_, i) => sameBit(33, i));
    for (const id of ids) set(index, id);
    for (const id of ids.slice(1)) remove(index, id);
    expect(told.bitsOfIds(0)).toEqual([33]);
    remove(index, ids[0]);
    expect(told.bitsOfIds(0)).toEqual(left);
  });

  it('fill the bitmap of their half alone', () => {
    const { told, createIndex, attach } = open();
    const index = createIndex();
    attach(index, 0, 0);
    for (let bit = 0; bit < BITS; bit += 3) set(index, sameBit(bit, 0));
    expect(told.bitsOfIds(0)).toHaveLength(Math.ceil(BITS / 3));
    expect(told.bitsOfIds(1)).toEqual([]);
    expect(told.entries(0)).toEqual([]);
  });
});
