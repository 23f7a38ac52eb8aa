/**
 * A shard: one thread, one ring, one TUN queue, one UDP socket, and every session that lives here. `turn` is its life:
 * look, run both pipelines once, do what is due. While turns find work they repeat, without JavaScript where there is nothing in them for it (`goOn`), and the
 * event loop gets a pass at least every millisecond if it wants one; then the shard arms its wake-up and sleeps.
 */
import type { Addon, IndexHandle, LanesHandle } from '../native/index.ts';
import { TURN_BUCKETS, turnBucket } from '../observe/statistics.ts';
import { type Micros, MS } from '../wire/time.ts';
import { chooseAead, type ShardAead } from './backends.ts';
import { VERDICTS } from './batch.ts';
import { type Batches, createBatches } from './batches.ts';
import { Control } from './control.ts';
import { Doors } from './doors.ts';
import { fairShareOf } from './fair-share.ts';
import type { ReportSender, ShardStatistics } from './host.ts';
import { injectPackets } from './inject.ts';
import { SlotState } from './layout.ts';
import { type CoalesceMode, createNativeNodes, type Nodes } from './nodes.ts';
import { openPort } from './open-port.ts';
import { createNativePacer, PACER_STATE, type Pacer } from './pacer.ts';
import { createPass, PASS_STATE } from './pass.ts';
import type { Path } from './path.ts';
import { called, isHeld, join, mayRun, runDownlink, runTurns, runUplink, STAGES } from './pipeline.ts';
import { PORT_DROPS, withPortDrops } from './port-drops.ts';
import type { ReferenceBatch } from './reference/memory.ts';
import { createNoblePath, type NobleOptions } from './reference/nodes.ts';
import { type FilterOptions, SocketFilter } from './socket-filter.ts';
import { StageCounters } from './stages.ts';
import { SessionTable, SlotPool } from './table.ts';
import { LOOKS, Turns } from './turns.ts';

/** Longest wait in the kernel between two busy turns: long enough to gather a vector, short enough to be no delay. */
const BUSY_WAIT_US = 50;
/** Turns without work before the shard sleeps. */
const IDLE_TURNS = 2;
/** What comes after a sleep so long comes alone, as far as anybody can tell: the shard does not wait for more of it. */
const LONG_SLEEP: Micros = 1 * MS;
/** Wakes and turns after which it was no lone packet, with the answer to it. */
const LONE_WAKES = 3;
const LONE_TURNS = 3;
/** The same for turns that the addon takes. */
const CALLS = { loneTurns: LONE_WAKES * LONE_TURNS, longSleep: LONG_SLEEP, ...LOOKS };
/** What sessions that begin may take of a turn: two of their steps, so that none waits long behind another, and packets behind neither. */
const WORK: Micros = 300;
/** The event loop's pass: timers, messages, TCP. */
const LOOP_PASS: Micros = 1 * MS;
/** Turns that the addon takes by itself, one behind the other: so long may what JavaScript does once for all of them be late. */
const RUN: Micros = 500;
/** Sessions whose Goodbye and close_notify fit into what may wait. */
const CLOSED_AT_ONCE = 512;
/** Time for those to leave; stock programs give all of them 200 ms (protocol specification §11.6). */
const LAST_WORDS: Micros = 50 * MS;
/** A departure so near is waited for in the kernel: the event loop's timers know whole milliseconds. */
const NEAR: Micros = 2 * MS;
/** Shortest train of each bucket (TRAIN_BUCKETS), as the port names them. */
const TRAIN_STARTS = [1, 2, 4, 8, 16, 32, 64, 128];
/** Bits of wait() that bring something for the uplink: socket, handover, doors. */
const UPLINK = 1 | 4 | 16 | 32 | 64;
/** And for the downlink: device, handover, a blocked transmit that may go on. */
const DOWNLINK = 2 | 4 | 8;

