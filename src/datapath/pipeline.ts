/**
 * The two pipelines of a shard, in the order a packet meets them. Nothing else calls a node.
 *
 * A *step* runs one node over the shard's batches. It returns true when it has passed on a part of its input and has more:
 * the rest of the pipeline then runs on that part before the step is called again. So a vector of any size goes through
 * batches of fixed size, in order, and nothing is dropped for want of room: what cannot leave stays in its batch and holds
 * the pipeline until the socket takes it.
 */
import type { Micros } from '../wire/time.ts';
import { type Batch, datagramsOf, Flag, HEADER, Verdict } from './batch.ts';
import { nativeBatch, VECTOR } from './batches.ts';
import { packetsLeft, segmentsIn } from './inner-packets.ts';
import { LIMIT } from './limits.ts';
import { COALESCE_MODES } from './nodes.ts';
import { PACER_STATE } from './pacer.ts';
import { PASS, PASS_STATE, type Pass, WOKEN } from './pass.ts';
import type { Path } from './path.ts';
import { UNTIMED } from './stages.ts';

/** Bits of the addon's `wait`, but for the doors'. */
const READY = { udp: 1, tun: 2, handover: 4, unblocked: 8 } as const;

export type Step = (path: Path, now: Micros) => boolean;

const udp = {
  receive: (path: Path) => {
    const { addon, port, batches, handover } = path;
    if (path.ready & 1) addon.udpReceive(port, VECTOR);
    if (handover && path.ready & 4) addon.takeOver(handover, port, 'udp', VECTOR);
    path.doors.receive(path);
    path.entries = batches.trainsIn.header[HEADER.count];
    return false;
  },

  transmit: (path: Path, now: Micros) => {
    const { addon, port, batches, control } = path;
    const { trainsOut } = batches;
    const answers = control.fill();
    const count = trainsOut.header[HEADER.count];
    const began = answers > 0 ? addon.monotonicMicros() : 0;
    if (path.hasUdp) path.queuedOut = addon.udpTransmit(port, nativeBatch(trainsOut));
    if (answers > 0) control.answered(answers, ((addon.monotonicMicros() - began) * answers) / count);
    path.entries = count;
    transmitted(path, now);
    return false;
  },
};

/** The socket has had its trains; what is left are streams, and refusals. */
function transmitted({ addon, batches, control }: Path, now: Micros): void {
  const { trainsOut } = batches;
  const count = trainsOut.header[HEADER.count];
  for (let i = 0; i < count; i++) {
    if (trainsOut.kind[i] === 1 && trainsOut.verdict[i] === Verdict.pass) {
      const at = trainsOut.offset[i];
      control.stream(trainsOut.slot[i], trainsOut.bytes.subarray(at, at + trainsOut.length[i]));
    } else if ((trainsOut.flags[i] & Flag.unsegmented) !== 0 && trainsOut.slot[i] >= 0) {
      control.refusals.train(trainsOut.slot[i], trainsOut.error[i], now);
    }
  }
  addon.clear(nativeBatch(trainsOut));
}

const lanes = {
  open: (path: Path, now: Micros) => {
    const { batches, nodes } = path;
    const { trainsIn } = batches;
    const count = trainsIn.header[HEADER.count];
    if (trainsIn.header[HEADER.consumed] === 0 && count > 0) {
      admit(path, now);
      if (nodes.locate(trainsIn) < count) handOver(path, trainsIn, 'udp');
    }
    return openSome(path, now);
  },

  /**
   * Those that passed the pacer first: what it has released since was behind them. Their blocks go back to the device at once: a
   * vector may have taken all there are, and the device has nothing to say while it has none.
   */
  seal: (path: Path, now: Micros) => {
    const { superpacketsIn, released } = path.batches;
    path.entries = 0;
    if (sealFrom(path, superpacketsIn, now) && isHeld(superpacketsIn)) return path.entries > 0;
    if (superpacketsIn.header[HEADER.count] > 0) path.addon.clear(nativeBatch(superpacketsIn));
    if (sealFrom(path, released, now) && isHeld(released)) return path.entries > 0;
    return false;
  },
};

