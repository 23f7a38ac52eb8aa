import { execFileSync } from 'node:child_process';
import { hashSync } from 'bcryptjs';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { RingwayError } from '../../src/errors.ts';
import { parseUserDb, verifyPassword } from '../../src/server/users.ts';
import { thrownBy } from '../config/folder.ts';

const SHA512 = '$6$abcd$ppTPsprDG6d3iAZ2zvw1PFuDm.xk9ICr.lWnGSW5RCIpHTsu6AR5b38dLJlJ4Z4xzErqEDZT28Lh8.pW5mKul.';

/** Each of the password "password": by `openssl passwd`, by glibc's crypt(3), by bcryptjs. */
const HASHES: readonly (readonly [name: string, hash: string])[] = [
  ['MD5 crypt', '$1$abcd$ABOCfICGTWeBeG/njucVA1'],
  ['SHA-256 crypt', '$5$abcd$ctDNcy8gP8YryO6SZVQk3LOWoK2InsHPQ08.rUfnPFB'],
  ['SHA-512 crypt', SHA512],
  ['SHA-1 crypt', '$sha1$40000$jtNX3nZ2$hBNaIXkt4wBI2o5rsi8KejSjNqIq'],
  ['bcrypt 2a', hashSync('password', 4)],
  ['bcrypt 2y', hashSync('password', 4).replace(/^\$2.\$/, '$2y$')],
  ['bcrypt 2b', hashSync('password', 4).replace(/^\$2.\$/, '$2b$')],
];

const refusal = (text: string) => thrownBy<RingwayError>(() => parseUserDb(text, 'users'));

describe('verifyPassword', () => {
  it.each(HASHES)('knows %s', (_name, hash) => {
    const db = parseUserDb(`user:${hash}\n`);
    expect(verifyPassword(db, 'user', 'password')).toBe(true);
    expect(verifyPassword(db, 'user', 'Password')).toBe(false);
    expect(verifyPassword(db, 'user', '')).toBe(false);
    expect(verifyPassword(db, 'User', 'password')).toBe(false);
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
        expect(verifyPassword(db, 'user', secret)).toBe(true);
        expect(verifyPassword(db, 'user', `${secret}x`)).toBe(false);
      }),
      { numRuns: 6, seed: 4 },
    );
  });

  it('lets no unknown user in, and verifies one against the dearest hash of the database', () => {
    const dear = hashSync('password', 6);
    const db = parseUserDb(`cheap:${HASHES[0][1]}\ndear:${dear}\n`);
    expect(db.decoy.slice(0, 29)).toBe(dear.slice(0, 29));
    expect(db.decoy).not.toBe(dear);
    expect(verifyPassword(db, 'nobody', 'password')).toBe(false);
  });

  it('can be posted to a worker', () => {
    const db = structuredClone(parseUserDb(`user:${SHA512}\n`));
    expect(verifyPassword(db, 'user', 'password')).toBe(true);
  });
});

describe('parseUserDb', () => {
  it('splits at the first colon, and lets the last line of a user win', () => {
    const db = parseUserDb(`user:${HASHES[0][1]}\nother:${SHA512}\nuser:${SHA512}\n`);
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
    ['user:abJnggxhB/yWI\n', 'USER_DB_HASH', 'users:1'],
    ['user:_J9..rasmEedsvB6g8/6\n', 'USER_DB_HASH', 'users:1'],
    [`user:${SHA512.slice(0, -1)}\n`, 'USER_DB_HASH', 'users:1'],
  ])('refuses %j', (text, code, place) => {
    const error = refusal(text);
    expect(error?.code).toBe(code);
    expect(error?.message).toContain(place);
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
