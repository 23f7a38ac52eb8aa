// Client and server session in one process over a seeded network in virtual time: what the datapath does, with the sealing left out. A
// datagram is a header id and a record or an Expresslane packet; each record number is opened once, as DTLS does.

import { ClientSession } from '../../src/session/client.ts';
import { ClientIds, ServerIds } from '../../src/session/ids.ts';
import { ServerSession } from '../../src/session/server.ts';
import {
  CLIENT_DEFAULTS,
  type ClientConfig,
  createCounters,
  type NetworkConfig,
  type Output,
  SERVER_DEFAULTS,
  type ServerConfig,
} from '../../src/session/types.ts';
import { drawSessionId, type SessionId, VERSION_1_3 } from '../../src/wire/header.ts';
import { type Micros, MS, type Random } from '../../src/wire/time.ts';
import { MemoryKeys } from './keys.ts';

/** xorshift128: the same numbers for the same seed. */
export class Dice {
  readonly #state = new Uint32Array(4);

  constructor(seed: number) {
    this.#state.set([seed ^ 0x9e3779b9, seed * 0x85ebca6b, 0xc2b2ae35, (seed << 7) | 1]);
    for (let i = 0; i < 20; i++) this.next();
  }

  /** From 0 up to, not including, 1. */
  next(): number {
    const s = this.#state;
    let t = s[0] ^ (s[0] << 11);
    t ^= t >>> 8;
    s.copyWithin(0, 1);
    s[3] = s[2] ^ (s[2] >>> 19) ^ t;
    return s[3] / 2 ** 32;
  }

  readonly bytes: Random = (length) => Uint8Array.from({ length }, () => Math.floor(this.next() * 256));
}

/** Chances are from 0 to 1 per datagram, and hold for both directions. */
export type Weather = {
  loss: number;
  duplication: number;
  /** Delay without jitter, one way. */
  delay: Micros;
  /** Up to this much is added to each delay: what reorders. */
  jitter: Micros;
  /** Chance that an Expresslane packet is lost on top. */
  laneLoss: number;
};

export const CALM: Weather = { loss: 0, duplication: 0, delay: 5 * MS, jitter: 0, laneLoss: 0 };

export const NETWORK: NetworkConfig = { localIp: '10.125.0.5', peerIp: '10.125.0.6', dnsIp: '10.125.0.1', mtu: 1350 };

export function serverConfig(patch: Partial<ServerConfig> = {}): ServerConfig {
  return { transport: 'udp', ...SERVER_DEFAULTS, counters: createCounters(), ...patch };
}

export function clientConfig(patch: Partial<ClientConfig> = {}): ClientConfig {
  const credentials = { method: 'userPass', user: 'user', password: Buffer.from('password') } as const;
  return { transport: 'udp', ...CLIENT_DEFAULTS, credentials, counters: createCounters(), ...patch };
}

/** An IPv4 packet of `length` bytes that carries `mark`. */
export function packet(mark: number, length = 84): Uint8Array {
  const bytes = new Uint8Array(length);
  bytes[0] = 0x45;
  new DataView(bytes.buffer).setUint32(16, mark);
  return bytes;
}

export function markOf(bytes: Uint8Array): number {
  return new DataView(bytes.buffer, bytes.byteOffset).getUint32(16);
}

type Datagram = { id: SessionId } & (
  | { kind: 'record'; number: number; plaintext: Uint8Array }
  | { kind: 'lane'; key: Uint8Array; bytes: Uint8Array }
  | { kind: 'closeNotify' }
);

type Arrival = { at: Micros; order: number; to: End; datagram: Datagram };

/** One end: its session, and what the datapath keeps beside it. */
export class End {
  session: ClientSession | ServerSession;
  keys: MemoryKeys;
  readonly serverIds: ServerIds | undefined;
  readonly clientIds = new ClientIds();
  readonly opened = new Set<number>();
  readonly packets: number[] = [];
  readonly outputs: Output[] = [];
  recordNumber = 0;
  /** Expresslane packets that no key here opens. */
  unopened = 0;
  online = 0;
  /** What the path carries, as the session knows it. */
  longest = 0;
  closed: string | undefined;

  constructor(session: ClientSession | ServerSession, keys: MemoryKeys, ids: ServerIds | undefined) {
    this.session = session;
    this.keys = keys;
    this.serverIds = ids;
  }

  get headerId(): SessionId {
    return this.serverIds === undefined ? this.clientIds.current : this.serverIds.outgoing;
  }
}

export class Pair {
  now: Micros = 0;
  readonly dice: Dice;
  readonly client: End;
  readonly server: End;
  weather: Weather;
  /** How long the password check takes. */
  checkTime: Micros = 4 * MS;
  allow = true;
  /** Called after every call into a session, before its outputs leave: where snapshots are tried. */
  inspect: ((end: End) => void) | undefined;
  /** Called when those outputs are on their way. */
  afterDrain: ((end: End) => void) | undefined;
  readonly serverConfig: ServerConfig;
  readonly clientConfig: ClientConfig;
  #arrivals: Arrival[] = [];
  #checks: Micros[] = [];
  #order = 0;

  constructor(seed: number, weather: Weather, server = serverConfig(), client = clientConfig()) {
    this.dice = new Dice(seed);
    this.weather = weather;
    this.serverConfig = server;
    this.clientConfig = client;
    const random = this.dice.bytes;
    const keys = [new MemoryKeys(random), new MemoryKeys(random)];
    this.client = new End(new ClientSession(client, VERSION_1_3, keys[0]), keys[0], undefined);
    const ids = new ServerIds(drawSessionId(random));
    this.server = new End(new ServerSession(server, VERSION_1_3, keys[1]), keys[1], ids);
  }

