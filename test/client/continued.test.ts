import { describe, expect, it } from 'vitest';
import { continued } from '../../src/client/continued.ts';
import type { ServerEntry } from '../../src/config/types.ts';
import { encodeAddress } from '../../src/datapath/address.ts';
import { PUBLIC_SLOT_BYTES, SlotFlag, SlotState } from '../../src/datapath/layout.ts';
import { SessionTable } from '../../src/datapath/table.ts';

const entry = (mode: 'udp' | 'tcp', portNumber: number) => ({ mode, server: { host: 'h', portNumber } }) as ServerEntry;
const SERVERS = [entry('tcp', 443), entry('udp', 27690), entry('udp', 27691), entry('udp', 27690)];
const ADDRESSES = [['192.0.2.1'], ['192.0.2.1'], ['192.0.2.1'], ['192.0.2.3', '2001:db8::4']];

function tableWith(remote: string, portNumber: number, flags: number = SlotFlag.client): SessionTable {
  const table = new SessionTable(new ArrayBuffer(2 * PUBLIC_SLOT_BYTES), 2);
  table.fields.state.set(0, SlotState.online);
  table.fields.flags.set(0, flags);
  table.fields.remote.set(0, encodeAddress(remote, portNumber, ''));
  return table;
}

describe('the server an earlier engine was online with', () => {
  it.each([
    ['the first over UDP', '192.0.2.1', 27690, 1],
    ['another port', '192.0.2.1', 27691, 2],
    ['a second address', '2001:db8::4', 27690, 3],
    ['one that is off the list', '203.0.113.9', 27690, 1],
  ])('is found: %s', (_case, remote, portNumber, expected) => {
    expect(continued(tableWith(remote, portNumber), SERVERS, ADDRESSES)).toEqual({ slot: 0, server: expected });
  });

  it('is none after a session over TCP, without a session, and where nothing speaks UDP', () => {
    const overTcp = tableWith('192.0.2.1', 443, SlotFlag.client | SlotFlag.stream);
    expect(continued(overTcp, SERVERS, ADDRESSES)).toBeUndefined();
    expect(continued(new SessionTable(new ArrayBuffer(2 * PUBLIC_SLOT_BYTES), 2), SERVERS, ADDRESSES)).toBeUndefined();
    expect(continued(tableWith('192.0.2.1', 443), SERVERS.slice(0, 1), ADDRESSES)).toBeUndefined();
  });

  it('is found in the slot of another place in the list', () => {
    const table = new SessionTable(new ArrayBuffer(4 * PUBLIC_SLOT_BYTES), 4);
    table.fields.state.set(0, SlotState.handshake);
    table.fields.state.set(2, SlotState.online);
    table.fields.remote.set(2, encodeAddress('192.0.2.1', 27691, ''));
    expect(continued(table, SERVERS, ADDRESSES)).toEqual({ slot: 2, server: 2 });
  });
});
