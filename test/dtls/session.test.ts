/** What follows a handshake, and how handshakes end that do not succeed. */
import { beforeAll, describe, expect, it } from 'vitest';
import { Group } from '../../src/crypto/groups.ts';
import { DtlsDrop, type Endpoint, type Output, SNAPSHOT_SIZE } from '../../src/dtls/events.ts';
import { createMemoryProtection } from '../../src/dtls/memory-protection.ts';
import { restoreEndpoint } from '../../src/dtls/restore.ts';
import { MS, SECOND } from '../../src/wire/time.ts';
import { type Issued, issue } from '../crypto/authority.ts';
import { PERFECT, seededBytes } from './network.ts';
import { isEstablished, makePair, type Pair, type Setup, vault } from './pair.ts';

let root: Issued;
let chain: Issued[];

beforeAll(() => {
  root = issue({ name: 'root', ca: true });
  chain = [issue({ name: 'server.test', key: 'ed25519', issuer: root })];
});

function established(setup: Partial<Setup> = {}): Pair {
  const pair = makePair({ root, chain, seed: 1, conditions: PERFECT, ...setup });
  pair.network.run(20 * SECOND, () => isEstablished(pair));
  expect(isEstablished(pair)).toBe(true);
  pair.network.run(pair.network.now + SECOND);
  return pair;
}

const kinds = (outputs: readonly Output[]): string[] => outputs.map((each) => each.kind);
const updates = (outputs: readonly Output[]): string[] =>
  outputs.flatMap((each) => (each.kind === 'keysUpdated' ? [`${each.direction} ${each.epoch}`] : []));
const texts = (outputs: readonly Output[]): string[] =>
  outputs.flatMap((each) => (each.kind === 'data' ? [Buffer.from(each.content).toString()] : []));

describe('a key update', () => {
  it('moves the sender after the ACK, and the peer back when it was asked', () => {
    const { client, server, network } = established();
    expect(server.endpoint?.updateKeys(network.now, true)).toBe(true);
    expect(server.endpoint?.updateKeys(network.now, true)).toBe(false);
    network.run(network.now + SECOND);
    expect(updates(server.outputs)).toEqual(['send 4', 'receive 4']);
    expect(updates(network.a.outputs)).toEqual(['receive 4', 'send 4']);
    client.send(network.now, Buffer.from('after'));
    network.run(network.now + SECOND);
    expect(texts(server.outputs)).toEqual(['after']);
  });

  it('moves one direction only when nothing was asked', () => {
    const { client, network, server } = established();
    client.updateKeys(network.now, false);
    network.run(network.now + SECOND);
    expect(updates(network.a.outputs)).toEqual(['send 4']);
    expect(updates(server.outputs)).toEqual(['receive 4']);
  });

  it('crosses one from the other side: each answers after its own is acknowledged', () => {
    const { client, server, network } = established();
    client.updateKeys(network.now, true);
    server.endpoint?.updateKeys(network.now, true);
    network.run(network.now + SECOND);
    for (const outputs of [network.a.outputs, server.outputs]) {
      expect(updates(outputs).sort()).toEqual(['receive 4', 'receive 5', 'send 4', 'send 5']);
    }
    expect(client.updateKeys(network.now, false)).toBe(true);
  });

  it('survives a hundred rounds of a bad network with data in every epoch', () => {
    const pair = established({ seed: 7 });
    const { client, server, network } = pair;
    network.conditions = { loss: 0.15, duplicate: 0.2, corrupt: 0.05, delay: [1 * MS, 40 * MS], taskTime: 0 };
    let sent = 0;
    for (let round = 0; round < 100; round++) {
      if (round % 3 !== 1) client.updateKeys(network.now, round % 2 === 0);
      if (round % 3 !== 2) server.endpoint?.updateKeys(network.now, round % 5 === 0);
      for (let i = 0; i < 5; i++) client.send(network.now, Buffer.from(`${sent++}`));
      network.run(network.now + 2 * SECOND);
    }
    expect([client.state, server.endpoint?.state]).toEqual(['established', 'established']);
    const arrived = texts(server.outputs);
    expect(new Set(arrived).size).toBe(arrived.length);
    expect(arrived.length).toBeGreaterThan(sent * 0.6);
    expect(updates(network.a.outputs).length).toBeGreaterThan(100);
    network.conditions = PERFECT;
    network.run(network.now + 20 * SECOND);
    server.endpoint?.send(network.now, Buffer.from('last'));
    network.run(network.now + SECOND);
    expect(texts(network.a.outputs).at(-1)).toBe('last');
  });

  it('closes as PEER_SILENT after seven sends in 12.7 s', () => {
    const { client, server, network } = established();
    server.endpoint = undefined;
    const before = network.wire.length;
    const start = network.now;
    client.updateKeys(start, true);
    network.run(start + 30 * SECOND);
    expect(network.wire.slice(before).map(({ at }) => Math.round((at - start) / MS))).toEqual([
      0, 100, 300, 700, 1_500, 3_100, 6_300,
    ]);
    expect(network.a.outputs.at(-1)).toMatchObject({ kind: 'closed', code: 'PEER_SILENT' });
    expect(client.nextDeadline()).toBeUndefined();
  });
});

