/** Who gives way when a shard cannot keep up: strangers beyond a fifth of the time, sessions beyond their fair share. Virtual time. */
import { describe, expect, it } from 'vitest';
import { ControlShare } from '../../src/datapath/control-share.ts';
import { FairShare, INTERVAL } from '../../src/datapath/fair-share.ts';
import { ARRIVAL, createLimits, LIMIT, NO_LIMIT } from '../../src/datapath/limits.ts';
import { isWithinShare } from '../../src/datapath/reference/locate.ts';
import { SECOND } from '../../src/wire/time.ts';
import { seeded } from '../dtls/network.ts';

/** A second of a flood of strangers that take `cost` each; 32 trains without them take 40 µs. */
function flood(share: ControlShare, cost: number): { heard: number; micros: number } {
  let heard = 0;
  for (let now = 0; now < SECOND; now += 40) {
    const admitted = Math.min(32, share.begin(now));
    for (let i = 0; i < admitted; i++) share.spend(cost);
    heard += admitted;
    now += admitted * cost;
  }
  return { heard, micros: heard * cost };
}

describe('the share of strangers', () => {
  it.each([5, 40, 200])('is a fifth of the time under a flood of them that take %i µs each', (cost) => {
    const { heard, micros } = flood(new ControlShare(), cost);
    expect(micros).toBeLessThan(0.21 * SECOND);
    expect(micros).toBeGreaterThan(0.15 * SECOND);
    expect(heard).toBeGreaterThan((0.15 * SECOND) / cost);
  });

  it('lets a crowd in after 10 ms of silence', () => {
    const share = new ControlShare();
    flood(share, 40);
    expect(share.begin(SECOND + 20_000)).toBeGreaterThan(40);
  });

  it('closes when what it let in took more, and opens again', () => {
    const share = new ControlShare();
    share.begin(0);
    for (let i = 0; i < 6; i++) share.spend(1_000_000); // charged 500 µs each
    expect(share.open).toBe(false);
    expect(share.begin(4_000)).toBe(0);
    expect(share.open).toBe(false);
    expect(share.begin(10_000)).toBeGreaterThan(0);
    expect(share.open).toBe(true);
  });
});

/** Bytes of a packet, of a train, and trains a socket holds: 30 intervals' work. */
const [PACKET, TRAIN, SOCKET] = [1_250, 31_250, 1_000];
/** Steps of an interval. */
const STEPS = 32;

interface Waiting {
  readonly slot: number;
  readonly bytes: number;
  /** Of its arrival. */
  readonly step: number;
}

/**
 * A shard that can take on `capacity` bytes an interval, behind a socket, for sessions that offer so many each, in trains or (little) in
 * packets, at random times. What is dropped unopened costs a twentieth. @returns figures of the last half of `intervals`
 */
function serve(offered: readonly number[], { capacity = 1_000_000, intervals = 200, fair = true } = {}) {
  const random = seeded(9);
  const limits = createLimits(offered.length);
  let lost = 0;
  let drained = true;
  let delay = -1;
  let stamped = false;
  const share = new FairShare(limits, {
    lost: () => lost,
    stamp: (on) => (stamped = on),
    delay: () => (stamped ? delay : -1),
  });
  const queue: Waiting[] = [];
  const waits: number[] = []; // of the last session, in steps
  const [through, wanted] = [offered.map(() => 0), offered.map(() => 0)];
  let longest = 0;
  for (let step = 0; step < intervals * STEPS; step++) {
    const counts = step >= (intervals * STEPS) / 2;
    for (let turn = 0; turn < 8; turn++) {
      for (const [slot, each] of offered.entries()) {
        const bytes = each > 100_000 ? TRAIN : PACKET;
        if (random() > each / bytes / STEPS / 8) continue;
        if (counts) wanted[slot] += bytes;
        if (queue.length < SOCKET) queue.push({ slot, bytes, step });
        else lost++;
      }
    }
    if (counts) longest = Math.max(longest, queue.length);
    let work = capacity / STEPS;
    delay = ((step - (queue[0]?.step ?? step)) * INTERVAL) / STEPS;
    share.vector((step * INTERVAL) / STEPS, drained);
    while (queue.length > 0 && work > 0) {
      const { slot, bytes, step: from } = queue.shift() as Waiting;
      if (counts && slot === offered.length - 1) waits.push(step - from);
      const dropped = !isWithinShare(limits, slot, bytes) && fair;
      work -= dropped ? bytes / 20 : bytes;
      if (counts && !dropped) through[slot] += bytes;
    }
    drained = queue.length === 0;
  }
  const total = through.reduce((sum, bytes) => sum + bytes, 0);
  waits.sort((a, b) => a - b);
  const p99 = ((waits[Math.floor(0.99 * waits.length)] ?? 0) * INTERVAL) / STEPS;
  return { kept: through.map((bytes, i) => bytes / wanted[i]), total, longest, share, p99 };
}