export interface ShardOptions {
  readonly shard: number;
  readonly shards: number;
  readonly generation: number;
  readonly io: 'auto' | 'io_uring' | 'epoll';
  readonly aead: ShardAead;
  readonly gro: CoalesceMode;
  readonly sqpoll: boolean;
  readonly zeroCopy: boolean;
  /** Datagrams of one UDP_SEGMENT send at most: `chooseTrain`. */
  readonly trainSegments: number;
  /** Sessions may have a rate (`paceRate` of their slots). */
  readonly paced: boolean;
  readonly tun: number;
  readonly vnetHeader: boolean;
  readonly udp: number;
  /** Sockets for handshakes that go on, and for strangers; or none: all come to the one above. */
  readonly doors: readonly number[];
  readonly table: { readonly public: number; readonly secret: number; readonly slots: number };
  /** The kernel's filter on the socket, where it has one. */
  readonly filter?: FilterOptions | undefined;
  /** The kernel's program on the device: the map, and which of its queues is this shard's. */
  readonly tunShares?: { readonly map: number; readonly queue: number; readonly queues: number } | undefined;
  readonly index: number;
  readonly handover: number | undefined;
  /** The only slot of a client's shard, or undefined. */
  readonly single: number | undefined;
  /** Node by node, as the reference nodes do: for tests of the pipelines themselves. */
  readonly stepwise?: boolean;
}

/** Of a path that nothing has gone yet. */
const AT_REST = {
  ready: 0,
  found: false,
  resumed: false,
  pressed: false,
  queuedOut: 0,
  queuedIn: 0,
  outgoing: 0,
  entries: 0,
  fresh: false,
};

export class Shard {
  readonly control: Control;
  readonly io: 'io_uring' | 'epoll';
  /** Why it is not the backend that was asked for first, or undefined. */
  readonly note: string | undefined;
  readonly #addon: Addon;
  readonly #path: Path;
  readonly #options: ShardOptions;
  readonly #index: IndexHandle;
  readonly #filter: SocketFilter;
  #timer: NodeJS.Timeout | undefined;
  /** When it rings. */
  #timerAt: Micros = Number.POSITIVE_INFINITY;
  #armed = false;
  #scheduled = false;
  #stopped = false;
  #turns = 0;
  readonly #turnTimes = new Uint32Array(TURN_BUCKETS);
  #passSince: Micros | undefined;
  /** When it last went to sleep. */
  #sleepsSince: Micros = 0;
  /** How often it was woken since the last long sleep. */
  #wakes = 0;

  constructor(addon: Addon, options: ShardOptions, report: ReportSender) {
    this.#addon = addon;
    this.#options = options;
    const { shard, shards, generation, gro, trainSegments: maxSegments } = options;
    const isNoble = options.aead === 'noble';
    const mapping = addon.openTable({ ...options.table, exposeSecrets: isNoble });
    const table = new SessionTable(mapping.public, options.table.slots);
    this.#index = addon.attachIndex(options.index);
    const lanes = addon.createLanes({
      table: mapping.handle,
      index: this.#index,
      shard,
      shards,
      generation,
      aead: isNoble ? chooseAead(addon, 'auto') : options.aead, // control records at least
      ...(options.single === undefined ? {} : { single: options.single }),
    });
    const batches = isNoble ? createBatches(addon, true) : createBatches(addon);
    this.#filter = new SocketFilter(addon, lanes.handle, options.filter);
    const handover = options.handover === undefined ? undefined : addon.attachHandover(options.handover);
    const { port, io, note } = openPort(addon, options, batches, handover);
    this.#filter.watch(port);
    const { tunShares } = options;
    if (tunShares) addon.attachTunShares(port, tunShares.map, tunShares.queue, tunShares.queues);
    this.io = io;
    this.note = note;
    const more = { ...options, table, index: this.#index };
    const { nodes, pacer } = createPath(addon, batches, lanes, more, mapping.secret);
    const pass = mayPass(options)
      ? createPass(addon, { ...CALLS, port, lanes: lanes.handle, batches, gro, maxSegments })
      : undefined;
    this.control = new Control({
      addon,
      lanes: lanes.handle,
      limits: lanes.limits,
      index: this.#index,
      table,
      pool: new SlotPool(table, shard, shards),
      batches,
      report,
      sendProbe: (address, datagram) => addon.sendProbe(port, address, datagram),
      generation,
      cleared: (slot) => this.#cleared(slot),
      doors: options.doors.length > 0,
    });
    this.#path = {
      addon,
      port,
      lanes: lanes.handle as LanesHandle,
      handover,
      batches,
      nodes,
      control: this.control,
      doors: new Doors(addon, port, options.doors.length > 0 ? [this.control.handshakes, this.control.strangers] : []),
      gro,
      joining: gro,
      maxSegments,
      hasUdp: options.udp >= 0,
      ...AT_REST,
      limits: lanes.limits,
      fair: fairShareOf(addon, lanes, port),
      pacer,
      mixed: options.doors.length === 0 && options.single === undefined,
      paced: options.paced,
      turns: new Turns(),
      pass,
      stages: new StageCounters(STAGES, lanes.counters, pass?.stages),
    };
  }

