/** A client's session over UDP begins: DTLS below, Lightway above, in a slot that is prepared and knows where the server is. */
import { DtlsClient } from '../dtls/client.ts';
import type { ClientOptions as DtlsOptions } from '../dtls/options.ts';
import { ClientSession } from '../session/client.ts';
import type { ClientConfig } from '../session/types.ts';
import { VERSION_1_3 } from '../wire/header.ts';
import type { Micros } from '../wire/time.ts';
import type { Control } from './control.ts';
import { SlotLaneKeys } from './lane-keys.ts';
import { SlotProtection } from './slot-protection.ts';
import { UdpPeer } from './udp-peer.ts';

export interface UdpClientOptions extends Pick<DtlsOptions, 'vault' | 'random' | 'suites' | 'groups' | 'mtu'> {
  readonly session: ClientConfig;
}

/** Sends the first flight. */
export function startUdpClient(now: Micros, slot: number, control: Control, options: UdpClientOptions): void {
  const { addon, lanes, table } = control;
  const { session: config, ...dtls } = options;
  const protection = new SlotProtection(addon, lanes, slot, dtls.vault);
  const endpoint = new DtlsClient({ ...dtls, share: undefined, protection });
  const session = new ClientSession(config, VERSION_1_3, new SlotLaneKeys(addon, lanes, table, slot));
  const rotation = { interval: undefined, protection };
  const peer = new UdpPeer(now, slot, 'client', endpoint, session, control, table, rotation);
  control.add(peer);
  session.start(now);
  endpoint.start(now);
  peer.pump(now);
  control.reschedule(peer);
}
