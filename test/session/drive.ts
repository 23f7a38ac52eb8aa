// A session alone: frames in by value, outputs out by value.

import type { Session } from '../../src/session/session.ts';
import type { Counters, Output } from '../../src/session/types.ts';
import { decodeFrame, encodeFrame, type Frame } from '../../src/wire/frames.ts';
import { Reader } from '../../src/wire/reader.ts';
import type { Micros } from '../../src/wire/time.ts';

/** An output with its frame decoded. */
export type Said = Frame | Exclude<Output, { kind: 'frame' }>;

export function said(session: Session): Said[] {
  return session.drain().map((output) => (output.kind === 'frame' ? decodeFrame(new Reader(output.bytes)) : output));
}

export function kinds(session: Session): string[] {
  return said(session).map((output) => output.kind);
}

/** Hands frames over, all in one record. @returns what the session says to them */
export function hear(session: Session, now: Micros, ...frames: Frame[]): Said[] {
  session.receive(now, new Uint8Array(Buffer.concat(frames.map(encodeFrame))));
  return said(session);
}

/** Lets time pass until `end`, from deadline to deadline. @returns what is said, and when */
export function pass(session: Session, end: Micros): [Micros, Said][] {
  const heard: [Micros, Said][] = [];
  for (let now = session.nextDeadline(); now !== undefined && now <= end; now = session.nextDeadline()) {
    session.advance(now);
    for (const output of said(session)) heard.push([now, output]);
  }
  session.advance(end);
  for (const output of said(session)) heard.push([end, output]);
  return heard;
}

/** The counters that are not zero. */
export function counted(counters: Counters): Partial<Counters> {
  return Object.fromEntries(Object.entries(counters).filter(([, count]) => count !== 0));
}