  start(): void {
    this.wake();
  }

  /** Something outside the packet path has put work here (a message, a TCP read): run soon. */
  wake(): void {
    if (this.#scheduled || this.#stopped) return;
    this.#scheduled = true;
    setImmediate(this.#busy);
  }

  /** Says Goodbye to every session. */
  closeSessions(): void {
    this.control.work(this.#addon.monotonicMicros()); // answers that came before
    while (this.control.closeSome(this.#addon.monotonicMicros(), CLOSED_AT_ONCE)) this.#send();
  }

  /**
   * Sends what waits, closes the port. The descriptors stay open. What the pacer still holds is dropped and counted.
   * @returns how many packets those were
   */
  stop(): number {
    if (this.#stopped) return 0;
    this.control.work(this.#addon.monotonicMicros());
    this.turn(this.#addon.monotonicMicros(), 0);
    this.#send();
    this.#stopped = true;
    clearTimeout(this.#timer);
    this.#addon.closePort(this.#path.port);
    return this.#dropPaced();
  }

  #cleared(slot: number): void {
    this.#path.pacer.forget(slot);
    this.#filter.forget(slot);
  }

  #dropPaced(): number {
    const { pacer } = this.#path;
    let dropped = 0;
    for (const slot of this.control.peers.keys()) dropped += pacer.forget(slot, true);
    return dropped;
  }

  statistics(): ShardStatistics {
    const { nodes, port, stages, pass } = this.#path;
    const counted: Record<string, number> = { ...this.#addon.portCounters(port), ...this.#filter.dropped };
    const verdicts: Record<string, number> = {};
    VERDICTS.forEach((name, i) => {
      verdicts[name] = Number(nodes.counters[i]);
    });
    for (const [name, , reason] of PORT_DROPS) verdicts[reason] = (verdicts[reason] ?? 0) + counted[name];
    const { user, system } = process.threadCpuUsage();
    const { state } = this.control.table.fields;
    let online = 0;
    for (const peer of this.control.peers.values()) if (state.get(peer.slot) === SlotState.online) online++;
    return {
      shard: this.#options.shard,
      io: this.io,
      sessions: this.control.peers.size,
      online,
      turns: this.#turns + (pass?.state[PASS_STATE.taken] ?? 0),
      turnTimes: Array.from(this.#turnTimes, (times, bucket) => times + (pass?.turnTimes[bucket] ?? 0)),
      cpuMicros: user + system,
      port: Object.fromEntries(Object.entries(counted).filter(([name]) => !name.startsWith('trains'))),
      verdicts,
      control: {
        ...this.control.counters,
        pings: this.control.counters.pings + (this.#path.pass?.state[PASS_STATE.pings] ?? 0),
      },
      stages: stages.statistics().map((stage) => withPortDrops(stage, counted)),
      trainsIn: TRAIN_STARTS.map((shortest) => counted[`trainsIn${shortest}`] ?? 0),
      trainsOut: TRAIN_STARTS.map((shortest) => counted[`trainsOut${shortest}`] ?? 0),
    };
  }

  /** When a door will be looked at again that is left alone until then. */
  get doorsOpenAt(): Micros | undefined {
    return this.#path.doors.nextDeadline();
  }

  /**
   * One pass, or as many as the addon takes by itself. @param since the turn's time counts from then
   * @param until it may go on so long in the addon, and wait there for `idleUs` @returns whether there was anything to do
   */
  turn(now: Micros, waitUs: number, since = now, until: Micros = 0, idleUs = 0): boolean {
    const path = this.#path;
    const { control } = this;
    path.stages.turn();
    join(path);
    path.doors.begin(control.backlog === 0);
    if (runTurns(path, since, waitUs, until, idleUs)) return true;
    this.#turns++;
    return this.#finish(until === 0 ? now : this.#addon.monotonicMicros()) || path.resumed;
  }

  /** What a turn does after its look. */
  #finish(now: Micros): boolean {
    const path = this.#path;
    const { batches } = path;
    const { control } = this;
    if (path.ready & UPLINK || path.queuedIn > 0) runUplink(path, now);
    const deadline = control.nextDeadline();
    const works = control.backlog > 0 || (deadline !== undefined && deadline <= now);
    if (works) control.work(now, control.now() + WORK);
    if (control.hasOutput && control.fillPackets()) injectPackets(path, now);
    const departs = this.#departure <= now && path.queuedOut === 0;
    const held = isHeld(batches.superpacketsIn) || isHeld(batches.released);
    const waits = departs || held || control.hasOutput;
    if (path.ready & DOWNLINK || waits || path.queuedOut > 0) runDownlink(path, now, waits);
    return path.ready !== 0 || departs || control.backlog > 0 || (control.hasOutput && path.queuedOut === 0);
  }

  /** How long a turn without work may wait in the kernel. */
  #wait(now: Micros): number {
    return this.#isNear(now) ? Math.max(0, Math.min(LOOP_PASS, this.#departure - now)) : BUSY_WAIT_US;
  }

  #isNear(now: Micros): boolean {
    return this.#departure - now < NEAR && this.#path.queuedOut === 0;
  }

  /** When the next train of the pacer may leave. */
  get #departure(): Micros {
    return this.#path.pacer.state[PACER_STATE.deadline];
  }

  /** Turns until all that waits has left, or the socket has not taken it for too long. */
  #send(): void {
    const path = this.#path;
    let now = this.#addon.monotonicMicros();
    const end = now + LAST_WORDS;
    for (; (this.control.hasOutput || path.queuedOut > 0) && now < end; now = this.#addon.monotonicMicros())
      this.turn(now, BUSY_WAIT_US);
  }

  readonly #busy = (): void => {
    this.#scheduled = false;
    if (this.#stopped) return;
    const began = this.#addon.monotonicMicros();
    if (this.#armed) this.#disarm(began);
    // A turn after a pass of the event loop counts from the turn before: messages and handshakes delay packets too.
    let last = this.#passSince ?? began;
    this.#wakes = began - this.#sleepsSince > LONG_SLEEP ? 1 : this.#wakes + 1;
    const isLone = this.#wakes <= LONE_WAKES;
    this.#passSince = undefined;
    let now = began;
    for (let turns = 1, idle = 0; ; turns++) {
      const isFirst = isLone && turns <= LONE_TURNS;
      const until = this.#runsUntil(now, began + LOOP_PASS);
      const worked = this.turn(now, idle === 0 ? 0 : this.#wait(now), last, until, isFirst ? 0 : BUSY_WAIT_US);
      // With a train about to leave the shard does not go to sleep: the wait in the kernel is exact, a timer is not.
      idle = worked ? this.#foundNothing() : this.#isNear(now) ? 1 : idle + 1;
      now = this.#addon.monotonicMicros();
      if (worked) this.#measure(now, last);
      last = now;
      if (idle >= IDLE_TURNS || (isFirst && this.#mayRest(now))) {
        if (this.#sleep(now)) return;
        idle = 0;
      } else if (!isFirst && this.#goOn(now)) {
        return;
      }
      if (now - began > LOOP_PASS) {
        this.#passSince = now;
        this.wake();
        return;
      }
    }
  };

  /** How long the addon may take turns by itself. */
  #runsUntil(now: Micros, end: Micros): Micros {
    if (this.control.backlog > 0) return 0;
    const until = Math.min(now + RUN, end, this.#departure, this.control.nextDeadline() ?? end);
    return until <= now ? 0 : until;
  }

  /** @returns how many idle turns those make that the addon has taken, until it found nothing */
  #foundNothing(): number {
    const { pass, ready } = this.#path;
    return pass && ready === 0 && pass.state[PASS_STATE.began] === Number.POSITIVE_INFINITY
      ? pass.state[PASS_STATE.empty]
      : 0;
  }

  /** The addon has measured its own turns; what it has left to finish counts from where that began. @returns whether there is such a turn */
  #measure(now: Micros, last: Micros): boolean {
    const since = this.#path.pass?.state[PASS_STATE.began] ?? last;
    if (since === Number.POSITIVE_INFINITY) return false;
    this.#turnTimes[turnBucket(now - since)]++;
    return true;
  }

  /** Nothing is left that only another turn would send. */
  #mayRest(now: Micros): boolean {
    const { hasOutput, backlog } = this.control;
    return !hasOutput && backlog === 0 && this.#path.queuedOut === 0 && !this.#isNear(now);
  }

  /** JavaScript has something to do by itself: the addon has not called. */
  #disarm(now: Micros): void {
    const { pass, port } = this.#path;
    this.#addon.disarm(port);
    this.#armed = false;
    this.#path.found = false;
    if (!pass || pass.state[PASS_STATE.worked] === 0) return;
    pass.state[PASS_STATE.worked] = 0;
    this.#beyondLone(now);
  }

  /** The shard was at work: what comes next is no lone packet. */
  #beyondLone(now: Micros): void {
    this.#wakes = LONE_WAKES;
    this.#sleepsSince = now;
  }

  /** Turns that need no JavaScript, in the event loop's place. @returns false when the next one does */
  #goOn(now: Micros): boolean {
    if (!this.#mayRest(now) || !mayRun(this.#path)) return false;
    const { pass, port } = this.#path;
    if (!pass || pass.state[PASS_STATE.began] !== Number.POSITIVE_INFINITY) return false; // as this one did: there may be more of that
    this.#setTimer(now);
    this.#addon.goOn(port, this.#woken);
    this.#armed = true;
    this.#path.ready = 0;
    return true;
  }

  /** @returns false when there is something to do already */
  #sleep(now: Micros): boolean {
    mayRun(this.#path);
    if (this.#addon.arm(this.#path.port, this.#woken)) return false;
    this.#armed = true;
    this.#sleepsSince = now;
    this.#path.ready = 0; // it has looked once more, and nothing was there
    this.#path.found = false;
    this.#setTimer(now);
    return true;
  }

  /** For what is due while the shard sleeps, or goes on without JavaScript. */
  #setTimer(now: Micros): void {
    // a departure before its time, as the timer fires late: the rest is waited for awake
    const departure = this.#path.queuedOut === 0 ? this.#departure - NEAR : Number.POSITIVE_INFINITY;
    const deadline = Math.min(departure, this.control.nextDeadline() ?? Infinity, this.doorsOpenAt ?? Infinity);
    if (this.#path.pass) this.#path.pass.state[PASS_STATE.due] = deadline;
    // A shard sleeps thousands of times a second, a deadline is seconds away: a timer that rings early costs one turn.
    if (deadline === Number.POSITIVE_INFINITY || this.#timerAt <= deadline) return;
    clearTimeout(this.#timer);
    this.#timerAt = deadline;
    this.#timer = setTimeout(this.#due, Math.max(0, Math.min((deadline - now) / 1000, 2 ** 30)));
  }

  readonly #woken = (): void => {
    this.#armed = false;
    const now = this.#addon.monotonicMicros();
    if (called(this.#path, now)) {
      this.#beyondLone(now);
      if (this.#path.resumed && this.#measure(this.#addon.monotonicMicros(), now)) this.#turns++;
    } else {
      this.#sleepsSince = Math.max(this.#sleepsSince, this.#path.pass?.state[PASS_STATE.rested] ?? 0);
    }
    if (!this.#scheduled) this.#busy();
  };

  readonly #due = (): void => {
    this.#timerAt = Number.POSITIVE_INFINITY;
    if (!this.#scheduled) this.#busy();
  };
}

function mayPass({ aead, udp, tun, stepwise }: ShardOptions): boolean {
  return aead !== 'noble' && udp >= 0 && tun >= 0 && stepwise !== true;
}

/** Nodes and pacer of one kind, which is that of the batches. @param secret the other half of the table, for the reference nodes */
function createPath(
  addon: Addon,
  batches: Batches,
  lanes: ReturnType<Addon['createLanes']>,
  options: Omit<NobleOptions, 'counters' | 'secret' | 'limits'>,
  secret: ArrayBuffer | undefined,
): { nodes: Nodes; pacer: Pacer } {
  const { handle, counters } = lanes;
  if (secret)
    return createNoblePath(addon, batches as Batches<ReferenceBatch>, {
      ...options,
      secret,
      counters,
      limits: lanes,
    }) as {
      nodes: Nodes;
      pacer: Pacer;
    };
  return {
    nodes: createNativeNodes(addon, handle, counters),
    pacer: createNativePacer(addon, handle, batches.released, options.trainSegments),
  };
}
