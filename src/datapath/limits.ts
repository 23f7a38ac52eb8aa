/**
 * What lanes.open may let through, in words that a shard writes and `locate` reads (`addon.createLanes`; `limit` of native/table/lanes.h).
 * Excess gets the verdict `overload` before anything is opened.
 */

export const LIMIT = {
  strangers: 0, // datagrams without a session that may still divert; `locate` counts it down
  interval: 1, // number of the interval that `arrivals` counts bytes in
  tick: 2, // the time, in milliseconds, as far as 32 bits go
  rate: 3, // bytes that leak from a session's pail in a tick
  rejects: 4, // trains of unknown ids that may still be answered; `locate` counts it down
} as const;

/** For `strangers`, `rejects` and `rate`: whatever comes. */
export const NO_LIMIT = 0xffff_ffff;

const WORDS = 16;

/** Words of `arrivals` per slot. */
export const ARRIVAL = {
  interval: 0, // the last one in which anything came
  bytes: 1, // that came in it; what was dropped counts as well
  tick: 2, // when the pail last leaked
  pail: 3,
  helloDue: 4, // when, in ticks, as many hellos were due as have been heard; `open` counts those
  words: 5,
} as const;

/**
 * ClientHellos that session.control hears for a session that is Online, from its own address: one each `every` milliseconds, and so many at once.
 * A client that begins anew sends up to 12, a long second hello in three copies of three pieces among them.
 */
export const HELLOS = { every: 200, burst: 16 } as const;

/** What a pail holds: a session may come with two full trains at once. */
export const PAIL_BYTES = 2 * 65_536;

export interface Limits {
  readonly limits: Uint32Array;
  readonly arrivals: Uint32Array;
}

/** For nodes without the addon. */
export function createLimits(slots: number): Limits {
  const limits = new Uint32Array(WORDS);
  limits[LIMIT.strangers] = NO_LIMIT;
  limits[LIMIT.rate] = NO_LIMIT;
  limits[LIMIT.rejects] = NO_LIMIT;
  return { limits, arrivals: new Uint32Array(ARRIVAL.words * slots) };
}
