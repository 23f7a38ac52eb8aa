/** Hostile datagrams as a table: each costs one counter or nothing, throws nothing, and is answered with at most its triple. */
import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';
import { Group } from '../../src/crypto/groups.ts';
import { DtlsDrop } from '../../src/dtls/events.ts';
import { answerHello } from '../../src/dtls/listener.ts';
import type { HelloAnswer, ListenerOptions } from '../../src/dtls/options.ts';
import { MS, SECOND } from '../../src/wire/time.ts';
import { type Issued, issue } from '../crypto/authority.ts';
import { PERFECT, seeded } from './network.ts';
import { ADDRESS, isEstablished, listenerOptions, makePair, type Pair } from './pair.ts';

let root: Issued;
let chain: Issued[];
let options: ListenerOptions;
/** First and second ClientHello, in that order, as a client sent them. */
let hellos: Uint8Array[];

beforeAll(() => {
  root = issue({ name: 'root', ca: true });
  chain = [issue({ name: 'server.test', key: 'ed25519', issuer: root })];
  options = listenerOptions(chain, 1);
  const pair = fresh();
  pair.network.run(SECOND, () => isEstablished(pair));
  hellos = pair.network.wire
    .filter(({ from }) => from === 'a')
    .slice(0, 2)
    .map(({ bytes }) => bytes);
});

function fresh(): Pair {
  return makePair({ root, chain, seed: 1, conditions: PERFECT });
}

function ask(datagram: Uint8Array, at = 0, address = ADDRESS): HelloAnswer {
  const answer = answerHello(at, datagram, address, options);
  const reply = answer.kind === 'accept' ? undefined : answer.bytes;
  expect(reply?.length ?? 0).toBeLessThanOrEqual(3 * datagram.length);
  return answer;
}

/** Every datagram with a change: cut at every byte, every byte set to something else, rubbish behind it. */
function* variants(datagram: Uint8Array): Generator<Uint8Array> {
  for (let length = 0; length < datagram.length; length++) yield datagram.slice(0, length);
  for (let i = 0; i < datagram.length; i++) {
    for (const value of [0x00, 0xff, datagram[i] ^ 0x01, datagram[i] ^ 0x80]) {
      const changed = datagram.slice();
      changed[i] = value;
      if (value !== datagram[i]) yield changed;
    }
  }
  yield Buffer.concat([datagram, Buffer.alloc(7, 0x16)]);
}

describe('the listener', () => {
  it('answers equal first hellos with equal retries, and accepts the second', () => {
    expect(ask(hellos[0])).toEqual(ask(hellos[0], 59 * SECOND));
    expect(ask(hellos[0]).kind).toBe('retry');
    expect(ask(hellos[1]).kind).toBe('accept');
  });

  it('keeps a cookie to its address and to two minutes', () => {
    expect(ask(hellos[1], 119 * SECOND)).toMatchObject({ kind: 'accept' });
    expect(ask(hellos[1], 120 * SECOND)).toMatchObject({ kind: 'drop', reason: 'staleCookie' });
    expect(ask(hellos[1], 0, Uint8Array.of(192, 0, 2, 2, 1, 1))).toMatchObject({ kind: 'drop', reason: 'staleCookie' });
  });

  it('accepts no first hello changed in any byte, and no second one that begins otherwise', () => {
    for (const datagram of variants(hellos[0])) expect(ask(datagram).kind).not.toBe('accept');
    for (const datagram of variants(hellos[1])) ask(datagram);
  });

  it('never throws on anything', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => void ask(bytes)),
      { numRuns: 2_000 },
    );
  });
});

describe('a server behind a cookie', () => {
  it('survives every change of its second ClientHello, ending in an alert or still waiting', () => {
    const random = seeded(5);
    for (const datagram of variants(hellos[1])) {
      if (random() > 0.2 || ask(datagram).kind !== 'accept') continue;
      const pair = fresh();
      pair.server.unbound?.(0, datagram);
      const outputs = pair.server.endpoint?.drain() ?? [];
      for (const output of outputs) expect(['task', 'datagram', 'closed']).toContain(output.kind);
    }
  });
});

