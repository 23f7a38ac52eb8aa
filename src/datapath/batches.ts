import type { Addon, BatchHandle } from '../native/index.ts';
import type { Batch } from './batch.ts';
import { viewBatch } from './batch.ts';
import { type ReferenceBatch, wrapNativeBatch } from './reference/memory.ts';

/** Trains or superpackets one receive call takes on at most: enough to fill a vector, few enough to stay in the cache. */
export const VECTOR = 32;
/** And trains that one call takes from a door; of suspects, who are short and soon judged, more. */
export const DOOR_VECTOR = 16;
export const SUSPECTS_VECTOR = 64;
/** Packets opened at a time: a vector that stays in the cache from lanes.open to tun.transmit. Longer ones go through in parts. */
export const PACKETS = 512;
/** A train or superpacket of 65,535 bytes with what stands before it: recvmsg header, name and control data, or vnet header. */
const UDP_BLOCK = 66_048;
const TUN_BLOCK = 65_664;
/** Blocks lent to the kernel a direction: what may arrive while one vector is worked on. A power of two (io_uring's buffer rings). */
const RECEIVE_BLOCKS = 64;
/** Blocks being filled or under way a direction; when none is left the pipeline waits for the socket. */
const TRANSMIT_BLOCKS = 128;
/** What session.control may put between two transmits: small datagrams and packets, packed into these. */
const CONTROL_BLOCKS = 32;
/** What may wait at the pacer, all sessions together. Memory is touched only where something waits. */
const PACER_BLOCKS = 1_024;
/** Superpackets the pacer lets go at once. */
const RELEASED = 256;

/** The batches of one shard. Arenas are native mappings: made once, never collected under the kernel's hands. */
export interface Batches<B extends Batch = Batch> {
  readonly trainsIn: B; // udp.receive → lanes.open
  readonly packets: B; // lanes.open → session.control, guard.admit, gro.coalesce
  readonly controlPackets: B; // packets that came as frames: TCP sessions, fragments
  readonly superpacketsOut: B; // gro.coalesce → tun.transmit
  readonly superpacketsIn: B; // tun.receive → lanes.seal
  readonly released: B; // pacer.release → lanes.seal
  readonly trainsOut: B; // lanes.seal, session.control → udp.transmit
}

/**
 * What came in one block stays there until it is written to the TUN: trains, packets and superpackets out are of one arena.
 * @param copies for the reference nodes: they open into other memory than what the kernel fills, and ask their batches for room
 */
export function createBatches(addon: Addon, copies?: false): Batches;
export function createBatches(addon: Addon, copies: true): Batches<ReferenceBatch>;
export function createBatches(addon: Addon, copies = false): Batches {
  const arena = (blockSize: number, blockCount: number) => {
    const { handle, buffer } = addon.createArena(blockSize, blockCount);
    const bytes = new Uint8Array(buffer);
    return (capacity: number): Batch => {
      const batch = addon.createBatch(handle, capacity);
      const view = viewBatch(batch.buffer, capacity, bytes, batch.handle);
      return copies ? wrapNativeBatch(addon, view, { handle, blockSize, blockCount }) : view;
    };
  };
  const udp = arena(UDP_BLOCK, RECEIVE_BLOCKS);
  return {
    trainsIn: udp(2 * VECTOR + 2 * DOOR_VECTOR + SUSPECTS_VECTOR),
    packets: (copies ? arena(UDP_BLOCK, TRANSMIT_BLOCKS) : udp)(PACKETS),
    controlPackets: arena(TUN_BLOCK, CONTROL_BLOCKS)(1_024),
    superpacketsOut: (copies ? arena(TUN_BLOCK, TRANSMIT_BLOCKS) : udp)(PACKETS),
    superpacketsIn: arena(TUN_BLOCK, RECEIVE_BLOCKS)(2 * VECTOR),
    released: arena(TUN_BLOCK, PACER_BLOCKS)(RELEASED),
    trainsOut: arena(TUN_BLOCK, TRANSMIT_BLOCKS)(1_024),
  };
}

export const nativeBatch = (batch: Batch) => batch.native as BatchHandle;
