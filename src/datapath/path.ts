/** What the steps of a shard's pipelines share: its port, nodes, batches, and how far the turn has got. */
import type { Addon, HandoverHandle, LanesHandle, PortHandle } from '../native/index.ts';
import type { Micros } from '../wire/time.ts';
import type { Batches } from './batches.ts';
import type { Doors } from './doors.ts';
import type { FairShare } from './fair-share.ts';
import type { CoalesceMode, Nodes } from './nodes.ts';
import type { Pacer } from './pacer.ts';
import type { Pass } from './pass.ts';
import type { Refusals } from './refusals.ts';
import type { StageCounters } from './stages.ts';
import type { Turns } from './turns.ts';

/** What session.control does with a vector: everything that is not bulk data. */
export interface ControlNode {
  /** The first train of the vector that came through the strangers' door. */
  strangersFrom: number;
  /** How many trains of the vector came through doors. */
  fromDoors: number;
  /** A vector was received. @returns how many strangers may be heard */
  admits(): number;
  /**
   * Takes entries with verdict divert or reject, and those whose flags say that the session moved or changed its id.
   * @returns how many those were
   */
  vector(now: Micros): number;
  /** Takes superpackets with verdict divert: what is in them is longer than its session's path carries. */
  oversized(now: Micros): void;
  /** Puts waiting control datagrams into the batch, as many as fit. @returns how many were answers to strangers */
  fill(): number;
  /** Something waits to be sent. */
  readonly hasOutput: boolean;
  /** Sending so many of them took so long. */
  answered(answers: number, micros: Micros): void;
  /** A train of plain Data frames for a TCP session. */
  stream(slot: number, bytes: Uint8Array): void;
  readonly refusals: Refusals;
}

export interface Path {
  readonly addon: Addon;
  readonly port: PortHandle;
  readonly lanes: LanesHandle;
  readonly handover: HandoverHandle | undefined;
  readonly batches: Batches;
  readonly nodes: Nodes;
  readonly control: ControlNode;
  readonly doors: Doors;
  readonly gro: CoalesceMode;
  /** What of that the device does not refuse; the same for all that is done with a vector. */
  joining: CoalesceMode;
  readonly maxSegments: number;
  /** False in TCP mode: only streams leave. */
  readonly hasUdp: boolean;
  /** Bits of the last wait that are to be served: 1 UDP, 2 TUN, 4 handover, 8 a blocked transmit may go on, 16 and 32 doors. */
  ready: number;
  /** The last look found something in the socket. */
  found: boolean;
  /** This turn goes on where the addon has stopped. */
  resumed: boolean;
  /** The socket has had something at every look since the last turn began: what comes may come faster than it is worked on. */
  pressed: boolean;
  /** Datagram trains, or superpackets, that wait in the port for the socket, or the device. */
  queuedOut: number;
  queuedIn: number;
  /** Superpackets on their way to the device: their pieces are entries too. */
  outgoing: number;
  /** What `locate` may let through. */
  readonly limits: Uint32Array;
  readonly fair: FairShare;
  /** Both pipelines in one call each; not for the reference nodes, nor without a socket or a device. */
  readonly pass: Pass | undefined;
  readonly pacer: Pacer;
  /** Strangers come to the same socket as sessions. */
  readonly mixed: boolean;
  /** Some session may have a rate. */
  readonly paced: boolean;
  readonly turns: Turns;
  /** `superpacketsIn` has not been at the pacer yet. */
  fresh: boolean;
  /** How many entries the step that has just returned worked on. */
  entries: number;
  readonly stages: StageCounters;
}