/** What locate may let through of this vector. */
function admit(path: Path, now: Micros): void {
  path.limits[LIMIT.strangers] = path.control.admits();
  path.fair.vector(now, !path.pressed);
}

/** As many packets as there is room for. @returns whether there are more */
function openSome(path: Path, now: Micros): boolean {
  const { addon, batches, nodes } = path;
  const { trainsIn, packets } = batches;
  addon.clear(nativeBatch(packets));
  nodes.open(trainsIn, packets, now, path.joining);
  path.entries = packets.header[HEADER.count] + packets.header[HEADER.followed];
  return isHeld(trainsIn);
}

/** @returns whether there was anything to seal */
function sealFrom(path: Path, superpackets: Batch, now: Micros): boolean {
  const before = superpackets.header[HEADER.consumed];
  if (!isHeld(superpackets)) return false;
  path.entries += path.nodes.seal(superpackets, path.batches.trainsOut, path.maxSegments, now) - before;
  return true;
}

/** Not all of it has been sealed: the socket is full. */
export function isHeld({ header }: Batch): boolean {
  return header[HEADER.consumed] < header[HEADER.count];
}

const session = {
  control: (path: Path, now: Micros) => {
    path.entries = path.control.vector(now);
    return false;
  },
};

const guard = {
  admit: (path: Path, now: Micros) => {
    const { packets } = path.batches;
    path.entries = packets.header[HEADER.count] + packets.header[HEADER.followed];
    path.nodes.admit(packets, now);
    return false;
  },
};

const gro = {
  coalesce: (path: Path) => {
    const { addon, batches, nodes } = path;
    const { packets, superpacketsOut } = batches;
    const count = packets.header[HEADER.count];
    const before = packets.header[HEADER.consumed];
    addon.clear(nativeBatch(superpacketsOut));
    path.outgoing = nodes.coalesce(packets, superpacketsOut, path.joining);
    const consumed = packets.header[HEADER.consumed];
    path.entries = consumed - before + (before === 0 && consumed > 0 ? packets.header[HEADER.followed] : 0);
    if (consumed === before && consumed < count) nodes.counters[Verdict.noBlock] += BigInt(packetsLeft(packets)); // the device is full
    return consumed < count && consumed > before;
  },
};

const tun = {
  receive: (path: Path) => {
    const { addon, port, batches, handover, turns } = path;
    const { superpacketsIn, released } = batches;
    path.entries = 0;
    if (isHeld(superpacketsIn) || isHeld(released)) return false;
    path.fresh = true;
    if (path.queuedOut > 0 && !turns.taken) return false; // let the device's own queue fill: it drops for the sender to see
    if (path.ready & 2) addon.tunReceive(port, turns.taken ? 2 * VECTOR : VECTOR);
    if (handover && path.ready & 4) addon.takeOver(handover, port, 'tun', VECTOR);
    path.entries = superpacketsIn.header[HEADER.count];
    return false;
  },

  transmit: (path: Path, now: Micros) => {
    const { superpacketsOut } = path.batches;
    path.entries = path.outgoing;
    path.queuedIn = path.addon.tunTransmit(path.port, nativeBatch(superpacketsOut));
    written(path, now);
    return false;
  },
};

/** The device has had its superpackets. */
export function written({ batches, control }: Path, now: Micros): void {
  const { header } = batches.superpacketsOut;
  refused(control, header[HEADER.refusedTcp], header[HEADER.refusedUdp], now);
}

/** Errnos, or 0. */
function refused({ refusals }: Path['control'], tcp: number, udp: number, now: Micros): void {
  if (tcp !== 0) refusals.superpackets('TCP', tcp, now);
  if (udp !== 0) refusals.superpackets('UDP', udp, now);
}

