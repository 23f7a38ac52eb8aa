/**
 * A loader thread: many sessions, one fleet of sockets, and the same nodes as the product between them. Where a client has its TUN,
 * the loader has a generator and a counter: inner packets are made as superpackets for lanes.seal, and counted where lanes.open left them.
 *
 *     uplink    traffic.send → lanes.seal → fleet.transmit
 *     downlink  fleet.receive → lanes.open → session.control → traffic.receive
 */
import { randomBytes } from 'node:crypto';
import type { MessagePort } from 'node:worker_threads';
import { DEFAULT_GROUPS } from '../crypto/groups.ts';
import { createNativeVault } from '../crypto/native-vault.ts';
import type { CryptoTask, TaskResult } from '../crypto/tasks.ts';
import { Suite } from '../crypto/vault.ts';
import { encodeAddress, parseIpv4 } from '../datapath/address.ts';
import { HEADER, VERDICTS, Verdict } from '../datapath/batch.ts';
import { type Batches, createBatches, nativeBatch } from '../datapath/batches.ts';
import { Control } from '../datapath/control.ts';
import type { ShardReport } from '../datapath/host.ts';
import { PUBLIC_SLOT_BYTES, SECRET_SLOT_BYTES } from '../datapath/layout.ts';
import { createNativeNodes, type Nodes } from '../datapath/nodes.ts';
import { checkLayout, SessionTable, SlotPool } from '../datapath/table.ts';
import { type Addon, type FleetHandle, loadAddon } from '../native/index.ts';
import { CLIENT_DEFAULTS } from '../session/types.ts';
import { type Micros, MS, SECOND } from '../wire/time.ts';
import { Clients } from './clients.ts';
import type { Scenario } from './scenario.ts';
import { loginsDue } from './schedule.ts';
import { type Snapshot, Traffic, type TrafficOptions } from './traffic.ts';

/** Longest wait in the kernel: what a message from the main thread may have to wait for. */
const LONGEST_WAIT: Micros = 0.5 * MS;
const LOOP_PASS: Micros = 1 * MS;
const VECTOR = 32;
/** Sessions whose last words fit into what may wait. */
const CLOSED_AT_ONCE = 512;
/** Time for those to leave; the crew waits for 3 s. */
const LAST_WORDS: Micros = 2_000_000;
const MAX_SEGMENTS = 64;
export const LANE_KEY = 32;
/** Sessions that may be between their first datagram and Online: more would only wait for each other, and time out. */
const MOST_LOGINS = 48;
/** Between two hellos of a client the sink does not know yet. */
const GREETING: Micros = 100 * MS;

export interface LoaderTask {
  readonly role: 'loader';
  /** Sessions without a handshake, their keys told instead: for a checker in place of a server. */
  readonly bare: boolean;
  readonly scenario: Scenario;
  readonly clients: number;
  readonly traffic: TrafficOptions;
  readonly address: string;
  readonly portNumber: number;
  readonly user: string;
  readonly password: string;
  readonly caCert: string;
  readonly serverName: string;
  readonly aead: 'ipsec-mb' | 'openssl';
  /** Of each client's socket; 0: the kernel's own. */
  readonly bufferBytes: number;
  /** Local addresses, which clients take in turn; empty: the kernel chooses one for all. */
  readonly from: readonly string[];
  readonly tickMs: number;
}

/** `start` and the rest are of this machine's monotonic clock. */
export interface TrafficTimes {
  readonly start: Micros;
  readonly spacing: Micros;
  readonly measureFrom: Micros;
  readonly measureTo: Micros;
  readonly stop: Micros;
}

export type LoaderCommand =
  | { type: 'taskDone'; id: number; result: TaskResult }
  | { type: 'go'; times: TrafficTimes }
  /** Hellos on or off. */
  | { type: 'greet'; on: boolean }
  | { type: 'stopTraffic' }
  | { type: 'result' }
  | { type: 'close' };

export type LoaderReport =
  | { type: 'ready' }
  /** Bare sessions: 32 bytes of Expresslane key a client. */
  | { type: 'keys'; keys: Uint8Array }
  | { type: 'task'; id: number; task: CryptoTask }
  | { type: 'tick'; online: number; failed: Record<string, number>; lost: number; snapshot: Snapshot }
  | { type: 'result'; sent: number[]; received: number[]; measuredBytes: number[]; online: number[] }
  | { type: 'closed' };

