import { describe, expect, it } from 'vitest';
import type { Peer } from '../../src/datapath/host.ts';
import { Looks } from '../../src/datapath/looks.ts';
import { type Micros, SECOND } from '../../src/wire/time.ts';

const LOOK = 5 * SECOND;

/** As far as looks know peers: by what they say of themselves. */
function many(count: number, stirred: (slot: number) => boolean): Map<number, Peer> {
  const peers = new Map<number, Peer>();
  for (let slot = 0; slot < count; slot++)
    peers.set(slot, {
      slot,
      get stirred() {
        return stirred(slot);
      },
    } as Peer);
  return peers;
}

/** Steps until `end`, each when it is due. @returns when which slot was told of */
function walk(looks: Looks, end: Micros): { at: Micros; slots: number[] }[] {
  const steps: { at: Micros; slots: number[] }[] = [];
  for (let now = 0; now < end; now = looks.deadline ?? end) {
    const slots: number[] = [];
    looks.look(now, ({ slot }) => slots.push(slot));
    expect(looks.deadline).toBeGreaterThan(now);
    steps.push({ at: now, slots });
  }
  return steps;
}

describe('looks', () => {
  it('never are due where there is nobody, and at once where somebody is', () => {
    const peers = many(0, () => true);
    const looks = new Looks(peers);
    expect(looks.deadline).toBeUndefined();
    looks.look(7, () => expect.unreachable());
    peers.set(3, { slot: 3, stirred: true } as Peer);
    expect(looks.deadline).toBeLessThanOrEqual(7);
    expect(walk(looks, 1)).toEqual([{ at: 0, slots: [3] }]);
  });

  it('come every five seconds, and tell of those that packets have passed', () => {
    const looks = new Looks(many(1_000, (slot) => slot % 250 === 7));
    const told = [7, 257, 507, 757];
    expect(walk(looks, 4 * LOOK)).toEqual([0, 1, 2, 3].map((i) => ({ at: i * LOOK, slots: told })));
    looks.look(4 * LOOK - 1, () => expect.unreachable()); // before its time
  });

  it.each([1_024, 2_048, 10_000])(
    'take steps of 1,024 sessions at most: each of %d is looked at once in five seconds',
    (count) => {
      const looks = new Looks(many(count, () => true));
      const steps = walk(looks, 20 * LOOK);
      const last = new Map<number, Micros>();
      for (const { at, slots } of steps) {
        expect(slots.length).toBeLessThanOrEqual(1_024);
        for (const slot of slots) {
          expect(at - (last.get(slot) ?? at - LOOK)).toBeCloseTo(LOOK, -1);
          last.set(slot, at);
        }
      }
      expect(last.size).toBe(count);
    },
  );

  it('leave out nobody while sessions come and go', () => {
    const peers = many(3_000, () => true);
    const looks = new Looks(peers);
    const seen = new Map<number, number>();
    let now = 0;
    for (let i = 0; i < 60; i++, now = looks.deadline ?? now) {
      looks.look(now, ({ slot }) => seen.set(slot, (seen.get(slot) ?? 0) + 1));
      peers.delete(i);
      peers.set(5_000 + i, { slot: 5_000 + i, stirred: true } as Peer);
    }
    for (let slot = 60; slot < 3_000; slot++) expect(seen.get(slot)).toBeGreaterThanOrEqual(18);
    for (let slot = 5_000; slot < 5_055; slot++) expect(seen.get(slot)).toBeGreaterThanOrEqual(1);
  });
});
