/** Sessions that move and change: floats, id rotations and key updates on a whole shard, over a network that repeats and reorders. */
import { afterEach, describe, expect, it } from 'vitest';
import { parseIpv4 } from '../../src/server/leases.ts';
import { decodeHeader } from '../../src/wire/header.ts';
import { SECOND } from '../../src/wire/time.ts';
import { seeded } from '../dtls/network.ts';
import { addon, namespaceRefusal } from '../io/rig.ts';
import { build, bytesOf, UDP } from '../packet/packets.ts';
import { CLIENT_INSIDE, flavours, NET_ADDRESS, numbered, Rig, type RigClient, type RigOptions, Socket } from './rig.ts';

const refusal = namespaceRefusal();
if (refusal) console.warn(`skipped: ${refusal}`);

const UPDATE = 60 * SECOND;
const rigs: Rig[] = [];
afterEach(() => {
  for (const rig of rigs.splice(0)) rig.close();
});

function start(options: Partial<RigOptions>): Rig {
  const rig = new Rig({ io: 'epoll', shards: 1, keyUpdateInterval: UPDATE, ...options });
  rigs.push(rig);
  return rig;
}

const up = (number: number) =>
  build({ ...UDP, source: parseIpv4(CLIENT_INSIDE), destination: NET_ADDRESS, payload: numbered(number) });
const down = (client: RigClient, number: number) =>
  build({ ...UDP, source: NET_ADDRESS, destination: client.lease, payload: numbered(number) });

function numbersOf(packets: readonly Uint8Array[]): number[] {
  return packets.flatMap((bytes) => {
    const view = new DataView(bytes.buffer, bytes.byteOffset);
    return Array.from({ length: (bytes.length - 28) / 64 }, (_, i) => view.getUint32(28 + i * 64));
  });
}

/** Sends one packet by each lane, and one down. All arrive. */
function carries(rig: Rig, client: RigClient): void {
  rig.inside.receive();
  client.inner();
  client.send([client.lane(up(1)), client.record(up(2))]);
  rig.inside.send([down(client, 3)]);
  rig.settle();
  expect(numbersOf(rig.inside.receive()).sort()).toEqual([1, 2]);
  expect(numbersOf(client.inner())).toEqual([3]);
}

const remotePort = (rig: Rig, client: RigClient) => {
  const remote = rig.table.fields.remote.view(client.slot);
  return remote[2] * 256 + remote[3];
};
const idBytes = (id: bigint) => bytesOf('u64', id as never);

describe.skipIf(refusal !== undefined).each(flavours())('over %s with %s, a client that moves', (io, aead) => {
  it("keeps both lanes, gets a new id, and its old one is nobody's", () => {
    const rig = start({ io, aead });
    const client = rig.connect(2);
    const { slot, id } = client;
    client.move();
    client.send([client.lane(up(0))]);
    rig.settle();
    expect(remotePort(rig, client)).toBe(client.socket.portNumber);
    expect(client.id).not.toBe(id); // adopted, not used yet
    expect(rig.table.fields.pendingId.isZero(slot)).toBe(false);
    carries(rig, client);
    expect(rig.table.fields.pendingId.isZero(slot)).toBe(true);
    expect(rig.table.fields.currentId.equals(slot, idBytes(client.id))).toBe(true);
    const stranger = new Socket('127.0.0.9');
    const counted = rig.counted(() => {
      stranger.send(rig.address, [client.lane(up(0), { id })]);
      rig.turn();
    });
    stranger.close();
    expect(counted).toEqual({ reject: 1, rejectsSent: 1 });
    carries(rig, client);
  });

  it('can move by a record alone, and again before the rotation is over', () => {
    const rig = start({ io, aead });
    const client = rig.connect(2);
    const slot = client.slot;
    for (let i = 0; i < 5; i++) {
      client.move(2 + i);
      client.send([client.record(up(i))]);
      rig.turn(); // the announcement is on its way
      expect(remotePort(rig, client)).toBe(client.socket.portNumber);
    }
    rig.settle();
    carries(rig, client);
    expect(client.slot).toBe(slot);
    expect(rig.counters().floats).toBe(5);
  });

  it('may swap addresses with another one, and back: both go on', () => {
    const rig = start({ io, aead });
    const [one, other] = [rig.connect(2), rig.connect(3)];
    for (let swaps = 0; swaps < 2; swaps++) {
      [one.socket, other.socket] = [other.socket, one.socket];
      for (const client of [one, other]) client.send([client.lane(up(0)), client.record(up(1))]);
      rig.settle();
      for (const client of [one, other]) {
        expect(remotePort(rig, client)).toBe(client.socket.portNumber);
        carries(rig, client);
      }
    }
    expect(rig.counters().floats).toBe(4);
  });

  it('is not moved back by what was late, nor by what was held back and sent from elsewhere', () => {
    const rig = start({ io, aead });
    const client = rig.connect(2);
    const [lateLane, lateRecord] = [client.lane(up(1)), client.record(up(2))];
    const old = client.socket;
    client.socket = new Socket('127.0.0.3');
    client.send([client.lane(up(3)), client.record(up(4))]);
    rig.settle();
    rig.inside.receive();
    const attacker = new Socket('127.0.0.66');
    old.send(rig.address, [lateLane]);
    attacker.send(rig.address, [lateRecord]);
    rig.settle();
    expect(numbersOf(rig.inside.receive()).sort()).toEqual([1, 2]); // authentic all the same
    expect(remotePort(rig, client)).toBe(client.socket.portNumber);
    expect(rig.counters().floats).toBe(1);
    expect(attacker.receive()).toEqual([]);
    for (const socket of [old, attacker]) socket.close();
    carries(rig, client);
  });
});

