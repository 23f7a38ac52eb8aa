/**
 * Whole turns of a shard between synthetic ports (bench/allocation.ts, bench/shards.ts measure with them): what they carry comes out as
 * it went in, and a warm shard leaves nothing to the garbage collector.
 */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { afterEach, describe, expect, it } from 'vitest';
import { addon } from '../io/rig.ts';
import { createLoop, type Loop, payloads } from './loop.ts';

/** At most, on the average of a run (issue: allocation-free pipelines). */
const BYTES_A_TURN = 200;
const WARM_TURNS = 1_200;
const ROUNDS = 40;
const TURNS = 20;

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;

describe.each(addon.about().aead)('a shard between synthetic ports, %s', (aead) => {
  let loop: Loop;
  afterEach(() => loop.close());

  it.each([64, 1_400])('takes packets of %i bytes down and up again as they were, and drops none', (packetBytes) => {
    loop = createLoop(addon, { aead, packetBytes });
    const came: Uint8Array[] = [];
    loop.check = (superpacket) => came.push(superpacket);
    for (let turn = 0; turn < 3; turn++) loop.turn();
    expect(loop.up).toBe((loop.down * 2) / 3); // the last turn's are still on the wire
    expect(loop.drops()).toEqual({});
    const sent = payloads([...loop.superpackets, ...loop.superpackets]);
    expect(Buffer.compare(payloads(came), sent)).toBe(0);
  });

  it('takes at most 200 bytes of heap a turn when it is warm', () => {
    loop = createLoop(addon, { aead, packetBytes: 1_400 });
    for (let turn = 0; turn < WARM_TURNS; turn++) loop.turn();
    const each = new Float64Array(ROUNDS);
    for (let round = 0; round < ROUNDS; round++) {
      collect(); // so that nothing is collected within the turns
      const before = process.memoryUsage().heapUsed;
      for (let turn = 0; turn < TURNS; turn++) loop.turn();
      each[round] = (process.memoryUsage().heapUsed - before) / TURNS;
    }
    expect(each.sort()[ROUNDS / 2]).toBeLessThan(BYTES_A_TURN); // the median: a compiler at work takes some too
    expect(loop.drops()).toEqual({});
  });
});
