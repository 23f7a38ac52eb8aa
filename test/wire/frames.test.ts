import { deepEqual, equal, throws } from 'node:assert/strict';

import fc from 'fast-check';
import { describe, it } from 'vitest';

import {
  decodeFrame,
  encodeFrame,
  type Frame,
  FrameStream,
  frameLength,
  MAX_FRAME_LENGTH,
  MAX_LOGIN_FRAME_LENGTH,
  maxDataLength,
  maxPieceLength,
} from '../../src/wire/frames.ts';
import { VERSION_1_3 } from '../../src/wire/header.ts';
import { Reader, WireError, type WireErrorCode } from '../../src/wire/reader.ts';
import { frame as anyFrame, hex } from './arbitrary.ts';

const zeros = (count: number) => '00'.repeat(count);
const ascii = (text: string) => Buffer.from(text).toString('hex');
const padded = (text: string, size: number) => ascii(text) + zeros(size - text.length);
const key = hex(Array.from({ length: 32 }, (_, i) => (i + 1).toString(16).padStart(2, '0')).join(''));

// Protocol appendix A, every row.
const VECTORS: [string, Frame, string][] = [
  ['NoOp', { kind: 'noOp' }, '01'],
  ['Ping, empty', { kind: 'ping', id: 0xf00b, payload: hex('') }, '02 f00b 0000'],
  ['Pong, empty', { kind: 'pong', id: 0xabcd, payload: hex('') }, '03 abcd 0000'],
  [
    'AuthRequest with user and password',
    { kind: 'authRequest', auth: { method: 'userPass', user: 'me', password: hex('736563726574') } },
    `04 01 02 06 6d65${zeros(48)} 736563726574${zeros(44)}`,
  ],
  [
    'AuthRequest with a token',
    { kind: 'authRequest', auth: { method: 'token', token: 'token' } },
    '04 02 0005 746f6b656e',
  ],
  [
    'AuthRequest with a versioned token',
    { kind: 'authRequest', auth: { method: 'versionedToken', version: VERSION_1_3, token: 'token' } },
    '04 03 01 03 0005 746f6b656e',
  ],
  [
    'AuthRequest for a custom callback',
    { kind: 'authRequest', auth: { method: 'custom', payload: hex('01020304') } },
    '04 17 0004 01020304',
  ],
  ['Data', { kind: 'data', packet: hex('febeaa') }, '05 0003 febeaa'],
  [
    'AuthSuccess',
    {
      kind: 'authSuccess',
      localIp: '1.1.1.1',
      peerIp: '2.2.2.2',
      dnsIp: '3.3.3.3',
      mtu: '1500',
      sessionId: 0x2f66n,
    },
    `06 ${padded('1.1.1.1', 24)}${padded('2.2.2.2', 24)}${padded('3.3.3.3', 24)}${padded('1500', 24)}0000000000002f66`,
  ],
  ['AuthFailure', { kind: 'authFailure' }, `07 ${zeros(52)}`],
  ['Goodbye', { kind: 'goodbye' }, '0c'],
  [
    'ServerConfig',
    { kind: 'serverConfig', payload: new Uint8Array(Buffer.from('server config')) },
    '0e 000d 73657276657220636f6e666967',
  ],
  [
    'DataFrag',
    { kind: 'dataFrag', id: 0x1234, offset: 0x5678, more: true, piece: hex(ascii('fragmentary')) },
    '0f 000b 1234 2acf 667261676d656e74617279',
  ],
  ['EncodedData', { kind: 'encodedData', packet: hex('febeaa') }, '10 0003 febeaa'],
  [
    'EncodedDataFrag',
    { kind: 'encodedDataFrag', id: 0x1234, offset: 0x5678, more: true, piece: hex(ascii('fragmentary')) },
    '11 000b 1234 2acf 667261676d656e74617279',
  ],
  ['EncodingRequest, on', { kind: 'encodingRequest', id: 513n, enable: true }, '12 0000000000000201 01'],
  ['EncodingResponse, on', { kind: 'encodingResponse', id: 513n, enable: true }, '13 0000000000000201 01'],
  ['EncodingResponse, off', { kind: 'encodingResponse', id: 514n, enable: false }, '13 0000000000000202 00'],
  [
    'ExpresslaneConfig',
    { kind: 'expresslaneConfig', version: 1, enabled: true, ack: true, counter: 0x123456789abcdef0n, key },
    `14 01 c0 0000 123456789abcdef0 ${Buffer.from(key).toString('hex')}`,
  ],
];

