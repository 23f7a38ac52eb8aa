/**
 * The inside address pool: which client has which address (protocol specification §9.2).
 *
 * Usable are the hosts of the pool without network, broadcast and the reserved addresses. Each pool is shuffled once, and
 * freed addresses go to the back, which delays reuse. `ip_map` cuts subnets out of the main pool: clients that came to
 * one local address get theirs from its subnet only. Steering maps any address to any shard, so no address is tied to one.
 *
 * The shuffle is never written down: a random permutation gives its n-th element on demand, so that a pool of sixteen
 * million addresses costs as little as one of two hundred. Addresses are numbers (10.0.0.1 = 0x0a000001).
 */
import ipaddr from 'ipaddr.js';
import type { Cidr } from '../config/types.ts';
import { RingwayError } from '../errors.ts';
import type { Random } from '../wire/time.ts';

export interface LeaseOptions {
  readonly pool: Cidr;
  /** Addresses nobody may get: the server's, the client's, DNS, the TUN's own. Those outside the pool do no harm. */
  readonly reserved: readonly string[];
  readonly ipMap?: readonly { readonly localIp: string; readonly subnet: Cidr }[];
  readonly random: Random;
}

export class Leases {
  readonly #main: Pool;
  readonly #mapped = new Map<number, Pool>(); // by local address
  readonly #pools: Pool[] = []; // sub-pools before the main one, so that the first that holds an address is its pool

  /** @throws RingwayError IP_MAP_OUTSIDE_POOL, IP_MAP_OVERLAP, IP_POOL_EMPTY */
  constructor({ pool, reserved, ipMap = [], random }: LeaseOptions) {
    const main = rangeOf(pool);
    const unusable = new Set([main.first, main.last, ...reserved.map(parseIpv4)]);
    for (const { localIp, subnet } of ipMap) {
      const range = rangeOf(subnet);
      if (!holds(main, range.first) || !holds(main, range.last))
        throw new RingwayError(
          'IP_MAP_OUTSIDE_POOL',
          `ip_map: ${textOf(subnet)} is not part of ip_pool ${textOf(pool)}`,
          'choose a subnet of ip_pool',
        );
      this.#mapped.set(parseIpv4(localIp), this.#subPool(range, subnet, unusable, random));
    }
    this.#main = new Pool(
      main,
      unusable,
      this.#pools.map((cut) => cut.range),
      random,
    );
    this.#pools.push(this.#main);
    if (this.available() === 0)
      throw new RingwayError(
        'IP_POOL_EMPTY',
        `ip_pool ${textOf(pool)} has no address to give`,
        'choose a larger network: server, client, DNS and TUN addresses are taken out of it',
      );
  }

  /** Two local addresses may share a subnet; half a subnet they may not. */
  #subPool(range: Range, subnet: Cidr, unusable: ReadonlySet<number>, random: Random): Pool {
    const neighbour = this.#pools.find((cut) => holds(cut.range, range.first) || holds(range, cut.range.first));
    if (neighbour?.range.first === range.first && neighbour.range.last === range.last) return neighbour;
    if (neighbour)
      throw new RingwayError(
        'IP_MAP_OVERLAP',
        `ip_map: ${textOf(subnet)} overlaps another subnet`,
        'give every local address a subnet of its own, or the same one',
      );
    const cut = new Pool(range, unusable, [], random);
    this.#pools.push(cut);
    return cut;
  }

  /**
   * @param local address the session came to; decides the sub-pool
   * @param preferred given if it is free and of that pool: a client that returns keeps its address
   * @returns an address, or undefined when that pool is exhausted
   */
  allocate(local?: number, preferred?: number): number | undefined {
    const pool = this.#poolFor(local);
    if (preferred !== undefined && pool.adopt(preferred)) return preferred;
    return pool.allocate();
  }

  /** Back of the queue. An address that is not leased stays as it is. */
  free(address: number): void {
    this.#poolOf(address)?.free(address);
  }

  /** Marks an address as leased: a new engine does so for every session it finds. @returns false when it is not free */
  adopt(address: number): boolean {
    return this.#poolOf(address)?.adopt(address) ?? false;
  }

  isLeased(address: number): boolean {
    return this.#poolOf(address)?.leased.has(address) ?? false;
  }

  /** Addresses in use, of all pools. */
  get leased(): number {
    return this.#pools.reduce((sum, pool) => sum + pool.leased.size, 0);
  }

  /** Addresses left for a local address; without one, of all pools. */
  available(local?: number): number {
    if (local !== undefined) return this.#poolFor(local).available;
    return this.#pools.reduce((sum, pool) => sum + pool.available, 0);
  }

  #poolFor(local: number | undefined): Pool {
    return (local === undefined ? undefined : this.#mapped.get(local)) ?? this.#main;
  }

  #poolOf(address: number): Pool | undefined {
    return this.#pools.find((pool) => holds(pool.range, address));
  }
}

