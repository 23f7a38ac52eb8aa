/** Seal and open in plain TypeScript (@noble/ciphers): what the reference nodes use, and what `--aead noble` is. */
import { ecb, gcm } from '@noble/ciphers/aes.js';
import { chacha20, chacha20poly1305 } from '@noble/ciphers/chacha.js';

/** TLS_CHACHA20_POLY1305_SHA256; the other suites are AES-GCM and told apart by the length of the key. */
const CHACHA20 = 0x1303;

export const TAG_LENGTH = 16;
const IV_LENGTH = 12;

/** @returns ciphertext and tag */
export function aeadSeal(
  suite: number,
  key: Uint8Array,
  nonce: Uint8Array,
  aad: Uint8Array,
  plaintext: Uint8Array,
): Uint8Array {
  return cipherOf(suite)(key, nonce, aad).encrypt(plaintext);
}

/** @param sealed ciphertext and tag @returns undefined unless authentic */
export function aeadOpen(
  suite: number,
  key: Uint8Array,
  nonce: Uint8Array,
  aad: Uint8Array,
  sealed: Uint8Array,
): Uint8Array | undefined {
  if (sealed.length < TAG_LENGTH) return undefined;
  try {
    return cipherOf(suite)(key, nonce, aad).decrypt(sealed);
  } catch {
    return undefined; // the tag is wrong: the only way decrypting bytes of this length throws
  }
}

function cipherOf(suite: number) {
  return suite === CHACHA20 ? chacha20poly1305 : gcm;
}

/** Nonce of a record: its number, left-padded, over the IV (RFC 8446 §5.3). The epoch is not in it. */
export function recordNonce(iv: Uint8Array, number: number): Uint8Array {
  const nonce = Uint8Array.from(iv);
  let left = number;
  for (let at = IV_LENGTH - 1; left > 0; at--) {
    nonce[at] ^= left % 256;
    left = Math.floor(left / 256);
  }
  return nonce;
}

/** Two bytes that hide a record's number (RFC 9147 §4.2.3). @param sample the first 16 bytes of its ciphertext */
export function numberMask(suite: number, key: Uint8Array, sample: Uint8Array): Uint8Array {
  if (suite !== CHACHA20) return ecb(key, { disablePadding: true }).encrypt(sample.slice());
  const counter = new DataView(sample.buffer, sample.byteOffset).getUint32(0, true);
  return chacha20(key, sample.slice(4), new Uint8Array(2), undefined, counter);
}