describe('frames', () => {
  for (const [name, frame, text] of VECTORS) {
    const bytes = hex(text);

    it(`reads and writes the vector of appendix A: ${name}`, () => {
      deepEqual(encodeFrame(frame), bytes);
      const from = new Reader(bytes);
      deepEqual(decodeFrame(from), frame);
      equal(from.remaining, 0);
      equal(frameLength(bytes, 0, bytes.length), bytes.length);
    });

    it(`refuses it cut at any byte: ${name}`, () => {
      for (let length = 0; length < bytes.length; length++) {
        throws(() => decodeFrame(new Reader(bytes.subarray(0, length))), isError('TRUNCATED'));
      }
    });
  }

  it('writes the AuthRequest in 104 bytes and the AuthSuccess in 105', () => {
    equal(hex(VECTORS[3][2]).length, 104);
    equal(hex(VECTORS[8][2]).length, 105);
  });

  it('has the fragment positions of appendix A', () => {
    const rows = [
      [0, false, '0000'],
      [0, true, '2000'],
      [8, false, '0001'],
      [0x5678, true, '2acf'],
      [0xfff8, false, '1fff'],
    ] as const;
    for (const [offset, more, position] of rows) {
      const bytes = encodeFrame({ kind: 'dataFrag', id: 1, offset, more, piece: hex('aa') });
      deepEqual(bytes, hex(`0f 0001 0001 ${position} aa`));
    }
  });

  it('has the chunk sizes of appendix A', () => {
    for (const [plpmtu, length] of [
      [4, 1],
      [1200, 1197],
      [1300, 1297],
      [1500, 1497],
    ])
      equal(maxDataLength(plpmtu), length);
    for (let plpmtu = 15; plpmtu <= 22; plpmtu++) equal(maxPieceLength(plpmtu), 8);
    for (const [plpmtu, length] of [
      [23, 16],
      [1200, 1192],
      [1300, 1288],
      [1500, 1488],
    ])
      equal(maxPieceLength(plpmtu), length);
  });

  it('reads back every frame it wrote, and knows its length from the first bytes', () => {
    fc.assert(
      fc.property(anyFrame, (frame) => {
        const bytes = encodeFrame(frame);
        const from = new Reader(bytes);
        deepEqual(decodeFrame(from), frame);
        equal(from.remaining, 0);
        for (let end = 0; end <= bytes.length; end++) {
          const length = frameLength(bytes, 0, end);
          equal(length === bytes.length || (length === 0 && end < 8), true);
        }
      }),
      { numRuns: 300 },
    );
  });

  const HOSTILE: [string, string, WireErrorCode][] = [
    ['kind 0', '00', 'UNKNOWN_KIND'],
    ...[8, 9, 10, 11, 13, 21, 22, 127, 255].map((kind): [string, string, WireErrorCode] => [
      `kind ${kind}`,
      kind.toString(16).padStart(2, '0'),
      'UNKNOWN_KIND',
    ]),
    ['a user of 51 bytes', `04 01 33 06 ${'61'.repeat(100)}`, 'TOO_LARGE'],
    ['a password of 255 bytes', `04 01 02 ff ${'61'.repeat(100)}`, 'TOO_LARGE'],
    ['a user that is not UTF-8', `04 01 02 06 ff${zeros(49)} ${zeros(50)}`, 'BAD_TEXT'],
    ['a user that ends inside a character', `04 01 01 00 c3a9${zeros(48)} ${zeros(50)}`, 'BAD_TEXT'],
    ['method 0', '04 00', 'BAD_VALUE'],
    ['method 22', '04 16 0000', 'BAD_VALUE'],
    ['a token of 1,348 bytes', `04 02 0544 ${'61'.repeat(1348)}`, 'TOO_LARGE'],
    ['a versioned token of 1,346 bytes', `04 03 0103 0542 ${'61'.repeat(1346)}`, 'TOO_LARGE'],
    ['a versioned token for 1.4', '04 03 0104 0001 61', 'BAD_VERSION'],
    ['a versioned token for 0.3', '04 03 0003 0001 61', 'BAD_VERSION'],
    ['a custom payload of 1,348 bytes', `04 17 0544 ${'61'.repeat(1348)}`, 'TOO_LARGE'],
    ['a server config of 1,349 bytes', `0e 0545 ${'61'.repeat(1349)}`, 'TOO_LARGE'],
    ['an address that is not UTF-8', `06 ff${zeros(95)}${zeros(8)}`, 'BAD_TEXT'],
    ['an encoding request with 2 for a boolean', '12 0000000000000001 02', 'BAD_VALUE'],
    ['a Ping that claims 65,535 bytes', '02 0000 ffff 00', 'TRUNCATED'],
    ['Data that claims one byte more', '05 0004 aabbcc', 'TRUNCATED'],
  ];
  for (const [name, text, code] of HOSTILE) {
    it(`refuses ${name} with ${code}, in a record and in a stream`, () => {
      throws(() => decodeFrame(new Reader(hex(text))), isError(code));
      const stream = new FrameStream();
      stream.limit = MAX_FRAME_LENGTH;
      stream.push(hex(text));
      if (code === 'TRUNCATED') equal(stream.next(), undefined);
      else throws(() => stream.next(), isError(code));
    });
  }

  it('reads 23 bytes of an address without a NUL, and never the 24th', () => {
    const bytes = hex(`06 ${'61'.repeat(24)}${zeros(72)}${zeros(8)}`);
    const frame = decodeFrame(new Reader(bytes));
    equal(frame.kind === 'authSuccess' && frame.localIp, 'a'.repeat(23));
  });

  it('keeps a byte order mark in a name, and a password as it came, UTF-8 or not', () => {
    const password = hex('ff00c3');
    const frame: Frame = { kind: 'authRequest', auth: { method: 'userPass', user: '\ufeffx', password } };
    deepEqual(decodeFrame(new Reader(encodeFrame(frame))), frame);
  });

  it('never lets a frame leave whose field does not fit', () => {
    const auth = (user: string) =>
      encodeFrame({ kind: 'authRequest', auth: { method: 'userPass', user, password: hex('') } });
    equal(auth('é'.repeat(25)).length, 104);
    throws(() => auth('é'.repeat(26)), isError('TOO_LARGE'));
    throws(() => encodeFrame({ kind: 'serverConfig', payload: new Uint8Array(1349) }), isError('TOO_LARGE'));
    throws(() => encodeFrame({ kind: 'data', packet: new Uint8Array(65_536) }), isError('TOO_LARGE'));
    const piece = { kind: 'dataFrag', id: 1, more: true, piece: hex('aa') } as const;
    throws(() => encodeFrame({ ...piece, offset: 4 }), isError('BAD_VALUE'));
    throws(() => encodeFrame({ ...piece, offset: 65_536 }), isError('TOO_LARGE'));
  });

  it('raises nothing but WireError on any bytes', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 22 }), fc.uint8Array({ maxLength: 200 }), (kind, rest) => {
        const bytes = new Uint8Array([kind, ...rest]);
        try {
          deepEqual(encodeFrame(decodeFrame(new Reader(bytes))).length > 0, true);
        } catch (error) {
          equal(error instanceof WireError, true);
        }
      }),
      { numRuns: 2000 },
    );
  });
});

