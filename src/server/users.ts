/**
 * The user database (protocol specification §4.3): who may log in with a password. Reading it refuses what could not be verified
 * later; verifying takes the same work whether the user exists or not, and its time says nothing about the hash.
 *
 * The hashes are those of crypt(3), by libxcrypt. Verifying runs in the crypto pool: a bcrypt hash of cost 12 takes a quarter of a second.
 */
import { timingSafeEqual } from 'node:crypto';
import { RingwayError } from '../errors.ts';
import { loadAddon } from '../native/index.ts';

/** Plain data: can be posted to a worker. */
export interface UserDb {
  /** Hash by user name; the last line of a name wins, as in the stock server. */
  readonly hashes: ReadonlyMap<string, string>;
  /** What an unknown user is verified against: the most expensive kind of hash that somebody here has. */
  readonly decoy: string;
}

interface Scheme {
  readonly form: RegExp;
  /** Characters at its end that are the digest; all before it is the setting. */
  readonly digest: number;
  /** About how many microseconds one verification takes: `test/server/users.test.ts` holds it to a factor. */
  readonly cost: (hash: string) => number;
  /** Bytes of memory it takes, where that is much. */
  readonly memory?: (hash: string) => number;
}

const CRYPT64 = './0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz';
/** Six bits a character, least significant first. */
const from64 = (text: string) => [...text].reduceRight((bits, each) => bits * 64 + CRYPT64.indexOf(each), 0);

/** Longer would let a few logins hold up the crypto pool, and everybody's handshakes with it. */
const MOST_COST = 10e6;
/** What `mkpasswd` and `passwd` make at their highest cost. */
const MOST_MEMORY = 2 ** 30;

const DEFAULT_SHA_ROUNDS = 5_000;
const shaRounds = (hash: string) => Number(/\$rounds=(\d+)\$/.exec(hash)?.[1] ?? DEFAULT_SHA_ROUNDS);
/** yescrypt's N and r, a character each: what its own encoder writes up to r = 48, without further parameters. */
const yescryptWork = (hash: string) => {
  const [, , parameters] = hash.split('$');
  return 2 ** (from64(parameters[1]) + 1) * (from64(parameters[2]) + 1);
};
/** scrypt: N as one character, then r and p as five each. */
const scryptWork = (hash: string) => 2 ** from64(hash[3]) * from64(hash.slice(4, 9));

/** Those of libxcrypt that are salted. Form: what it writes. */
const SCHEMES: readonly Scheme[] = [
  {
    // yescrypt and gost-yescrypt
    form: /^\$g?y\$j[./0-9A-Za-j][./0-9A-Za-j]\$[./A-Za-z0-9]{0,86}\$[./A-Za-z0-9]{43}$/,
    digest: 43,
    cost: (hash) => yescryptWork(hash) * 0.22,
    memory: (hash) => yescryptWork(hash) * 128,
  },
  {
    // scrypt
    form: /^\$7\$[./A-Za-z0-9]{11}[./A-Za-z0-9]{0,86}\$[./A-Za-z0-9]{43}$/,
    digest: 43,
    cost: (hash) => scryptWork(hash) * from64(hash.slice(9, 14)) * 0.45,
    memory: (hash) => scryptWork(hash) * 128,
  },
  {
    // bcrypt
    form: /^\$2[aby]\$(?:0[4-9]|[12]\d|3[01])\$[./A-Za-z0-9]{53}$/,
    digest: 31,
    cost: (hash) => 2 ** Number(hash.slice(4, 6)) * 56,
  },
  {
    // SHA-512 crypt
    form: /^\$6\$(?:rounds=[1-9]\d{3,8}\$)?[^$:\s]{0,16}\$[./A-Za-z0-9]{86}$/,
    digest: 86,
    cost: (hash) => shaRounds(hash) * 0.43,
  },
  {
    // SHA-256 crypt
    form: /^\$5\$(?:rounds=[1-9]\d{3,8}\$)?[^$:\s]{0,16}\$[./A-Za-z0-9]{43}$/,
    digest: 43,
    cost: (hash) => shaRounds(hash) * 0.55,
  },
  {
    // SHA-1 crypt
    form: /^\$sha1\$[1-9]\d{0,8}\$[./A-Za-z0-9]{1,64}\$[./A-Za-z0-9]{28}$/,
    digest: 28,
    cost: (hash) => Number(hash.split('$')[2]) * 2.2,
  },
  { form: /^\$1\$[^$:\s]{0,8}\$[./A-Za-z0-9]{22}$/, digest: 22, cost: () => 150 }, // MD5 crypt
  { form: /^_[./A-Za-z0-9]{19}$/, digest: 11, cost: (hash) => from64(hash.slice(1, 5)) * 0.3 }, // BSDi DES
  { form: /^[./A-Za-z0-9]{13}$/, digest: 11, cost: () => 10 }, // DES
];

