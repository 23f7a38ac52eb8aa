/** Superpackets of packets that are longer than their session's path carries: the slow way, by the session's own hand. */
import type { Micros } from '../wire/time.ts';
import { type Batch, HEADER, Verdict } from './batch.ts';
import type { ControlCounters } from './control-counters.ts';
import type { Peer } from './host.ts';
import { cutOf, innerPackets } from './inner-packets.ts';
import { UdpPeer } from './udp-peer.ts';

/** Gives every packet of the entries that `lookup` has diverted to its session. @param then called with each peer that has sent */
export function cutOversized(
  now: Micros,
  superpackets: Batch,
  peers: ReadonlyMap<number, Peer>,
  counters: ControlCounters,
  then: (peer: Peer) => void,
): void {
  const { verdict, slot, header } = superpackets;
  for (let i = 0; i < header[HEADER.count]; i++) {
    if (verdict[i] !== Verdict.divert) continue;
    const peer = peers.get(slot[i]);
    const cut = cutOf(superpackets, i);
    if (!(peer instanceof UdpPeer) || cut === false) {
      counters.unknownSlot += cut ? cut.segments : 1;
      continue;
    }
    for (const packet of innerPackets(superpackets, i, cut)) peer.sendLong(now, packet);
    then(peer);
  }
}
