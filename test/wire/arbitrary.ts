// Frames as fast-check makes them, shared by the tests of codecs and sessions.

import fc from 'fast-check';

import type { Frame } from '../../src/wire/frames.ts';
import { VERSION_1_1, VERSION_1_2, VERSION_1_3 } from '../../src/wire/header.ts';

export const u64 = fc.bigInt(0n, 0xffff_ffff_ffff_ffffn);
export const u16 = fc.integer({ min: 0, max: 0xffff });
export const version = fc.constantFrom(VERSION_1_1, VERSION_1_2, VERSION_1_3);

// With a prototype, so that deepEqual compares what they hold.
const plain = <T>(fields: { [K in keyof T]: fc.Arbitrary<T[K]> }) => fc.record(fields, { noNullPrototype: true });

const bytes = (maxLength: number) => fc.uint8Array({ maxLength });

/** Text of at most `limit` bytes of UTF-8, any characters; without NUL where a NUL would end it. */
function text(limit: number, nul: boolean): fc.Arbitrary<string> {
  return fc
    .string({ unit: 'binary', maxLength: limit })
    .filter((value) => Buffer.byteLength(value) <= limit && (nul || !value.includes('\0')));
}

const auth = fc.oneof(
  plain({ method: fc.constant('userPass' as const), user: text(50, true), password: bytes(50) }),
  plain({ method: fc.constant('token' as const), token: text(1347, true) }),
  plain({ method: fc.constant('versionedToken' as const), version, token: text(1345, true) }),
  plain({ method: fc.constant('custom' as const), payload: bytes(1347) }),
);

const field = text(23, false);

export const frame: fc.Arbitrary<Frame> = fc.oneof(
  plain({ kind: fc.constantFrom('noOp' as const, 'authFailure' as const, 'goodbye' as const) }),
  plain({ kind: fc.constantFrom('ping' as const, 'pong' as const), id: u16, payload: bytes(1500) }),
  plain({ kind: fc.constant('authRequest' as const), auth }),
  plain({
    kind: fc.constant('authSuccess' as const),
    localIp: field,
    peerIp: field,
    dnsIp: field,
    mtu: field,
    sessionId: u64,
  }),
  plain({ kind: fc.constantFrom('data' as const, 'encodedData' as const), packet: bytes(3000) }),
  plain({
    kind: fc.constantFrom('dataFrag' as const, 'encodedDataFrag' as const),
    id: u16,
    offset: fc.integer({ min: 0, max: 0x1fff }).map((units) => units * 8),
    more: fc.boolean(),
    piece: bytes(1500),
  }),
  plain({ kind: fc.constant('serverConfig' as const), payload: bytes(1348) }),
  plain({
    kind: fc.constantFrom('encodingRequest' as const, 'encodingResponse' as const),
    id: u64,
    enable: fc.boolean(),
  }),
  plain({
    kind: fc.constant('expresslaneConfig' as const),
    version: fc.integer({ min: 0, max: 255 }),
    enabled: fc.boolean(),
    ack: fc.boolean(),
    counter: u64,
    key: fc.uint8Array({ minLength: 32, maxLength: 32 }),
  }),
);

export function hex(text: string): Uint8Array {
  return new Uint8Array(Buffer.from(text.replaceAll(' ', ''), 'hex'));
}
