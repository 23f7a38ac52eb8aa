/** IPv6 outside: servers bound to one address or to all, reached over IPv6, and over IPv4 by the same socket. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createCredentials } from '../../src/lab/credentials.ts';
import { Lab, SERVER_OUTSIDE } from '../../src/lab/hosts.ts';
import { ringway, Tunnel } from '../../src/lab/tunnel.ts';

const PORT = 27690;
const SERVER6 = 'fd09::2';
const TRANSFER_BYTES = 20_000_000;

const CASES = [
  { name: 'all addresses, over IPv6 with Expresslane', bind: '::', to: `[${SERVER6}]`, mode: 'udp', expresslane: true },
  { name: 'all addresses, over IPv4', bind: '::', to: SERVER_OUTSIDE, mode: 'udp', expresslane: true },
  {
    name: 'one address, over IPv6 with DTLS alone',
    bind: SERVER6,
    to: `[${SERVER6}]`,
    mode: 'udp',
    expresslane: false,
  },
  { name: 'all addresses, over TCP and IPv6', bind: '::', to: `[${SERVER6}]`, mode: 'tcp', expresslane: false },
] as const;

describe.each(CASES)('a server bound to $name', ({ bind, to, mode, expresslane }) => {
  let lab: Lab;
  let tunnel: Tunnel;

  beforeAll(async () => {
    lab = await Lab.create();
    await lab.client.run('ip', 'address', 'add', 'fd09::1/64', 'dev', 'c0', 'nodad');
    await lab.server.run('ip', 'address', 'add', `${SERVER6}/64`, 'dev', 's0', 'nodad');
    const credentials = await createCredentials(lab.folder);
    const server = ringway(lab, 'server', ['--shards', '2'], { bind_address: `"[${bind}]:${PORT}"` });
    const client = ringway(lab, 'client', [], { server: `"${to}:${PORT}"` });
    tunnel = await Tunnel.start(lab, { mode, expresslane, credentials, server, client });
  });
  afterAll(() => lab?.close());

  it('answers every one of 20 pings', async () => {
    expect(await tunnel.ping(20)).toBe(20);
  });

  it.each(['up', 'down'] as const)('carries 20 MB of TCP %s with equal checksums', async (direction) => {
    const { bytes, sent, received } = await tunnel.transfer(direction, TRANSFER_BYTES, 5);
    expect({ bytes, received }).toEqual({ bytes: TRANSFER_BYTES, received: sent });
  });
});
