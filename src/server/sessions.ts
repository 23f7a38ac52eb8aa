/**
 * The server's role on a shard: answers strangers without remembering them, starts a session behind a valid cookie, follows
 * clients that move, rotates ids, and takes over what a predecessor engine left in the table.
 */

import type { Vault } from '../crypto/vault.ts';
import { ipv4Key } from '../datapath/address.ts';
import { ADDRESS } from '../datapath/batch.ts';
import type { Batches } from '../datapath/batches.ts';
import type { Control } from '../datapath/control.ts';
import { readControlState } from '../datapath/control-state.ts';
import type { Peer, ShardReport } from '../datapath/host.ts';
import { SlotLaneKeys } from '../datapath/lane-keys.ts';
import { SlotFlag, SlotState } from '../datapath/layout.ts';
import type { Role, Stranger } from '../datapath/role.ts';
import { SlotProtection } from '../datapath/slot-protection.ts';
import { UdpPeer } from '../datapath/udp-peer.ts';
import { DTLS_DROPS } from '../dtls/events.ts';
import { answerHello } from '../dtls/listener.ts';
import type { AcceptedHello, HelloAnswer, ListenerOptions, ServerOptions } from '../dtls/options.ts';
import { restoreEndpoint } from '../dtls/restore.ts';
import { DtlsServer } from '../dtls/server.ts';
import { ServerIds } from '../session/ids.ts';
import { ServerSession } from '../session/server.ts';
import { createCounters, type ServerConfig as SessionConfig } from '../session/types.ts';
import { EMPTY, type SessionId, versionOf } from '../wire/header.ts';
import type { Micros, Random } from '../wire/time.ts';
import type { FirstHellos } from './first-hellos.ts';
import { HalfOpen, sourceOf } from './half-open.ts';

/** Bytes of handshake in one datagram: what the stock server keeps to (protocol specification §2.6), and any path carries. */
const HANDSHAKE_MTU = 1_200;

/** Answers a shard may wait for before it begins another handshake: about what the crypto pool does in a second. A client asks again. */
const MOST_QUESTIONS = 512;

export interface ServerRoleOptions {
  readonly control: Control;
  readonly vault: Vault;
  readonly random: Random;
  readonly shard: number;
  readonly shards: number;
  readonly listener: Omit<ListenerOptions, 'vault' | 'applicationData'>;
  readonly certificateChain: readonly Uint8Array[];
  readonly session: Omit<SessionConfig, 'transport' | 'counters'>;
  readonly keyUpdateInterval: Micros;
  readonly report: (report: ShardReport) => void;
  /** Answers first ClientHellos, with cookies of the same seed; without it `answerHello` answers them. */
  readonly firstHellos?: FirstHellos | undefined;
}

const idBytes = (id: SessionId): Uint8Array => {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, id);
  return bytes;
};

const readId = (bytes: Uint8Array): SessionId =>
  new DataView(bytes.buffer, bytes.byteOffset, bytes.length).getBigUint64(0);

/** An id whose first byte names its shard, made of 8 pseudo-random bytes; never EMPTY or REJECTED. */
export function steeredId(seed: Uint8Array, shard: number, shards: number): Uint8Array {
  const id = seed.slice(0, 8);
  id[0] = (id[0] % Math.floor(256 / shards)) * shards + shard;
  if (id[7] === 0 || id[7] === 0xff) id[7] ^= 0x55;
  return id;
}

export class ServerRole implements Role {
  readonly #helloDrops: Record<string, number> = {};
  readonly dtlsDrops = new Uint32Array(DTLS_DROPS);
  readonly sessionCounters = createCounters();
  readonly halfOpen = new HalfOpen();
  readonly #options: ServerRoleOptions;
  readonly #control: Control;
  readonly #listener: ListenerOptions;
  readonly #server: Omit<ServerOptions, 'protection'>;
  readonly #config: SessionConfig;
  readonly #ids = new Map<number, ServerIds>();

