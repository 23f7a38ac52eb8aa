/** The client's role on a shard: one session in a slot of its own, which adopts ids and translates to the addresses of this host. */

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

export interface ClientRoleOptions {
  /** Of the server's place in the list. */
  readonly slot: number;
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
  readonly slot: number;
  readonly #options: ClientRoleOptions;
  readonly #control: Control;
  #ids = new ClientIds();

  constructor(options: ClientRoleOptions) {
    this.#options = options;
    this.#control = options.control;
    this.slot = options.slot;
  }

  get sessionConfig(): SessionConfig {
    return { ...this.#options.session, counters: this.counters };
  }

  /** Begins a handshake with the server at `address` (40 bytes, ADDRESS). */
  connect(now: Micros, address: Uint8Array): void {
    const { table } = this.#control;
    this.prepareSlot(VERSION_1_3, SlotFlag.client);
    table.fields.remote.set(this.slot, address);
    const { vault, random, dtls, handshakeMtu } = this.#options;
    startUdpClient(now, this.slot, this.#control, {
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
    if (table.fields.state.get(this.slot) !== SlotState.online) return false;
    const saved = readControlState(table, this.slot);
    if (!saved) return false;
    const { vault, random } = this.#options;
    const protection = new SlotProtection(addon, lanes, this.slot, vault);
    const keys = new SlotLaneKeys(addon, lanes, table, this.slot);
    const endpoint = restoreEndpoint(saved.dtls, { vault, random, protection });
    const session = ClientSession.restore(this.sessionConfig, VERSION_1_3, keys, saved.session);
    if (!endpoint || !session) return false;
    addon.claimSlot(lanes, this.slot);
    const { flags } = table.fields;
    flags.set(this.slot, flags.get(this.slot) & ~SlotFlag.noGso); // whoever was to try it again is gone
    table.fields.paceRate.set(this.slot, this.#options.paceRate);
    const id = table.fields.currentId.view(this.slot);
    this.#ids = new ClientIds(new DataView(id.buffer, id.byteOffset, 8).getBigUint64(0));
    const rotation = { interval: undefined, protection };
    const peer = new UdpPeer(now, this.slot, 'client', endpoint, session, this.#control, table, rotation);
    peer.user = saved.user;
    this.#control.add(peer);
    return true;
  }

  prepareSlot(version: Version, flags: number): void {
    const { addon, lanes, table } = this.#control;
    this.#control.clearSlot(this.slot);
    addon.claimSlot(lanes, this.slot);
    const { fields } = table;
    fields.flags.set(this.slot, flags);
    fields.versionMajor.set(this.slot, version.major);
    fields.versionMinor.set(this.slot, version.minor);
    fields.state.set(this.slot, SlotState.handshake);
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
    fields.paceRate.set(this.slot, paceRate);
    fields.sealSource.set(this.slot, parseIpv4(networkConfig.localIp));
    fields.sealMatch.set(this.slot, parseIpv4(tunDnsIp));
    fields.sealReplace.set(this.slot, parseIpv4(networkConfig.dnsIp));
    fields.openDestination.set(this.slot, parseIpv4(tunLocalIp));
    fields.openMatch.set(this.slot, parseIpv4(networkConfig.dnsIp));
    fields.openReplace.set(this.slot, parseIpv4(tunDnsIp));
    report({ type: 'online', networkConfig });
  }

  ended(_peer: Peer, code: string, reason: string): void {
    this.#options.report({ type: 'ended', code, reason });
  }
}
