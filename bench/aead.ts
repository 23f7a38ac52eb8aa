/** One AES-256-GCM packet sealed by each backend, a call a packet: the floor under every node, and what the reference nodes cost. */
import { deepEqual } from 'node:assert/strict';
import { gcm } from '@noble/ciphers/aes.js';
import { Suite } from '../src/crypto/vault.ts';
import { loadAddon } from '../src/native/index.ts';
import { interleave, show } from './rounds.ts';

const SIZES = [64, 1_400];
const BATCH = 32; // calls between two looks at the clock

function packetsPerSecond(seal: () => unknown, forMs: number): number {
  const began = performance.now();
  let done = 0;
  do {
    for (let i = 0; i < BATCH; i++) seal();
    done += BATCH;
  } while (performance.now() - began < forMs);
  return (1000 * done) / (performance.now() - began);
}

export async function bench(quick: boolean): Promise<void> {
  const rounds = quick ? 1 : 7;
  const forMs = quick ? 50 : 200;
  const addon = loadAddon();
  const [key, nonce, aad] = [new Uint8Array(32).fill(1), new Uint8Array(12).fill(2), new Uint8Array(16).fill(3)];
  for (const size of SIZES) {
    const packet = new Uint8Array(size).map((_, i) => i);
    const contenders = addon.about().aead.map((backend) => ({
      name: `${backend}`,
      seal: () => addon.aeadSeal(backend, Suite.aes256, key, nonce, aad, packet),
    }));
    contenders.push({ name: 'noble', seal: () => gcm(key, nonce, aad).encrypt(packet) });
    const [first, ...others] = contenders.map(({ seal }) => Uint8Array.from(seal()));
    for (const other of others) deepEqual(other, first);
    const running = contenders.map(({ name, seal }) => ({ name, run: () => packetsPerSecond(seal, forMs) }));
    show(`Sealing packets of ${size} bytes, AES-256-GCM`, 'packets/s', await interleave(running, rounds), rounds);
  }
}
