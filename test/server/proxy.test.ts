/** The PROXY v2 header in front of a TCP session: strangers write it, so anything may stand there. */

import type { Socket } from 'node:net';
import { PassThrough } from 'node:stream';
import fc from 'fast-check';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { readProxyHeader } from '../../src/server/proxy.ts';

const SIGNATURE = [0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a];

/** As the specification of the PROXY protocol says, version 2 §2.2. */
function header(rest: number[], command = 0x21, family = 0x11): Buffer {
  return Buffer.from([...SIGNATURE, command, family, rest.length >> 8, rest.length & 255, ...rest]);
}

const ADDRESSES = [192, 0, 2, 7, 198, 51, 100, 1, 0x9c, 0x41, 0x01, 0xbb];

/** Writes `bytes` in pieces cut at `cuts`, then ends. */
function read(bytes: Uint8Array, cuts: number[] = []) {
  const stream = new PassThrough();
  const peer = readProxyHeader(stream as unknown as Socket);
  const places = [...new Set([0, ...cuts.map((cut) => cut % (bytes.length + 1)), bytes.length])].sort((a, b) => a - b);
  for (let i = 1; i < places.length; i++) stream.write(bytes.subarray(places[i - 1], places[i]));
  return { stream, peer };
}

afterEach(() => vi.useRealTimers());

describe('the PROXY v2 header', () => {
  it('names the client, however it is cut, with whatever extensions, and leaves what is behind it', async () => {
    const extensions = fc
      .uint8Array({ maxLength: 200 })
      .map((value) => [0xe0, value.length >> 8, value.length & 255, ...value]);
    await fc.assert(
      fc.asyncProperty(fc.option(extensions), fc.uint8Array(), fc.array(fc.nat()), async (extension, behind, cuts) => {
        const bytes = Buffer.concat([header([...ADDRESSES, ...(extension ?? [])]), behind]);
        const { stream, peer } = read(bytes, cuts);
        expect(await peer).toEqual({ address: '192.0.2.7', portNumber: 0x9c41 });
        const left = (stream.read() as Buffer | null) ?? Buffer.alloc(0);
        expect(Buffer.compare(left, Buffer.from(behind))).toBe(0);
      }),
    );
  });

  it.each([
    ['version 1', Buffer.from('PROXY TCP4 192.0.2.7 198.51.100.1 40001 443\r\n')],
    ['LOCAL', header(ADDRESSES, 0x20)],
    ['UDP', header(ADDRESSES, 0x21, 0x12)],
    ['IPv6', header(Array(36).fill(1), 0x21, 0x21)],
    ['too short', header(ADDRESSES.slice(1))],
    ['too long', header(Array(521).fill(0))],
    ['another signature', Buffer.concat([Buffer.alloc(12, 0x41), header(ADDRESSES).subarray(12)])],
  ])('is refused when it is %s', async (_, bytes) => {
    expect(await read(bytes).peer).toBeUndefined();
  });

  it('is undefined, or an address, whatever comes: never an exception', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    const anything = fc.uint8Array({ maxLength: 700 });
    const nearly = fc.tuple(fc.uint8Array({ minLength: 4, maxLength: 4 }), fc.uint8Array({ maxLength: 600 }));
    const hostile = fc.oneof(
      anything,
      nearly.map(([fields, rest]) => Uint8Array.from([...SIGNATURE, ...fields, ...rest])),
    );
    await fc.assert(
      fc.asyncProperty(hostile, async (bytes) => {
        const { peer } = read(bytes);
        await new Promise(setImmediate);
        vi.advanceTimersByTime(5_000); // a header that never ends is given up
        const found = await peer;
        if (found) expect(found.address).toMatch(/^\d+\.\d+\.\d+\.\d+$/);
      }),
    );
  });
});
