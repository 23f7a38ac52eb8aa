/** A point in monotonic time or a span of it, in microseconds. Fractions are allowed: a virtual clock may run to the nanosecond. */
export type Micros = number;

export const MS: Micros = 1_000;
export const SECOND: Micros = 1_000_000;

/** A source of unpredictable bytes, handed in so that protocol tests are deterministic. @returns exactly `length` fresh bytes */
export type Random = (length: number) => Uint8Array;
