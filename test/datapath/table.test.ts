import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ADDRESS, batchLayout, VERDICTS } from '../../src/datapath/batch.ts';
import {
  PUBLIC_FIELDS,
  PUBLIC_OFFSETS,
  PUBLIC_SLOT_BYTES,
  SECRET_OFFSETS,
  SECRET_SLOT_BYTES,
  SlotState,
} from '../../src/datapath/layout.ts';
import { ATOMIC_SNAPSHOT_BYTES, checkLayout, SessionTable, SlotPool } from '../../src/datapath/table.ts';

const create = (slots: number) => new SessionTable(new ArrayBuffer(slots * PUBLIC_SLOT_BYTES), slots);

describe('session table', () => {
  it('keeps every field of every slot apart: what is written to one is read from it and changes no other byte', () => {
    const table = create(3);
    for (const [name, type, elements] of PUBLIC_FIELDS) {
      table.bytes.fill(0);
      const field = table.fields[name];
      const width = { u8: 1, u16: 2, u32: 4, u64: 8, f64: 8 }[type];
      if ('size' in field) field.set(1, new Uint8Array(elements).fill(0xff));
      else
        for (let i = 0; i < elements; i++)
          field.set(1, type === 'f64' ? -1.7e308 : 2 ** (Math.min(width, 6) * 8) - 1, i);
      const touched = [...table.bytes.keys()].filter((at) => table.bytes[at] !== 0);
      const start = PUBLIC_SLOT_BYTES + PUBLIC_OFFSETS[name];
      expect(touched.length, name).toBeGreaterThan(0);
      expect(touched[0], name).toBeGreaterThanOrEqual(start);
      expect(touched.at(-1)!, name).toBeLessThan(start + width * elements);
      if (!('size' in field)) for (let i = 0; i < elements; i++) expect(field.get(1, i), name).not.toBe(0);
      if (!('size' in field)) expect(field.get(0), name).toBe(0);
    }
  });

  it('reads counters as numbers to 2⁵³ and as BigInt beyond', () => {
    const { laneSendCounter } = create(2).fields;
    laneSendCounter.set(1, 2 ** 53 - 1);
    expect(laneSendCounter.getBig(1)).toBe(2n ** 53n - 1n);
    laneSendCounter.setBig(1, 2n ** 40n + 5n);
    expect(laneSendCounter.get(1)).toBe(2 ** 40 + 5);
  });

  it('claims numbers: each call gives the next free one and leaves room for the rest', () => {
    const { recordSendCounter } = create(2).fields;
    expect([recordSendCounter.claim(1, 46, 3), recordSendCounter.claim(1, 1, 3), recordSendCounter.get(1, 3)]).toEqual([
      0n,
      46n,
      47,
    ]);
    expect(recordSendCounter.get(1, 2)).toBe(0);
  });

  it('compares the outside address without the local part', () => {
    const table = create(2);
    const addresses = new Uint8Array(2 * ADDRESS.size).fill(9);
    table.fields.remote.set(1, addresses, ADDRESS.size);
    addresses[ADDRESS.size + ADDRESS.local] = 1;
    expect(table.isRemote(1, addresses, ADDRESS.size)).toBe(true);
    addresses[ADDRESS.size + ADDRESS.key - 1] = 1;
    expect(table.isRemote(1, addresses, ADDRESS.size)).toBe(false);
    expect(table.isRemote(0, addresses, 0)).toBe(false);
  });

  it('gives back the last snapshot, whatever lengths came before it', () => {
    const lengths = fc.array(fc.integer({ min: 0, max: 704 }), { minLength: 1, maxLength: 12 });
    fc.assert(
      fc.property(lengths, (all) => {
        const table = create(2);
        all.forEach((length, i) => {
          table.writeSnapshot(1, new Uint8Array(length).fill(i + 1));
          expect(table.readSnapshot(1)).toEqual(new Uint8Array(length).fill(i + 1));
        });
        expect(table.readSnapshot(0)).toEqual(new Uint8Array(0));
      }),
      { seed: 1, numRuns: 200 },
    );
    expect(() => create(1).writeSnapshot(0, new Uint8Array(705))).toThrow(RangeError);
  });

  it('leaves the old snapshot whole while a short one is written beside it', () => {
    const table = create(1);
    table.writeSnapshot(0, new Uint8Array(ATOMIC_SNAPSHOT_BYTES).fill(1));
    const torn = new Uint8Array(ATOMIC_SNAPSHOT_BYTES).fill(2);
    const killed = new Proxy(table.bytes, {
      get: (target, name) => (name === 'set' ? killSwitch(target) : Reflect.get(target, name)),
    });
    Object.defineProperty(table, 'bytes', { value: killed, configurable: true });
    expect(() => table.writeSnapshot(0, torn)).toThrow('killed');
    Object.defineProperty(table, 'bytes', { value: new Uint8Array(table.fields.snapshot.view(0).buffer) });
    expect(table.readSnapshot(0)).toEqual(new Uint8Array(ATOMIC_SNAPSHOT_BYTES).fill(1));
  });

  it('gives a shard its own free slots, lowest first, and skips those a predecessor left in use', () => {
    const table = create(11);
    table.fields.state.set(4, SlotState.online);
    table.markUsed(4);
    const pool = new SlotPool(table, 1, 3);
    expect(pool.free).toBe(2);
    expect([pool.take(), pool.take(), pool.take()]).toEqual([1, 7, -1]);
    pool.give(7);
    expect(pool.take()).toBe(7);
    expect(new SlotPool(create(2), 2, 3).take()).toBe(-1);
  });
});

/** Copies half of what it was told to, then ends like a killed process. */
function killSwitch(target: Uint8Array) {
  return (source: Uint8Array, at: number) => {
    target.set(source.subarray(0, source.length / 2), at);
    throw new Error('killed');
  };
}

describe('layout check', () => {
  const addon = {
    about: () => ({ version: '9.9.9', sanitizer: '', aead: [], cpu: [], liburing: '' }),
    batchLayout,
    verdicts: () => [...VERDICTS] as string[],
    tableLayout: () => ({
      public: { ...PUBLIC_OFFSETS },
      secret: { ...SECRET_OFFSETS },
      publicSlotBytes: PUBLIC_SLOT_BYTES,
      secretSlotBytes: SECRET_SLOT_BYTES,
    }),
  };

  it('passes an addon that says the same', () => {
    expect(() => checkLayout(addon)).not.toThrow();
  });

  it('names the first thing an addon of another version says otherwise', () => {
    const refuses = (change: Partial<typeof addon>, what: RegExp) =>
      expect(() => checkLayout({ ...addon, ...change })).toThrow(
        expect.objectContaining({ code: 'LAYOUT_MISMATCH', message: expect.stringMatching(what) }),
      );
    const shifted = addon.tableLayout();
    shifted.public.flags += 4;
    refuses({ tableLayout: () => shifted }, /table\.public\.flags: 12 here, 16 there/);
    const { snapshot: _, ...shorter } = addon.tableLayout().public;
    refuses({ tableLayout: () => ({ ...addon.tableLayout(), public: shorter }) }, /snapshot.*undefined there/);
    refuses({ verdicts: () => VERDICTS.slice(0, -1) }, /verdicts\.31: unknownId here/);
    refuses({ batchLayout: (capacity) => batchLayout(capacity + 8) }, /batch\.0/);
  });
});
