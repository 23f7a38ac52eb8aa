/** The reference nodes as a pipeline takes them: the oracle of the native ones, and `--aead noble`. */
import type { Addon, IndexHandle } from '../../native/index.ts';
import type { Batches } from '../batches.ts';
import type { Limits } from '../limits.ts';
import type { Nodes } from '../nodes.ts';
import type { Pacer } from '../pacer.ts';
import type { SessionTable } from '../table.ts';
import { admit } from './admit.ts';
import { coalesce } from './coalesce.ts';
import { createReferenceLanes, type ReferenceLanes } from './lanes.ts';
import { locate } from './locate.ts';
import { lookup } from './lookup.ts';
import type { ReferenceBatch } from './memory.ts';
import { open } from './open.ts';
import { ReferencePacer } from './pacer.ts';
import { seal } from './seal.ts';
import { SecretTable } from './secrets.ts';

export function createReferenceNodes(lanes: ReferenceLanes): Nodes<ReferenceBatch> {
  return {
    counters: lanes.counters,
    locate: (trains) => locate(lanes, trains),
    open: (trains, packets, now) => open(lanes, trains, packets, now),
    admit: (packets, now) => admit(lanes, packets, now),
    coalesce: (packets, superpackets, mode) => coalesce(lanes, packets, superpackets, mode),
    lookup: (superpackets) => lookup(lanes, superpackets),
    seal: (superpackets, trains, maxSegments, now) => seal(lanes, superpackets, trains, maxSegments, now),
    put: (batch, slot, kind, address, bytes) => batch.memory.put(slot, kind, address, bytes),
    clear: (batch) => batch.memory.clear(),
  };
}

export interface NobleOptions {
  readonly table: SessionTable;
  /** The other half of the table, opened with exposeSecrets. */
  readonly secret: ArrayBuffer;
  readonly index: IndexHandle;
  readonly shard: number;
  readonly shards: number;
  readonly generation: number;
  readonly single: number | undefined;
  readonly trainSegments: number;
  /** Those of the addon's lanes, which handover counts with. */
  readonly counters: BigUint64Array;
  /** Likewise: what session.control writes. */
  readonly limits: Limits;
}

/** The reference nodes and pacer on the table, the index and the batches of a real shard: batches must be of `createBatches(addon, true)`. */
export function createNoblePath(
  addon: Addon,
  batches: Batches<ReferenceBatch>,
  options: NobleOptions,
): { nodes: Nodes<ReferenceBatch>; pacer: Pacer<ReferenceBatch> } {
  const { table, shard, shards, generation, single = -1, counters } = options;
  const made = createReferenceLanes({
    table,
    secrets: new SecretTable(options.secret),
    index: { get: (kind, key) => addon.indexGet(options.index, kind, key) },
    shard,
    shards,
    generation,
    single,
  });
  const { limits, arrivals } = options.limits;
  const lanes = { ...made, counters, limits, arrivals };
  return {
    nodes: createReferenceNodes(lanes),
    pacer: new ReferencePacer(lanes, batches.released, options.trainSegments),
  };
}