  constructor(options: ServerRoleOptions) {
    this.#options = options;
    this.#control = options.control;
    const { vault, random, listener, certificateChain, shard, shards } = options;
    this.#listener = { ...listener, vault, applicationData: (seed) => steeredId(seed, shard, shards) };
    this.#server = {
      vault,
      random,
      mtu: HANDSHAKE_MTU,
      drops: this.dtlsDrops,
      certificateChain,
      schemes: listener.schemes,
    };
    this.#config = { ...options.session, transport: 'udp', counters: this.sessionCounters };
  }

  answerMany(now: Micros, batches: Batches, first: number, end: number): number {
    return this.#options.firstHellos?.answer(now, batches, first, end) ?? 0;
  }

  stranger(now: Micros, stranger: Stranger): void {
    // An earlier datagram of the same vector may have opened the session after `locate` had looked: this is its next fragment, or a copy.
    const { addon, index, peers } = this.#control;
    const slot = addon.indexGet(index, 'outside', stranger.address.slice(0, ADDRESS.key));
    const peer = slot < 0 ? undefined : peers.get(slot);
    if (peer instanceof UdpPeer) {
      this.helloAgain(now, peer, stranger);
      this.#control.reschedule(peer);
      return;
    }
    this.#hello(now, stranger, this.#answer(now, stranger));
  }

  /** A client may begin anew from the same address at any time; nobody else can, since a cookie is good for one session. */
  helloAgain(now: Micros, peer: UdpPeer, stranger: Stranger): void {
    const answer = this.#answer(now, stranger);
    const own = answer.kind !== 'drop' && this.#slotOf(answer.applicationData) === peer.slot;
    if (peer.dtls.state === 'handshake' && (own || answer.kind === 'drop')) peer.receive(now, stranger.payload);
    else if (own) this.#drop('repeated');
    else this.#hello(now, stranger, answer, peer);
  }

  moved(now: Micros, peer: UdpPeer, id: SessionId, address: Uint8Array | undefined): void {
    const ids = this.#ids.get(peer.slot);
    if (!ids) return;
    const { addon, index, table } = this.#control;
    const { remote, currentId, pendingId } = table.fields;
    const retired = ids.onDecoded(id);
    if (retired !== EMPTY) {
      addon.indexDelete(index, 'id', idBytes(retired), peer.slot);
      currentId.set(peer.slot, idBytes(ids.current));
      pendingId.clear(peer.slot);
    } else if (!ids.knows(id)) {
      this.#control.counters.idMismatch++;
    }
    if (!address) return;
    addon.indexDelete(index, 'outside', remote.view(peer.slot).slice(0, ADDRESS.key), peer.slot);
    remote.set(peer.slot, address);
    addon.indexSet(index, 'outside', address.slice(0, ADDRESS.key), peer.slot);
    this.#rotate(now, peer);
  }

  online(peer: Peer): void {
    this.halfOpen.settled(peer.slot);
  }

  ended(peer: Peer): void {
    this.halfOpen.settled(peer.slot);
    this.#forget(peer.slot, peer.user);
  }

  /** Takes the slot out of every index and gives its lease back. */
  #forget(slot: number, user: string): void {
    const { addon, index, table } = this.#control;
    const { remote, currentId, pendingId, insideAddress } = table.fields;
    addon.indexDelete(index, 'outside', remote.view(slot).slice(0, ADDRESS.key), slot);
    addon.indexDelete(index, 'id', currentId.view(slot).slice(), slot);
    if (!pendingId.isZero(slot)) addon.indexDelete(index, 'id', pendingId.view(slot).slice(), slot);
    this.#ids.delete(slot);
    const address = insideAddress.get(slot);
    if (address === 0) return;
    addon.indexDelete(index, 'inside', ipv4Key(address), slot);
    this.#options.report({ type: 'released', insideAddress: address, user });
  }

  /** Goes on with the sessions of this shard that an earlier engine left Online, and frees the slots of the others. */
  restore(now: Micros): number {
    const { table } = this.#control;
    const { shard, shards } = this.#options;
    let restored = 0;
    for (let slot = shard; slot < table.usedSlots; slot += shards) {
      const state = table.fields.state.get(slot);
      if (state === SlotState.free) continue;
      const peer = state === SlotState.online ? this.#restoreOne(now, slot) : undefined;
      if (peer) restored++;
      else {
        this.#forget(slot, '');
        this.#control.clearSlot(slot);
        this.#control.giveSlot(slot);
      }
    }
    return restored;
  }

  #restoreOne(now: Micros, slot: number): UdpPeer | undefined {
    const { addon, lanes, index, table } = this.#control;
    const { fields } = table;
    const saved = readControlState(table, slot);
    if (!saved) return undefined;
    const version = versionOf(fields.versionMajor.get(slot), fields.versionMinor.get(slot));
    const protection = new SlotProtection(addon, lanes, slot, this.#options.vault);
    const dtls = restoreEndpoint(saved.dtls, { ...this.#server, protection });
    const keys = new SlotLaneKeys(addon, lanes, table, slot);
    const session = ServerSession.restore(this.#config, version, keys, saved.session);
    if (!dtls || !session) return undefined;
    addon.claimSlot(lanes, slot);
    fields.shard.set(slot, this.#options.shard);
    fields.flags.set(slot, fields.flags.get(slot) & ~SlotFlag.noGso); // whoever was to try it again is gone
    const peer = this.#peer(now, slot, dtls, session, protection);
    peer.user = saved.user;
    this.#ids.set(slot, new ServerIds(readId(fields.currentId.view(slot)), readId(fields.pendingId.view(slot))));
    addon.indexSet(index, 'outside', fields.remote.view(slot).slice(0, ADDRESS.key), slot);
    addon.indexSet(index, 'id', fields.currentId.view(slot).slice(), slot);
    if (!fields.pendingId.isZero(slot)) addon.indexSet(index, 'id', fields.pendingId.view(slot).slice(), slot);
    addon.indexSet(index, 'inside', ipv4Key(fields.insideAddress.get(slot)), slot);
    this.#control.add(peer);
    return peer;
  }

  /** Hellos that started nothing, by reason. */
  hellosDropped(): Record<string, number> {
    const sum: Record<string, number> = { ...this.#options.firstHellos?.drops };
    for (const [reason, times] of Object.entries(this.#helloDrops)) sum[reason] = (sum[reason] ?? 0) + times;
    return sum;
  }

  #answer(now: Micros, { payload, address }: Stranger): HelloAnswer {
    return answerHello(now, payload, address.subarray(0, ADDRESS.key), this.#listener);
  }

  #hello(now: Micros, stranger: Stranger, answer: HelloAnswer, previous?: UdpPeer): void {
    switch (answer.kind) {
      case 'drop':
        this.#drop(answer.reason);
        if (answer.bytes) this.#reply(stranger, answer.bytes, new Uint8Array(8));
        return;
      case 'retry':
        this.#reply(stranger, answer.bytes, answer.applicationData);
        return;
      case 'accept':
        // The cookie names the session's first id: seen again, the hello is a late copy or a replay, and its session goes on.
        if (this.#slotOf(answer.applicationData) >= 0) {
          this.#drop('repeated');
          return;
        }
        if (this.#control.questions >= MOST_QUESTIONS) {
          this.#drop('busy');
          return;
        }
        if (!this.halfOpen.hasRoom(sourceOf(stranger.address))) {
          this.#drop('sourceFull');
          return;
        }
        // The client has begun anew from the same address: its old session is over, without a word that could confuse the new one.
        if (previous) this.#control.ended(previous, 'REPLACED', 'the client began a new session');
        this.#accept(now, stranger, answer.accepted, answer.applicationData);
    }
  }

  /** The slot of the session that has this id, or −1. */
  #slotOf(id: Uint8Array): number {
    return this.#control.addon.indexGet(this.#control.index, 'id', id);
  }

  #drop(reason: string): void {
    this.#helloDrops[reason] = (this.#helloDrops[reason] ?? 0) + 1;
  }

  #reply(stranger: Stranger, bytes: Uint8Array, id: Uint8Array): void {
    const datagram = new Uint8Array(16 + bytes.length);
    datagram.set(stranger.header.subarray(0, 4), 0); // magic, and the client's own version (protocol specification §1.3)
    datagram.set(id, 8);
    datagram.set(bytes, 16);
    this.#control.transmitTo(stranger.address, datagram);
  }

  #accept(now: Micros, stranger: Stranger, accepted: AcceptedHello, id: Uint8Array): void {
    const { addon, lanes, index, table } = this.#control;
    const slot = this.#control.takeSlot();
    if (slot < 0) {
      this.#drop('tableFull');
      return;
    }
    const source = sourceOf(stranger.address);
    this.halfOpen.enter(source);
    this.halfOpen.hold(slot, source);
    const { fields } = table;
    const version = versionOf(stranger.header[2], stranger.header[3]);
    fields.versionMajor.set(slot, version.major);
    fields.versionMinor.set(slot, version.minor);
    fields.shard.set(slot, this.#options.shard);
    fields.remote.set(slot, stranger.address);
    fields.currentId.set(slot, id);
    fields.sendId.set(slot, id);
    fields.state.set(slot, SlotState.handshake);
    const protection = new SlotProtection(addon, lanes, slot, this.#options.vault);
    const dtls = new DtlsServer(now, accepted, { ...this.#server, protection });
    const session = new ServerSession(this.#config, version, new SlotLaneKeys(addon, lanes, table, slot));
    session.start(now);
    const peer = this.#peer(now, slot, dtls, session, protection);
    this.#ids.set(slot, new ServerIds(readId(id)));
    addon.indexSet(index, 'outside', stranger.address.slice(0, ADDRESS.key), slot);
    addon.indexSet(index, 'id', id, slot);
    this.#control.add(peer);
    peer.pump(now);
    this.#control.reschedule(peer);
  }

  #peer(now: Micros, slot: number, dtls: UdpPeer['dtls'], session: ServerSession, protection: SlotProtection): UdpPeer {
    const keys = { interval: this.#options.keyUpdateInterval, protection };
    const peer = new UdpPeer(now, slot, 'server', dtls, session, this.#control, this.#control.table, keys);
    peer.onKeyUpdate = this.#onKeyUpdate;
    return peer;
  }

  readonly #onKeyUpdate = (now: Micros, peer: UdpPeer): void => this.#rotate(now, peer);

  #rotate(now: Micros, peer: UdpPeer): void {
    const { addon, index, table } = this.#control;
    const id = this.#ids.get(peer.slot)?.begin(this.#options.random, (each) => this.#isOurs(idBytes(each)));
    if (id === undefined) return;
    const bytes = idBytes(id);
    addon.indexSet(index, 'id', bytes, peer.slot);
    table.fields.pendingId.set(peer.slot, bytes);
    table.fields.sendId.set(peer.slot, bytes);
    peer.session.announce(now);
    peer.pump(now);
  }

  #isOurs(id: Uint8Array): boolean {
    return id[0] % this.#options.shards === this.#options.shard;
  }
}
