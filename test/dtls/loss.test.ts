import { beforeAll, describe, expect, it } from 'vitest';
import { Group } from '../../src/crypto/groups.ts';
import { Suite } from '../../src/crypto/vault.ts';
import { MS, SECOND } from '../../src/wire/time.ts';
import { type Issued, issue } from '../crypto/authority.ts';
import { type Conditions, PERFECT, seeded } from './network.ts';
import { isEstablished, makePair, type Pair } from './pair.ts';

const HANDSHAKES = 1_000;
/** Longer than any handshake that has not given up takes. */
const PATIENCE = 60 * SECOND;

let root: Issued;
let chain: Issued[];

beforeAll(() => {
  root = issue({ name: 'root', key: 'ed25519', ca: true }); // equal lengths in every run, so equal fates for every datagram
  chain = [issue({ name: 'ed25519.test', key: 'ed25519', issuer: root })];
});

/** Loss of up to a fifth, spread of up to 60 ms, and the rest as bad as it likes. */
function weather(seed: number): Conditions {
  const random = seeded(seed);
  const quickest = random() * 20 * MS;
  return {
    loss: random() * 0.2,
    duplicate: random() * 0.3,
    corrupt: random() * 0.1,
    delay: [quickest, quickest + random() * 60 * MS],
    taskTime: random() < 0.5 ? 0 : random() * 50 * MS,
  };
}

function makeStormy(seed: number): Pair {
  const suites = [[Suite.aes128], [Suite.chacha20], [Suite.aes256]][seed % 3];
  const mtu = [1_200, 300, 600, 1_400][seed % 4];
  return makePair({ root, chain, seed, conditions: weather(seed), suites, mtu, clientGroups: [Group.x25519] });
}

describe('a network that loses, doubles, delays, reorders and corrupts', () => {
  it(`lets ${HANDSHAKES} handshakes through, each with equal keys at both ends`, () => {
    const failed: string[] = [];
    for (let seed = 0; seed < HANDSHAKES; seed++) {
      const pair = makeStormy(seed);
      pair.network.run(PATIENCE, () => isEstablished(pair));
      pair.network.conditions = PERFECT;
      if (!isEstablished(pair)) {
        failed.push(`seed ${seed}: ${JSON.stringify([...pair.network.a.outputs, ...pair.server.outputs].slice(0, 3))}`);
        continue;
      }
      pair.client.send(pair.network.now, Uint8Array.of(1, seed & 0xff));
      pair.server.endpoint?.send(pair.network.now, Uint8Array.of(2, seed & 0xff));
      pair.network.run(pair.network.now + SECOND);
      const arrived = JSON.stringify([pair.network.a.outputs.at(-1), pair.server.outputs.at(-1)]);
      const expected = JSON.stringify([
        { kind: 'data', content: Uint8Array.of(2, seed & 0xff) },
        { kind: 'data', content: Uint8Array.of(1, seed & 0xff) },
      ]);
      if (arrived !== expected) failed.push(`seed ${seed}: ${arrived}`);
    }
    expect(failed).toEqual([]);
  });
});
