import { deepEqual, equal, throws } from 'node:assert/strict';
import { createCipheriv } from 'node:crypto';

import fc from 'fast-check';
import { describe, it } from 'vitest';

import {
  DATA_FLAG_ENCODED,
  DataOffset,
  dataAad,
  decodeDataPacket,
  decodeStatistics,
  encodeDataPacket,
  encodeStatistics,
} from '../../src/wire/expresslane.ts';
import { decodeFrame, encodeFrame } from '../../src/wire/frames.ts';
import { encodeHeader, VERSION_1_3 } from '../../src/wire/header.ts';
import { Reader, WireError } from '../../src/wire/reader.ts';
import { hex, u16, u64 } from './arbitrary.ts';

// Protocol §6.10.
const KEY = hex('5a'.repeat(32));
const IV = hex('2b'.repeat(12));
const SESSION = 0xa1a1_a1a1_a1a1_a1a1n;
const PLAINTEXT = new TextEncoder().encode('expresslane golden vector payload');
const CIPHERTEXT = '1de0df19db6aa733e1f77938999b312f5310ecc610332f6a94234f38a17987cac8';
const GOLDEN = [
  {
    version: 1,
    flags: DATA_FLAG_ENCODED,
    aad: 'a1a1a1a1a1a1a1a10000000000000001',
    tag: 'f8cf6559479de62e9b6bf8cda32be127',
  },
  { version: 1, flags: 0, aad: 'a1a1a1a1a1a1a1a10000000000000001', tag: 'f8cf6559479de62e9b6bf8cda32be127' },
  {
    version: 2,
    flags: DATA_FLAG_ENCODED,
    aad: 'a1a1a1a1a1a1a1a100000000000000018000',
    tag: '99729ab5a6261acd578ce423075905ed',
  },
  { version: 2, flags: 0, aad: 'a1a1a1a1a1a1a1a100000000000000010000', tag: '2d5ee0b75c9d1319e0aed5f386808b97' },
];

describe('Expresslane data packet', () => {
  for (const { version, flags, aad, tag } of GOLDEN) {
    const name = `version ${version}, flags ${flags.toString(16).padStart(4, '0')}`;

    it(`is the golden frame of §6.10: ${name}`, () => {
      deepEqual(dataAad(version, SESSION, 1n, flags), hex(aad));
      const cipher = createCipheriv('aes-256-gcm', KEY, IV).setAAD(hex(aad));
      const ciphertext = new Uint8Array(Buffer.concat([cipher.update(PLAINTEXT), cipher.final()]));
      deepEqual(ciphertext, hex(CIPHERTEXT));
      const packet = { counter: 1n, iv: IV, tag: new Uint8Array(cipher.getAuthTag()), flags, ciphertext };
      const flagText = flags === 0 ? '0000' : '8000';
      const bytes = hex(`0000000000000001 ${'2b'.repeat(12)} ${tag} 0021 ${flagText} ${CIPHERTEXT}`);
      equal(bytes.length, 73);
      deepEqual(encodeDataPacket(packet), bytes);
      deepEqual(decodeDataPacket(new Reader(bytes)), packet);
    });
  }

  it('follows a header with the flag set and the same session id', () => {
    const header = { version: VERSION_1_3, aggressive: false, expresslane: true, sessionId: SESSION };
    deepEqual(encodeHeader(header), hex('4865010300010000 a1a1a1a1a1a1a1a1'));
  });

  it('has its fields where the constants say', () => {
    const packet = { counter: 1n, iv: IV, tag: hex('cc'.repeat(16)), flags: 0x1234, ciphertext: hex('dddd') };
    const bytes = encodeDataPacket(packet);
    equal(bytes[DataOffset.counter + 7], 1);
    equal(bytes[DataOffset.iv], 0x2b);
    equal(bytes[DataOffset.tag], 0xcc);
    equal(bytes[DataOffset.length + 1], 2);
    equal(bytes[DataOffset.flags], 0x12);
    equal(bytes[DataOffset.ciphertext], 0xdd);
  });

  it('is refused when cut at any byte, and read the same with bytes behind it', () => {
    fc.assert(
      fc.property(u64, u16, fc.uint8Array({ maxLength: 64 }), fc.uint8Array(), (counter, flags, ciphertext, rest) => {
        const packet = { counter, iv: IV, tag: hex('cc'.repeat(16)), flags, ciphertext };
        const bytes = encodeDataPacket(packet);
        deepEqual(decodeDataPacket(new Reader(new Uint8Array([...bytes, ...rest]))), packet);
        for (let length = 0; length < bytes.length; length++) {
          throws(() => decodeDataPacket(new Reader(bytes.subarray(0, length))), WireError);
        }
      }),
      { numRuns: 30 },
    );
  });
});

describe('ExpresslaneConfig', () => {
  const key = hex('11'.repeat(32));
  const config = { kind: 'expresslaneConfig', version: 2, enabled: true, ack: false, counter: 1n, key } as const;
  const vectors = [
    ['request', config, `14 02 80 0000 0000000000000001 ${'11'.repeat(32)}`],
    ['its ack', { ...config, ack: true }, `14 02 c0 0000 0000000000000001 ${'11'.repeat(32)}`],
    [
      'degrade notice',
      { ...config, enabled: false, counter: 2n, key: new Uint8Array(32) },
      `14 02 00 0000 0000000000000002 ${'00'.repeat(32)}`,
    ],
  ] as const;

  for (const [name, frame, bytes] of vectors) {
    it(`is the ${name} of §6.2`, () => {
      deepEqual(encodeFrame(frame), hex(bytes));
      deepEqual(decodeFrame(new Reader(hex(bytes))), frame);
    });
  }

  it('ignores unknown flags and the reserved bytes', () => {
    deepEqual(decodeFrame(new Reader(hex(`14 02 bf ffff 0000000000000001 ${'11'.repeat(32)}`))), config);
  });
});

describe('statistics', () => {
  it('are two numbers of 64 bits', () => {
    deepEqual(encodeStatistics(1, 0x1_0000_0002), hex('0000000000000001 0000000100000002'));
    deepEqual(decodeStatistics(encodeStatistics(3, 2 ** 53 - 1)), { sent: 3, received: 2 ** 53 - 1 });
  });

  it('are absent from a payload of any other length than 16', () => {
    for (const length of [0, 1, 15, 17, 32]) equal(decodeStatistics(new Uint8Array(length)), undefined);
  });
});
