/** Packets that session.control has put together join the uplink. */
import type { Micros } from '../wire/time.ts';
import { HEADER, Verdict } from './batch.ts';
import { nativeBatch } from './batches.ts';
import { packetsLeft } from './inner-packets.ts';
import type { Path } from './path.ts';
import { STAGES, written } from './pipeline.ts';
import { UNTIMED } from './stages.ts';

const ADMIT = STAGES.indexOf('guard.admit');
const COALESCE = STAGES.indexOf('gro.coalesce');
const TUN_TRANSMIT = STAGES.indexOf('tun.transmit');

/** Packets that came as frames (TCP sessions, reassembled fragments) join the uplink behind lanes.open. */
export function injectPackets(path: Path, now: Micros): void {
  const { addon, batches, nodes } = path;
  const { controlPackets, superpacketsOut } = batches;
  if (controlPackets.header[HEADER.count] === 0) return;
  nodes.admit(controlPackets, now);
  path.stages.count(ADMIT, controlPackets.header[HEADER.count], UNTIMED);
  const count = controlPackets.header[HEADER.count];
  for (let before = -1; before < count; ) {
    addon.clear(nativeBatch(superpacketsOut));
    const superpackets = nodes.coalesce(controlPackets, superpacketsOut, path.joining);
    const consumed = controlPackets.header[HEADER.consumed];
    path.stages.count(COALESCE, consumed - Math.max(before, 0), UNTIMED);
    path.queuedIn = addon.tunTransmit(path.port, nativeBatch(superpacketsOut));
    path.stages.count(TUN_TRANSMIT, superpackets, UNTIMED);
    written(path, now);
    if (consumed === before) {
      nodes.counters[Verdict.noBlock] += BigInt(packetsLeft(controlPackets));
      break;
    }
    before = consumed;
  }
  addon.clear(nativeBatch(superpacketsOut));
  addon.clear(nativeBatch(controlPackets));
}
