import { describe, expect, it } from 'vitest';
import { VERDICTS, Verdict } from '../../src/datapath/batch.ts';
import { STAGES } from '../../src/datapath/pipeline.ts';
import { StageCounters, TIMED_EVERY, UNTIMED } from '../../src/datapath/stages.ts';

const verdicts = () => new BigUint64Array(VERDICTS.length);

describe('STAGES', () => {
  it('has every node of both pipelines under the name the architecture gives it, in order', () => {
    expect(STAGES).toEqual([
      ...['udp.receive', 'lanes.open', 'session.control', 'guard.admit', 'gro.coalesce', 'tun.transmit'],
      ...['tun.receive', 'routes.lookup', 'pacer.release', 'lanes.seal', 'udp.transmit'],
    ]);
  });
});

describe('StageCounters', () => {
  it('counts vectors and entries of each stage, and time only of the timed ones', () => {
    const stages = new StageCounters(['a', 'b'], verdicts());
    stages.count(0, 32, UNTIMED);
    stages.count(0, 8, 2.5);
    stages.count(1, 1, 0);
    expect(stages.statistics()).toEqual([
      { stage: 'a', vectors: 2, entries: 40, timedEntries: 8, timedMicros: 2.5, drops: {} },
      { stage: 'b', vectors: 1, entries: 1, timedEntries: 1, timedMicros: 0, drops: {} },
    ]);
  });

  it('times one turn in 61', () => {
    const stages = new StageCounters(['a'], verdicts());
    const timed: number[] = [];
    for (let turn = 1; turn <= 3 * TIMED_EVERY; turn++) {
      stages.turn();
      if (stages.timing) timed.push(turn);
    }
    expect(timed).toEqual([61, 122, 183]);
  });

  it('puts a drop down to the stage after which its counter had grown, whichever other drops there are', () => {
    const counters = verdicts();
    const stages = new StageCounters(['open', 'admit'], counters);
    counters[Verdict.forged] += 3n;
    counters[Verdict.pass] += 9n;
    stages.count(0, 12, UNTIMED);
    counters[Verdict.notIpv4] += 2n;
    counters[Verdict.forged] += 1n;
    stages.count(1, 9, UNTIMED);
    stages.count(0, 1, UNTIMED);
    expect(stages.statistics().map(({ drops }) => drops)).toEqual([{ forged: 3 }, { notIpv4: 2, forged: 1 }]);
  });

  it('goes on when the low half of a counter wraps', () => {
    const counters = verdicts();
    counters[Verdict.noRoute] = 0xffff_fffen;
    const stages = new StageCounters(['open'], counters);
    stages.count(0, 1, UNTIMED);
    const before = stages.statistics()[0].drops.noRoute;
    counters[Verdict.noRoute] += 5n;
    stages.count(0, 1, UNTIMED);
    expect(stages.statistics()[0].drops.noRoute - before).toBe(5);
  });
});