  /** The handshake is over at both ends. */
  connect(): void {
    for (const end of [this.server, this.client]) {
      end.session.start(this.now);
      end.session.linkUp(this.now);
      this.settle(end);
    }
  }

  /** An inner packet leaves from one end, by the way that is open. */
  sendPacket(from: End, mark: number): void {
    from.session.insideActivity(this.now);
    this.settle(from);
    if (from.session.state !== 'online') return;
    if (from.keys.active) {
      from.keys.sent++;
      this.#transmit(from, { id: from.headerId, kind: 'lane', key: from.keys.send, bytes: packet(mark) });
    } else {
      const bytes = packet(mark);
      this.#record(from, Uint8Array.from([5, bytes.length >> 8, bytes.length, ...bytes]), 1);
    }
  }

  /** Begins a session-id rotation, as after a float or with a key update. */
  rotateId(): void {
    if (this.server.serverIds?.begin(this.dice.bytes) === undefined) return;
    this.server.session.announce(this.now);
    this.settle(this.server);
  }

  /** Runs to a point in time, from event to event. */
  runTo(end: Micros): void {
    for (;;) {
      const next = Math.min(
        this.#nextArrival(),
        this.#deadline(this.client),
        this.#deadline(this.server),
        this.#nextCheck(),
      );
      if (next > end) break;
      this.now = Math.max(this.now, next);
      this.#step();
    }
    this.now = end;
  }

  /** Carries out what a session has to say. */
  settle(end: End): void {
    this.inspect?.(end);
    for (const output of end.session.drain()) {
      end.outputs.push(output);
      if (output.kind === 'frame') this.#record(end, output.bytes, output.repeat);
      else if (output.kind === 'packet') end.packets.push(markOf(output.bytes));
      else if (output.kind === 'online') end.online++;
      else if (output.kind === 'authenticate') this.#checks.push(this.now + this.checkTime);
      else if (output.kind === 'probe') this.#record(end, output.bytes, 1);
      else if (output.kind === 'pathMtu') end.longest = output.packet;
      else {
        end.closed = output.code;
        if (output.notify) this.#transmit(end, { id: end.headerId, kind: 'closeNotify' });
      }
    }
    this.afterDrain?.(end);
  }

  #step(): void {
    const arrival = this.#nextArrival() <= this.now ? this.#arrivals.shift() : undefined;
    if (arrival !== undefined) {
      this.#arrive(arrival.to, arrival.datagram);
      return;
    }
    if (this.#nextCheck() <= this.now) {
      this.#checks.shift();
      const session = this.server.session as ServerSession;
      const sessionId = (this.server.serverIds as ServerIds).current;
      if (this.allow) session.authorise(this.now, { granted: true, networkConfig: NETWORK, sessionId });
      else session.authorise(this.now, { granted: false, code: 'ACCESS_DENIED' });
      this.settle(this.server);
      return;
    }
    for (const end of [this.client, this.server]) {
      if (this.#deadline(end) > this.now) continue;
      end.session.advance(this.now);
      if (this.#deadline(end) <= this.now) throw new Error('advance left its deadline standing');
      this.settle(end);
    }
  }

  #arrive(end: End, datagram: Datagram): void {
    let decoded = 0;
    if (datagram.kind === 'record') {
      if (end.opened.has(datagram.number)) return;
      end.opened.add(datagram.number);
      decoded = end.session.receive(this.now, datagram.plaintext);
    } else if (datagram.kind === 'closeNotify') {
      end.session.close(this.now, 'PEER_GONE');
    } else if (!end.keys.opens(datagram.key)) {
      end.unopened++;
    } else if (end.session.state === 'online') {
      end.keys.received++;
      end.packets.push(markOf(datagram.bytes));
      end.session.received(this.now);
      decoded = 1;
    }
    this.settle(end);
    if (decoded === 0) return;
    end.serverIds?.onDecoded(datagram.id);
    if (end === this.client) end.clientIds.onDecoded(datagram.id);
  }

  #record(from: End, plaintext: Uint8Array, repeat: number): void {
    const datagram = { id: from.headerId, kind: 'record', number: from.recordNumber++, plaintext } as const;
    for (let i = 0; i < repeat; i++) this.#transmit(from, datagram);
  }

  #transmit(from: End, datagram: Datagram): void {
    const to = from === this.client ? this.server : this.client;
    const { loss, duplication, laneLoss } = this.weather;
    if (this.dice.next() < loss) return;
    if (datagram.kind === 'lane' && this.dice.next() < laneLoss) return;
    this.#enter(to, datagram);
    if (this.dice.next() < duplication) this.#enter(to, datagram);
  }

  #enter(to: End, datagram: Datagram): void {
    const at = this.now + this.weather.delay + this.dice.next() * this.weather.jitter;
    this.#arrivals.push({ at, order: this.#order++, to, datagram });
    this.#arrivals.sort((a, b) => a.at - b.at || a.order - b.order);
  }

  #nextArrival(): Micros {
    return this.#arrivals.length === 0 ? Number.POSITIVE_INFINITY : this.#arrivals[0].at;
  }

  #nextCheck(): Micros {
    return this.#checks.length === 0 ? Number.POSITIVE_INFINITY : this.#checks[0];
  }

  #deadline(end: End): Micros {
    return end.session.nextDeadline() ?? Number.POSITIVE_INFINITY;
  }
}
