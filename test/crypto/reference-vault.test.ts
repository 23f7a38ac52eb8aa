import { describe, expect, it } from 'vitest';
import { createReferenceVault, reconstruct } from '../../src/crypto/reference-vault.ts';
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
