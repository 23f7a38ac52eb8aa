/**
 * The nodes of a shard's pipeline, whichever way they run: same entries, bytes, verdicts and counters (docs/contracts.md).
 * What each does is said once, in `native/addon.d.ts`.
 */
import type { Addon, BatchHandle, LanesHandle } from '../native/index.ts';
import type { Micros } from '../wire/time.ts';
import type { Batch } from './batch.ts';

/** Which packets are joined: `inline` all that may be, `tcp` or `udp` for a TUN device that refuses the other kind. In the order of the addon. */
export const COALESCE_MODES = ['inline', 'tcp', 'off', 'udp'] as const;
export type CoalesceMode = (typeof COALESCE_MODES)[number];

export interface Nodes<B extends Batch = Batch> {
  /** Per verdict. */
  readonly counters: BigUint64Array;
  locate(trains: B): number;
  /** @param mode default 'off': every packet is an entry */
  open(trains: B, packets: B, now: Micros, mode?: CoalesceMode): number;
  admit(packets: B, now: Micros): number;
  coalesce(packets: B, superpackets: B, mode: CoalesceMode): number;
  lookup(superpackets: B): number;
  seal(superpackets: B, trains: B, maxSegments: number, now: Micros): number;
  put(batch: B, slot: number, kind: number, address: Uint8Array | undefined, bytes: Uint8Array): boolean;
  clear(batch: B): void;
}

/** The nodes of the addon. Batches must be of `addon.createBatch`. */
export function createNativeNodes(addon: Addon, lanes: LanesHandle, counters: BigUint64Array): Nodes {
  const native = (batch: Batch) => batch.native as BatchHandle;
  return {
    counters,
    locate: (trains) => addon.locate(lanes, native(trains)),
    open: (trains, packets, now, mode = 'off') => addon.open(lanes, native(trains), native(packets), now, mode),
    admit: (packets, now) => addon.admit(lanes, native(packets), now),
    coalesce: (packets, superpackets, mode) => addon.coalesce(lanes, native(packets), native(superpackets), mode),
    lookup: (superpackets) => addon.lookup(lanes, native(superpackets)),
    seal: (superpackets, trains, maxSegments, now) =>
      addon.seal(lanes, native(superpackets), native(trains), maxSegments, now),
    put: (batch, slot, kind, address, bytes) => addon.put(native(batch), slot, kind, address, bytes),
    clear: (batch) => addon.clear(native(batch)),
  };
}