/** Between vectors: packets are joined for the device as far as it does not refuse that. */
export function join(path: Path): void {
  const { control, gro, pass } = path;
  const joining = control.refusals.joined(gro);
  if (joining === path.joining) return;
  path.joining = joining;
  if (pass) pass.state[PASS_STATE.joining] = COALESCE_MODES.indexOf(joining);
}

const routes = {
  lookup: (path: Path, now: Micros) => {
    const { batches, nodes } = path;
    const { superpacketsIn } = batches;
    const count = superpacketsIn.header[HEADER.count];
    path.entries = 0;
    if (count === 0 || !path.fresh) return false;
    path.entries = count;
    if (nodes.lookup(superpacketsIn) < count) {
      handOver(path, superpacketsIn, 'tun');
      path.control.oversized(now);
    }
    return false;
  },
};

const pacer = {
  /** Comes after the lookup and before the seal: what waits has no number yet, and what is dropped never had one. */
  release: (path: Path, now: Micros) => {
    const { addon, batches, pacer: pacing, turns } = path;
    const { superpacketsIn, released } = batches;
    const { fresh } = path;
    path.entries = 0;
    path.fresh = false;
    if (isHeld(released) || (isHeld(superpacketsIn) && !fresh)) return false;
    const waits = pacing.state[PACER_STATE.pieces] > 0;
    const count = superpacketsIn.header[HEADER.count];
    const budget = turns.vector(now, superpacketsIn, count, path.queuedOut > 0, waits);
    if (!path.paced && !turns.taken && !waits) return false;
    addon.clear(nativeBatch(released));
    path.entries = pacing.release(superpacketsIn, fresh, now, path.queuedOut > 0 ? 0 : budget);
    return false;
  },
};

/** A vector has gone through the uplink: its blocks are filled again while they are in the cache. */
function release({ addon, batches }: Path): void {
  addon.clear(nativeBatch(batches.trainsIn));
  addon.clear(nativeBatch(batches.packets));
  addon.clear(nativeBatch(batches.superpacketsOut));
}

export const uplink = [udp.receive, lanes.open, session.control, guard.admit, gro.coalesce, tun.transmit] as const;
export const downlink = [tun.receive, routes.lookup, pacer.release, lanes.seal, udp.transmit] as const;

/** Entries of other shards go to them; what their rings cannot take is dropped here, and counted. */
function handOver({ addon, handover, lanes, nodes }: Path, batch: Batch, kind: 'udp' | 'tun'): void {
  if (!handover) return;
  addon.handOver(handover, lanes, nativeBatch(batch), kind);
  const { verdict, header } = batch;
  for (let i = 0; i < header[HEADER.count]; i++) {
    if (verdict[i] === Verdict.handedOver) nodes.counters[Verdict.handedOver]++;
    else if (verdict[i] === Verdict.handoverFull)
      nodes.counters[Verdict.handoverFull] += BigInt(kind === 'udp' ? datagramsOf(batch, i) : segmentsIn(batch, i));
  }
}

/** What the stages are called, uplink first: as the lists above say. */
export const STAGES: readonly string[] = [...uplink, ...downlink].map(nameOf);

function nameOf(step: Step): string {
  const subjects = { udp, lanes, session, guard, gro, tun, routes, pacer };
  for (const [subject, verbs] of Object.entries(subjects))
    for (const [verb, other] of Object.entries(verbs)) if (other === step) return `${subject}.${verb}`;
  return '';
}

/** One vector through a pipeline. */
export function run(pipeline: readonly Step[], path: Path, now: Micros, from = 0): void {
  for (let i = from; i < pipeline.length; i++) while (counted(pipeline, i, path, now)) run(pipeline, path, now, i + 1);
}

function counted(pipeline: readonly Step[], i: number, path: Path, now: Micros): boolean {
  const { addon, stages } = path;
  const began = stages.timing ? addon.monotonicMicros() : 0;
  const more = pipeline[i](path, now);
  const micros = stages.timing && path.entries > 0 ? addon.monotonicMicros() - began : UNTIMED;
  stages.count(pipeline === downlink ? uplink.length + i : i, path.entries, micros);
  return more;
}