describe('records opened by someone else', () => {
  it('are used as those that were opened here', () => {
    const { client, server, network, protections } = established();
    const before = network.wire.length;
    network.conditions = { ...PERFECT, loss: 1 };
    client.send(network.now, Buffer.from('bulk'));
    client.updateKeys(network.now, false);
    network.run(network.now, () => network.wire.length > before + 1);
    network.conditions = PERFECT;
    for (const { bytes } of network.wire.slice(before)) {
      const opened = protections[1].open(bytes);
      if (opened === undefined || opened === 'replayed') throw new Error('does not open');
      server.endpoint?.receiveRecord(network.now, opened);
    }
    network.run(network.now + SECOND);
    expect(texts(server.outputs)).toEqual(['bulk']);
    expect(updates(server.outputs)).toEqual(['receive 4']);
    expect(updates(network.a.outputs)).toEqual(['send 4']);
  });
});

describe('closing', () => {
  it('tells the peer, and says nothing afterwards', () => {
    const { client, server, network } = established();
    client.close(network.now);
    client.close(network.now);
    network.run(network.now + SECOND);
    expect(network.a.outputs.at(-1)).toMatchObject({ kind: 'closed', code: 'LOCAL_CLOSE' });
    expect(server.outputs.at(-1)).toMatchObject({ kind: 'closed', code: 'PEER_CLOSED' });
    server.endpoint?.receive(network.now, Uint8Array.of(1, 2, 3));
    client.receive(network.now, new Uint8Array(40).fill(0x2f));
    expect([...(server.endpoint?.drain() ?? []), ...client.drain()]).toEqual([]);
    expect(client.drops[DtlsDrop.afterClose]).toBe(1);
    expect(() => client.send(network.now, Uint8Array.of(1))).toThrow(RangeError);
    expect(() => client.snapshot()).toThrow(RangeError);
  });

  it('ends both sides with unknown_ca when the client does not know the issuer', () => {
    const stranger = issue({ name: 'stranger', ca: true });
    const pair = makePair({ root: stranger, chain, seed: 1, conditions: PERFECT });
    pair.network.run(20 * SECOND);
    expect(pair.network.a.outputs).toMatchObject([{ kind: 'closed', code: 'REFUSED', alert: 48 }]);
    expect(pair.server.outputs).toMatchObject([{ kind: 'closed', code: 'PEER_ALERT', alert: 48 }]);
  });

  it('tells a client at once that nothing is in common', () => {
    const pair = makePair({
      root,
      chain,
      seed: 1,
      conditions: PERFECT,
      clientGroups: [Group.secp256r1],
      serverGroups: [Group.x25519],
    });
    pair.network.run(20 * SECOND);
    expect(pair.network.a.outputs).toMatchObject([{ kind: 'closed', code: 'PEER_ALERT', alert: 40 }]);
    expect(pair.server.endpoint).toBeUndefined();
  });
});

