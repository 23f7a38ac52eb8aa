/**
 * Ringway and the stock Lightway programs carry traffic through each other, in both roles and all modes. The stock programs are
 * built elsewhere: RINGWAY_STOCK_SERVER and RINGWAY_STOCK_CLIENT name them.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createCredentials } from '../../src/lab/credentials.ts';
import { Lab } from '../../src/lab/hosts.ts';
import { type EndOptions, ringway, SERVER_DEVICE, Tunnel } from '../../src/lab/tunnel.ts';

const { RINGWAY_STOCK_SERVER: stockServer, RINGWAY_STOCK_CLIENT: stockClient } = process.env;
const MODES = [
  ['UDP with Expresslane', { mode: 'udp', expresslane: true }],
  ['UDP with DTLS alone', { mode: 'udp', expresslane: false }],
  ['TCP', { mode: 'tcp', expresslane: false }],
] as const;
const TRANSFER_BYTES = 50_000_000;

const stock = (program: string | undefined): EndOptions => ({ command: [program ?? ''], keys: { log_level: 'warn' } });

const PAIRS = [
  [
    'the stock client (RINGWAY_STOCK_CLIENT)',
    stockClient,
    (lab: Lab) => ({ server: ringway(lab, 'server'), client: stock(stockClient) }),
  ],
  [
    'the stock server (RINGWAY_STOCK_SERVER)',
    stockServer,
    (lab: Lab) => ({ server: stock(stockServer), client: ringway(lab, 'client') }),
  ],
] as const;

for (const [peer, program, ends] of PAIRS) {
  describe.skipIf(program === undefined).each(MODES)(`Ringway and ${peer}: %s`, (_name, options) => {
    let lab: Lab;
    let tunnel: Tunnel;

    beforeAll(async () => {
      lab = await Lab.create();
      tunnel = await Tunnel.start(lab, { ...options, credentials: await createCredentials(lab.folder), ...ends(lab) });
      // peer: stock server 1.3 loses trains beyond 65,507 bytes (bench/rig/README.md)
      await lab.server.run('ip', 'link', 'set', SERVER_DEVICE, 'gso_max_size', '60000');
    });
    afterAll(() => lab?.close());

    it('answers pings and 100 UDP queries of 30 to 512 bytes', async () => {
      expect(await tunnel.ping(20)).toBe(20);
      expect(await tunnel.queries(100, 3)).toEqual({ asked: 100, answered: 100, wrong: 0 });
    });

    it.each(['up', 'down'] as const)('carries 50 MB of TCP %s with equal checksums', async (direction) => {
      const { bytes, sent, received } = await tunnel.transfer(direction, TRANSFER_BYTES, 5);
      expect({ bytes, received }).toEqual({ bytes: TRANSFER_BYTES, received: sent });
    });
  });
}
