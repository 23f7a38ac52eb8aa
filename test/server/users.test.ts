import { execFileSync } from 'node:child_process';
import { scryptSync } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it, vi } from 'vitest';
import type { RingwayError } from '../../src/errors.ts';
import { loadAddon } from '../../src/native/index.ts';
import { createLogins } from '../../src/server/logins.ts';
import { parseUserDb, type UserDb, verifyPassword } from '../../src/server/users.ts';
import { thrownBy } from '../config/folder.ts';

const SHA512 = '$6$abcd$ppTPsprDG6d3iAZ2zvw1PFuDm.xk9ICr.lWnGSW5RCIpHTsu6AR5b38dLJlJ4Z4xzErqEDZT28Lh8.pW5mKul.';
const MD5 = '$1$abcd$ABOCfICGTWeBeG/njucVA1';
const DES = 'abJnggxhB/yWI';
const BCRYPT = '$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW';

/** By `openssl passwd`, by the vectors that crypt_blowfish, yescrypt and libxcrypt are published with, and by RFC 7914 §12. */
const HASHES: readonly (readonly [name: string, password: string, hash: string])[] = [
  ['yescrypt', 'openwall', '$y$j9T$AAt9R641xPvCI9nXw1HHW/$cuQRBMN3N/f8IcmVN.4YrZ1bHMOiLOoz9/XQMKV/v0A'],
  ['gost-yescrypt', 'pleaseletmein', '$gy$j9T$.......$yPMvF1AQ4HzCxBqCADRRM4wpsh9sOAHRICpnl3b0ey9'],
  ['scrypt', 'pleaseletmein', '$7$C6..../....SodiumChloride$kBGj9fHznVYFQMEn/qDCfrDevf9YDtcDdKvEqHJLV8D'],
  ['bcrypt 2a', 'U*U', `$2a${BCRYPT}`],
  ['bcrypt 2b', 'U*U', `$2b${BCRYPT}`],
  ['bcrypt 2y', 'U*U', `$2y${BCRYPT}`],
  ['SHA-512 crypt', 'password', SHA512],
  ['SHA-256 crypt', 'password', '$5$abcd$ctDNcy8gP8YryO6SZVQk3LOWoK2InsHPQ08.rUfnPFB'],
  ['SHA-1 crypt', 'password', '$sha1$40000$jtNX3nZ2$hBNaIXkt4wBI2o5rsi8KejSjNqIq'],
  ['MD5 crypt', 'password', MD5],
  ['BSDi DES', 'password', '_J9..rasmEedsvB6g8/6'],
  ['DES', 'password', DES],
];

const refusal = (text: string) => thrownBy<RingwayError>(() => parseUserDb(text, 'users'));
const verify = (db: UserDb, user: string, password: string) => verifyPassword(db, user, Buffer.from(password));

describe('verifyPassword', () => {
  it.each(HASHES)('knows %s', (_name, password, hash) => {
    const db = parseUserDb(`user:${hash}\n`);
    expect(verify(db, 'user', password)).toBe(true);
    expect(verify(db, 'user', password.toUpperCase().replace('*', '+'))).toBe(false);
    expect(verify(db, 'user', '')).toBe(false);
    expect(verify(db, 'User', password)).toBe(false);
  });

  it.each(HASHES)('hashes for an unknown user as for one with %s', (_name, password, hash) => {
    const db = parseUserDb(`user:${hash}\n`);
    expect(db.decoy).not.toBe(hash);
    // the same setting gives the same hash again: the work is the same
    expect(loadAddon().hashPassword(Buffer.from(password), db.decoy)).toBe(hash);
    expect(verify(db, 'nobody', password)).toBe(false);
  });

  it('agrees with scrypt of OpenSSL', () => {
    const form = /^(\$7\$C6\.{4}\/\.{4})(SodiumChloride)\$(.*)$/;
    const [, , salt, digest] = form.exec(HASHES[2][2]) ?? [];
    const key = scryptSync('pleaseletmein', salt, 32, { N: 2 ** 14, r: 8, p: 1 });
    expect(digest).toBe(crypt64(key));
  });

  it('takes a password for bytes: what ends a string in C ends nothing here', () => {
    const db = parseUserDb(`user:${MD5}\n`);
    expect(verify(db, 'user', 'password\0')).toBe(false);
    expect(verify(db, 'user', 'password\0more')).toBe(false);
    expect(verifyPassword(db, 'user', Uint8Array.of(0xff, 0xfe))).toBe(false);
  });

  it.each([
    ['-1', '$1$', 8],
    ['-5', '$5$', 16],
    ['-6', '$6$', 16],
  ])('agrees with openssl passwd %s, whatever password and salt', (flag, _prefix, longestSalt) => {
    const letters = [...'ABCXYZabcxyz0189./'];
    const salt = fc
      .array(fc.constantFrom(...letters), { minLength: 1, maxLength: longestSalt })
      .map((parts) => parts.join(''));
    const password = fc
      .string({ unit: 'grapheme-composite', minLength: 1, maxLength: 40 })
      .filter((text) => !/[\0\n\r]/.test(text));
    fc.assert(
      fc.property(salt, password, (seasoning, secret) => {
        const hash = execFileSync('openssl', ['passwd', flag, '-salt', seasoning, '-stdin'], {
          input: `${secret}\n`,
          encoding: 'utf8',
        }).trim();
        const db = parseUserDb(`user:${hash}\n`);
        expect(verify(db, 'user', secret)).toBe(true);
        expect(verify(db, 'user', `${secret}x`)).toBe(false);
      }),
      { numRuns: 6, seed: 4 },
    );
  });

  it('verifies an unknown user against the dearest hash of the database', () => {
    for (const dear of [HASHES[0][2], `$2b$08${BCRYPT.slice(3)}`, `$6$rounds=9000$abcd$${'.'.repeat(86)}`]) {
      const db = parseUserDb(`cheap:${MD5}\ndear:${dear}\nolder:${DES}\n`);
      expect(db.decoy.slice(0, 12)).toBe(dear.slice(0, 12));
    }
  });

  it.each([
    ['cheap', 'a hash that costs less than the dearest', 2],
    ['dear', 'the dearest hash', 1],
    ['nobody', 'no hash at all', 1],
  ])('takes as long for a wrong password of %s, who has %s', (user, _hash, times) => {
    const db = parseUserDb(`cheap:${MD5}\ndear:${SHA512}\n`);
    const hashing = vi.spyOn(loadAddon(), 'hashPassword');
    try {
      expect(verify(db, user, 'wrong')).toBe(false);
      expect(hashing.mock.calls.map(([, setting]) => setting)).toHaveLength(times);
      // the last is always of the dearest kind, whether it decides or not
      expect(hashing.mock.calls.at(-1)?.[1].slice(0, 8)).toBe(db.decoy.slice(0, 8));
      hashing.mockClear();
      expect(verify(db, 'cheap', 'password')).toBe(true);
      expect(hashing).toHaveBeenCalledOnce();
    } finally {
      hashing.mockRestore();
    }
  });

  it('can be posted to a worker', () => {
    const db = structuredClone(parseUserDb(`user:${SHA512}\n`));
    expect(verify(db, 'user', 'password')).toBe(true);
  });
});

