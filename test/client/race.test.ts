import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Race } from '../../src/client/race.ts';
import { SECOND } from '../../src/wire/time.ts';

const WAIT = 2 * SECOND;
const START = 100;

describe('a race of servers', () => {
  it('without a wait is won by whoever is online first', () => {
    const race = new Race(START, 3, 0);
    expect(race.winner(START)).toBeUndefined();
    race.online(2);
    expect(race.winner(START)).toBe(2);
    expect(race.nextDeadline(START)).toBe(Number.POSITIVE_INFINITY);
  });

  it('with a wait is won by the first of the list at once', () => {
    const race = new Race(START, 3, WAIT);
    race.online(1);
    expect(race.winner(START + 1)).toBeUndefined();
    race.online(0);
    expect(race.winner(START + 1)).toBe(0);
  });

  it('is won after the wait by the earliest in the list of those online', () => {
    const race = new Race(START, 4, WAIT);
    expect(race.nextDeadline(START)).toBe(Number.POSITIVE_INFINITY); // nobody it could decide between
    race.online(3);
    race.online(2);
    expect(race.winner(START + WAIT - 1)).toBeUndefined();
    expect(race.nextDeadline(START + WAIT - 1)).toBe(START + WAIT);
    expect(race.winner(START + WAIT)).toBe(2);
  });

  it('waits for nobody who cannot come any more', () => {
    const race = new Race(START, 3, WAIT);
    race.online(1);
    race.failed(0);
    expect(race.winner(START)).toBe(1);
  });

  it('is lost when all have failed, one that had been online with them', () => {
    const race = new Race(START, 2, WAIT);
    race.online(1);
    race.failed(0);
    race.failed(1);
    expect([race.winner(START + WAIT), race.lost]).toEqual([undefined, true]);
  });

  it('has a winner after the wait if and only if anybody is online, and never one that is not', () => {
    const happening = fc.tuple(fc.nat(4), fc.boolean());
    fc.assert(
      fc.property(fc.array(happening), (happenings) => {
        const race = new Race(START, 5, WAIT);
        const online = new Set<number>();
        for (const [server, comes] of happenings) {
          if (comes) race.online(server);
          else race.failed(server);
          if (comes) online.add(server);
          else online.delete(server);
          const winner = race.winner(START + 1);
          expect(winner === undefined || online.has(winner)).toBe(true);
        }
        expect(race.winner(START + WAIT)).toBe(online.size > 0 ? Math.min(...online) : undefined);
      }),
    );
  });
});
