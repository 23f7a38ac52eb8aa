/**
 * The control state of a session in its slot: what a new engine needs to go on where the old one stopped. Written at every
 * transition before its output leaves. No key is in it: those are in the slot's secret half already.
 *
 *     length u8 | DTLS snapshot | length u16 | session snapshot | length u8 | user, UTF-8
 *
 * Zeros at the end of a snapshot are left out, so that the whole fits the half of the field that is replaced in one step.
 */
import type { Endpoint } from '../dtls/events.ts';
import { SNAPSHOT_SIZE as DTLS_SIZE } from '../dtls/events.ts';
import { SNAPSHOT_SIZE as SESSION_SIZE } from '../session/snapshot.ts';
import type { SessionTable } from './table.ts';

const USER_BYTES = 50; // protocol specification §3.5
const scratch = new Uint8Array(704);
const sessionScratch = new Uint8Array(SESSION_SIZE);
const toUtf8 = new TextEncoder();
const utf8 = new TextDecoder();

interface Snapshotting {
  readonly slot: number;
  readonly user: string;
  readonly dtls: Endpoint;
  readonly session: { snapshot(into: Uint8Array): void };
}

function withoutZeros(bytes: Uint8Array): Uint8Array {
  let end = bytes.length;
  while (end > 0 && bytes[end - 1] === 0) end--;
  return bytes.subarray(0, end);
}

function padded(bytes: Uint8Array, size: number): Uint8Array {
  const whole = new Uint8Array(size);
  whole.set(bytes);
  return whole;
}

export function writeControlState(table: SessionTable, peer: Snapshotting): void {
  peer.session.snapshot(sessionScratch);
  const dtls = withoutZeros(peer.dtls.snapshot());
  const session = withoutZeros(sessionScratch);
  scratch[0] = dtls.length;
  scratch.set(dtls, 1);
  let at = 1 + dtls.length;
  scratch[at++] = session.length >> 8;
  scratch[at++] = session.length & 0xff;
  scratch.set(session, at);
  at += session.length;
  const user = toUtf8.encodeInto(peer.user, scratch.subarray(at + 1, at + 1 + USER_BYTES)).written;
  scratch[at] = user;
  table.writeSnapshot(peer.slot, scratch.subarray(0, at + 1 + user));
}

export interface ControlState {
  readonly dtls: Uint8Array;
  readonly session: Uint8Array;
  readonly user: string;
}

/** @returns undefined when the slot holds none: the session was never Online, or its engine died while it wrote */
export function readControlState(table: SessionTable, slot: number): ControlState | undefined {
  const bytes = table.readSnapshot(slot);
  const second = 1 + (bytes[0] ?? 0);
  const third = second + 2 + ((bytes[second] << 8) | bytes[second + 1]);
  if (bytes.length < 4 || bytes[0] > DTLS_SIZE || !(third < bytes.length)) return undefined;
  if (third + 1 + bytes[third] !== bytes.length || third - second - 2 > SESSION_SIZE) return undefined;
  return {
    dtls: padded(bytes.subarray(1, second), DTLS_SIZE),
    session: padded(bytes.subarray(second + 2, third), SESSION_SIZE),
    user: utf8.decode(bytes.subarray(third + 1)),
  };
}