describe('a client that sends everything three times', () => {
  it('gets three equal retries, one flight and one ACK', () => {
    const conditions = { ...PERFECT, copies: 3 };
    const pair = makePair({
      root,
      chain,
      seed: 1,
      conditions,
      clientGroups: [Group.secp521r1MlKem1024],
      serverGroups: [Group.secp521r1MlKem1024],
    });
    pair.network.run(20 * SECOND, () => isEstablished(pair));
    const replies = pair.network.wire.filter(({ from }) => from === 'b').map(({ bytes }) => Buffer.from(bytes));
    expect(replies.slice(0, 3)).toEqual([replies[0], replies[0], replies[0]]);
    // ServerHello in two pieces, the last four messages of the flight, the ACK.
    expect(replies.slice(3).map((bytes) => bytes[0])).toEqual([0x16, 0x16, 0x2e, 0x2e, 0x2e, 0x2e, 0x2f]);
    expect(pair.answers.map(({ kind }) => kind)).toEqual(['retry', 'retry', 'retry', 'accept']);
  });
});

describe('silence', () => {
  it('ends a client that nobody answers after sends at 0, 100 ... 6,300 ms, at 12.7 s, with record numbers 0 to 6', () => {
    const pair = makePair({ root, chain, seed: 1, conditions: { ...PERFECT, loss: 1 } });
    pair.network.run(30 * SECOND);
    expect(pair.network.wire.map(({ at }) => at / MS)).toEqual([0, 100, 300, 700, 1_500, 3_100, 6_300]);
    expect(pair.network.wire.map(({ bytes }) => bytes[10])).toEqual([0, 1, 2, 3, 4, 5, 6]);
    expect(pair.network.a.outputs).toMatchObject([{ kind: 'closed', code: 'PEER_SILENT' }]);
  });

  it('ends a server whose client vanishes in the middle, 12.7 s after its last word', () => {
    const pair = makePair({ root, chain, seed: 1, conditions: PERFECT });
    pair.network.run(SECOND, () => pair.server.endpoint !== undefined);
    pair.network.a.endpoint = undefined;
    pair.network.run(30 * SECOND);
    expect(pair.server.outputs).toMatchObject([{ kind: 'closed', code: 'PEER_SILENT' }]);
  });
});

describe('the ACK of the client Finished', () => {
  it('leaves before anything else, and again for every repetition', () => {
    const pair = makePair({ root, chain, seed: 1, conditions: PERFECT });
    const { network, server, client } = pair;
    network.run(SECOND, () => server.endpoint?.state === 'established');
    server.endpoint?.send(network.now, Buffer.from('data'));
    const fromServer = () => network.wire.filter(({ from, bytes }) => from === 'b' && (bytes[0] & 3) === 3).length;
    network.conditions = { ...PERFECT, loss: 1 };
    network.run(network.now + 90 * MS); // the ACK is under way, or lost with the data
    expect(fromServer()).toBeGreaterThanOrEqual(2);
    expect(kinds(server.outputs)).toEqual(['established']);
    network.run(network.now + SECOND);
    network.conditions = PERFECT;
    network.run(network.now + 20 * SECOND);
    expect(client.state).toBe('established');
  });

  it('may be lost: data of epoch 3 says the same', () => {
    const pair = makePair({ root, chain, seed: 1, conditions: PERFECT });
    const { network, server, client } = pair;
    network.run(SECOND, () => server.endpoint?.state === 'established');
    network.conditions = { ...PERFECT, loss: 1 };
    const before = network.wire.length;
    server.endpoint?.send(network.now, Buffer.from('data'));
    network.run(network.now, () => network.wire.length > before);
    client.receive(network.now, network.wire.at(-1)!.bytes);
    expect(kinds(client.drain())).toEqual(['established', 'data']);
  });
});