/** What has come, up the pipeline. */
export function runUplink(path: Path, now: Micros): void {
  if (mayPassUp(path)) passUp(path, now);
  else run(uplink, path, now);
  release(path);
}

/** And down, with what waits. @param waits something does: control datagrams, packets at the pacer, a vector that has been held */
export function runDownlink(path: Path, now: Micros, waits: boolean): void {
  if (!waits && mayPassDown(path)) passDown(path, now);
  else run(downlink, path, now);
}

/** Only the socket has something, and nobody has to look at the clock or at single trains. */
function mayPassUp({ pass, ready, queuedIn, fair }: Path): boolean {
  return pass !== undefined && (ready & ~READY.tun) === READY.udp && queuedIn === 0 && !fair.stamped;
}

function passUp(path: Path, now: Micros): void {
  const { pass } = path as Path & { pass: Pass };
  path.doors.receive(path); // that nothing came through them
  admit(path, now);
  finishUp(path, now, pass.uplink(now, VECTOR));
}

/** Goes on where an uplink has stopped. @param next PASS */
function finishUp(path: Path, now: Micros, next: number): void {
  const { pass, batches, control } = path as Path & { pass: Pass };
  path.queuedIn = pass.state[PASS_STATE.queuedIn];
  refused(control, pass.state[PASS_STATE.refusedTcp], pass.state[PASS_STATE.refusedUdp], now);
  if (pass.state[PASS_STATE.answered] > 0) {
    path.queuedOut = pass.state[PASS_STATE.queuedOut];
    transmitted(path, now); // if any was refused
  }
  if (next === PASS.done) return;
  if (next === PASS.located) {
    handOver(path, batches.trainsIn, 'udp');
  } else {
    path.stages.count(CONTROL, control.vector(now), UNTIMED);
    run(uplink, path, now, CONTROL + 1);
  }
  while (isHeld(batches.trainsIn)) {
    openSome(path, now);
    path.stages.count(OPEN, path.entries, UNTIMED);
    run(uplink, path, now, CONTROL);
  }
}

/** Only the device has something, and no session waits for its turn. */
function mayPassDown({ pass, ready, queuedOut, paced, turns }: Path): boolean {
  return (
    pass !== undefined &&
    (ready & (READY.tun | READY.handover | READY.unblocked)) === READY.tun &&
    queuedOut === 0 &&
    !paced &&
    !turns.taken
  );
}

function passDown(path: Path, now: Micros): void {
  const { pass, batches, turns } = path as Path & { pass: Pass };
  const next = pass.downlink(now, VECTOR);
  const count = pass.state[PASS_STATE.received];
  turns.vector(now, batches.superpacketsIn, count, path.queuedOut > 0, false); // whether the next one is to take turns
  finishDown(path, now, next);
}

/** Goes on where a downlink has stopped. @param next PASS */
function finishDown(path: Path, now: Micros, next: number): void {
  const { pass, batches } = path as Path & { pass: Pass };
  path.fresh = false;
  if (next === PASS.lookedUp) {
    handOver(path, batches.superpacketsIn, 'tun');
    path.stages.count(LOOKUP, 0, UNTIMED); // what the handover had no room for
    path.control.oversized(now);
    run(downlink, path, now, SEAL);
    return;
  }
  path.queuedOut = pass.state[PASS_STATE.queuedOut];
  if (next !== PASS.transmitted) return;
  transmitted(path, now);
  if (isHeld(batches.superpacketsIn)) run(downlink, path, now, SEAL);
}

/**
 * May the addon take turns by itself: where a turn would have nothing else to do, and strangers, who are heard as far as their share goes, have another
 * way in.
 */
