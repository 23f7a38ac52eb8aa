/** Lightway's header, frames and streams of frames: junk raises WireError and nothing else, and what decodes encodes to what decodes the same. */
import { deepEqual, equal } from 'node:assert/strict';
import { decodeDataPacket, encodeDataPacket } from '../../src/wire/expresslane.ts';
import { decodeFrame, encodeFrame, type Frame, FrameStream } from '../../src/wire/frames.ts';
import { decodeHeader, encodeHeader } from '../../src/wire/header.ts';
import { Reader, WireError } from '../../src/wire/reader.ts';

/** @returns undefined where the bytes were refused in the one way that is allowed */
function decoded<T>(decode: () => T): T | undefined {
  try {
    return decode();
  } catch (error) {
    if (error instanceof WireError) return undefined;
    throw error;
  }
}

/** The frames of `input` handed over in pieces of `size` bytes, up to the first refusal. */
function streamed(input: Uint8Array, size: number): Frame[] {
  const stream = new FrameStream();
  const frames: Frame[] = [];
  decoded(() => {
    for (let at = 0; at < input.length; at += size) {
      stream.push(input.subarray(at, at + size));
      for (let frame = stream.next(); frame !== undefined; frame = stream.next()) frames.push(frame);
    }
  });
  return frames;
}

export function fuzz(input: Uint8Array): void {
  const header = decoded(() => decodeHeader(input));
  if (header) deepEqual(decodeHeader(encodeHeader(header)), header);

  const from = new Reader(input);
  const frame = decoded(() => decodeFrame(from));
  if (frame) deepEqual(decodeFrame(new Reader(encodeFrame(frame))), frame);

  const packet = decoded(() => decodeDataPacket(new Reader(input)));
  if (packet) deepEqual(decodeDataPacket(new Reader(encodeDataPacket(packet))), packet);

  const whole = streamed(input, Math.max(1, input.length));
  const pieces = streamed(input, 1 + (input.length % 7));
  equal(pieces.length, whole.length);
  deepEqual(pieces, whole);
}
