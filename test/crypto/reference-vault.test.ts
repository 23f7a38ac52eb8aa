import { describe, expect, it } from 'vitest';
import { createReferenceVault, reconstruct } from '../../src/crypto/reference-vault.ts';
import { Suite } from '../../src/crypto/vault.ts';
import { testVault } from './vault-suite.ts';

testVault('reference', createReferenceVault);

describe('reconstruct', () => {
  it('takes the number closest to the expected one, and never a negative one', () => {
    expect(reconstruct(0x0005, 0x10000, 0x10003)).toBe(0x10005);
    expect(reconstruct(0xffff, 0x10000, 0x10003)).toBe(0xffff);
    expect(reconstruct(0x0001, 0x10000, 0xfffe)).toBe(0x10001);
    expect(reconstruct(0xffff, 0x10000, 0)).toBe(0xffff);
    expect(reconstruct(0xfe, 0x100, 0x101)).toBe(0xfe);
  });
});

describe('a record with a short header', () => {
  it('is opened with an 8-bit number and without a length', () => {
    const vault = createReferenceVault();
    const keys = vault.recordKeys(Suite.aes128, vault.importSecret('sha256', new Uint8Array(32)));
    // Made by NSS's option for short headers: see test/interop. Here only that rubbish in that form is not an error.
    for (const first of [0x23, 0x27, 0x2b]) {
      expect(vault.openRecord(keys, new Uint8Array(30).fill(first), 0)).toBeUndefined();
    }
  });
});