describe('a snapshot', () => {
  it('lets new endpoints go on in the middle of a key update, with every reply lost so far', () => {
    const { network, client, server, protections } = established();
    network.conditions = { ...PERFECT, loss: 1 };
    client.updateKeys(network.now, true);
    server.endpoint?.updateKeys(network.now, true);
    network.run(network.now + 300 * MS);
    const revive = (endpoint: Endpoint, index: 0 | 1) =>
      restoreEndpoint(endpoint.snapshot(), { vault, random: seededBytes(3), protection: protections[index] });
    network.a.endpoint = revive(client, 0);
    server.endpoint = revive(server.endpoint!, 1);
    network.conditions = PERFECT;
    network.run(network.now + 20 * SECOND);
    for (const outputs of [network.a.outputs, server.outputs]) {
      expect(updates(outputs).sort()).toEqual(['receive 4', 'receive 5', 'send 4', 'send 5']);
    }
    network.a.endpoint.send(network.now, Buffer.from('revived'));
    network.run(network.now + SECOND);
    expect(texts(server.outputs)).toEqual(['revived']);
  });

  it('goes on counting the key updates of a peer: the 65,001st ends the connection, whichever engine has heard the others', () => {
    const { client, network } = established();
    const snapshot = client.snapshot();
    const view = new DataView(snapshot.buffer);
    const update = Uint8Array.of(24, 0, 0, 1, snapshot[16], snapshot[17], 0, 0, 0, 0, 0, 1, 0);
    const outputs = [65_002, 65_003].map((epoch) => {
      view.setUint32(10, epoch);
      const seal = () => ({ bytes: update, sequence: 0 });
      const protection = { install() {}, update: () => epoch + 1, seal, open: () => undefined, drop() {} };
      const restored = restoreEndpoint(snapshot, { vault, random: seededBytes(1), protection });
      restored.receiveRecord(network.now, { epoch, sequence: 0, contentType: 22, content: update });
      return restored.drain().filter(({ kind }) => kind !== 'datagram');
    });
    expect(outputs[0]).toEqual([{ kind: 'keysUpdated', direction: 'receive', epoch: 65_003 }]);
    expect(outputs[1]).toMatchObject([{ kind: 'closed', alert: 10 }]);
  });

  it('has 192 bytes, refuses other bytes, and says the same after restoring', () => {
    const { client, network } = established();
    const snapshot = client.snapshot();
    expect(snapshot.length).toBe(SNAPSHOT_SIZE);
    const options = { vault, random: seededBytes(1), protection: createMemoryProtection(vault) };
    expect(restoreEndpoint(snapshot, options).snapshot()).toEqual(snapshot);
    client.updateKeys(network.now, true);
    const pending = client.snapshot();
    expect(pending).not.toEqual(snapshot);
    expect(restoreEndpoint(pending, options).snapshot()).toEqual(pending);
    expect(restoreEndpoint(pending, options).nextDeadline()).toBe(network.now + 100 * MS);
    for (const [offset, value] of [
      [0, 9],
      [1, 7],
      [18, 3],
      [20, 9],
      [21, 17],
    ]) {
      const wrong = snapshot.slice();
      wrong[offset] = value;
      expect(() => restoreEndpoint(wrong, options)).toThrow(RangeError);
    }
  });
});

describe('a virtual clock', () => {
  it('moves every timer by nanoseconds: a flight is repeated at its deadline and not a nanosecond before', () => {
    const nanosecond = 0.001;
    const { client, network } = makePair({ root, chain, seed: 1, conditions: { ...PERFECT, loss: 1 } });
    network.run(10 * MS); // the first flight is made, and lost
    let deadline = client.nextDeadline() as number;
    for (let sends = 1; sends < 7; sends++) {
      client.advance(deadline - nanosecond);
      expect([client.drain(), client.nextDeadline()]).toEqual([[], deadline]);
      client.advance(deadline);
      expect(kinds(client.drain())).toContain('datagram');
      deadline = client.nextDeadline() as number;
    }
    client.advance(deadline - nanosecond);
    expect(client.state).toBe('handshake');
    client.advance(deadline);
    expect(client.state).toBe('closed');
  });
});
