import { createHmac, hkdfSync } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { createNativeVault } from '../../src/crypto/native-vault.ts';
import { createReferenceVault } from '../../src/crypto/reference-vault.ts';
import { type HashName, hashLength, type Secret, type Vault } from '../../src/crypto/vault.ts';
import { addon } from '../datapath/backends.ts';
import { concat } from '../packet/packets.ts';
import { type Answer, bytes, type Case, equal, report, tally } from './vectors.ts';

const vaults: { name: string; vault: Vault }[] = [{ name: 'reference vault', vault: createReferenceVault() }];
if (addon) vaults.push({ name: 'native vault', vault: createNativeVault(addon) });

/** HKDF-Extract is HMAC with the salt as key: the one HMAC of any key and message that the vault has for both hashes. */
function hmac(vault: Vault, hash: HashName, key: Secret, message: Uint8Array): Secret {
  const imported = vault.importSecret(hash, message);
  const made = vault.extract(hash, key, imported);
  imported.destroy();
  return made;
}

/** A secret never leaves the vault: two are the same if they give the same verify_data. */
function isSecret(vault: Vault, secret: Secret, hash: HashName, expected: Uint8Array): boolean {
  const known = vault.importSecret(hash, expected);
  const probe = new Uint8Array(hashLength(hash)).fill(7);
  const same = equal(vault.finished(secret, probe), vault.finished(known, probe));
  known.destroy();
  return same;
}

function hkdfAnswer(vault: Vault, hash: HashName, test: Case): Answer {
  const size = test.size as number;
  const length = hashLength(hash);
  if (size > 255 * length) return { refused: 'more output than HKDF has: the vault gives one hash length' };
  const [ikm, salt, info, okm] = [test.ikm, test.salt, test.info, test.okm].map(bytes);
  const blocks = Math.ceil(size / length);
  // node:crypto fills the last block up; what it gives is held against the vector first
  const whole = new Uint8Array(hkdfSync(hash, ikm, salt, info, blocks * length));
  if (!equal(whole.subarray(0, size), okm)) return 'rejected';
  const prk = vault.extract(hash, vault.importSecret(hash, salt), vault.importSecret(hash, ikm));
  let previous = new Uint8Array(0);
  for (let i = 0; i < blocks; i++) {
    const expected = whole.slice(i * length, (i + 1) * length);
    const block = hmac(vault, hash, prk, concat(previous, info, Uint8Array.of(i + 1)));
    if (!isSecret(vault, block, hash, expected)) return 'rejected';
    previous = expected;
  }
  return 'accepted';
}

function hmacAnswer(vault: Vault, hash: HashName, test: Case): Answer {
  const [key, message, tag] = [test.key, test.msg, test.tag].map(bytes);
  const imported = vault.importSecret(hash, key);
  const whole = new Uint8Array(createHmac(hash, key).update(message).digest());
  if (!isSecret(vault, hmac(vault, hash, imported, message), hash, whole))
    return { refused: 'another value than node:crypto' };
  const own = hash === 'sha256' ? vault.hmacSha256(imported, message) : whole;
  return vault.equal(own.subarray(0, tag.length), tag) ? 'accepted' : 'rejected';
}

describe.each(vaults)('$name', ({ name, vault }) => {
  it.each<[HashName, number]>([
    ['sha256', 83],
    ['sha384', 80],
  ])('derives every HKDF case over %s', async (hash, run) => {
    const file = `hkdf_${hash}_test.json`;
    const found = await tally(file, (test) => hkdfAnswer(vault, hash, test));
    report(file, name, found);
    expect(found.wrong).toEqual([]);
    expect([found.run, found.refused]).toEqual([
      run,
      { 'more output than HKDF has: the vault gives one hash length': 3 },
    ]);
  });

  it.each<HashName>(['sha256', 'sha384'])('computes every HMAC case over %s', async (hash) => {
    const file = `hmac_${hash}_test.json`;
    const found = await tally(file, (test) => hmacAnswer(vault, hash, test));
    report(file, name, found);
    expect(found).toMatchObject({ run: 174, refused: {}, wrong: [] });
  });
});
