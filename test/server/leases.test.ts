import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { formatIpv4, Leases, parseIpv4 } from '../../src/server/leases.ts';

/** xorshift32: the same bytes for the same seed. */
function seeded(seed: number) {
  let state = seed | 1;
  return (length: number) =>
    Uint8Array.from({ length }, () => {
      state ^= state << 13;
      state ^= state >>> 17;
      state ^= state << 5;
      return state & 0xff;
    });
}

const RESERVED = ['10.1.0.1', '10.1.0.2', '192.168.254.1'];
const create = (prefix = 28, seed = 1) =>
  new Leases({ pool: { address: '10.1.0.9', prefix }, reserved: RESERVED, random: seeded(seed) });

function drain(leases: Leases, local?: number): number[] {
  const all: number[] = [];
  for (let lease = leases.allocate(local); lease !== undefined; lease = leases.allocate(local)) all.push(lease);
  return all;
}

describe('leases', () => {
  it('gives every host once, without network, broadcast and reserved addresses', () => {
    const leases = create();
    expect(leases.available()).toBe(12);
    const all = drain(leases);
    expect(all.map(formatIpv4).sort()).toEqual(Array.from({ length: 12 }, (_, i) => `10.1.0.${i + 3}`).sort());
    expect([leases.leased, leases.available()]).toEqual([12, 0]);
  });

  it('shuffles: another seed gives another order, the same seed the same', () => {
    expect(drain(create(24, 3))).toEqual(drain(create(24, 3)));
    expect(drain(create(24, 3))).not.toEqual(drain(create(24, 5)));
    expect(drain(create(24, 3))).not.toEqual(drain(create(24, 3)).toSorted((a, b) => a - b));
  });

  it('reuses a freed address last, and freed ones in the order they came back', () => {
    const leases = create();
    const all = drain(leases);
    for (const address of [all[7], all[2], all[5]]) leases.free(address);
    expect(drain(leases)).toEqual([all[7], all[2], all[5]]);
  });

  it('gives an untouched address before a freed one', () => {
    const leases = create();
    const first = leases.allocate()!;
    leases.free(first);
    expect(drain(leases).at(-1)).toBe(first);
  });

  it('gives the preferred address while it is free, another one otherwise', () => {
    const leases = create();
    const wanted = parseIpv4('10.1.0.7');
    expect(leases.allocate(undefined, wanted)).toBe(wanted);
    expect(leases.allocate(undefined, wanted)).not.toBe(wanted);
    expect(leases.allocate(undefined, parseIpv4('10.1.0.1'))).not.toBe(parseIpv4('10.1.0.1'));
    expect(leases.allocate(undefined, parseIpv4('172.16.0.1'))).toBeDefined();
  });

  it('never gives an address that a restart adopted, and adopts none twice', () => {
    const leases = create();
    const kept = ['10.1.0.4', '10.1.0.14'].map(parseIpv4);
    expect(kept.map((address) => leases.adopt(address))).toEqual([true, true]);
    expect(leases.adopt(kept[0])).toBe(false);
    expect(leases.adopt(parseIpv4('10.1.0.2'))).toBe(false);
    expect(leases.adopt(parseIpv4('10.2.0.4'))).toBe(false);
    const rest = drain(leases);
    expect(rest).toHaveLength(10);
    expect(rest.filter((address) => kept.includes(address))).toEqual([]);
  });

  it('serves a mapped local address from its subnet only, and everybody else from the rest', () => {
    const local = parseIpv4('192.0.2.1');
    const leases = new Leases({
      pool: { address: '10.1.0.0', prefix: 27 },
      reserved: RESERVED,
      ipMap: [{ localIp: '192.0.2.1', subnet: { address: '10.1.0.16', prefix: 29 } }],
      random: seeded(9),
    });
    const mapped = drain(leases, local);
    expect(mapped.map(formatIpv4).sort()).toEqual(Array.from({ length: 8 }, (_, i) => `10.1.0.${16 + i}`));
    const others = drain(leases);
    expect(others).toHaveLength(32 - 2 - 2 - 8);
    expect(others.filter((address) => mapped.includes(address))).toEqual([]);
    leases.free(mapped[3]);
    expect([leases.allocate(), leases.allocate(local)]).toEqual([undefined, mapped[3]]);
  });

  it('lets two local addresses share a subnet, and refuses overlaps, foreign subnets and an empty pool', () => {
    const build = (prefix: number, ...subnets: string[]) =>
      new Leases({
        pool: { address: '10.1.0.0', prefix },
        reserved: RESERVED,
        ipMap: subnets.map((subnet, i) => ({
          localIp: `192.0.2.${i}`,
          subnet: { address: subnet.split('/')[0], prefix: Number(subnet.split('/')[1]) },
        })),
        random: seeded(2),
      });
    expect(build(24, '10.1.0.64/30', '10.1.0.64/30').available(parseIpv4('192.0.2.1'))).toBe(4);
    expect(() => build(24, '10.1.0.64/28', '10.1.0.72/29')).toThrow(
      expect.objectContaining({ code: 'IP_MAP_OVERLAP' }),
    );
    expect(() => build(24, '10.2.0.0/28')).toThrow(expect.objectContaining({ code: 'IP_MAP_OUTSIDE_POOL' }));
    expect(() => build(30)).toThrow(expect.objectContaining({ code: 'IP_POOL_EMPTY' }));
  });

  it('takes a pool of 16 million addresses without building a list of them', () => {
    const leases = create(8);
    const some = new Set(Array.from({ length: 2000 }, () => leases.allocate()!));
    expect(some.size).toBe(2000);
    expect(leases.available()).toBe(2 ** 24 - 2 - 2 - 2000);
  });

  it('agrees with a list of free addresses, whatever is allocated, freed and adopted', () => {
    const pool = Array.from({ length: 18 }, (_, i) => parseIpv4('10.1.0.0') + i);
    const steps = fc.array(
      fc.oneof(
        fc.constant({ kind: 'allocate' as const }),
        fc.record({ kind: fc.constantFrom('free' as const, 'adopt' as const), address: fc.constantFrom(...pool) }),
      ),
      { maxLength: 80 },
    );
    fc.assert(
      fc.property(steps, fc.integer({ min: 1, max: 1e6 }), (commands, seed) => {
        const leases = create(28, seed);
        const free = new Set(pool.slice(3, 15));
        const leased = new Set<number>();
        for (const step of commands) {
          if (step.kind === 'allocate') {
            const address = leases.allocate();
            expect(address === undefined).toBe(free.size === 0);
            if (address === undefined) continue;
            expect(free.delete(address)).toBe(true);
            leased.add(address);
          } else if (step.kind === 'free') {
            leases.free(step.address);
            if (leased.delete(step.address)) free.add(step.address);
          } else {
            const expected = free.delete(step.address);
            expect(leases.adopt(step.address)).toBe(expected);
            if (expected) leased.add(step.address);
          }
          expect([leases.available(), leases.leased]).toEqual([free.size, leased.size]);
        }
      }),
      { seed: 7, numRuns: 300 },
    );
  });
});