/** What nobody verifies, or somebody else does: each with its name, for the refusal. */
const REFUSED: readonly (readonly [form: RegExp, name: string])[] = [
  [/^\$apr1\$/, 'an Apache MD5 hash'],
  [/^\{SHA\}/, 'an unsalted SHA-1 hash'],
  [/^\$3\$/, 'an unsalted NT hash'],
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
    const wrong = whatIsWrong(hash);
    if (wrong) throw new RingwayError('USER_DB_HASH', `${place}: user ${user} has ${wrong}`, REHASH);
    hashes.set(user, hash);
  }
  const dearest = [...hashes.values()].reduce((best, hash) => (costOf(hash) > costOf(best) ? hash : best));
  return { hashes, decoy: decoyOf(dearest) };
}

/**
 * Whether this is the user's password. An unknown user costs as much as the dearest hash of the database.
 * Thread: any; takes up to seconds of it, so call it in the crypto pool. @throws when libxcrypt cannot do it (memory)
 */
export function verifyPassword(db: UserDb, user: string, password: Uint8Array): boolean {
  if (password.includes(0)) return false; // no crypt(3) can hash it
  const hash = db.hashes.get(user);
  const against = hash ?? db.decoy;
  const right = same(loadAddon().hashPassword(password, against), against);
  if (right && hash !== undefined) return true;
  // a cheap hash that was wrong takes as long as a user nobody has: which names exist is nobody's business
  if (hash !== undefined && costOf(hash) < costOf(db.decoy)) loadAddon().hashPassword(password, db.decoy);
  return false;
}

function schemeOf(hash: string): Scheme | undefined {
  return SCHEMES.find(({ form }) => form.test(hash));
}

function costOf(hash: string): number {
  return schemeOf(hash)?.cost(hash) ?? 0;
}

function whatIsWrong(hash: string): string | undefined {
  const scheme = schemeOf(hash);
  if (!scheme) return REFUSED.find(([form]) => form.test(hash))?.[1] ?? 'no hash that Ringway can verify';
  if (scheme.cost(hash) > MOST_COST) return `a hash that takes about ${Math.ceil(scheme.cost(hash) / 1e6)} s to verify`;
  if ((scheme.memory?.(hash) ?? 0) > MOST_MEMORY) return 'a hash that takes more than a GiB to verify';
  if (!loadAddon().knowsPasswordHash(hash)) return 'a hash that libcrypt of this machine does not know';
  return undefined;
}

/** A hash of the same cost whose password nobody knows: scheme, cost and salt stay, the digest is one that no password has in practice. */
function decoyOf(hash: string): string {
  const length = schemeOf(hash)?.digest ?? 0;
  return length === 0 ? DEFAULT_DECOY : hash.slice(0, -length) + '.'.repeat(length);
}

function same(a: string, b: string): boolean {
  const [left, right] = [Buffer.from(a), Buffer.from(b)];
  return left.length === right.length && timingSafeEqual(left, right);
}