describe('a login', () => {
  it('leaves nothing of the password where it lay, right or wrong', async () => {
    const login = createLogins(`user:${MD5}\n`, null);
    for (const [word, granted] of [['password', true] as const, ['passwort', false] as const]) {
      const password = new TextEncoder().encode(word);
      const outcome = await login({ auth: { method: 'userPass', user: 'user', password } });
      expect([outcome.granted, [...password]]).toEqual([granted, new Array(word.length).fill(0)]);
    }
  });
});

describe('parseUserDb', () => {
  it('splits at the first colon, and lets the last line of a user win', () => {
    const db = parseUserDb(`user:${MD5}\nother:${SHA512}\nuser:${SHA512}\n`);
    expect([...db.hashes]).toEqual([
      ['user', SHA512],
      ['other', SHA512],
    ]);
  });

  it('does not need a newline at the end', () => {
    expect(parseUserDb(`user:${SHA512}`).hashes.size).toBe(1);
  });

  it.each([
    ['', 'USER_DB_EMPTY', ''],
    [`user:${SHA512}\n\nother:${SHA512}\n`, 'USER_DB_LINE', 'users:2'],
    [`user:${SHA512}\n\n`, 'USER_DB_LINE', 'users:2'],
    ['user\n', 'USER_DB_LINE', 'users:1'],
    [`:${SHA512}\n`, 'USER_DB_LINE', 'users:1'],
    ['user:\n', 'USER_DB_LINE', 'users:1'],
    ['# comment\n', 'USER_DB_LINE', 'users:1'],
    [`us\uFFFDer:${SHA512}\n`, 'USER_DB_ENCODING', 'users'],
    [`a:${SHA512}\nuser:password\n`, 'USER_DB_HASH', 'users:2'],
    ['user:$apr1$abcd$ABOCfICGTWeBeG/njucVA1\n', 'USER_DB_HASH', 'users:1'],
    ['user:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=\n', 'USER_DB_HASH', 'users:1'],
    ['user:$3$$8846f7eaee8fb117ad06bdd830b7586c\n', 'USER_DB_HASH', 'users:1'],
    [`user:${DES}x\n`, 'USER_DB_HASH', 'users:1'],
    [`user:$6$a*b$${'.'.repeat(86)}\n`, 'USER_DB_HASH', 'users:1'], // not a salt of libxcrypt
    [`user:${SHA512.slice(0, -1)}\n`, 'USER_DB_HASH', 'users:1'],
  ])('refuses %j', (text, code, place) => {
    const error = refusal(text);
    expect(error?.code).toBe(code);
    expect(error?.message).toContain(place);
  });

  it.each([
    [`$2b$20${BCRYPT.slice(3)}`, '59 s'],
    [`$6$rounds=99999999$abcd$${'.'.repeat(86)}`, '43 s'],
    [`$7$J6..../....SodiumChloride$${'.'.repeat(43)}`, 'GiB'],
    [`$y$jGT$abcd$${'.'.repeat(43)}`, 'GiB'],
  ])('refuses %s, which one login would wait too long for', (hash, why) => {
    const error = refusal(`user:${hash}\n`);
    expect(error?.code).toBe('USER_DB_HASH');
    expect(error?.message).toContain(why);
  });

  it('never repeats a hash or a password in a refusal', () => {
    expect(refusal('user:correct-horse\n')?.message).not.toContain('correct-horse');
  });

  it('throws nothing but a RingwayError, whatever the file holds', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (text) => {
        const error = refusal(text);
        expect(error === undefined || error.code.startsWith('USER_DB_')).toBe(true);
      }),
    );
  });
});

const CRYPT64 = './0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz';

/** Three bytes as four characters, least significant bits first; no padding. */
function crypt64(bytes: Uint8Array): string {
  let text = '';
  for (let i = 0; i < bytes.length; i += 3) {
    const bits = bytes[i] | ((bytes[i + 1] ?? 0) << 8) | ((bytes[i + 2] ?? 0) << 16);
    for (let k = 0; k <= Math.min(3, bytes.length - i); k++) text += CRYPT64[(bits >> (6 * k)) & 63];
  }
  return text;
}
