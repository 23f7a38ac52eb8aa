/** How long ago the sessions of a table were used (protocol specification §12.3). Any thread may look: nothing is written. */
import type { SessionAges } from '../observe/statistics.ts';
import { type Micros, SECOND } from '../wire/time.ts';
import { SlotState } from './layout.ts';
import type { SessionTable } from './table.ts';

const MINUTE = 60 * SECOND;
const WITHIN: readonly Micros[] = [5 * MINUTE, 15 * MINUTE, 60 * MINUTE];

/** Counts Online sessions alone. */
export function sessionAges(table: SessionTable, now: Micros): SessionAges {
  const { state, lastInside, lastOutside, pendingId } = table.fields;
  const active: [number, number, number] = [0, 0, 0];
  const standby: [number, number, number] = [0, 0, 0];
  let pendingRotations = 0;
  for (let slot = 0; slot < table.usedSlots; slot++) {
    if (state.get(slot) !== SlotState.online) continue;
    if (!pendingId.isZero(slot)) pendingRotations++;
    WITHIN.forEach((span, i) => {
      if (now - lastInside.get(slot) <= span) active[i]++;
      else if (now - lastOutside.get(slot) <= span) standby[i]++;
    });
  }
  return { active, standby, pendingRotations };
}
