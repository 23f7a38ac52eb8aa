import { describe, expect, it } from 'vitest';
import type { Combination } from '../../src/calibrate/bridge.ts';
import { choose, type Measured, passedOver } from '../../src/calibrate/measure.ts';

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

describe('a row with a better figure than that of the best combination', () => {
  const reasons = (...others: Measured[]) => {
    const all = [measured({}, 1, 0), ...others];
    return passedOver(choose(AUTO, all).best, all).map(({ why }) => why);
  };

  it('is told of with what it lacks: rounds, or worth, or that another of its kind is better still', () => {
    expect(reasons(measured({ gro: 'off' }, 1.5, 0.6))).toEqual([
      'carried more than auto in 60 % of the rounds only: 80 % are asked for',
    ]);
    expect(reasons(measured({ io: 'epoll' }, 1.02, 1))).toEqual(['1.020 of auto is not the 1.03 that a flag is worth']);
    const aeads = [measured({ aead: 'openssl' }, 1.1, 1), measured({ aead: 'noble' }, 1.3, 1)];
    expect(reasons(...aeads)).toEqual(['--aead noble carried more']);
  });

  it('is told of also where only its throughput is better, as in rounds that drift', () => {
    const row = measured({ io: 'epoll' }, 0.99, 0.4);
    const gigabits = { median: 9, low: 8, high: 10 };
    expect(reasons({ ...row, gigabits })).toHaveLength(1);
  });

  it('is no other than what is named, and rows that carried less are not spoken of', () => {
    expect(reasons(measured({ io: 'epoll' }, 1.2, 1), measured({ gro: 'off' }, 0.5, 0))).toEqual([]);
  });
});
