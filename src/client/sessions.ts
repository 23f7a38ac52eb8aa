/** The client's role on its shard: one session in slot 0, which adopts ids and translates to the addresses of this host. */

import type { Vault } from '../crypto/vault.ts';
import { parseIpv4 } from '../datapath/address.ts';
import type { Control } from '../datapath/control.ts';
import { readControlState } from '../datapath/control-state.ts';
import type { Peer, ShardReport } from '../datapath/host.ts';
import { SlotLaneKeys } from '../datapath/lane-keys.ts';
import { SlotFlag, SlotState } from '../datapath/layout.ts';
import type { Role, Stranger } from '../datapath/role.ts';
import { SlotProtection } from '../datapath/slot-protection.ts';
import { startUdpClient } from '../datapath/udp-client.ts';
import { UdpPeer } from '../datapath/udp-peer.ts';
import type { ClientOptions as DtlsOptions } from '../dtls/options.ts';
import { restoreEndpoint } from '../dtls/restore.ts';
import { ClientSession } from '../session/client.ts';
import { ClientIds } from '../session/ids.ts';
import { createCounters, type NetworkConfig, type ClientConfig as SessionConfig } from '../session/types.ts';
import { type SessionId, VERSION_1_3, type Version } from '../wire/header.ts';
import type { Micros, Random } from '../wire/time.ts';

/** The client's only slot. */
export const SLOT = 0;

export interface ClientRoleOptions {
  readonly control: Control;
  readonly vault: Vault;
  readonly random: Random;
  readonly dtls: Pick<DtlsOptions, 'suites' | 'groups'>;
  /** DTLS bytes that a datagram of the handshake may hold on this path. */
  readonly handshakeMtu: number;
  readonly session: Omit<SessionConfig, 'counters'>;
  readonly tunLocalIp: string;
  readonly tunDnsIp: string;
  /** Kilobits a second that the server is sent, 0 = as they come. */
  readonly paceRate: number;
  readonly report: (report: ShardReport) => void;
}

export class ClientRole implements Role {
  readonly counters = createCounters();
  readonly #options: ClientRoleOptions;
  readonly #control: Control;
  #ids = new ClientIds();

  constructor(options: ClientRoleOptions) {
    this.#options = options;
    this.#control = options.control;
  }

  get sessionConfig(): SessionConfig {
    return { ...this.#options.session, counters: this.counters };
  }

  /** Begins a handshake with the server at `address` (40 bytes, ADDRESS). */
  connect(now: Micros, address: Uint8Array): void {
    const { table } = this.#control;
    this.prepareSlot(VERSION_1_3, SlotFlag.client);
    table.fields.remote.set(SLOT, address);
    const { vault, random, dtls, handshakeMtu } = this.#options;
    startUdpClient(now, SLOT, this.#control, {
      vault,
      random,
      ...dtls,
      mtu: handshakeMtu,
      session: this.sessionConfig,
    });
  }

  /** Goes on with the session of an earlier engine. @returns false when there is none to go on with */
  restore(now: Micros): boolean {
    const { addon, lanes, table } = this.#control;
    if (table.fields.state.get(SLOT) !== SlotState.online) return false;
    const saved = readControlState(table, SLOT);
    if (!saved) return false;
    const { vault, random } = this.#options;
    const protection = new SlotProtection(addon, lanes, SLOT, vault);
    const keys = new SlotLaneKeys(addon, lanes, table, SLOT);
    const endpoint = restoreEndpoint(saved.dtls, { vault, random, protection });
    const session = ClientSession.restore(this.sessionConfig, VERSION_1_3, keys, saved.session);
    if (!endpoint || !session) return false;
    addon.claimSlot(lanes, SLOT);
    const { flags } = table.fields;
    flags.set(SLOT, flags.get(SLOT) & ~SlotFlag.noGso); // whoever was to try it again is gone
    table.fields.paceRate.set(SLOT, this.#options.paceRate);
    const id = table.fields.currentId.view(SLOT);
    this.#ids = new ClientIds(new DataView(id.buffer, id.byteOffset, 8).getBigUint64(0));
    const rotation = { interval: undefined, protection };
    const peer = new UdpPeer(now, SLOT, 'client', endpoint, session, this.#control, table, rotation);
    peer.user = saved.user;
    this.#control.add(peer);
    return true;
  }

  prepareSlot(version: Version, flags: number): void {
    const { addon, lanes, table } = this.#control;
    this.#control.clearSlot(SLOT);
    addon.claimSlot(lanes, SLOT);
    const { fields } = table;
    fields.flags.set(SLOT, flags);
    fields.versionMajor.set(SLOT, version.major);
    fields.versionMinor.set(SLOT, version.minor);
    fields.state.set(SLOT, SlotState.handshake);
    this.#ids = new ClientIds();
  }

  stranger(): void {}

  helloAgain(now: Micros, peer: UdpPeer, { payload }: Stranger): void {
    peer.receive(now, payload); // a server has no business with one: the endpoint counts it
  }

  moved(_now: Micros, peer: UdpPeer, id: SessionId): void {
    if (!this.#ids.onDecoded(id)) return;
    const bytes = new Uint8Array(8);
    new DataView(bytes.buffer).setBigUint64(0, id);
    const { currentId, sendId } = this.#control.table.fields;
    currentId.set(peer.slot, bytes);
    sendId.set(peer.slot, bytes);
  }

  online(_peer: Peer, networkConfig: NetworkConfig | undefined): void {
    if (!networkConfig) return;
    const { fields } = this.#control.table;
    const { tunLocalIp, tunDnsIp, paceRate, report } = this.#options;
    fields.paceRate.set(SLOT, paceRate);
    fields.sealSource.set(SLOT, parseIpv4(networkConfig.localIp));
    fields.sealMatch.set(SLOT, parseIpv4(tunDnsIp));
    fields.sealReplace.set(SLOT, parseIpv4(networkConfig.dnsIp));
    fields.openDestination.set(SLOT, parseIpv4(tunLocalIp));
    fields.openMatch.set(SLOT, parseIpv4(networkConfig.dnsIp));
    fields.openReplace.set(SLOT, parseIpv4(tunDnsIp));
    report({ type: 'online', networkConfig });
  }

  ended(_peer: Peer, code: string, reason: string): void {
    this.#options.report({ type: 'ended', code, reason });
  }
}
