/** Where an earlier engine's session is, and which server of the list it is with, so that the next one goes on over the same socket. */
import type { ServerEntry } from '../config/types.ts';
import { encodeAddress } from '../datapath/address.ts';
import { SlotFlag, SlotState } from '../datapath/layout.ts';
import type { SessionTable } from '../datapath/table.ts';

export interface Continued {
  readonly slot: number;
  /** Index into `servers`. */
  readonly server: number;
}

/**
 * @param addresses of each server, as the keeper resolved them for this engine
 * @returns undefined: there is no session that outlives its engine (those over TCP do not)
 */
export function continued(
  table: SessionTable,
  servers: readonly ServerEntry[],
  addresses: readonly (readonly string[])[],
): Continued | undefined {
  const { state, flags } = table.fields;
  for (let slot = 0; slot < table.usableSlots; slot++) {
    if (state.get(slot) !== SlotState.online || (flags.get(slot) & SlotFlag.stream) !== 0) continue;
    const isHere = (address: string, portNumber: number) =>
      table.isRemote(slot, encodeAddress(address, portNumber, ''), 0);
    const found = servers.findIndex(
      ({ mode, server }, i) => mode === 'udp' && addresses[i].some((address) => isHere(address, server.portNumber)),
    );
    // Its name may lead elsewhere by now, or be off the list: any socket for datagrams reaches it.
    const server = found >= 0 ? found : servers.findIndex(({ mode }) => mode === 'udp');
    if (server >= 0) return { slot, server };
  }
  return undefined;
}
