/**
 * One session over UDP: the DTLS endpoint, the Lightway session above it, its ids, and its slot. Whatever comes in goes
 * down or up until both are quiet; the control state is written into the slot; then the datagrams leave.
 */
import type { TaskResult } from '../crypto/tasks.ts';
import type { Output as DtlsOutput, Endpoint } from '../dtls/events.ts';
import type { Opened } from '../dtls/protection.ts';
import { ContentType } from '../dtls/records.ts';
import { TCP_HEADERS } from '../packet/ip.ts';
import { ClientSession } from '../session/client.ts';
import type { ServerSession } from '../session/server.ts';
import type { Output as SessionOutput } from '../session/types.ts';
import { type Micros, MS, SECOND } from '../wire/time.ts';
import { writeControlState } from './control-state.ts';
import type { Grant, Peer, PeerHost } from './host.ts';
import { SlotState } from './layout.ts';
import type { SlotProtection } from './slot-protection.ts';
import type { SessionTable } from './table.ts';

/** Copies of every datagram a client sends before it is Online (protocol specification §1.6). */
const AGGRESSIVE = 3;
/** How often a client looks for what has no deadline of its own; a server's sessions are looked at all together (looks.ts). */
const LOOK: Micros = 5 * SECOND;
/** Looks of clients are due at multiples of this, a shard's sessions together: a thousand idle ones wake it four times a second, not 200. */
const LOOK_GRID: Micros = 250 * MS;
/** Records of one send epoch after which new keys are asked for; the limit of AES-GCM is 2^24.5 (RFC 9147 §4.5.3). */
const RECORDS_PER_EPOCH = 2 ** 23;

export interface PeerKeys {
  readonly protection: SlotProtection;
  /** Server: time between DTLS key updates; undefined: never by time (clients do not initiate). */
  readonly interval: Micros | undefined;
}

export class UdpPeer implements Peer {
  readonly slot: number;
  user = '';
  readonly dtls: Endpoint;
  readonly session: ServerSession | ClientSession;
  readonly #role: 'server' | 'client';
  readonly #host: PeerHost;
  readonly #table: SessionTable;
  readonly #keys: PeerKeys;
  #outbox: { bytes: Uint8Array; repeat: number; isProbe: boolean }[] = [];
  /** When new keys are asked for by time. */
  #keysDue: Micros;
  #looked: Micros;
  /** Of the last record that was opened. */
  #epoch = 0;
  #ended = false;
  /** Told when a key update of ours began, so that the id rotates with it (§7.4). */
  onKeyUpdate: ((now: Micros, peer: UdpPeer) => void) | undefined;

  constructor(
    now: Micros,
    slot: number,
    role: 'server' | 'client',
    dtls: Endpoint,
    session: ServerSession | ClientSession,
    host: PeerHost,
    table: SessionTable,
    keys: PeerKeys,
  ) {
    this.slot = slot;
    this.#role = role;
    this.dtls = dtls;
    this.session = session;
    this.#host = host;
    this.#table = table;
    this.#keys = keys;
    this.#keysDue = now + (keys.interval ?? Number.POSITIVE_INFINITY);
    this.#looked = now;
  }

  /** DTLS bytes of a datagram that the bulk nodes left alone. */
  receive(now: Micros, datagram: Uint8Array): void {
    this.dtls.receive(now, datagram);
    this.pump(now);
  }

  /** A record that the bulk nodes have opened. */
  receiveRecord(now: Micros, record: Opened): void {
    // Data in a known epoch changes nothing of the connection's own; a thousand idle sessions send a hundred keepalives a second.
    const isData = record.contentType === ContentType.applicationData && record.epoch === this.#epoch;
    this.#epoch = record.epoch;
    this.dtls.receiveRecord(now, record);
    this.#pump(now, !isData);
  }

  /** An inner packet that is longer than the path carries: a client cuts it. */
  sendLong(now: Micros, packet: Uint8Array): void {
    if (!(this.session instanceof ClientSession)) return;
    this.session.sendLong(packet);
    this.pump(now);
  }

  complete(now: Micros, id: number, result: TaskResult): void {
    this.dtls.complete(now, id, result);
    this.pump(now);
  }

  authorise(now: Micros, grant: Grant | undefined, code: 'ACCESS_DENIED' | 'NO_ADDRESS'): void {
    const session = this.session as ServerSession;
    const id = this.#table.fields.currentId.view(this.slot);
    const sessionId = new DataView(id.buffer, id.byteOffset, 8).getBigUint64(0);
    session.authorise(
      now,
      grant ? { granted: true, networkConfig: grant.networkConfig, sessionId } : { granted: false, code },
    );
    this.pump(now);
  }

