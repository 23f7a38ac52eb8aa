import { deepEqual, equal, throws } from 'node:assert/strict';

import fc from 'fast-check';
import { describe, it } from 'vitest';

import {
  decodeHeader,
  drawSessionId,
  EMPTY,
  encodeHeader,
  REJECTED,
  rejectDatagram,
  VERSION_1_2,
  VERSION_1_3,
  versionOf,
} from '../../src/wire/header.ts';
import { WireError } from '../../src/wire/reader.ts';
import { hex, u64, version } from './arbitrary.ts';

const code = (expected: string) => (error: unknown) => error instanceof WireError && error.code === expected;

describe('header', () => {
  it('reads and writes the vector of protocol §1.2', () => {
    const bytes = hex('48 65 01 02 01 00 00 00 12 34 56 78 9a bc de f0');
    const header = { version: VERSION_1_2, aggressive: true, expresslane: false, sessionId: 0x123456789abcdef0n };
    deepEqual(decodeHeader(bytes), header);
    deepEqual(encodeHeader(header), bytes);
  });

  it('writes the reject datagram of §1.5: version 1.1, no flags, id ff×8, nothing behind', () => {
    deepEqual(rejectDatagram(), hex('48 65 01 01 00 00 00 00 ff ff ff ff ff ff ff ff'));
  });

  it('reads back what it wrote, whatever follows', () => {
    fc.assert(
      fc.property(version, fc.boolean(), fc.boolean(), u64, fc.uint8Array(), (v, aggressive, expresslane, id, rest) => {
        const header = { version: v, aggressive, expresslane, sessionId: id };
        deepEqual(decodeHeader(new Uint8Array([...encodeHeader(header), ...rest])), header);
      }),
    );
  });

  it('takes any non-zero byte for a set flag and ignores the reserved bytes', () => {
    const header = decodeHeader(hex('48 65 01 03 80 02 ff ff 00 00 00 00 00 00 00 00'));
    deepEqual(header, { version: VERSION_1_3, aggressive: true, expresslane: true, sessionId: EMPTY });
  });

  it('accepts 1.1, 1.2 and 1.3 of all 65,536 versions', () => {
    const accepted: string[] = [];
    const bytes = rejectDatagram();
    for (let major = 0; major < 256; major++) {
      for (let minor = 0; minor < 256; minor++) {
        bytes[2] = major;
        bytes[3] = minor;
        try {
          equal(decodeHeader(bytes).version, versionOf(major, minor));
          accepted.push(`${major}.${minor}`);
        } catch (error) {
          equal(code('BAD_VERSION')(error), true);
        }
      }
    }
    deepEqual(accepted, ['1.1', '1.2', '1.3']);
  });

  it('names what is wrong: short, then not Lightway, then a foreign version', () => {
    for (let length = 0; length < 16; length++) {
      throws(() => decodeHeader(new Uint8Array(length)), code('TRUNCATED'));
    }
    throws(() => decodeHeader(hex('48 66 09 09 00 00 00 00 00 00 00 00 00 00 00 00')), code('BAD_MAGIC'));
    throws(() => decodeHeader(hex('48 65 01 04 00 00 00 00 00 00 00 00 00 00 00 00')), code('BAD_VERSION'));
  });

  it('raises nothing but WireError on any bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 40 }), (bytes) => {
        try {
          decodeHeader(bytes);
        } catch (error) {
          equal(error instanceof WireError, true);
        }
      }),
    );
  });
});

describe('drawSessionId', () => {
  it('redraws the reserved ids and what the server does not accept', () => {
    const draws = [0n, REJECTED, 5n, 6n].map((id) => hex(id.toString(16).padStart(16, '0')));
    const id = drawSessionId(
      () => draws.shift() as Uint8Array,
      (candidate) => candidate % 2n === 0n,
    );
    equal(id, 6n);
    equal(draws.length, 0);
  });
});
