/**
 * The user database (protocol specification §4.3): who may log in with a password. Reading it refuses what could not be verified
 * later; verifying takes the same work whether the user exists or not, and its time says nothing about the hash.
 *
 * Both are pure, so that verifying can run in the crypto pool: a bcrypt hash of cost 12 takes a quarter of a second.
 */
import { createHash, createHmac, timingSafeEqual } from 'node:crypto';
import { compareSync } from 'bcryptjs';
import { encrypt } from 'unixcrypt';
import { RingwayError } from '../errors.ts';

/** Plain data: can be posted to a worker. */
export interface UserDb {
  /** Hash by user name; the last line of a name wins, as in the stock server. */
  readonly hashes: ReadonlyMap<string, string>;
  /** What an unknown user is verified against: the most expensive kind of hash that somebody here has. */
  readonly decoy: string;
}

type Verify = (password: string, hash: string) => boolean;

interface Scheme {
  readonly name: string;
  readonly form: RegExp;
  readonly verify: Verify;
  /** A hash of the same cost whose password nobody knows. */
  readonly decoy: (hash: string) => string;
  /** Rough work of one verification, to compare schemes by. */
  readonly cost: (hash: string) => number;
}

const CRYPT64 = './0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz';
const LONGEST_BCRYPT_COST = 31;
const DEFAULT_SHA_ROUNDS = 5_000;

/** Keeps scheme, cost and salt, and makes the digest one that no password has in practice. */
const blankDigest = (length: number) => (hash: string) => hash.slice(0, -length) + '.'.repeat(length);

const shaRounds = (hash: string) => Number(/\$rounds=(\d+)\$/.exec(hash)?.[1] ?? DEFAULT_SHA_ROUNDS);
const shaCrypt: Verify = (password, hash) => same(encrypt(password, hash.slice(0, hash.lastIndexOf('$'))), hash);

const SCHEMES: readonly Scheme[] = [
  {
    name: 'bcrypt',
    form: /^\$2[aby]\$(?:0[4-9]|[12]\d|3[01])\$[./A-Za-z0-9]{53}$/,
    verify: (password, hash) => compareSync(password, hash),
    decoy: blankDigest(31),
    cost: (hash) => 2 ** Math.min(Number(hash.slice(4, 6)), LONGEST_BCRYPT_COST) * 60,
  },
  {
    name: 'SHA-512 crypt',
    form: /^\$6\$(?:rounds=\d{4,9}\$)?[^$:\s]{0,16}\$[./A-Za-z0-9]{86}$/,
    verify: shaCrypt,
    decoy: blankDigest(86),
    cost: shaRounds,
  },
  {
    name: 'SHA-256 crypt',
    form: /^\$5\$(?:rounds=\d{4,9}\$)?[^$:\s]{0,16}\$[./A-Za-z0-9]{43}$/,
    verify: shaCrypt,
    decoy: blankDigest(43),
    cost: shaRounds,
  },
  {
    name: 'MD5 crypt',
    form: /^\$1\$[^$:\s]{0,8}\$[./A-Za-z0-9]{22}$/,
    verify: (password, hash) => same(md5Crypt(password, hash.split('$')[2]), hash),
    decoy: blankDigest(22),
    cost: () => 1_000,
  },
  {
    name: 'SHA-1 crypt',
    form: /^\$sha1\$\d{1,9}\$[./A-Za-z0-9]{1,64}\$[./A-Za-z0-9]{28}$/,
    verify: (password, hash) => same(sha1Crypt(password, Number(hash.split('$')[2]), hash.split('$')[3]), hash),
    decoy: blankDigest(28),
    cost: (hash) => Number(hash.split('$')[2]) / 4,
  },
];

/** What the stock server reads and Ringway does not, and what neither reads: each with its name, for the refusal. */
const REFUSED: readonly (readonly [form: RegExp, name: string])[] = [
  [/^_[./A-Za-z0-9]{19}$/, 'a BSDi DES hash'],
  [/^[./A-Za-z0-9]{13}$/, 'a DES hash'],
  [/^\$apr1\$/, 'an Apache MD5 hash'],
  [/^\{SHA\}/, 'an unsalted SHA-1 hash'],
  [/^\$(?:y|7|gy)\$/, 'a yescrypt hash'],
  [/^\$argon2/, 'an Argon2 hash'],
];
const REHASH = 'make a new hash with: openssl passwd -6';

/** Against which an unknown user is verified when nothing better is known. */
const DEFAULT_DECOY = `$6$ringway$${'.'.repeat(86)}`;

/**
 * Reads a database. No comments, no blank lines: both are refused by the stock server too.
 * @param text as the file holds it; a U+FFFD means that it was not UTF-8
 * @throws RingwayError USER_DB_EMPTY, USER_DB_ENCODING, USER_DB_LINE, USER_DB_HASH, naming the line, never the hash
 */
