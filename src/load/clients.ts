/**
 * The clients of one loader thread: as many real sessions as there are slots, each with a handshake, a login, keepalives and ids of
 * its own. Slot and client number are the same.
 */
import tls from 'node:tls';
import type { Vault } from '../crypto/vault.ts';
import { parseIpv4 } from '../datapath/address.ts';
import type { Control } from '../datapath/control.ts';
import type { Peer } from '../datapath/host.ts';
import { SlotFlag, SlotState } from '../datapath/layout.ts';
import type { Role } from '../datapath/role.ts';
import { StreamPeer } from '../datapath/stream-peer.ts';
import { startUdpClient } from '../datapath/udp-client.ts';
import type { UdpPeer } from '../datapath/udp-peer.ts';
import { ClientSession } from '../session/client.ts';
import { ClientIds } from '../session/ids.ts';
import { handshakeMtu } from '../session/path-mtu.ts';
import { createCounters, type NetworkConfig, type ClientConfig as SessionConfig } from '../session/types.ts';
import { type SessionId, VERSION_1_1, VERSION_1_3, type Version } from '../wire/header.ts';
import type { Micros, Random } from '../wire/time.ts';

/** Of a client's outside interface, where its configuration says nothing else. */
const OUTSIDE_MTU = 1_500;
const GROUPS = 'X25519MLKEM768:X25519:P-256';
const CONNECT_MS = 12_700;

export interface ClientsOptions {
  readonly control: Control;
  readonly clients: number;
  readonly vault: Vault;
  readonly random: Random;
  readonly suites: readonly number[];
  readonly groups: readonly number[];
  readonly session: Omit<SessionConfig, 'counters'>;
  /** UDP: the server, 40 bytes (ADDRESS). */
  readonly remote: Uint8Array;
  readonly tcp: {
    readonly address: string;
    readonly portNumber: number;
    readonly caCert: string;
    readonly serverName: string;
    /** Its local address; undefined: the kernel chooses. */
    readonly from: (client: number) => string | undefined;
  };
  readonly online: (client: number, insideAddress: number) => void;
  readonly ended: (client: number, code: string) => void;
  /** A deadline may have moved, or packets may wait. */
  readonly wake: () => void;
}

export class Clients implements Role {
  readonly counters = createCounters();
  readonly #options: ClientsOptions;
  readonly #ids: ClientIds[] = [];

  constructor(options: ClientsOptions) {
    this.#options = options;
  }

  /** Begins the session of a client whose socket is open. */
  connect(now: Micros, client: number): void {
    const { control, remote, session, vault, random, suites, groups } = this.#options;
    this.#prepare(client, VERSION_1_3, SlotFlag.client);
    control.table.fields.remote.set(client, remote);
    const dtls = { vault, random, suites, groups, mtu: handshakeMtu(OUTSIDE_MTU, undefined) };
    startUdpClient(now, client, control, { ...dtls, session: { ...session, counters: this.counters } });
  }

  /** A session that is online at once. @returns its Expresslane key */
  bare(client: number): Uint8Array {
    const { control, remote } = this.#options;
    const { addon, lanes, table } = control;
    this.#prepare(client, VERSION_1_3, SlotFlag.client | SlotFlag.expresslane | SlotFlag.aadFlags);
    const { fields } = table;
    fields.remote.set(client, remote);
    fields.sendId.set(client, bareId(client));
    fields.currentId.set(client, bareId(client));
    const key = addon.laneStage(lanes, client);
    addon.lanePromote(lanes, client);
    fields.state.set(client, SlotState.online);
    return key;
  }

  /** Dials by TCP; the session begins when TLS is up. */
  dial(client: number): void {
    const { tcp, ended } = this.#options;
    const from = tcp.from(client);
    const socket = tls.connect({
      host: tcp.address,
      port: tcp.portNumber,
      ...(from === undefined ? {} : { localAddress: from }),
      ca: tcp.caCert,
      minVersion: 'TLSv1.3',
      maxVersion: 'TLSv1.3',
      ecdhCurve: GROUPS,
      checkServerIdentity: (_host, certificate) =>
        tcp.serverName === '' ? undefined : tls.checkServerIdentity(tcp.serverName, certificate),
    });
    const failed = (code: string) => {
      clearTimeout(timer);
      socket.destroy();
      ended(client, code);
    };
    const timer = setTimeout(() => failed('PEER_SILENT'), CONNECT_MS);
    const refused = (error: NodeJS.ErrnoException) => failed(error.code ?? 'OUTER_FAILED');
    socket.once('error', refused);
    socket.once('secureConnect', () => {
      clearTimeout(timer);
      socket.off('error', refused);
      this.#streamUp(client, socket);
    });
  }

  #streamUp(client: number, socket: tls.TLSSocket): void {
    const { control, session, wake } = this.#options;
    this.#prepare(client, VERSION_1_1, SlotFlag.client | SlotFlag.stream);
    const upper = new ClientSession({ ...session, counters: this.counters }, VERSION_1_1, undefined);
    upper.start(control.now());
    const peer = new StreamPeer(client, socket, upper, control, control.table, (each) => {
      control.reschedule(each);
      wake();
    });
    control.add(peer, peer.write);
    peer.linkUp(control.now());
    wake();
  }

  #prepare(client: number, version: Version, flags: number): void {
    const { addon, lanes, table } = this.#options.control;
    addon.clearSlot(lanes, client);
    addon.claimSlot(lanes, client);
    const { fields } = table;
    fields.flags.set(client, flags);
    fields.versionMajor.set(client, version.major);
    fields.versionMinor.set(client, version.minor);
    fields.state.set(client, SlotState.handshake);
    this.#ids[client] = new ClientIds();
  }

  // ---- Role -------------------------------------------------------------------------------------------------------

  stranger(): void {} // every datagram has come to some client's own socket

  helloAgain(): void {}

  moved(_now: Micros, peer: UdpPeer, id: SessionId): void {
    if (!this.#ids[peer.slot].onDecoded(id)) return;
    const bytes = new Uint8Array(8);
    new DataView(bytes.buffer).setBigUint64(0, id);
    const { currentId, sendId } = this.#options.control.table.fields;
    currentId.set(peer.slot, bytes);
    sendId.set(peer.slot, bytes);
  }

  online(peer: Peer, networkConfig: NetworkConfig | undefined): void {
    if (networkConfig) this.#options.online(peer.slot, parseIpv4(networkConfig.localIp));
  }

  ended(peer: Peer, code: string): void {
    this.#options.ended(peer.slot, code);
  }
}

/** The session id of a bare session. */
export function bareId(client: number): Uint8Array {
  const id = new Uint8Array(8);
  new DataView(id.buffer).setUint32(4, client + 1);
  return id;
}