  advance(now: Micros): void {
    const { lastOutside, lastInside } = this.#table.fields;
    const heard = lastOutside.get(this.slot);
    // a server may have heard it before an earlier look: its successor's sessions have looked at nothing yet
    if (heard > this.#looked || this.#role === 'server') this.session.received(heard);
    if (this.#online) {
      if (lastInside.get(this.slot) >= this.#looked) this.session.insideActivity(now);
      this.#renewKeys(now);
      if (now >= this.#nextLook || this.#role === 'server') this.#looked = now;
    }
    const repeats = (this.dtls.nextDeadline() ?? now + 1) <= now;
    this.dtls.advance(now);
    this.session.advance(now);
    this.#pump(now, repeats);
  }

  nextDeadline(): Micros | undefined {
    let at = this.#online ? this.#nextOwn : Number.POSITIVE_INFINITY;
    at = Math.min(at, this.dtls.nextDeadline() ?? at, this.session.nextDeadline() ?? at);
    return at === Number.POSITIVE_INFINITY ? undefined : at;
  }

  close(now: Micros): void {
    this.session.close(now, 'LOCAL');
    this.pump(now);
    if (!this.#ended) this.#end('LOCAL', 'closed before login');
  }

  /** Lets outputs happen until there are none. Call it after anything was asked of `dtls` or `session` from outside. */
  pump(now: Micros): void {
    this.#pump(now, true);
  }

  /** @param changed whether the control state may be another one even if no output and the session does not say so */
  #pump(now: Micros, changed: boolean): void {
    let isNew = changed;
    for (;;) {
      const below = this.dtls.drain();
      for (const output of below) {
        isNew ||= output.kind !== 'data';
        this.#fromDtls(now, output, this.#repeat);
      }
      if (this.#ended) break; // the connection is closed: what the session has to say to that can no longer be sent
      const above = this.session.drain();
      for (const output of above) this.#fromSession(now, output);
      if (below.length + above.length === 0 || this.#ended) break;
    }
    if ((isNew || this.session.changed) && !this.#ended && this.#online && this.dtls.state === 'established')
      writeControlState(this.#table, this);
    this.#flush();
  }

  get #online(): boolean {
    return this.session.state === 'online';
  }

  get #repeat(): number {
    return this.#role === 'client' && !this.#online ? AGGRESSIVE : 1;
  }

  get stirred(): boolean {
    return this.#online && this.#role === 'server' && this.#table.fields.lastInside.get(this.slot) >= this.#looked;
  }

  /** When it is to be advanced for its own sake. */
  get #nextOwn(): Micros {
    return this.#role === 'client' ? this.#nextLook : this.#keysDue;
  }

  get #nextLook(): Micros {
    return Math.ceil((this.#looked + LOOK) / LOOK_GRID) * LOOK_GRID;
  }

  #fromDtls(now: Micros, output: DtlsOutput, repeat: number): void {
    switch (output.kind) {
      case 'datagram':
        this.#outbox.push({ bytes: output.bytes, repeat, isProbe: false });
        break;
      case 'task':
        this.#host.compute(this, output.id, output.task);
        break;
      case 'established':
        this.#table.fields.suite.set(this.slot, output.suite);
        this.#table.fields.sendEpoch.set(this.slot, 3);
        this.#table.fields.state.set(this.slot, SlotState.linkUp);
        this.#keysDue = now + (this.#keys.interval ?? Number.POSITIVE_INFINITY);
        this.session.linkUp(now);
        break;
      case 'data':
        this.session.receive(now, output.content);
        break;
      case 'keysUpdated':
        if (output.direction === 'send') this.#table.fields.sendEpoch.set(this.slot, output.epoch);
        break;
      case 'closed': {
        const alert = output.alert === undefined ? '' : ` (alert ${output.alert})`;
        this.#end(output.alert === undefined ? output.code : `${output.code}_${output.alert}`, output.reason + alert);
        break;
      }
    }
  }

  #fromSession(now: Micros, output: SessionOutput): void {
    switch (output.kind) {
      case 'frame':
        this.dtls.send(now, output.bytes);
        if (output.secret) output.bytes.fill(0);
        for (const below of this.dtls.drain()) this.#fromDtls(now, below, output.repeat);
        break;
      case 'probe':
        this.dtls.send(now, output.bytes);
        for (const below of this.dtls.drain())
          if (below.kind === 'datagram') this.#outbox.push({ bytes: below.bytes, repeat: 1, isProbe: true });
          else this.#fromDtls(now, below, 1);
        break;
      case 'pathMtu':
        this.#table.fields.mssClamp.set(this.slot, Math.max(0, output.packet - TCP_HEADERS));
        break;
      case 'authenticate':
        this.#host.authenticate(this, output.auth);
        break;
      case 'online':
        this.#table.fields.state.set(this.slot, SlotState.online);
        this.#keys.protection.forgetHandshake();
        this.#host.online(this, output.networkConfig);
        break;
      case 'packet':
        this.#host.inject(this.slot, output.bytes);
        break;
      case 'closed':
        if (output.notify && this.dtls.state === 'established') {
          this.dtls.close(now);
          for (const below of this.dtls.drain())
            if (below.kind === 'datagram')
              this.#outbox.push({ bytes: below.bytes, repeat: output.repeat, isProbe: false });
        }
        this.#end(output.code, output.reason);
        break;
    }
  }

  #renewKeys(now: Micros): void {
    const { recordSendCounter, sendEpoch } = this.#table.fields;
    const many = recordSendCounter.get(this.slot, sendEpoch.get(this.slot) & 3) > RECORDS_PER_EPOCH;
    const { interval = Number.POSITIVE_INFINITY } = this.#keys;
    const old = now >= this.#keysDue;
    if (!many && !old) return;
    const begun = this.dtls.updateKeys(now, true);
    if (begun || old) this.#keysDue = now + (begun ? interval : Math.min(interval, LOOK)); // an earlier one may be under way
    if (!begun) return;
    this.pump(now); // the KeyUpdate leaves under the old id
    this.onKeyUpdate?.(now, this);
  }

  #flush(): void {
    const outbox = this.#outbox;
    if (outbox.length === 0) return;
    this.#outbox = [];
    for (const { bytes, repeat, isProbe } of outbox) {
      if (isProbe) this.#host.probe(this.slot, bytes);
      else this.#host.transmit(this.slot, bytes, repeat);
    }
  }

  #end(code: string, reason: string): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#flush();
    this.#host.ended(this, code, reason);
  }
}
