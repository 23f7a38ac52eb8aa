/** Ringway at both ends, in the real kernel: every mode, backend and number of shards, each pair of them at least once. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createCredentials } from '../../src/lab/credentials.ts';
import { Lab } from '../../src/lab/hosts.ts';
import { ringway, Tunnel } from '../../src/lab/tunnel.ts';

const MODES = {
  'UDP with Expresslane': { mode: 'udp', expresslane: true },
  'UDP with DTLS alone': { mode: 'udp', expresslane: false },
  TCP: { mode: 'tcp', expresslane: false },
} as const;

/** Six of the twelve combinations hold every pair of values. */
const CASES: readonly (readonly [keyof typeof MODES, 'io_uring' | 'epoll', shards: 1 | 2])[] = [
  ['UDP with Expresslane', 'io_uring', 1],
  ['UDP with Expresslane', 'epoll', 2],
  ['UDP with DTLS alone', 'io_uring', 2],
  ['UDP with DTLS alone', 'epoll', 1],
  ['TCP', 'io_uring', 2],
  ['TCP', 'epoll', 1],
];
const TRANSFER_BYTES = 200_000_000;

describe.each(CASES)('%s, %s, shards: %i', (name, io, shards) => {
  let lab: Lab;
  let tunnel: Tunnel;

  beforeAll(async () => {
    lab = await Lab.create();
    const credentials = await createCredentials(lab.folder);
    const server = ringway(lab, 'server', ['--io', io, '--shards', String(shards)]);
    const client = ringway(lab, 'client', ['--io', io]);
    tunnel = await Tunnel.start(lab, { ...MODES[name], credentials, server, client });
  });
  afterAll(() => lab?.close());

  it('answers every one of 20 pings', async () => {
    expect(await tunnel.ping(20)).toBe(20);
  });

  it('answers every one of 300 UDP queries of 30 to 512 bytes with the same bytes', async () => {
    expect(await tunnel.queries(300, 11)).toEqual({ asked: 300, answered: 300, wrong: 0 });
  });

  it.each(['up', 'down'] as const)('carries 200 MB of TCP %s with equal checksums', async (direction) => {
    const { bytes, sent, received } = await tunnel.transfer(direction, TRANSFER_BYTES, 5);
    expect({ bytes, received }).toEqual({ bytes: TRANSFER_BYTES, received: sent });
  });

  it('ends with exit code 0 at both ends', async () => {
    expect(await tunnel.stop()).toEqual({ client: 0, server: 0 });
  });
});
