import { describe, expect, it } from 'vitest';
import type { Combination } from '../../src/calibrate/bridge.ts';
import { choose, confirm, type Measured, passedOver } from '../../src/calibrate/measure.ts';

const AUTO: Combination = {
  io: 'io_uring',
  aead: 'ipsec-mb',
  gro: 'inline',
  tunOffload: 'on',
  sqpoll: 'off',
  zeroCopy: 'off',
};

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

describe('the best combination, measured as one', () => {
  const all = [measured({}, 1, 0), measured({ io: 'epoll' }, 1.2, 1), measured({ aead: 'openssl' }, 1.1, 0.8)];
  const both = { io: 'epoll', aead: 'openssl' } as const;

  it('is named where it is the best there is', () => {
    expect(confirm(AUTO, all, measured(both, 1.3, 1)).best).toEqual({ ...AUTO, ...both });
  });

  it('is not named where one thing alone carried more, nor where it could not be had', () => {
    for (const together of [measured(both, 1.15, 1), measured(both, 0.9, 0), undefined])
      expect(confirm(AUTO, all, together).flags.slice(0, 4)).toEqual(['--io', 'epoll', '--aead', 'ipsec-mb']);
    const rows = [...all, measured(both, 1.15, 1)];
    expect(passedOver({ ...AUTO, io: 'epoll' }, rows).map(({ why }) => why)).toEqual([
      '--io epoll carried more', // --aead openssl
      '--io epoll carried more', // both
    ]);
  });
});

describe('one thing that is better', () => {
  it('is the best of them, also where another is of a thing that goes before', () => {
    const all = [measured({}, 1, 0), measured({ io: 'epoll' }, 1.05, 1), measured({ sqpoll: 'on' }, 1.3, 1)];
    expect(confirm(AUTO, all, undefined).best).toEqual({ ...AUTO, sqpoll: 'on' });
  });
});

describe('what io_uring alone has', () => {
  it('is named where it is on', () => {
    const { flags } = choose(AUTO, [measured({}, 1, 0), measured({ zeroCopy: 'on' }, 1.2, 1)]);
    expect(flags.slice(-2)).toEqual(['--zero-copy', 'on']);
  });

  it('is no part of the answer where epoll is', () => {
    const all = [measured({}, 1, 0), measured({ io: 'epoll' }, 1.2, 1), measured({ sqpoll: 'on' }, 1.1, 1)];
    const { best, flags } = choose(AUTO, all);
    expect(best).toEqual({ ...AUTO, io: 'epoll' });
    expect(flags).not.toContain('--sqpoll');
    expect(passedOver(best, all).map(({ why }) => why)).toEqual(['--io epoll carried more']);
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
