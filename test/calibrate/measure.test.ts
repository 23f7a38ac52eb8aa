import { describe, expect, it } from 'vitest';
import type { Combination } from '../../src/calibrate/bridge.ts';
import { choose, type Measured } from '../../src/calibrate/measure.ts';

const AUTO: Combination = { io: 'io_uring', aead: 'ipsec-mb', gro: 'inline', tunOffload: 'on' };

function measured(change: Partial<Combination>, median: number, wins: number): Measured {
  const spread = { median, low: median, high: median };
  return { combination: { ...AUTO, ...change }, flag: '', gigabits: spread, ratio: spread, wins, cpuPerGb: spread };
}

describe('the best combination', () => {
  it('is auto where nothing carried more', () => {
    const all = [measured({}, 1, 0), measured({ io: 'epoll' }, 0.9, 0), measured({ gro: 'off' }, 0.5, 0)];
    const { best, isAuto, flags } = choose(AUTO, all);
    expect(best).toEqual(AUTO);
    expect(isAuto).toBe(true);
    expect(flags.join(' ')).toBe('--io io_uring --aead ipsec-mb --gro inline --tun-offload on');
  });

  it('puts the best of each thing together', () => {
    const all = [
      measured({}, 1, 0),
      measured({ io: 'epoll' }, 1.2, 1),
      measured({ aead: 'openssl' }, 1.1, 0.8),
      measured({ aead: 'noble' }, 1.3, 1),
    ];
    const { best, isAuto } = choose(AUTO, all);
    expect(best).toEqual({ ...AUTO, io: 'epoll', aead: 'noble' });
    expect(isAuto).toBe(false);
  });

  it('leaves auto alone for a gain of 2 %, and for one that half the rounds do not show', () => {
    const all = [measured({}, 1, 0), measured({ io: 'epoll' }, 1.02, 1), measured({ gro: 'off' }, 1.5, 0.5)];
    expect(choose(AUTO, all).isAuto).toBe(true);
  });
});
