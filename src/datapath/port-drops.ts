/** Drops that no node has seen: the port's own, put down to their stage. */
import type { StageStatistics } from '../observe/statistics.ts';

/** What the port drops and counts by itself: its counter, the stage, the verdict. */
export const PORT_DROPS = [
  ['socketDrops', 'udp.receive', 'socketFull'],
  ['filtered', 'udp.receive', 'filtered'],
  ['garbage', 'udp.receive', 'badMagic'],
  ['handshakeDrops', 'udp.receive', 'handshakesFull'],
  ['strangerDrops', 'udp.receive', 'strangersFull'],
  ['suspectDrops', 'udp.receive', 'suspectsFull'],
  ['udpBeyondShare', 'udp.receive', 'beyondShare'],
  ['tunBeyondShare', 'tun.receive', 'beyondShare'],
  ['truncated', 'udp.receive', 'truncated'],
  ['badVnet', 'tun.receive', 'badGso'],
  ['sendErrors', 'udp.transmit', 'sendFailed'],
  ['tunErrors', 'tun.transmit', 'tunRefused'],
] as const;

export function withPortDrops(stage: StageStatistics, counted: Readonly<Record<string, number>>): StageStatistics {
  const drops: Record<string, number> = { ...stage.drops };
  for (const [name, at, reason] of PORT_DROPS)
    if (at === stage.stage && counted[name] > 0) drops[reason] = (drops[reason] ?? 0) + counted[name];
  return { ...stage, drops };
}