describe('the fair share', () => {
  const quiet = 12_500; // 10 Mbit/s
  const greedy = 5_000_000; // ten times what there is for each of two

  it('keeps a session of 10 Mbit/s whole beside one at ten times its share, which the socket alone does not', () => {
    const fair = serve([greedy, quiet]);
    const unfair = serve([greedy, quiet], { fair: false });
    expect(fair.kept[1]).toBeGreaterThan(0.99);
    expect(fair.p99).toBeLessThan(15_000);
    expect(unfair.kept[1]).toBeLessThan(0.5);
    expect(unfair.p99).toBeGreaterThan(100_000);
    expect(fair.total).toBeGreaterThan(0.75 * unfair.total); // a fifth goes into dropping five times what there is room for
  });

  it('divides what the small leave over among the large', () => {
    const { kept } = serve([greedy / 2, greedy / 2, quiet, 4 * quiet, 8 * quiet]);
    for (const part of kept.slice(2)) expect(part).toBeGreaterThan(0.99);
    expect(kept[0] / kept[1]).toBeCloseTo(1, 1);
  });

  it('touches nobody while the socket is drained, nor a session that is alone', () => {
    const calm = serve([400_000, 400_000, quiet]);
    expect(calm.kept.every((part) => part > 0.99)).toBe(true);
    expect(calm.share.level).toBe(NO_LIMIT);
    expect(serve([greedy]).share.level).toBe(NO_LIMIT);
  });

  /** Two sessions in an overload: the level is in force. `interval` lets one pass, or so many without anything. */
  function overloaded() {
    const limits = createLimits(2);
    const seen = { lost: 0, stamped: false };
    const share = new FairShare(limits, {
      lost: () => seen.lost,
      stamp: (on) => (seen.stamped = on),
      delay: () => -1,
    });
    let now = 0;
    const interval = (bytes: readonly number[], drained: boolean, passed = INTERVAL) => {
      for (const [slot, arrived] of bytes.entries())
        limits.arrivals.set([limits.limits[LIMIT.interval], arrived], ARRIVAL.words * slot);
      now += passed;
      share.vector(now, drained);
    };
    for (const drained of [true, true]) interval([2_000_000, quiet], drained);
    expect(seen.stamped).toBe(false);
    for (const drained of [false, false]) interval([2_000_000, quiet], drained);
    expect(seen.stamped).toBe(true);
    seen.lost = 1_000;
    interval([2_000_000, quiet], false);
    expect(share.level).toBeLessThan(2_000_000);
    return { limits, share, seen, interval };
  }

  it('ends when the overload does', () => {
    const { limits, share, seen, interval } = overloaded();
    for (let i = 0; i < 49; i++) interval([quiet, quiet], true);
    expect(share.level).not.toBe(NO_LIMIT);
    for (let i = 0; i < 2; i++) interval([quiet, quiet], true);
    expect(share.level).toBe(NO_LIMIT);
    for (let i = 0; i < 101; i++) interval([quiet, quiet], true);
    expect(seen.stamped).toBe(false);
    expect(limits.limits[LIMIT.rate]).toBe(NO_LIMIT);
  });

  it('ends when one session is left, and is not found still there after a silence', () => {
    const alone = overloaded();
    for (let i = 0; i < 9; i++) alone.interval([2_000_000, 0], false);
    expect(alone.share.level).not.toBe(NO_LIMIT);
    for (let i = 0; i < 2; i++) alone.interval([2_000_000, 0], false);
    expect(alone.share.level).toBe(NO_LIMIT);
    const silent = overloaded();
    silent.interval([2_000_000, 0], true, 3_600 * SECOND);
    expect(silent.share.level).toBe(NO_LIMIT);
  });
});