describe('FrameStream', () => {
  it('gives the same frames however the stream is cut', () => {
    const cuts = fc.array(fc.integer({ min: 0, max: 40 }), { minLength: 1, maxLength: 20 });
    fc.assert(
      fc.property(fc.array(anyFrame, { maxLength: 6 }), cuts, (frames, sizes) => {
        const bytes = new Uint8Array(Buffer.concat(frames.map(encodeFrame)));
        deepEqual(pull(bytes, [...sizes, 1]), frames);
        deepEqual(pull(bytes, [1]), frames);
        deepEqual(pull(bytes, [bytes.length + 1]), frames);
      }),
      { numRuns: 150 },
    );
  });

  it('gives the same frames and the same error however a hostile stream is cut', () => {
    const sizes = fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1, maxLength: 9 });
    const kinds = fc.integer({ min: 0, max: 21 });
    fc.assert(
      fc.property(
        fc.array(anyFrame, { maxLength: 3 }),
        kinds,
        fc.uint8Array({ maxLength: 300 }),
        sizes,
        (frames, kind, rest, cut) => {
          const bytes = new Uint8Array(Buffer.concat([...frames.map(encodeFrame), Uint8Array.of(kind), rest]));
          deepEqual(outcome(bytes, cut), outcome(bytes, [bytes.length]));
        },
      ),
      { numRuns: 500 },
    );
  });

  it('leaves earlier frames as they were when later bytes come', () => {
    const first = { kind: 'data', packet: hex('aa'.repeat(100)) } as const;
    const bytes = Buffer.concat([encodeFrame(first), encodeFrame({ kind: 'data', packet: hex('bb'.repeat(100)) })]);
    const frames = pull(new Uint8Array(bytes), [50]);
    deepEqual(frames[0], first);
  });

  it('accepts 1,351 bytes a frame before login and 65,542 after', () => {
    equal(MAX_LOGIN_FRAME_LENGTH, 1351);
    const stream = new FrameStream();
    stream.push(hex('05 0544'));
    equal(stream.next(), undefined);
    const strict = new FrameStream();
    strict.push(hex('05 0545'));
    throws(() => strict.next(), isError('TOO_LARGE'));
    stream.limit = MAX_FRAME_LENGTH;
    const longest = encodeFrame({ kind: 'dataFrag', id: 1, offset: 0, more: true, piece: new Uint8Array(65_535) });
    equal(longest.length, MAX_FRAME_LENGTH);
    const open = new FrameStream();
    open.limit = MAX_FRAME_LENGTH;
    open.push(longest);
    equal(open.next()?.kind, 'dataFrag');
  });

  it('holds nothing between whole frames, and of a partial one no more than has come', () => {
    const stream = new FrameStream();
    stream.limit = MAX_FRAME_LENGTH;
    stream.push(hex('01 0c 01'));
    while (stream.next() !== undefined);
    equal(stream.held, 0);
    stream.push(hex('05 ffff aabb'));
    equal(stream.next(), undefined);
    equal(stream.held, 5);
  });
});

