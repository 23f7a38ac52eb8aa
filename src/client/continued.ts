/** Which server of the list an earlier engine's session is with, so that the next one goes on over the same socket. */
import type { ServerEntry } from '../config/types.ts';
import { encodeAddress } from '../datapath/address.ts';
import { SlotFlag, SlotState } from '../datapath/layout.ts';
import type { SessionTable } from '../datapath/table.ts';

/**
 * @param addresses of each server, as the keeper resolved them for this engine
 * @returns an index into `servers`, or undefined: there is no session that outlives its engine (those over TCP do not)
 */
export function continuedEntry(
  table: SessionTable,
  slot: number,
  servers: readonly ServerEntry[],
  addresses: readonly (readonly string[])[],
): number | undefined {
  const { state, flags } = table.fields;
  if (state.get(slot) !== SlotState.online || (flags.get(slot) & SlotFlag.stream) !== 0) return undefined;
  const isHere = (address: string, portNumber: number) =>
    table.isRemote(slot, encodeAddress(address, portNumber, ''), 0);
  const found = servers.findIndex(
    ({ mode, server }, i) => mode === 'udp' && addresses[i].some((address) => isHere(address, server.portNumber)),
  );
  // Its name may lead elsewhere by now, or be off the list: any socket for datagrams reaches it.
  const entry = found >= 0 ? found : servers.findIndex(({ mode }) => mode === 'udp');
  return entry < 0 ? undefined : entry;
}
