/**
 * A pass: one vector through a whole pipeline in one call of the addon (native/pass), as long as nothing has to be decided between two nodes. The
 * pipelines of pipeline.ts are the reference: same steps, same order, same counts; a pass that stops says where they go on.
 */
import type { Addon, LanesHandle, PortHandle } from '../native/index.ts';
import { TURN_BUCKETS } from '../observe/statistics.ts';
import type { Micros } from '../wire/time.ts';
import { type Batches, nativeBatch } from './batches.ts';
import type { CoalesceMode } from './nodes.ts';

/** Where a pass has stopped. */
export const PASS = {
  done: 0, // the vector is through
  located: 1, // uplink: a train is diverted, to be rejected, or another shard's; none has been opened
  control: 2, // uplink: session.control has entries to look at, or answers were refused by the socket; trains may be left to be opened
  lookedUp: 3, // downlink: not all superpackets pass; they have not been sealed
  transmitted: 4, // downlink: streams, or refused sends, are among what was to leave; superpackets may be left to be sealed
} as const;

/** Words of `state`. */
export const PASS_STATE = {
  queuedIn: 0, // superpackets that wait in the port for the device, after an uplink
  queuedOut: 1, // datagram trains that wait for the socket, after a downlink, or answers
  received: 2, // entries of the last vector
  alone: 3, // set by `mayRun`
  woken: 4, // a turn without JavaScript has stopped: WOKEN, which direction `next` is of
  next: 5, // PASS
  taken: 6, // turns without JavaScript
  ready: 7, // after `turns`: bits of the last look that are still to be served
  drained: 8, // 1: some look found the socket empty
  began: 9, // the turn that is still to be finished counts from then; infinite: none is
  down: 10, // superpackets of the last vector from the device
  empty: 11, // 1: the last look found nothing; 2: nor did one that waited
  answered: 12, // Pings that the last uplink has answered; queuedOut is of after that
  pings: 13, // all of them
  worked: 14, // not 0: JavaScript is wanted by turns that went on without it, one less than this
  rested: 15, // when the port began to rest, before the last wake
  due: 16, // set before the shard sleeps or goes on: JavaScript is wanted then
  joining: 17, // set between vectors: index of COALESCE_MODES
  refusedTcp: 18, // errno of the last superpacket of TCP, and of UDP, that the device has refused in the last uplink, or 0
  refusedUdp: 19,
} as const;
/** Behind those: turns without JavaScript by how long they took, by `turnBucket`. */
const TIMES = 20;

export const WOKEN = { up: 1, down: 2 } as const;

export interface Pass {
  /** PASS_STATE. */
  readonly state: Float64Array;
  /** TURN_BUCKETS of turns without JavaScript. */
  readonly turnTimes: Float64Array;
  /** What each stage did: the memory of `StageCounters`. */
  readonly stages: ArrayBuffer;
  /** @param limit trains at most @returns PASS */
  uplink(now: Micros, limit: number): number;
  /** @param limit superpackets at most @returns PASS */
  downlink(now: Micros, limit: number): number;
  /**
   * Turns until something is left to JavaScript, nothing is there and nothing comes for `idleUs`, or `until`.
   * @param since the first one's time counts from then @returns how many are over
   */
  turns(since: Micros, waitUs: number, until: Micros, idleUs: number): number;
}

export interface PassOptions {
  readonly port: PortHandle;
  readonly lanes: LanesHandle;
  readonly batches: Batches;
  readonly gro: CoalesceMode;
  readonly maxSegments: number;
  /** So many turns after a sleep of more than `longSleep` are a lone packet's, and its answer's: they need no JavaScript. */
  readonly loneTurns: number;
  readonly longSleep: Micros;
  /** Turns that go on without JavaScript see it after so long, where all of them had more than they could take, or else. */
  readonly soon: Micros;
  readonly late: Micros;
  /** Or where one session has had the shard to itself for as long as `together`. */
  readonly alone: Micros;
  readonly together: Micros;
  /** A vector of so many superpackets, or so many bytes, is not all that the device has. */
  readonly full: number;
  readonly fullBytes: number;
}

/** Batches must be of `addon.createBatch`, the port one with a socket and a device. */
export function createPass(addon: Addon, options: PassOptions): Pass {
  const { port, lanes, batches, gro, maxSegments } = options;
  const { handle, state, stages } = addon.createPass({
    port,
    lanes,
    gro,
    maxSegments,
    loneTurns: options.loneTurns,
    longSleepUs: options.longSleep,
    soonUs: options.soon,
    lateUs: options.late,
    aloneUs: options.alone,
    togetherUs: options.together,
    full: options.full,
    fullBytes: options.fullBytes,
    trainsIn: nativeBatch(batches.trainsIn),
    packets: nativeBatch(batches.packets),
    superpacketsOut: nativeBatch(batches.superpacketsOut),
    superpacketsIn: nativeBatch(batches.superpacketsIn),
    trainsOut: nativeBatch(batches.trainsOut),
  });
  return {
    state: new Float64Array(state, 0, TIMES),
    turnTimes: new Float64Array(state, TIMES * Float64Array.BYTES_PER_ELEMENT, TURN_BUCKETS),
    stages,
    uplink: (now, limit) => addon.passUplink(handle, now, limit),
    downlink: (now, limit) => addon.passDownlink(handle, now, limit),
    turns: (since, waitUs, until, idleUs) => addon.passTurns(handle, since, waitUs, until, idleUs),
  };
}
