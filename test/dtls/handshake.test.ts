import { beforeAll, describe, expect, it } from 'vitest';
import { GROUPS, Group } from '../../src/crypto/groups.ts';
import { Suite } from '../../src/crypto/vault.ts';
import { SECOND } from '../../src/wire/time.ts';
import { type Issued, issue, LEAF_KINDS } from '../crypto/authority.ts';
import { PERFECT } from './network.ts';
import { isEstablished, makePair, type Pair, type Setup } from './pair.ts';

let root: Issued;
let chains: Array<{ kind: string; chain: Issued[] }>;

beforeAll(() => {
  root = issue({ name: 'root', ca: true });
  const intermediate = issue({ name: 'intermediate', ca: true, issuer: root });
  chains = [];
  for (const key of LEAF_KINDS) chains.push({ kind: key, chain: [issue({ name: `${key}.test`, key, issuer: root })] });
  const below = issue({ name: 'below.test', issuer: intermediate });
  chains.push({ kind: 'p256 below an intermediate', chain: [below, intermediate] });
});

function run(setup: Partial<Setup>): Pair {
  const pair = makePair({ root, chain: chains[0].chain, seed: 1, conditions: PERFECT, ...setup });
  pair.network.run(20 * SECOND, () => isEstablished(pair));
  return pair;
}

function sayHello(pair: Pair): void {
  const { client, server, network } = pair;
  client.send(network.now, Buffer.from('up'));
  server.endpoint?.send(network.now, Buffer.from('down'));
  network.run(network.now + SECOND);
  expect(server.outputs).toContainEqual({ kind: 'data', content: new Uint8Array(Buffer.from('up')) });
  expect(network.a.outputs).toContainEqual({ kind: 'data', content: new Uint8Array(Buffer.from('down')) });
}

describe('a handshake without loss', () => {
  for (const suite of Object.values(Suite)) {
    for (const group of GROUPS.keys()) {
      it(`carries data both ways with suite ${suite.toString(16)} and ${GROUPS.get(group)?.name}`, () => {
        const pair = run({ suites: [suite], clientGroups: [group], serverGroups: [group] });
        expect(pair.network.a.outputs).toMatchObject([{ kind: 'established', suite, group }]);
        expect(pair.server.outputs).toMatchObject([{ kind: 'established', suite, group }]);
        sayHello(pair);
      });
    }
  }

  it('accepts every kind of certificate and shows the chain', () => {
    for (const { chain } of chains) {
      const pair = run({ chain });
      const peerChain = chain.map((each) => each.der);
      expect(pair.network.a.outputs).toEqual([
        { kind: 'established', suite: Suite.aes128, group: Group.x25519, peerChain },
      ]);
    }
  });

  it('asks for the best group both know, and needs no further share when it came at once', () => {
    const groups = [Group.x25519, Group.x25519MlKem768];
    expect(run({ clientGroups: groups }).server.outputs).toMatchObject([{ group: Group.x25519MlKem768 }]);
    expect(run({ clientGroups: groups, share: Group.x25519MlKem768 }).server.outputs).toMatchObject([
      { group: Group.x25519MlKem768 },
    ]);
    expect(run({ clientGroups: [Group.secp256r1], share: undefined }).server.outputs).toMatchObject([
      { group: Group.secp256r1 },
    ]);
  });

  it('sends an empty share first when the share would not fit one datagram', () => {
    const pair = run({ clientGroups: [Group.secp521r1MlKem1024] });
    expect(pair.network.wire[0].bytes.length).toBeLessThan(200);
    expect(isEstablished(pair)).toBe(true);
  });

  it('carries every message with an MTU of 256', () => {
    const pair = run({ chain: chains[4].chain, mtu: 256, clientGroups: [Group.x25519MlKem768], share: undefined });
    expect(isEstablished(pair)).toBe(true);
    expect(Math.max(...pair.network.wire.map(({ bytes }) => bytes.length))).toBeLessThanOrEqual(256);
    sayHello(pair);
  });
});
