/**
 * A path that swallows what is larger than 1,300 bytes without a word, as some do: the server's end of the wire takes no larger frame. With
 * `enable_pmtud` the client finds out and cuts its packets; without, they are gone.
 */
import { afterEach, expect, it } from 'vitest';
import { createCredentials } from '../../src/lab/credentials.ts';
import { Lab, NET_ADDRESS } from '../../src/lab/hosts.ts';
import { ringway, Tunnel } from '../../src/lab/tunnel.ts';

/** Inner packets of 1,350 bytes: what the tunnel's devices are made for. */
const FULL_PING = 1350 - 28;
const NARROW = ['ip', 'link', 'set', 's0', 'mtu', '1300'];
const TRANSFER_BYTES = 20_000_000;

let lab: Lab | undefined;
afterEach(() => lab?.close());

async function start(
  keys: Record<string, string | number | boolean>,
  expresslane: boolean,
  narrow: boolean,
): Promise<Tunnel> {
  lab = await Lab.create();
  const credentials = await createCredentials(lab.folder);
  const client = { ...ringway(lab, 'client'), keys };
  if (narrow) await lab.server.run(...NARROW);
  return Tunnel.start(lab, { mode: 'udp', expresslane, credentials, server: ringway(lab, 'server'), client });
}

/** @returns how many full-size pings of ten came back, one by one, so that none is part of a train */
async function fullPings({ lab }: Tunnel): Promise<number> {
  const ping = ['ping', '-n', '-q', '-c', '10', '-i', '0.1', '-W', '2', '-s', String(FULL_PING), NET_ADDRESS];
  return Number(/(\d+) received/.exec((await lab.client.outcome(ping)).stdout)?.[1]);
}

it.each([true, false])(
  'carries full-size packets and TCP over a path of 1,300 bytes (Expresslane: %s)',
  async (expresslane) => {
    const tunnel = await start({ enable_pmtud: true, pmtud_base_mtu: 1100 }, expresslane, true);
    expect(await fullPings(tunnel)).toBe(10);
    for (const direction of ['up', 'down'] as const) {
      const { bytes, sent, received } = await tunnel.transfer(direction, TRANSFER_BYTES, 3);
      expect({ bytes, received }).toEqual({ bytes: TRANSFER_BYTES, received: sent });
    }
    expect(await tunnel.stop()).toEqual({ client: 0, server: 0 });
  },
);

it('loses them without enable_pmtud, or this path proves nothing', async () => {
  const tunnel = await start({}, true, false); // its handshake would not get through
  await tunnel.lab.server.run(...NARROW);
  expect(await tunnel.ping(10)).toBe(10);
  expect(await fullPings(tunnel)).toBe(0);
});
