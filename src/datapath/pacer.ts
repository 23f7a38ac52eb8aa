/**
 * pacer.release as a shard uses it: sessions with a rate leave in short trains, spaced in time; while there is more to send than the shard can,
 * sessions take turns. Its rules are in docs/contracts.md.
 */
import type { Addon, BatchHandle, LanesHandle } from '../native/index.ts';
import type { Micros } from '../wire/time.ts';
import type { Batch } from './batch.ts';

/** Words of `state`. */
export const PACER_STATE = {
  deadline: 0, // when the next train may leave; Infinity when none waits
  pieces: 1, // superpackets, or parts of them, that wait
  bytes: 2, // what they count against the bounds of their sessions
} as const;

/** For `budget`: sessions without a rate pass, and what waits of them may all go. */
export const UNLIMITED = 0xffff_ffff;

export interface Pacer<B extends Batch = Batch> {
  /** Changes with every call. */
  readonly state: Float64Array;
  /**
   * Keeps back what may not leave yet of the passing entries, then appends what may of what waits to the pacer's own batch.
   * @param fresh the entries have not been here before @param budget bytes that may go on in this call
   * @returns entries of the pacer's batch
   */
  release(superpackets: B, fresh: boolean, now: Micros, budget: number): number;
  /**
   * Drops what waits in a slot, counted by segments: `notOnline` when it has been cleared, `superseded` when its session goes on without this shard.
   * @returns how many those were
   */
  forget(slot: number, superseded?: boolean): number;
}

export function createNativePacer(addon: Addon, lanes: LanesHandle, released: Batch, trainSegments: number): Pacer {
  const { handle, state } = addon.createPacer(lanes, released.native as BatchHandle, trainSegments);
  return {
    state: new Float64Array(state),
    release: (superpackets, fresh, now, budget) =>
      addon.pacerRelease(handle, superpackets.native as BatchHandle, fresh, now, budget),
    forget: (slot, superseded = false) => addon.pacerForget(handle, slot, superseded),
  };
}
