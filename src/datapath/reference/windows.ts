/**
 * Replay windows as they lie in a slot: a preview before the AEAD, a commit after it, so that forged numbers move nothing.
 * Numbers of the Expresslane are any 64 bits (BigInt); record numbers stay below 2⁴⁸.
 */
import type { SessionTable } from '../table.ts';

/** Protocol specification §6.7. */
const LANE_WINDOW = 8192n;
/** Wider than the 64 of the specification's §2.8 demands of receivers: reordering across shards costs nothing then. */
const RECORD_WINDOW = 512;
const RECORD_WORDS = RECORD_WINDOW / 64;

export function laneIsNew({ fields }: SessionTable, slot: number, counter: bigint): boolean {
  if (counter === 0n) return false;
  const highest = fields.laneHighest.getBig(slot);
  if (counter > highest) return true;
  if (highest - counter >= LANE_WINDOW) return false;
  return ((fields.laneWindow.getBig(slot, laneWord(counter)) >> (counter & 63n)) & 1n) === 0n;
}

/** @param counter one that `laneIsNew` accepted */
export function takeLane({ fields }: SessionTable, slot: number, counter: bigint): void {
  const highest = fields.laneHighest.getBig(slot);
  if (counter > highest) {
    const clearFrom = counter - highest < LANE_WINDOW ? highest + 1n : counter - LANE_WINDOW + 1n;
    for (let passed = clearFrom; passed < counter; passed++) writeLane(fields, slot, passed, false);
    fields.laneHighest.setBig(slot, counter);
  }
  writeLane(fields, slot, counter, true);
}

function writeLane(fields: SessionTable['fields'], slot: number, counter: bigint, seen: boolean): void {
  const bit = 1n << (counter & 63n);
  const word = fields.laneWindow.getBig(slot, laneWord(counter));
  fields.laneWindow.setBig(slot, seen ? word | bit : word & ~bit, laneWord(counter));
}

function laneWord(counter: bigint): number {
  return Number((counter >> 6n) & 127n);
}

/** @param epoch its low two bits choose the window */
export function recordIsNew({ fields }: SessionTable, slot: number, epoch: number, number: number): boolean {
  const next = fields.recordNext.get(slot, epoch & 3);
  if (number >= next) return true;
  if (next - number > RECORD_WINDOW) return false;
  const bit = BigInt(number % 64);
  return ((fields.recordWindow.getBig(slot, recordWord(epoch, number)) >> bit) & 1n) === 0n;
}

/** @param number one that `recordIsNew` accepted */
export function takeRecord({ fields }: SessionTable, slot: number, epoch: number, number: number): void {
  const next = fields.recordNext.get(slot, epoch & 3);
  if (number >= next) {
    for (let passed = Math.max(next, number - RECORD_WINDOW + 1); passed < number; passed++)
      writeRecord(fields, slot, epoch, passed, false);
    fields.recordNext.set(slot, number + 1, epoch & 3);
  }
  writeRecord(fields, slot, epoch, number, true);
}

function writeRecord(fields: SessionTable['fields'], slot: number, epoch: number, number: number, seen: boolean): void {
  const at = recordWord(epoch, number);
  const bit = 1n << BigInt(number % 64);
  const word = fields.recordWindow.getBig(slot, at);
  fields.recordWindow.setBig(slot, seen ? word | bit : word & ~bit, at);
}

function recordWord(epoch: number, number: number): number {
  return (epoch & 3) * RECORD_WORDS + (Math.floor(number / 64) % RECORD_WORDS);
}
