import { deepEqual, equal } from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, it } from 'vitest';
import { batchLayout, HEADER, VERDICTS } from '../../src/datapath/batch.ts';
import { addon, createPool } from './rig.ts';

describe('the addon', () => {
  it('is of the version of this package, and lays batches out as batch.ts does', () => {
    const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'));
    equal(addon.about().version, version);
    deepEqual(addon.verdicts(), [...VERDICTS]);
    for (const capacity of [1, 7, 64, 65_536]) deepEqual(addon.batchLayout(capacity), batchLayout(capacity));
  });
});

describe('arena and batch', () => {
  it('keep every byte put in, apart from all others, until clear gives every block back', () => {
    const sizes = fc.array(fc.integer({ min: 0, max: 960 }), { maxLength: 40 });
    fc.assert(
      fc.property(
        sizes,
        fc.integer({ min: 1, max: 8 }),
        fc.integer({ min: 1, max: 40 }),
        (lengths, blocks, capacity) => {
          const { arena, handle, batch } = createPool(1024, blocks, capacity);
          const kept: number[] = [];
          for (const [i, length] of lengths.entries()) {
            if (!addon.put(handle, i, 0, undefined, new Uint8Array(length).fill(i + 1))) break;
            kept.push(length);
          }
          equal(batch.header[HEADER.count], kept.length);
          for (const [i, length] of kept.entries()) {
            deepEqual([batch.length[i], batch.slot[i], batch.verdict[i]], [length, i, 0]);
            const bytes = batch.bytes.subarray(batch.offset[i], batch.offset[i] + length);
            equal(
              bytes.every((byte) => byte === i + 1),
              true,
            );
          }
          addon.clear(handle);
          equal(addon.freeBlocks(arena), blocks);
        },
      ),
      { seed: 7, numRuns: 100 },
    );
  });

  it('survive block numbers and counts that JavaScript made up', () => {
    const { arena, handle, batch } = createPool(1024, 4, 8);
    addon.put(handle, 0, 0, undefined, new Uint8Array(900));
    batch.header[HEADER.count] = 0xffffffff;
    batch.block.fill(3);
    batch.block[1] = 0xffff;
    addon.clear(handle);
    addon.put(handle, 0, 0, undefined, new Uint8Array(900));
    addon.clear(handle);
    // the made-up references were nobody's: the real one, overwritten, is all that can be missing
    equal(addon.freeBlocks(arena) >= 3, true);
  });
});