describe.skipIf(refusal !== undefined)('a key update', () => {
  it('by the server changes both directions and the id: the KeyUpdate under the old one, the announcement under the new', () => {
    const rig = start({});
    const client = rig.connect(2);
    const { slot, id } = client;
    client.heard.length = 0;
    rig.pass(UPDATE + 1);
    const ids = client.heard.map((datagram) => decodeHeader(datagram).sessionId);
    const first = ids.findIndex((each) => each !== id);
    expect(first).toBeGreaterThan(0);
    expect(new Set(ids.slice(first)).size).toBe(1);
    expect(client.id).toBe(ids[first]);
    const { sendEpoch, receiveEpochs } = rig.table.fields;
    expect(sendEpoch.get(slot)).toBe(4);
    expect(receiveEpochs.get(slot, 0)).toBe(4);
    carries(rig, client);
    expect(rig.table.fields.pendingId.isZero(slot)).toBe(true);
  });

  it('by either side, twenty times, leaves a session that carries both lanes', () => {
    const rig = start({});
    const client = rig.connect(2);
    const { slot } = client;
    for (let i = 0; i < 20; i++) {
      if (i % 2 === 0) rig.pass(UPDATE + 1, 10 * SECOND);
      else {
        client.updateKeys(i % 4 === 1);
        client.flush();
        rig.settle();
      }
      carries(rig, client);
    }
    expect(rig.table.fields.sendEpoch.get(slot)).toBe(3 + 15);
    expect(rig.counters().idMismatch ?? 0).toBe(0);
  });

  it('goes through a network that repeats and reorders, with floats between: every packet arrives once', () => {
    for (let seed = 1; seed <= 12; seed++) {
      const rig = start({});
      const client = rig.connect(2);
      const random = seeded(seed);
      const sent: number[] = [];
      const arrived: number[] = [];
      const received: number[] = [];
      const shuffled = (datagrams: Uint8Array[]) =>
        datagrams
          .flatMap((each) => (random() < 0.3 ? [each, each] : [each]))
          .map((each) => ({ each, at: random() }))
          .sort((a, b) => a.at - b.at)
          .map(({ each }) => each);
      for (let round = 0; round < 12; round++) {
        if (round % 4 === 1) rig.now += UPDATE + 1;
        if (round % 4 === 2) client.updateKeys(random() < 0.5);
        if (round % 5 === 3) client.move(2 + round);
        const datagrams = client.taken();
        for (let i = 0; i < 6; i++) {
          const number = round * 10 + i;
          datagrams.push(i % 2 === 0 ? client.lane(up(number)) : client.record(up(number)));
          sent.push(number);
        }
        client.send(shuffled([...datagrams, ...client.taken()]));
        rig.inside.send([down(client, round)]);
        rig.turn();
        for (const datagram of shuffled(client.socket.receive())) client.hear(datagram);
        rig.settle();
        arrived.push(...numbersOf(rig.inside.receive()));
        received.push(...numbersOf(client.inner()));
      }
      rig.pass(2 * SECOND, SECOND / 4);
      expect([seed, client.closed]).toEqual([seed, []]);
      expect([seed, arrived.sort((a, b) => a - b)]).toEqual([seed, sent]);
      expect([seed, new Set(received).size]).toEqual([seed, received.length]);
      carries(rig, client);
      carries(rig, client);
      expect(rig.table.fields.pendingId.isZero(client.slot)).toBe(true);
      rigs.pop();
      rig.close();
    }
  }, 60_000);
});

describe.skipIf(refusal !== undefined)('the ids of a shard', () => {
  it('stay its own through every rotation, so that steering goes on to bring the session there', () => {
    const rig = start({ shards: 2 });
    const client = rig.connect(2);
    const shard = client.slot % 2;
    const before = rig.ports('takenOver');
    for (let i = 0; i < 10; i++) {
      client.move(3 + i);
      client.send([client.record(up(0))]);
      rig.settle();
      expect(Number(client.id >> 56n) % 2).toBe(shard);
    }
    expect(rig.ports('takenOver')).toBe(before);
    expect(addon.indexGet(rig.shards[0].control.index, 'id', idBytes(client.id))).toBe(client.slot);
  });
});
