import { flowOf, type Piece, pieceOf, Run } from '../../packet/coalesce.ts';
import { Protocol, Tcp, Udp } from '../../packet/ip.ts';
import { Gso } from '../../packet/segment.ts';
import { Flag, HEADER, Verdict } from '../batch.ts';
import type { CoalesceMode } from '../nodes.ts';
import { count, type ReferenceLanes, slotOf } from './lanes.ts';
import type { ReferenceBatch } from './memory.ts';

/** Runs open at once; one more ends the one begun first. */
const MAX_RUNS = 16;
/** Free bytes in front of every superpacket, where the TUN writer puts its virtio-net header (10 or 12 bytes). */
const VNET_ROOM = 16;

/** What becomes one superpacket: a run, or a packet that passes alone (`run` undefined). */
interface Output {
  readonly packet: number; // index of the first
  readonly run: Run | undefined;
}

interface OpenRun {
  readonly slot: number;
  readonly hosts: string;
  readonly ports: number;
  readonly run: Run;
}

/**
 * gro.coalesce: joins passing packets of an inner flow, as `src/packet/coalesce.ts` allows, into superpackets in an arena of their own. Within a
 * slot, packets are put into the order they were sealed in first. Superpackets stand in the order of their first packet. Takes as many packets
 * as `superpackets` is sure to hold. Never throws. @returns superpackets
 */
export function coalesce(
  lanes: ReferenceLanes,
  packets: ReferenceBatch,
  superpackets: ReferenceBatch,
  mode: CoalesceMode,
): number {
  const order = inSealedOrder(lanes, packets, takeable(packets, superpackets));
  const joining = new Joining(lanes, packets, mode);
  for (const packet of order) joining.add(packet);
  for (const output of joining.outputs) write(lanes, packets, superpackets, output);
  return superpackets.header[HEADER.count];
}

/** Consumes packets while their superpackets are sure to fit. @returns indexes of those that pass */
function takeable(packets: ReferenceBatch, superpackets: ReferenceBatch): number[] {
  const taken: number[] = [];
  const free = superpackets.capacity - superpackets.header[HEADER.count];
  let room = superpackets.memory.freeBytes() / 2;
  let i = packets.header[HEADER.consumed];
  for (; i < packets.header[HEADER.count]; i++) {
    if (packets.verdict[i] !== Verdict.pass) continue;
    const need = Math.ceil(packets.length[i] / 64) * 64 + 64;
    if (taken.length === free || need > room) break;
    room -= need;
    taken.push(i);
  }
  packets.header[HEADER.consumed] = i;
  return taken;
}

/** Packets of a slot that are not in ascending (lane, epoch, counter) are sorted over the places they have: repairs reordering for nothing. */
function inSealedOrder(lanes: ReferenceLanes, packets: ReferenceBatch, taken: readonly number[]): number[] {
  const bySlot = Map.groupBy(taken, (i) => slotOf(lanes, packets, i));
  for (const entries of bySlot.values()) entries.sort((a, b) => compareSealed(packets, a, b));
  const cursors = new Map<number, Iterator<number>>();
  for (const [slot, entries] of bySlot) cursors.set(slot, entries.values());
  return taken.map((i) => cursors.get(slotOf(lanes, packets, i))!.next().value as number);
}

function compareSealed({ flags, epoch, counter }: ReferenceBatch, a: number, b: number): number {
  const lane = (flags[a] & Flag.expresslane) - (flags[b] & Flag.expresslane);
  if (lane !== 0) return lane;
  if (epoch[a] !== epoch[b]) return epoch[a] - epoch[b];
  return counter[a] < counter[b] ? -1 : counter[a] > counter[b] ? 1 : 0;
}

class Joining {
  readonly outputs: Output[] = [];
  readonly #lanes: ReferenceLanes;
  readonly #packets: ReferenceBatch;
  readonly #mode: CoalesceMode;
  #open: OpenRun[] = []; // in the order they were begun

  constructor(lanes: ReferenceLanes, packets: ReferenceBatch, mode: CoalesceMode) {
    this.#lanes = lanes;
    this.#packets = packets;
    this.#mode = mode;
  }

  add(packet: number): void {
    const { bytes, offset, length } = this.#packets;
    const slot = slotOf(this.#lanes, this.#packets, packet);
    const piece = this.#mode === 'off' ? undefined : this.#fit(packet);
    const { hosts, ports } = flowOf(bytes, offset[packet], length[packet]);
    const isOfFlow = (open: OpenRun) =>
      open.slot === slot && open.hosts === hosts && (ports === undefined || open.ports === ports);
    const current = this.#open.find(isOfFlow);
    if (piece && current?.run.add(piece)) {
      if (current.run.ended) this.#end((open) => open === current);
      return;
    }
    this.#end(isOfFlow);
    const run = piece && new Run(piece);
    this.outputs.push({ packet, run });
    if (run && ports !== undefined && !run.ended) this.#begin({ slot, hosts, ports, run });
  }

  #fit(packet: number): Piece | undefined {
    const { bytes, offset, length, flags } = this.#packets;
    if ((flags[packet] & Flag.checksumValid) === 0) return undefined;
    const piece = pieceOf(bytes, offset[packet], length[packet]);
    const mode = piece?.protocol === Protocol.tcp ? 'tcp' : 'udp';
    return this.#mode === 'inline' || this.#mode === mode ? piece : undefined;
  }

  #begin(open: OpenRun): void {
    if (this.#open.length === MAX_RUNS) this.#open.shift();
    this.#open.push(open);
  }

  #end(which: (open: OpenRun) => boolean): void {
    this.#open = this.#open.filter((open) => !which(open));
  }
}

function write(lanes: ReferenceLanes, packets: ReferenceBatch, target: ReferenceBatch, { packet, run }: Output): void {
  const { bytes, offset, length } = packets;
  const size = run ? run.length : length[packet];
  const whole = new Uint8Array(VNET_ROOM + size);
  if (run) run.write(whole, VNET_ROOM);
  else whole.set(bytes.subarray(offset[packet], offset[packet] + size), VNET_ROOM);
  const entry = target.header[HEADER.count];
  if (!target.memory.put(packets.slot[packet], run?.kind ?? Gso.none, undefined, whole))
    return count(lanes, Verdict.noBlock, run ? run.pieces.length : 1); // larger than a block
  target.offset[entry] += VNET_ROOM;
  target.length[entry] -= VNET_ROOM;
  target.flags[entry] = packets.flags[packet] & Flag.checksumValid;
  if (!run || run.kind === Gso.none) return;
  const { payload, headerLength, ipLength } = run.pieces[0];
  target.flags[entry] = Flag.needsChecksum | Flag.checksumValid;
  target.segmentSize[entry] = payload;
  target.headerLength[entry] = headerLength;
  target.checksumStart[entry] = ipLength;
  target.checksumOffset[entry] = run.kind === Gso.udp ? Udp.checksum : Tcp.checksum;
}
