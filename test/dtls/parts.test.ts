/** The parts of an endpoint alone: window, reassembly, codecs, timer. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { DtlsError, decodeAlert } from '../../src/dtls/alerts.ts';
import { RepeatTimer } from '../../src/dtls/flight.ts';
import { decodeFragments, encodeFragments } from '../../src/dtls/handshake.ts';
import {
  decodeClientHello,
  decodeServerHello,
  encodeClientHello,
  keySharesOf,
  offersDtls13,
} from '../../src/dtls/hello.ts';
import * as messages from '../../src/dtls/messages.ts';
import { Reassembly } from '../../src/dtls/reassembly.ts';
import { encodePlaintext, splitRecords } from '../../src/dtls/records.ts';
import { ReplayWindow, WINDOW_SIZE } from '../../src/dtls/window.ts';

describe('the replay window', () => {
  it('agrees with a set of all numbers, and takes nothing 64 or more behind the newest', () => {
    const numbers = fc.array(fc.oneof(fc.integer({ min: 0, max: 200 }), fc.integer({ min: 0, max: 2 ** 40 })), {
      maxLength: 200,
    });
    fc.assert(
      fc.property(numbers, (sequence) => {
        const window = new ReplayWindow();
        const seen = new Set<number>();
        let newest = -1;
        for (const number of sequence) {
          const expected = !seen.has(number) && newest - number < WINDOW_SIZE;
          expect(window.isNew(number)).toBe(expected);
          if (!expected) continue;
          window.mark(number);
          seen.add(number);
          newest = Math.max(newest, number);
          expect(window.next).toBe(newest + 1);
        }
      }),
    );
  });
});

describe('reassembly', () => {
  const bodies = fc.array(fc.uint8Array({ maxLength: 300 }), { minLength: 1, maxLength: 5 });

  it('gives every message once, whole and in order, from fragments cut, mixed, doubled and overlapping in any way', () => {
    fc.assert(
      fc.property(
        bodies,
        fc.integer({ min: 1, max: 120 }),
        fc.infiniteStream(fc.nat(1_000_000)),
        (list, limit, draws) => {
          const fragments = list.flatMap((body, sequence) => {
            const cut = [
              ...encodeFragments({ type: 11, sequence, body }, limit),
              ...encodeFragments({ type: 11, sequence, body }, limit + 7),
            ];
            return cut.flatMap((bytes) => decodeFragments(bytes));
          });
          const mixed = fragments
            .map((fragment) => ({ fragment, key: draws.next().value as number }))
            .sort((a, b) => a.key - b.key);
          const reassembly = new Reassembly(0, 1_000, 10_000);
          const got: Uint8Array[] = [];
          for (const { fragment } of mixed) {
            reassembly.add(fragment);
            for (let message = reassembly.take(); message !== undefined; message = reassembly.take()) {
              expect(message.sequence).toBe(got.length);
              got.push(message.body);
            }
          }
          expect(got).toEqual(list);
          expect(reassembly.pending).toBe(false);
        },
      ),
      { numRuns: 60 },
    );
  });

  it('keeps the bytes that came first', () => {
    const reassembly = new Reassembly(0, 100, 100);
    const part = (offset: number, body: number[]) => ({
      type: 11,
      sequence: 0,
      length: 6,
      offset,
      body: Uint8Array.from(body),
    });
    expect(reassembly.add(part(2, [1, 1]))).toBe(true);
    expect(reassembly.add(part(0, [2, 2, 2, 2, 2]))).toBe(true);
    expect(reassembly.add(part(1, [3, 3, 3, 3, 3]))).toBe(true);
    expect(reassembly.take()?.body).toEqual(Uint8Array.of(2, 2, 1, 1, 2, 3));
  });

  it('refuses contradictions, messages far ahead, and more bytes than its limits', () => {
    const reassembly = new Reassembly(5, 100, 150);
    const part = (sequence: number, length: number, type = 11) => ({
      type,
      sequence,
      length,
      offset: 0,
      body: Uint8Array.of(1),
    });
    expect(reassembly.add(part(5, 90))).toBe(true);
    expect(reassembly.add(part(5, 91))).toBe(false);
    expect(reassembly.add(part(5, 90, 15))).toBe(false);
    expect(reassembly.add(part(4, 10))).toBe(false);
    expect(reassembly.add(part(26, 10))).toBe(false);
    expect(reassembly.add(part(6, 101))).toBe(false);
    expect(reassembly.add(part(6, 70))).toBe(false);
    expect(reassembly.add(part(6, 60))).toBe(true);
  });
});

describe('the codecs', () => {
  it('throw nothing but DtlsError on any bytes', () => {
    const decoders: Array<(bytes: Uint8Array) => unknown> = [
      decodeFragments,
      decodeClientHello,
      decodeServerHello,
      decodeAlert,
      messages.checkEncryptedExtensions,
      messages.decodeCertificate,
      messages.decodeCertificateRequest,
      messages.decodeCertificateVerify,
      messages.decodeKeyUpdate,
      messages.decodeAck,
      (bytes) => keySharesOf(new Map([[51, bytes]])),
      (bytes) => offersDtls13(new Map([[43, bytes]])),
    ];
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
        for (const decode of decoders) {
          try {
            decode(bytes);
          } catch (error) {
            expect(error).toBeInstanceOf(DtlsError);
          }
        }
      }),
      { numRuns: 2_000 },
    );
  });

  it('cut any datagram into records without throwing and without inventing bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 400 }), (datagram) => {
        const total = splitRecords(datagram).reduce((sum, record) => {
          if (record.kind === 'malformed') return sum;
          return sum + (record.kind === 'protected' ? record.bytes.length : record.content.length + 13);
        }, 0);
        expect(total).toBeLessThanOrEqual(datagram.length);
      }),
      { numRuns: 2_000 },
    );
  });

  it('read back what they wrote', () => {
    const content = fc.uint8Array({ maxLength: 100 });
    fc.assert(
      fc.property(
        content,
        fc.integer({ min: 0, max: 2 ** 48 - 1 }),
        fc.uint8Array({ maxLength: 32 }),
        (bytes, sequence, sessionId) => {
          const [record] = splitRecords(encodePlaintext(22, sequence, bytes));
          expect(record).toEqual({ kind: 'plaintext', contentType: 22, sequence, content: bytes });
          const hello = {
            random: new Uint8Array(32).fill(1),
            sessionId,
            suites: [0x1301],
            extensions: new Map([[43, bytes]]),
          };
          expect(decodeClientHello(encodeClientHello(hello))).toEqual(hello);
          const numbers = [{ epoch: 3, sequence }];
          expect(messages.decodeAck(messages.encodeAck(numbers))).toEqual(numbers);
        },
      ),
    );
  });
});

describe('the repeat timer', () => {
  it('expires after 100, 200 ... 6,400 ms, and gives up 12.7 s after the first send', () => {
    const timer = new RepeatTimer();
    timer.start(0.25);
    const expiries: number[] = [];
    for (let going = true; going; ) {
      const deadline = timer.deadline!;
      expiries.push(deadline - 0.25);
      going = timer.expire(deadline);
    }
    expect(expiries.map((each) => each / 1_000)).toEqual([100, 300, 700, 1_500, 3_100, 6_300, 12_700]);
    expect(timer.deadline).toBeUndefined();
  });
});
