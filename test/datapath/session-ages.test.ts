import { describe, expect, it } from 'vitest';
import { PUBLIC_SLOT_BYTES, SlotState } from '../../src/datapath/layout.ts';
import { sessionAges } from '../../src/datapath/session-ages.ts';
import { SessionTable } from '../../src/datapath/table.ts';
import { SECOND } from '../../src/wire/time.ts';

const MINUTE = 60 * SECOND;
const NOW = 1000 * MINUTE;

describe('sessionAges', () => {
  it('counts Online sessions by the last inner packet, else by the last datagram, within 5, 15 and 60 minutes', () => {
    const table = new SessionTable(new ArrayBuffer(8 * PUBLIC_SLOT_BYTES), 8);
    const { state, lastInside, lastOutside, pendingId } = table.fields;
    const enter = (slot: number, inside: number, outside: number, as: number = SlotState.online) => {
      table.markUsed(slot);
      state.set(slot, as);
      lastInside.set(slot, NOW - inside * MINUTE);
      lastOutside.set(slot, NOW - outside * MINUTE);
    };
    enter(0, 1, 1);
    enter(1, 10, 2); // standby of 5, active of the others
    enter(2, 61, 14); // standby of 15 and 60
    enter(3, 90, 90); // neither
    enter(4, 0, 0, SlotState.linkUp);
    pendingId.set(1, Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8));
    expect(sessionAges(table, NOW)).toEqual({ active: [1, 2, 2], standby: [1, 1, 1], pendingRotations: 1 });
  });
});