function runsItself({ batches, queuedIn, queuedOut, paced, turns, fair, control, mixed }: Path): boolean {
  const { superpacketsIn, released } = batches;
  const rests = queuedIn === 0 && queuedOut === 0 && !control.hasOutput && !isHeld(superpacketsIn) && !isHeld(released);
  return rests && !paced && !turns.taken && !fair.stamped && !mixed;
}

/**
 * Before the shard sleeps, or goes on without JavaScript: whether what comes may go through without it.
 * @returns that
 */
export function mayRun(path: Path): boolean {
  const may = path.pass !== undefined && runsItself(path);
  if (path.pass) path.pass.state[PASS_STATE.alone] = may ? 1 : 0;
  return may;
}

/**
 * Looks, and works as long as there is nothing but vectors that go through in one pass. What a turn does besides, to see who sends how
 * much, is done once for all of them.
 * @param since the first turn's time counts from then
 * @returns whether that was all there was to do for now; else `ready` says what is left, as after any look
 */
export function runTurns(path: Path, since: Micros, waitUs: number, until: Micros, idleUs: number): boolean {
  const { addon, pass } = path;
  if (!pass || until <= since || !runsItself(path)) {
    const found = path.found;
    path.ready = addon.wait(path.port, waitUs);
    path.found = (path.ready & READY.udp) !== 0;
    path.pressed = found && path.found;
    path.resumed = false;
    if (pass) pass.state[PASS_STATE.began] = since;
    return false;
  }
  const { state } = pass;
  const over = pass.turns(since, waitUs, until, idleUs);
  ranItself(path, pass, over);
  path.ready = state[PASS_STATE.ready];
  return over > 0 && state[PASS_STATE.began] === Number.POSITIVE_INFINITY;
}

/** The addon has taken so many turns, and perhaps begun another one. What a turn does besides, and what that one has left. */
function ranItself(path: Path, { state }: Pass, over: number): void {
  const { addon, batches, turns } = path;
  const alwaysFull = state[PASS_STATE.drained] === 0;
  const woken = state[PASS_STATE.woken];
  const looks = over + (state[PASS_STATE.began] === Number.POSITIVE_INFINITY ? 0 : 1);
  path.pressed = alwaysFull && (looks > 1 || path.found);
  path.found = alwaysFull;
  path.resumed = woken !== 0;
  path.ready = 0; // what came has been served, or is what `resume` goes on with
  const now = addon.monotonicMicros();
  if (over > 0 || woken === WOKEN.down) {
    path.doors.receive(path); // that nothing came through them
    if (woken !== WOKEN.up) admit(path, now); // `resume` does
    turns.vector(now, batches.superpacketsIn, state[PASS_STATE.down], path.queuedOut > 0, false); // whether the next one is to take turns
  }
  resume(path, now);
}

/**
 * The addon wants JavaScript, after a wake or turns without it: goes on where it has stopped.
 * @returns whether there were turns
 */
export function called(path: Path, now: Micros): boolean {
  const { pass } = path;
  const worked = pass?.state[PASS_STATE.worked] ?? 0;
  if (pass && worked > 0) {
    pass.state[PASS_STATE.worked] = 0;
    ranItself(path, pass, worked - 1);
  } else {
    path.ready = 0; // the port has rested
    path.found = false;
    resume(path, now);
  }
  return worked > 0;
}

function resume(path: Path, now: Micros): void {
  const { pass } = path;
  const woken = pass?.state[PASS_STATE.woken] ?? 0;
  if (!pass || woken === 0) return;
  pass.state[PASS_STATE.woken] = 0;
  const next = pass.state[PASS_STATE.next];
  path.doors.receive(path); // that nothing came through them
  if (woken === WOKEN.up) {
    admit(path, now);
    finishUp(path, now, next);
    release(path);
  } else {
    finishDown(path, now, next);
  }
}

const OPEN = uplink.indexOf(lanes.open);
const CONTROL = uplink.indexOf(session.control);
const LOOKUP = uplink.length + downlink.indexOf(routes.lookup);
const SEAL = downlink.indexOf(lanes.seal);
