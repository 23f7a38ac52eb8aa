import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Deadlines } from '../../src/datapath/deadlines.ts';

describe('Deadlines', () => {
  it('agrees with a plain map, whatever is set, taken out and asked', () => {
    const slot = fc.integer({ min: 0, max: 20 });
    const step = fc.oneof(
      fc.record({
        kind: fc.constant('set' as const),
        slot,
        at: fc.option(fc.integer({ min: 0, max: 1000 }), { nil: undefined }),
      }),
      fc.record({ kind: fc.constant('due' as const), now: fc.integer({ min: 0, max: 1000 }) }),
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 300 }), (steps) => {
        const deadlines = new Deadlines();
        const model = new Map<number, number>();
        for (const each of steps) {
          if (each.kind === 'set') {
            deadlines.set(each.slot, each.at);
            if (each.at === undefined) model.delete(each.slot);
            else model.set(each.slot, each.at);
          } else {
            const found = deadlines.due(each.now);
            const earliest = Math.min(...model.values());
            if (found === undefined) expect(earliest).toBeGreaterThan(each.now);
            else {
              expect(model.get(found)).toBe(earliest);
              model.delete(found);
            }
          }
          expect(deadlines.next()).toBe(model.size === 0 ? undefined : Math.min(...model.values()));
        }
      }),
    );
  });
});
