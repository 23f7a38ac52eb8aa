/** Whole shards, datagrams over loopback, packets over a TUN device: every session lives on one shard, whichever shard hears it. */
import { afterEach, describe, expect, it } from 'vitest';
import { Group } from '../../src/crypto/groups.ts';
import { parseIpv4 } from '../../src/server/leases.ts';
import { namespaceRefusal } from '../io/rig.ts';
import { build, UDP } from '../packet/packets.ts';
import { CLIENT_INSIDE, flavours, NET_ADDRESS, numbered, Rig, type RigClient, type RigOptions } from './rig.ts';

const refusal = namespaceRefusal();
if (refusal) console.warn(`skipped: ${refusal}`);

const rigs: Rig[] = [];
afterEach(() => {
  for (const rig of rigs.splice(0)) rig.close();
});

function start(options: RigOptions): Rig {
  const rig = new Rig(options);
  rigs.push(rig);
  return rig;
}

const up = (number: number) =>
  build({ ...UDP, source: parseIpv4(CLIENT_INSIDE), destination: NET_ADDRESS, payload: numbered(number) });
const down = (client: RigClient, number: number) =>
  build({ ...UDP, source: NET_ADDRESS, destination: client.lease, payload: numbered(number) });

/** The numbers in UDP packets, superpackets cut up. */
function numbersOf(packets: readonly Uint8Array[]): number[] {
  return packets.flatMap((bytes) => {
    const view = new DataView(bytes.buffer, bytes.byteOffset);
    return Array.from({ length: (bytes.length - 28) / 64 }, (_, i) => view.getUint32(28 + i * 64));
  });
}

const upTo = (count: number) => Array.from({ length: count }, (_, i) => i);

describe.skipIf(refusal !== undefined).each(flavours())('a shard over %s with %s', (io, aead) => {
  it('logs a client in whose second ClientHello comes in pieces, without waiting for a repetition', () => {
    const rig = start({ io, aead, shards: 1 });
    const client = rig.open(2, { groups: [Group.x25519MlKem768] });
    rig.settle(); // no time passes
    expect(client.session.state).toBe('online');
    expect(rig.counters()['hello.fragmented']).toBeUndefined();
  });

  it('logs a client in beside a session that never lets the socket run empty', () => {
    const rig = start({ io, aead, shards: 1 });
    const busy = rig.connect(2);
    const load = () => busy.send(upTo(40).map((i) => busy.lane(up(i))));
    rig.under(load, () => false, 50);
    const client = rig.open(3);
    expect(rig.under(load, () => client.session.state === 'online', 5_000)).toBe(true);
    const { strangersFull = 0, handshakesFull = 0 } = rig.counters();
    expect([strangersFull, handshakesFull]).toEqual([0, 0]);
  });
});

describe.skipIf(refusal !== undefined).each(flavours())('two shards over %s with %s', (io, aead) => {
  it('put a session where its id says, and hear all of it there', () => {
    const rig = start({ io, aead, shards: 2 });
    // the kernel's hash decides where each lands: all of sixteen on one shard is a matter of 1 in 32,768
    const clients = upTo(16).map((host) => rig.connect(2 + host));
    for (const client of clients) {
      const shard = Number(client.id >> 56n) % 2;
      expect(rig.table.fields.shard.get(client.slot)).toBe(shard);
      expect(client.slot % 2).toBe(shard);
      expect(rig.shards[shard].control.peers.has(client.slot)).toBe(true);
      for (let i = 0; i < 20; i++) client.send([client.lane(up(2 * i)), client.record(up(2 * i + 1))]);
    }
    rig.settle();
    for (const client of clients) {
      expect(rig.table.fields.packetsOpened.get(client.slot)).toBe(40);
      rig.inside.send(upTo(20).map((i) => down(client, i)));
    }
    rig.settle();
    for (const client of clients) expect(numbersOf(client.inner())).toEqual(upTo(20));
    expect(new Set(clients.map((client) => client.slot % 2)).size).toBe(2);
    expect(rig.ports('takenOver')).toBe(0);
  });

  it('without steering hand over every datagram and packet that came to the wrong one: in order, counted, none lost', () => {
    const rig = start({ io, aead, shards: 2, steered: false });
    // the kernel's hash brings each one's packets to either shard: with twelve, not all to the right one
    const clients = Array.from({ length: 12 }, (_, i) => rig.connect(2 + i));
    rig.inside.receive();
    const before = rig.ports('takenOver');
    const counted = rig.counted(() => {
      for (const client of clients) {
        for (let i = 0; i < 50; i++) client.send([client.lane(up(client.host * 1000 + i))]);
        rig.inside.send(upTo(50).map((i) => down(client, i)));
      }
      rig.settle();
    });
    const numbers = numbersOf(rig.inside.receive());
    for (const client of clients) {
      const own = numbers.filter((number) => Math.floor(number / 1000) === client.host);
      expect(own).toEqual(upTo(50).map((i) => client.host * 1000 + i));
      expect(numbersOf(client.inner())).toEqual(upTo(50));
    }
    const takenOver = rig.ports('takenOver') - before;
    expect(takenOver).toBeGreaterThan(0);
    expect(counted).toEqual({ elsewhere: takenOver, handedOver: takenOver });
  });

  it('count every datagram of the trains that the other one has no room for', () => {
    const rig = start({ io, aead, shards: 2, steered: false, handoverBytes: 8_192 });
    const client = rig.connect(2);
    rig.inside.receive();
    let delivered = 0;
    const hosts = Array.from({ length: 20 }, (_, i) => 3 + i); // the kernel brings each to either shard: not all to the right one
    const { handoverFull } = rig.counted(() => {
      for (const host of hosts) {
        client.move(host);
        for (let train = 0; train < 4; train++) client.sendTrain(upTo(20).map((i) => client.lane(up(i))));
        rig.settle();
        delivered += numbersOf(rig.inside.receive()).length;
      }
    });
    expect(handoverFull).toBeGreaterThan(0);
    expect(delivered + handoverFull).toBe(hosts.length * 80);
  });

  it('hand over what a client that moved sends, until and after its new address is known', () => {
    const rig = start({ io, aead, shards: 2, steered: false });
    const client = rig.connect(2);
    rig.inside.receive();
    const hosts = Array.from({ length: 20 }, (_, i) => 3 + i); // the kernel brings each to either shard: not all to the right one
    for (const host of hosts) {
      client.move(host);
      for (let i = 0; i < 10; i++) client.send([client.lane(up(i))]);
      rig.settle();
      expect(numbersOf(rig.inside.receive())).toEqual(upTo(10));
      rig.inside.send(upTo(10).map((i) => down(client, i)));
      rig.settle();
      expect(numbersOf(client.inner())).toEqual(upTo(10));
    }
    expect(rig.counters().floats).toBe(hosts.length);
    expect(rig.counters().elsewhere).toBeGreaterThan(0);
  });

  it('share a TUN device that has one queue', () => {
    const rig = start({ io, aead, shards: 2, queues: 1 });
    const clients = [2, 3, 4, 5].map((host) => rig.connect(host));
    rig.inside.receive();
    for (const client of clients) {
      client.send(upTo(20).map((i) => client.lane(up(i))));
      rig.inside.send(upTo(20).map((i) => down(client, i)));
      rig.settle();
    }
    expect(numbersOf(rig.inside.receive()).sort((a, b) => a - b)).toEqual(
      clients.flatMap(() => upTo(20)).sort((a, b) => a - b),
    );
    for (const client of clients) expect(numbersOf(client.inner()).sort((a, b) => a - b)).toEqual(upTo(20));
  });
});
