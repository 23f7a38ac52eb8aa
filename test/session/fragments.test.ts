import { deepEqual, equal, ok } from 'node:assert/strict';

import fc from 'fast-check';
import { describe, it } from 'vitest';

import { Fragments } from '../../src/session/fragments.ts';
import { createCounters } from '../../src/session/types.ts';
import type { DataFrag } from '../../src/wire/frames.ts';
import { SECOND } from '../../src/wire/time.ts';

/** Cuts a packet as a client does, into pieces of `size` bytes. */
function cut(packet: Uint8Array, id: number, size: number): DataFrag[] {
  const pieces: DataFrag[] = [];
  for (let offset = 0; offset < packet.length; offset += size) {
    const more = offset + size < packet.length;
    pieces.push({ kind: 'dataFrag', id, offset, more, piece: packet.slice(offset, offset + size) });
  }
  return pieces;
}

const frag = (offset: number, length: number, more: boolean, id = 1): DataFrag => {
  return { kind: 'dataFrag', id, offset, more, piece: new Uint8Array(length).fill(offset) };
};

describe('Fragments', () => {
  it('puts packets together from pieces in any order, those of several packets mixed', () => {
    const packet = fc.uint8Array({ minLength: 1, maxLength: 300 });
    const packets = fc.array(fc.tuple(packet, fc.integer({ min: 1, max: 8 })), { minLength: 1, maxLength: 5 });
    fc.assert(
      fc.property(packets, fc.infiniteStream(fc.nat()), (list, numbers) => {
        const counters = createCounters();
        const fragments = new Fragments();
        const pieces = list.flatMap(([bytes, units], id) => cut(bytes, id, 8 * units));
        const shuffled = pieces.map((piece) => [numbers.next().value as number, piece] as const);
        shuffled.sort(([a], [b]) => a - b);
        const whole = new Map<number, unknown>();
        for (const [, piece] of shuffled) {
          const result = fragments.add(0, piece, counters);
          if (result !== undefined) whole.set(piece.id, result);
        }
        for (const [id, [bytes]] of list.entries()) deepEqual(whole.get(id), bytes);
        deepEqual([fragments.size, fragments.held], [0, 0]);
        deepEqual(counters, createCounters());
      }),
      { numRuns: 200 },
    );
  });

  it('agrees with a plain map of bytes on what any pieces make', () => {
    const piece = fc
      .tuple(fc.nat(6), fc.nat(5), fc.boolean())
      .map(([at, units, more]) => frag(8 * at, 8 * units, more));
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 12 }), (pieces) => {
        const fragments = new Fragments();
        const counters = createCounters();
        let seen = new Set<number>();
        let length = -1;
        for (const { offset, piece: bytes, more, ...rest } of pieces) {
          const result = fragments.add(0, { offset, piece: bytes, more, ...rest }, counters);
          const end = offset + bytes.length;
          const isRefused =
            bytes.length === 0 ||
            bytes.some((_, i) => seen.has(offset + i)) ||
            (length >= 0 && (end > length || !more)) ||
            (!more && [...seen].some((at) => at >= end));
          equal(typeof result === 'string', isRefused);
          if (!isRefused) {
            for (let at = offset; at < end; at++) seen.add(at);
            if (!more) length = end;
          }
          const isWhole = !isRefused && seen.size === length;
          equal(result instanceof Uint8Array, isWhole);
          if (isRefused || isWhole) {
            seen = new Set();
            length = -1;
          }
        }
      }),
      { numRuns: 2000 },
    );
  });

  it('drops the packet with the piece that does not fit', () => {
    const rows: [DataFrag[], string][] = [
      [[frag(0, 8, true), frag(8, 0, true)], 'fragmentEmpty'],
      [[frag(0, 16, true), frag(8, 8, true)], 'fragmentOverlap'],
      [[frag(0, 16, true), frag(0, 16, true)], 'fragmentOverlap'],
      [[frag(8, 8, true), frag(0, 9, true)], 'fragmentOverlap'],
      [[frag(8, 8, false), frag(16, 8, true)], 'fragmentBeyondEnd'],
      [[frag(16, 8, true), frag(0, 8, false)], 'fragmentBeyondEnd'],
      [[frag(16, 8, false), frag(0, 8, false)], 'fragmentOverlap'],
      [[frag(65_528, 8, true)], 'fragmentTooLarge'],
    ];
    for (const [pieces, reason] of rows) {
      const fragments = new Fragments();
      const results = pieces.map((piece) => fragments.add(0, piece, createCounters()));
      deepEqual(results, [...pieces.slice(1).map(() => undefined), reason]);
      deepEqual([fragments.size, fragments.held], [0, 0]);
    }
  });

  it('makes a packet of 65,535 bytes', () => {
    const bytes = Uint8Array.from({ length: 65_535 }, (_, i) => i);
    const fragments = new Fragments();
    const results = cut(bytes, 1, 1240).map((piece) => fragments.add(0, piece, createCounters()));
    deepEqual(results.at(-1), bytes);
  });

  it('keeps at most 64 packets and 256 KiB, gives up the oldest, and counts it', () => {
    const counters = createCounters();
    const fragments = new Fragments();
    for (let id = 0; id < 100; id++) {
      fragments.add(0, frag(0, 8, true, id), counters);
      ok(fragments.size <= 64);
    }
    equal(counters.fragmentEvicted, 36);
    for (let id = 100; id < 120; id++) {
      fragments.add(0, frag(60_000, 8, true, id), counters);
      ok(fragments.held <= 262_144);
    }
    equal(fragments.size + counters.fragmentEvicted, 120);
  });

  it('gives a packet up 10 s after its first piece', () => {
    const counters = createCounters();
    const fragments = new Fragments();
    fragments.add(SECOND, frag(0, 8, true, 1), counters);
    fragments.add(2 * SECOND, frag(0, 8, true, 2), counters);
    fragments.add(3 * SECOND, frag(8, 8, true, 1), counters);
    equal(fragments.deadline, 11 * SECOND);
    fragments.advance(11 * SECOND - 1, counters);
    equal(fragments.size, 2);
    fragments.advance(11 * SECOND, counters);
    deepEqual([fragments.size, fragments.deadline, counters.fragmentEvicted], [1, 12 * SECOND, 1]);
  });

  it('bears no more than 64 gaps in one packet', () => {
    const counters = createCounters();
    const fragments = new Fragments();
    for (let i = 0; i < 64; i++) equal(fragments.add(0, frag(16 * i, 8, true), counters), undefined);
    equal(fragments.add(0, frag(16 * 64, 8, true), counters), 'fragmentOverlap');
    equal(fragments.size, 0);
  });
});
