import { describe, expect, it } from 'vitest';
import { Grants } from '../../src/server/grants.ts';

describe('grants of a shard that died', () => {
  it('come back when no session has them, and only then', () => {
    const grants = new Grants();
    grants.granted(1, 0);
    grants.granted(2, 0);
    grants.granted(3, 1);
    grants.died(0);
    expect(grants.settled(0, new Set([2]))).toEqual([1]);
    expect(grants.settled(0, new Set())).toEqual([]); // asked once a death
    expect(grants.settled(1, new Set())).toEqual([]); // shard 1 lives
  });

  it('are nobody else’s business once released, granted anew, or granted to the successor', () => {
    const grants = new Grants();
    grants.granted(1, 0);
    grants.granted(2, 0);
    grants.died(0);
    grants.released(1);
    grants.granted(1, 1); // leased again before the successor was ready
    grants.granted(2, 0);
    grants.granted(4, 0); // its answer is still under way to the successor
    expect(grants.settled(0, new Set())).toEqual([]);
  });
});