class Loader {
  readonly #addon: Addon;
  readonly #task: LoaderTask;
  readonly #port: MessagePort;
  readonly #fleet: FleetHandle;
  readonly #batches: Batches;
  readonly #nodes: Nodes;
  readonly #control: Control;
  readonly #clients: Clients;
  readonly #traffic: Traffic;
  readonly #failed: Record<string, number> = {};
  readonly #isOnline: Uint8Array;
  #online = 0;
  #lost = 0;
  /** Sessions that have ended, lost ones included. */
  #over = 0;
  #begun = 0;
  #rampStart: Micros;
  #nextTick: Micros;
  #nextGreeting: Micros = Number.POSITIVE_INFINITY;
  #times: TrafficTimes | undefined;
  #queued = 0;
  #stopped = false;

  constructor(addon: Addon, task: LoaderTask, port: MessagePort) {
    this.#addon = addon;
    this.#task = task;
    this.#port = port;
    const { clients: slots, address, portNumber, bufferBytes } = task;
    this.#isOnline = new Uint8Array(slots);
    this.#fleet = addon.createFleet({ slots, address, portNumber, bufferBytes });
    this.#traffic = new Traffic(addon, task.traffic);
    this.#batches = createBatches(addon);
    const memory = {
      public: addon.createMemfd('load-sessions', slots * PUBLIC_SLOT_BYTES),
      secret: addon.createMemfd('load-secrets', slots * SECRET_SLOT_BYTES),
    };
    const mapping = addon.openTable({ ...memory, slots });
    const table = new SessionTable(mapping.public, slots);
    const index = addon.attachIndex(addon.createIndex(slots).id);
    const lanes = addon.createLanes({
      table: mapping.handle,
      index,
      shard: 0,
      shards: 1,
      generation: 1,
      aead: task.aead,
    });
    this.#nodes = createNativeNodes(addon, lanes.handle, lanes.counters);
    const report = (message: ShardReport) => {
      if (message.type === 'task') this.#say({ type: 'task', id: message.id, task: message.task });
    };
    const pool = new SlotPool(table, 0, 1);
    const { handle, limits } = lanes;
    const shared = { addon, lanes: handle, limits, index, table, pool, batches: this.#batches, report };
    this.#control = new Control({ ...shared, generation: 1, doors: false });
    this.#clients = this.#createClients();
    this.#control.role = this.#clients;
    this.#rampStart = this.#control.now();
    this.#nextTick = this.#rampStart;
  }

  #createClients(): Clients {
    const { scenario, address, portNumber, user, password, caCert, serverName, clients } = this.#task;
    return new Clients({
      control: this.#control,
      clients,
      vault: createNativeVault(this.#addon),
      random: (length) => new Uint8Array(randomBytes(length)),
      suites: [Suite.aes256],
      groups: DEFAULT_GROUPS,
      session: {
        ...CLIENT_DEFAULTS,
        transport: scenario.transport,
        expresslane: { enabled: scenario.expresslane, rotationInterval: CLIENT_DEFAULTS.expresslane.rotationInterval },
        credentials: { method: 'userPass', user, password: new TextEncoder().encode(password) },
      },
      remote: encodeAddress(address, portNumber, ''),
      tcp: { address, portNumber, caCert, serverName, from: (client) => this.#from(client) },
      online: (client, insideAddress) => {
        this.#traffic.set('source', client, insideAddress);
        this.#traffic.set('online', client, 1);
        this.#isOnline[client] = 1;
        this.#online++;
      },
      ended: (client, code) => this.#ended(client, code),
      wake: () => {},
    });
  }

  #ended(client: number, code: string): void {
    this.#traffic.set('online', client, 0);
    this.#over++;
    if (this.#isOnline[client]) {
      this.#isOnline[client] = 0;
      this.#online--;
      this.#lost++;
    }
    if (!this.#stopped) this.#failed[code] = (this.#failed[code] ?? 0) + 1;
    // at the end its Goodbye still has to leave, and the fleet is closed as a whole
    if (this.#task.scenario.transport === 'udp' && !this.#stopped) this.#addon.closeOutside(this.#fleet, client);
  }

  #say(report: LoaderReport): void {
    this.#port.postMessage(report);
  }

  run(): Promise<void> {
    return new Promise((resolve) => {
      this.#port.on('message', (command: LoaderCommand) => this.#obey(command, resolve));
      this.#say({ type: 'ready' });
      if (this.#task.bare) this.#say({ type: 'keys', keys: this.#bareSessions() });
      setImmediate(this.#loop);
    });
  }

  #obey(command: LoaderCommand, done: () => void): void {
    const now = this.#control.now();
    switch (command.type) {
      case 'taskDone':
        return this.#control.taskDone(now, command.id, command.result);
      case 'go':
        this.#times = command.times;
        return this.#addon.scheduleTraffic(this.#traffic.handle, command.times);
      case 'greet':
        this.#nextGreeting = command.on ? now : Number.POSITIVE_INFINITY;
        return;
      case 'stopTraffic':
        this.#times = undefined;
        return this.#addon.scheduleTraffic(this.#traffic.handle, {
          start: 0,
          spacing: 0,
          measureFrom: 0,
          measureTo: 0,
          stop: 0,
        });
      case 'result':
        return this.#say({
          type: 'result',
          sent: this.#traffic.column('sent'),
          received: this.#traffic.column('received'),
          measuredBytes: this.#traffic.column('measuredBytes'),
          online: Array.from(this.#isOnline),
        });
      case 'close':
        this.#stopped = true;
        this.#sayGoodbye();
        this.#addon.closeFleet(this.#fleet);
        this.#say({ type: 'closed' });
        this.#port.close();
        done();
    }
  }