function isError(code: WireErrorCode): (error: unknown) => boolean {
  return (error) => error instanceof WireError && error.code === code;
}

/** Pushes `bytes` in pieces of the given sizes, over and over. */
function pull(bytes: Uint8Array, sizes: number[]): Frame[] {
  const stream = new FrameStream();
  stream.limit = MAX_FRAME_LENGTH;
  const frames: Frame[] = [];
  for (let at = 0, turn = 0; at < bytes.length; turn++) {
    const size = sizes[turn % sizes.length];
    stream.push(bytes.slice(at, at + size));
    at += size;
    for (let frame = stream.next(); frame !== undefined; frame = stream.next()) frames.push(frame);
  }
  equal(stream.held, 0);
  return frames;
}

function outcome(bytes: Uint8Array, sizes: number[]): { frames: Frame[]; held: number; code: string } {
  const stream = new FrameStream();
  const frames: Frame[] = [];
  try {
    for (let at = 0, turn = 0; at < bytes.length; turn++) {
      const size = sizes[turn % sizes.length];
      stream.push(bytes.slice(at, at + size));
      at += size;
      for (let frame = stream.next(); frame !== undefined; frame = stream.next()) frames.push(frame);
    }
  } catch (error) {
    if (!(error instanceof WireError)) throw error;
    return { frames, held: 0, code: error.code };
  }
  return { frames, held: stream.held, code: 'none' };
}
