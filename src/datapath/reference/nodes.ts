/** The reference nodes as a pipeline takes them: the oracle of the native ones, and `--aead noble`. */
import type { Nodes } from '../nodes.ts';
import { admit } from './admit.ts';
import { coalesce } from './coalesce.ts';
import type { ReferenceLanes } from './lanes.ts';
import { locate } from './locate.ts';
import { lookup } from './lookup.ts';
import type { ReferenceBatch } from './memory.ts';
import { open } from './open.ts';
import { seal } from './seal.ts';

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