  /** Without one the server keeps a session until it is idle for too long: runs one after the other would fill its table. */
  #sayGoodbye(): void {
    const end = this.#control.now() + LAST_WORDS;
    for (let now = this.#control.now(), more = true; now < end; now = this.#control.now()) {
      if (more && !this.#control.hasOutput) more = this.#control.closeSome(now, CLOSED_AT_ONCE);
      this.#transmit(now);
      if (!more && !this.#control.hasOutput && this.#queued === 0) return;
      if (this.#queued > 0) this.#addon.fleetWait(this.#fleet, 50);
    }
  }

  readonly #loop = (): void => {
    if (this.#stopped) return;
    const began = this.#control.now();
    for (let now = began; now - began < LOOP_PASS; now = this.#control.now()) this.#turn(now);
    setImmediate(this.#loop);
  };

  #turn(begun: Micros): void {
    this.#logins(begun);
    const ready = this.#addon.fleetWait(this.#fleet, this.#queued > 0 ? 50 : this.#patience(begun));
    const now = this.#control.now();
    const { superpacketsIn } = this.#batches;
    const held = superpacketsIn.header[HEADER.consumed] < superpacketsIn.header[HEADER.count];
    if (!held) this.#addon.clear(nativeBatch(superpacketsIn));
    if (ready > 0) this.#receive(now);
    this.#takeFrames(now);
    if (!held) {
      if (now >= this.#nextGreeting) {
        this.#addon.greetTraffic(this.#traffic.handle, nativeBatch(superpacketsIn), now);
        this.#nextGreeting = now + GREETING;
      }
      if (this.#times) this.#addon.sendTraffic(this.#traffic.handle, nativeBatch(superpacketsIn), now);
    }
    this.#control.work(now);
    this.#transmit(now);
    if (now >= this.#nextTick) this.#tick(now);
  }

  /** How long there is nothing to do but wait for datagrams. */
  #patience(now: Micros): Micros {
    if (this.#control.hasOutput) return 0;
    let until = now + LONGEST_WAIT;
    if (this.#times && now < this.#times.stop) {
      if (this.#task.traffic.window) until = now + LONGEST_WAIT / 5;
      else if (this.#times.spacing === 0) return 0;
      else until = Math.min(until, this.#times.start + this.#traffic.total('turns') * this.#times.spacing);
    }
    return Math.max(0, Math.min(until, this.#control.nextDeadline() ?? until) - now);
  }

  /** Its own address; neighbours in number have different ones. */
  #from(client: number): string | undefined {
    const { from, traffic } = this.#task;
    return from[(traffic.first + client) % from.length];
  }

  #bareSessions(): Uint8Array {
    const { clients } = this.#task;
    const keys = new Uint8Array(clients * LANE_KEY);
    for (let client = 0; client < clients; client++) {
      this.#addon.openOutside(this.#fleet, client, this.#from(client));
      keys.set(this.#clients.bare(client), client * LANE_KEY);
      this.#traffic.set('source', client, parseIpv4('10.125.0.5'));
      this.#traffic.set('online', client, 1);
      this.#isOnline[client] = 1;
    }
    this.#begun = this.#online = clients;
    return keys;
  }

  #logins(now: Micros): void {
    if (this.#begun === this.#task.clients) return;
    const { scenario, clients } = this.#task;
    const ramp = (scenario.ramp * clients) / scenario.clients; // this thread's share
    const over = this.#online + this.#over;
    const due = Math.min(loginsDue(now - this.#rampStart, ramp, clients), over + MOST_LOGINS);
    for (; this.#begun < due; this.#begun++) {
      if (scenario.transport === 'tcp') {
        this.#clients.dial(this.#begun);
        continue;
      }
      try {
        this.#addon.openOutside(this.#fleet, this.#begun, this.#from(this.#begun));
      } catch (error) {
        this.#ended(this.#begun, (error as NodeJS.ErrnoException).code ?? 'SOCKET');
        continue;
      }
      this.#clients.connect(now, this.#begun);
    }
  }

  #receive(now: Micros): void {
    const { trainsIn, packets, superpacketsIn } = this.#batches;
    this.#addon.clear(nativeBatch(trainsIn));
    const count = this.#addon.fleetReceive(this.#fleet, nativeBatch(trainsIn), VECTOR);
    while (trainsIn.header[HEADER.consumed] < count) {
      this.#addon.clear(nativeBatch(packets));
      this.#nodes.open(trainsIn, packets, now);
      this.#control.vector(now);
      this.#addon.receiveTraffic(this.#traffic.handle, nativeBatch(packets), nativeBatch(superpacketsIn), now);
    }
    this.#addon.clear(nativeBatch(packets));
  }

  /** Packets that came as frames: TCP. */
  #takeFrames(now: Micros): void {
    if (!this.#control.hasOutput || !this.#control.fillPackets()) return;
    const { controlPackets, superpacketsIn } = this.#batches;
    this.#addon.receiveTraffic(this.#traffic.handle, nativeBatch(controlPackets), nativeBatch(superpacketsIn), now);
    this.#addon.clear(nativeBatch(controlPackets));
  }

  #transmit(now: Micros): void {
    const { superpacketsIn, trainsOut } = this.#batches;
    for (let again = true; again; ) {
      const before = superpacketsIn.header[HEADER.consumed];
      const count = superpacketsIn.header[HEADER.count];
      if (before < count) this.#nodes.seal(superpacketsIn, trainsOut, MAX_SEGMENTS, now);
      this.#control.fill();
      this.#queued = this.#addon.fleetTransmit(this.#fleet, nativeBatch(trainsOut));
      if (this.#queued > 0) return;
      this.#writeStreams();
      this.#addon.clear(nativeBatch(trainsOut));
      const consumed = superpacketsIn.header[HEADER.consumed];
      again = consumed > before && consumed < count;
    }
  }

  #writeStreams(): void {
    const { trainsOut } = this.#batches;
    const count = trainsOut.header[HEADER.count];
    for (let i = 0; i < count; i++) {
      if (trainsOut.kind[i] !== 1 || trainsOut.verdict[i] !== Verdict.pass) continue;
      const at = trainsOut.offset[i];
      this.#control.stream(trainsOut.slot[i], trainsOut.bytes.subarray(at, at + trainsOut.length[i]));
    }
  }

  #tick(now: Micros): void {
    this.#nextTick = now + this.#task.tickMs * MS;
    const { user, system } = process.threadCpuUsage();
    const verdicts: Record<string, number> = {};
    VERDICTS.forEach((name, i) => {
      if (this.#nodes.counters[i] > 0n) verdicts[name] = Number(this.#nodes.counters[i]);
    });
    const { streamFull, unknownSlot, outputLost } = this.#control.counters;
    this.#say({
      type: 'tick',
      online: this.#online,
      failed: this.#failed,
      lost: this.#lost,
      snapshot: {
        totals: this.#traffic.totals(),
        histograms: this.#traffic.histograms(),
        port: { ...this.#addon.fleetCounters(this.#fleet), streamFull, unknownSlot, outputLost },
        verdicts,
        at: now,
        cpuSeconds: (user + system) / SECOND,
      },
    });
  }
}

/** What runs on a loader thread, until it is told to close. */
export async function runLoader(task: LoaderTask, port: MessagePort): Promise<void> {
  const addon = loadAddon();
  checkLayout(addon);
  await new Loader(addon, task, port).run();
}