/** Inclusive at both ends. */
interface Range {
  readonly first: number;
  readonly last: number;
}

/** Addresses never given yet come first, in shuffled order; then freed ones, oldest first. */
class Pool {
  readonly range: Range;
  readonly leased = new Set<number>();
  readonly #unusable: ReadonlySet<number>;
  readonly #cuts: readonly Range[];
  readonly #permute: (index: number) => number;
  readonly #freed = new Set<number>(); // in the order they came back
  readonly #ahead = new Set<number>(); // adopted before the shuffle reached them
  #next = 0;
  #untouched: number; // usable addresses the shuffle has yet to reach, without those in #ahead

  constructor(range: Range, unusable: ReadonlySet<number>, cuts: readonly Range[], random: Random) {
    this.range = range;
    this.#unusable = unusable;
    this.#cuts = cuts;
    this.#permute = createPermutation(sizeOf(range), random);
    const lost = [...unusable].filter((address) => holds(range, address) && !this.#isCut(address)).length;
    this.#untouched = sizeOf(range) - cuts.reduce((sum, cut) => sum + sizeOf(cut), 0) - lost;
  }

  get available(): number {
    return this.#untouched + this.#freed.size;
  }

  allocate(): number | undefined {
    const address = this.#nextUntouched() ?? this.#oldestFreed();
    if (address !== undefined) this.leased.add(address);
    return address;
  }

  free(address: number): void {
    if (this.leased.delete(address)) this.#freed.add(address);
  }

  adopt(address: number): boolean {
    if (!this.#isUsable(address) || this.leased.has(address)) return false;
    if (!this.#freed.delete(address)) {
      this.#ahead.add(address);
      this.#untouched--;
    }
    this.leased.add(address);
    return true;
  }

  #nextUntouched(): number | undefined {
    while (this.#untouched > 0) {
      const address = this.range.first + this.#permute(this.#next++);
      if (!this.#isUsable(address) || this.#ahead.delete(address)) continue;
      this.#untouched--;
      return address;
    }
    return undefined;
  }

  #oldestFreed(): number | undefined {
    for (const address of this.#freed) {
      this.#freed.delete(address);
      return address;
    }
    return undefined;
  }

  #isUsable(address: number): boolean {
    return holds(this.range, address) && !this.#unusable.has(address) && !this.#isCut(address);
  }

  #isCut(address: number): boolean {
    return this.#cuts.some((cut) => holds(cut, address));
  }
}

const ROUNDS = 4; // of a Feistel network with random functions: Luby and Rackoff's bound for a strong permutation

/** A random permutation of 0 … count − 1, one element at a time: a Feistel network on the next even power of two, walked until it lands inside. */
function createPermutation(count: number, random: Random): (index: number) => number {
  const halfBits = Math.max(1, Math.ceil(Math.log2(count) / 2));
  const half = 2 ** halfBits;
  const tables = Array.from({ length: ROUNDS }, () => new Uint16Array(random(half * 2).slice().buffer));
  return (index) => {
    let value = index;
    do {
      let left = Math.floor(value / half);
      let right = value % half;
      for (const table of tables) [left, right] = [right, left ^ (table[right] & (half - 1))];
      value = left * half + right;
    } while (value >= count);
    return value;
  };
}

/** @throws RangeError when `text` is no IPv4 address */
export function parseIpv4(text: string): number {
  const [a, b, c, d] = ipaddr.IPv4.parse(text).octets;
  return ((a << 24) | (b << 16) | (c << 8) | d) >>> 0;
}

export function formatIpv4(address: number): string {
  return [24, 16, 8, 0].map((shift) => (address >>> shift) & 0xff).join('.');
}

function rangeOf({ address, prefix }: Cidr): Range {
  const size = 2 ** (32 - prefix);
  const first = Math.floor(parseIpv4(address) / size) * size;
  return { first, last: first + size - 1 };
}

function sizeOf({ first, last }: Range): number {
  return last - first + 1;
}

function holds({ first, last }: Range, address: number): boolean {
  return address >= first && address <= last;
}

function textOf({ address, prefix }: Cidr): string {
  return `${address}/${prefix}`;
}