export function parseUserDb(text: string, file = 'user_db'): UserDb {
  if (text.includes('\uFFFD')) {
    throw new RingwayError('USER_DB_ENCODING', `${file} is not UTF-8`, 'save it as UTF-8');
  }
  const lines = text.replace(/\n$/, '').split('\n');
  if (text === '' || text === '\n') {
    throw new RingwayError(
      'USER_DB_EMPTY',
      `${file} is empty: nobody could log in`,
      'add lines of user:hash; for a hash: openssl passwd -6',
    );
  }
  const hashes = new Map<string, string>();
  for (const [i, line] of lines.entries()) {
    const place = `${file}:${i + 1}`;
    const written = line.replace(/\r$/, '');
    const colon = written.indexOf(':');
    const [user, hash] = [written.slice(0, colon), written.slice(colon + 1)];
    if (colon < 1 || hash === '') {
      const what =
        written === '' ? 'a blank line' : colon < 0 ? 'a line without a colon' : colon === 0 ? 'no user' : 'no hash';
      throw new RingwayError('USER_DB_LINE', `${place}: ${what}, expected user:hash`, 'correct or remove that line');
    }
    if (!schemeOf(hash)) {
      const name = REFUSED.find(([form]) => form.test(hash))?.[1] ?? 'no hash that Ringway can verify';
      throw new RingwayError('USER_DB_HASH', `${place}: user ${user} has ${name}`, REHASH);
    }
    hashes.set(user, hash);
  }
  const dearest = [...hashes.values()].reduce((best, hash) => (costOf(hash) > costOf(best) ? hash : best));
  return { hashes, decoy: schemeOf(dearest)?.decoy(dearest) ?? DEFAULT_DECOY };
}

/**
 * Whether this is the user's password. An unknown user costs as much as the dearest hash of the database.
 * Never throws. Thread: any; takes up to a second of it, so call it in the crypto pool.
 */
export function verifyPassword(db: UserDb, user: string, password: string): boolean {
  const hash = db.hashes.get(user);
  const against = hash ?? db.decoy;
  const right = schemeOf(against)?.verify(password, against) ?? false;
  return right && hash !== undefined;
}

function schemeOf(hash: string): Scheme | undefined {
  return SCHEMES.find(({ form }) => form.test(hash));
}

function costOf(hash: string): number {
  return schemeOf(hash)?.cost(hash) ?? 0;
}

function same(a: string, b: string): boolean {
  const [left, right] = [Buffer.from(a), Buffer.from(b)];
  return left.length === right.length && timingSafeEqual(left, right);
}

const MD5_ROUNDS = 1_000;
// Which bytes of the digest make four characters each, least significant byte last.
const MD5_GROUPS = [
  [0, 6, 12],
  [1, 7, 13],
  [2, 8, 14],
  [3, 9, 15],
  [4, 10, 5],
] as const;

/** Poul-Henning Kamp's algorithm, as crypt(3) and `openssl passwd -1` have it. */
function md5Crypt(password: string, salt: string): string {
  const key = Buffer.from(password);
  const seasoning = Buffer.from(salt);
  const md5 = (...parts: Uint8Array[]) => parts.reduce((hash, part) => hash.update(part), createHash('md5')).digest();

  const alternate = md5(key, seasoning, key);
  const parts: Uint8Array[] = [key, Buffer.from('$1$'), seasoning];
  for (let left = key.length; left > 0; left -= 16) parts.push(alternate.subarray(0, Math.min(left, 16)));
  for (let bits = key.length; bits > 0; bits >>= 1) parts.push(bits & 1 ? Buffer.of(0) : key.subarray(0, 1));
  let digest = md5(...parts);
  for (let round = 0; round < MD5_ROUNDS; round++) {
    const odd = round % 2 === 1;
    const mixed: Uint8Array[] = [odd ? key : digest];
    if (round % 3 !== 0) mixed.push(seasoning);
    if (round % 7 !== 0) mixed.push(key);
    mixed.push(odd ? digest : key);
    digest = md5(...mixed);
  }
  const groups = MD5_GROUPS.map(([a, b, c]) => to64((digest[a] << 16) | (digest[b] << 8) | digest[c], 4));
  return `$1$${salt}$${groups.join('')}${to64(digest[11], 2)}`;
}

/** NetBSD's: HMAC-SHA1 over itself, keyed with the password. */
function sha1Crypt(password: string, rounds: number, salt: string): string {
  let digest = createHmac('sha1', password).update(`${salt}$sha1$${rounds}`).digest();
  for (let round = 1; round < rounds; round++) digest = createHmac('sha1', password).update(digest).digest();
  let encoded = '';
  for (let i = 0; i < 18; i += 3) encoded += to64((digest[i] << 16) | (digest[i + 1] << 8) | digest[i + 2], 4);
  encoded += to64((digest[18] << 16) | (digest[19] << 8) | digest[0], 4);
  return `$sha1$${rounds}$${salt}$${encoded}`;
}

/** Six bits a character, least significant first. */
function to64(bits: number, length: number): string {
  let text = '';
  for (let i = 0; i < length; i++) text += CRYPT64[(bits >>> (6 * i)) & 63];
  return text;
}