describe('an established endpoint', () => {
  function established(): Pair {
    const pair = fresh();
    pair.network.run(SECOND, () => isEstablished(pair));
    pair.network.run(2 * SECOND);
    return pair;
  }

  const total = (drops: Uint32Array): number => drops.reduce((sum, each) => sum + each, 0);

  it('drops and counts every datagram of its handshake that comes again, and answers only with an ACK', () => {
    const { network, server, client } = established();
    for (const { from, bytes } of [...network.wire]) {
      const endpoint = from === 'a' ? server.endpoint! : client;
      endpoint.receive(network.now, bytes);
      expect(endpoint.state).toBe('established');
      expect(endpoint.drain()).toEqual([]);
    }
    expect(server.endpoint!.drops[DtlsDrop.replayed] + client.drops[DtlsDrop.replayed]).toBeGreaterThan(4);
  });

  it('drops every change of a record with a count and without a word', () => {
    const { network, server, client } = established();
    const before = network.wire.length;
    client.send(network.now, Buffer.from('secret'));
    network.conditions = { ...PERFECT, loss: 1 };
    network.run(network.now, () => network.wire.length > before);
    const record = network.wire[before].bytes;
    const endpoint = server.endpoint!;
    for (const datagram of variants(record)) {
      if (datagram.length === 0 || datagram.length > record.length) continue;
      const count = total(endpoint.drops);
      endpoint.receive(network.now, datagram);
      expect(endpoint.drain()).toEqual([]);
      expect(total(endpoint.drops)).toBeGreaterThan(count);
    }
    endpoint.receive(network.now, record);
    expect(endpoint.drain()).toMatchObject([{ kind: 'data' }]);
    endpoint.receive(network.now, record);
    expect(endpoint.drops[DtlsDrop.replayed]).toBe(1);
  });

  it('believes no alert, ACK or hello in plaintext', () => {
    const { network, client } = established();
    for (const [type, content, reason] of [
      [21, [2, 40], DtlsDrop.unprotected],
      [21, [1, 0], DtlsDrop.unprotected],
      [26, [0, 0], DtlsDrop.unprotected],
      [23, [1], DtlsDrop.unprotected],
      [20, [1], DtlsDrop.unexpectedType],
      [22, [2, 0, 0, 1, 0, 9, 0, 0, 0, 0, 0, 1, 0], DtlsDrop.wrongEpoch],
      [22, [1, 2], DtlsDrop.badMessage],
    ] as const) {
      const before = client.drops[reason];
      client.receive(
        network.now,
        Uint8Array.of(type, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 9, 0, content.length, ...content),
      );
      expect(client.drops[reason]).toBe(before + 1);
    }
    expect([client.state, client.drain()]).toEqual(['established', []]);
  });
});

describe('a handshake under fire', () => {
  it('completes among 3,000 forged datagrams of every kind', () => {
    const pair = makePair({
      root,
      chain,
      seed: 3,
      conditions: { ...PERFECT, delay: [20 * MS, 30 * MS], taskTime: 10 * MS },
    });
    const { network, client, server } = pair;
    const random = seeded(9);
    for (let i = 0; i < 3_000 && !isEstablished(pair); i++) {
      const length = 1 + Math.floor(random() * 60);
      const forged = Uint8Array.from({ length }, () => Math.floor(random() * 256));
      forged[0] = [0x2c, 0x2d, 0x2e, 0x2f, 0x16, 0x1a, 0x17, 0x20][i % 8];
      client.receive(network.now, forged);
      server.endpoint?.receive(network.now, forged);
      network.run(network.now + 0.1 * MS, () => isEstablished(pair));
    }
    network.run(5 * SECOND, () => isEstablished(pair));
    expect(isEstablished(pair)).toBe(true);
    expect(network.wire.length).toBeLessThan(60);
  });

  it('holds 8 records and 6 KB at most for a client that has shown no more than its address', () => {
    const pair = makePair({ root, chain, seed: 3, conditions: PERFECT, clientGroups: [Group.x25519] });
    pair.network.run(5 * SECOND, () => pair.server.endpoint !== undefined);
    const { endpoint } = pair.server;
    for (let i = 0; i < 9; i++) endpoint?.receive(pair.network.now, new Uint8Array(100).fill(0x23));
    expect(endpoint?.drops[DtlsDrop.early]).toBe(1);
    const other = makePair({ root, chain, seed: 4, conditions: PERFECT, clientGroups: [Group.x25519] });
    other.network.run(5 * SECOND, () => other.server.endpoint !== undefined);
    for (let i = 0; i < 5; i++) other.server.endpoint?.receive(other.network.now, early(1_500));
    expect(other.server.endpoint?.drops[DtlsDrop.early]).toBe(1);
    for (const each of [pair, other]) {
      each.network.run(5 * SECOND, () => isEstablished(each));
      expect(isEstablished(each)).toBe(true);
    }
  });

  it('lets records forged into the future hold no place: at most 32 wait for keys', () => {
    const pair = makePair({ root, chain, seed: 3, conditions: PERFECT, clientGroups: [Group.x25519] });
    for (let i = 0; i < 40; i++) pair.client.receive(0, new Uint8Array(100).fill(0x22));
    expect(pair.client.drops[DtlsDrop.early]).toBeGreaterThan(0);
    pair.network.run(5 * SECOND, () => isEstablished(pair));
    expect(isEstablished(pair)).toBe(true);
  });
});

/** A record of epoch 3 that says how long it is: 2f, two bytes of number, length. */
function early(length: number): Uint8Array {
  const record = new Uint8Array(length).fill(7);
  record.set([0x2f, 0, 0, (length - 5) >> 8, (length - 5) & 0xff]);
  return record;
}
