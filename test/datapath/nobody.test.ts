/**
 * Sessions while somebody floods their shard with ids that name nobody: whatever becomes of a session's id, its own datagrams must not be put aside with
 * the flood, as few of those are read.
 */
import { randomBytes } from 'node:crypto';
import { afterEach, describe, expect, it } from 'vitest';
import { parseIpv4 } from '../../src/server/leases.ts';
import { addon, FEWEST_ENTRIES, filterRefusal, namespaceRefusal } from '../io/rig.ts';
import { build, concat, UDP } from '../packet/packets.ts';
import { CLIENT_INSIDE, NET_ADDRESS, numbered, Rig, type RigClient, Socket } from './rig.ts';

const refusal = namespaceRefusal() ?? filterRefusal();
if (refusal) console.warn(`skipped: ${refusal}`);

/** More than the suspects' door has room for. */
const BURST = 1_000;
const BURSTS = 2_000;

const closing: (() => void)[] = [];
afterEach(() => {
  for (const close of closing.splice(0).reverse()) close();
});

const PACKET = build({
  ...UDP,
  source: parseIpv4(CLIENT_INSIDE),
  destination: NET_ADDRESS,
  payload: numbered(1),
});
const unknown = () => concat(Uint8Array.of(0x48, 0x65, 1, 3, 0, 1, 0, 0), randomBytes(80));
const numbers = (count: number) => Array.from({ length: count }, (_, i) => i);

interface From {
  send(datagrams: Uint8Array[]): void;
}

function start(): Rig {
  const rig = new Rig({ io: 'epoll', shards: 1, aead: addon.about().aead[0], expresslane: false });
  closing.push(() => rig.close());
  rig.delay = 0;
  return rig;
}

function stranger(rig: Rig): From {
  const socket = new Socket('127.0.0.9');
  closing.push(() => socket.close());
  return { send: (datagrams) => socket.send(rig.address, datagrams) };
}

function burst(from: From): void {
  from.send(numbers(BURST).map(unknown));
}

/** Until ids that name nobody are suspect. */
function flood(rig: Rig, from: From): void {
  for (let i = 0; i < BURSTS && rig.ports('suspectsIn') === 0; i++) {
    burst(from);
    while (rig.shards[0].turn(rig.now, 0)); // what comes of it waits
  }
  expect(rig.ports('suspectsIn')).toBeGreaterThan(0);
}

/** One record of each a burst, in turns. @returns how many came out */
function carried(rig: Rig, from: From, clients: readonly RigClient[], each: number): number {
  let came = 0;
  for (let i = 0; i < each; i++)
    for (const client of clients) {
      burst(from);
      client.send([client.record(PACKET)]);
      while (rig.shards[0].turn(rig.now, 0));
      came += rig.inside.receive().length;
    }
  return came;
}

const entryOf = ({ id }: RigClient) => Number(id >> 48n) % FEWEST_ENTRIES;

describe.skipIf(refusal !== undefined)('a session under a flood of ids that name nobody', () => {
  it('loses nothing under the id that it has', () => {
    const rig = start();
    const client = rig.connect(2, { expresslane: false });
    client.send([client.record(PACKET)]);
    rig.settle();
    rig.inside.receive();
    const from = stranger(rig);
    flood(rig, from);
    expect(carried(rig, from, [client], 40)).toBe(40);
  });

  it('loses nothing when it gets another one', () => {
    const rig = start();
    const client = rig.connect(2, { expresslane: false });
    const { id } = client;
    const from = stranger(rig);
    client.move(3);
    client.send([client.record(PACKET)]);
    rig.settle();
    client.advance();
    rig.settle();
    rig.inside.receive();
    expect(client.id).not.toBe(id);
    flood(rig, from);
    expect(carried(rig, from, [client], 40)).toBe(40);
  });

  it('loses nothing to another one that has its place in the map', () => {
    const rig = start();
    const clients = numbers(24).map((i) => rig.connect(2 + i, { expresslane: false }));
    const pair = clients.flatMap((one, i) => {
      const two = clients.slice(i + 1).find((other) => entryOf(other) === entryOf(one));
      return two ? [[one, two]] : [];
    })[0];
    const from = stranger(rig);
    flood(rig, from);
    expect(carried(rig, from, pair, 20)).toBe(40);
  });

  it('loses nothing when its shard is followed by another', () => {
    const rig = start();
    const client = rig.connect(2, { expresslane: false });
    const from = stranger(rig);
    flood(rig, from);
    expect(rig.start()).toBe(1);
    rig.delay = 0;
    flood(rig, from);
    expect(carried(rig, from, [client], 40)).toBe(40);
  });

  it('is not flooded by who has its address: that is put aside as well', () => {
    const rig = start();
    const client = rig.connect(2, { expresslane: false });
    flood(rig, client);
  });
});
