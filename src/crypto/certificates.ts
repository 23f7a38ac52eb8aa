/** Is this chain one of ours, today, for this name, and did its key sign the handshake? (RFC 5280 §6, RFC 6125 §6.4) */
import { type KeyObject, X509Certificate } from 'node:crypto';
import { type CertificateFacts, readFacts } from './certificate-facts.ts';
import { CryptoAlert, Refusal } from './refusal.ts';
import { verify } from './signatures.ts';
import type { ClientCredentials, CryptoTask } from './tasks.ts';

/** Longest path from leaf to anchor, and most certificates looked at: a peer cannot make the search long. */
const MAX_PATH = 8;
const MAX_CERTIFICATES = 16;
/** What the stock TLS library enforces (protocol specification §2.3). */
const MIN_RSA_BITS = 2048;
const MIN_EC_BITS = 256;
/** Characters of a certificate's names that an error repeats. */
const MOST_NAMES = 200;
const CURVE_BITS: Record<string, number> = { prime256v1: 256, secp384r1: 384, secp521r1: 521 };

interface Certificate {
  readonly x509: X509Certificate;
  readonly facts: CertificateFacts;
}

/** A chain that was accepted, and until when nothing about it can change. */
interface Accepted {
  readonly chain: readonly Uint8Array[];
  readonly trustAnchors: readonly Uint8Array[];
  readonly serverName: string | undefined;
  readonly key: KeyObject;
  readonly from: number;
  readonly to: number;
}

/** The last chain accepted with each set of credentials: a client comes back to the same server, and a thousand of a load lab come at once. */
const accepted = new WeakMap<Partial<ClientCredentials>, Accepted>();

/** @throws Refusal with unknown_ca, certificate_expired, bad_certificate, unsupported_certificate or decrypt_error */
export function verifyPeer(task: CryptoTask & { op: 'verifyPeer' }, credentials: Partial<ClientCredentials>): void {
  const { trustAnchors, now, serverName } = credentials;
  if (trustAnchors === undefined || now === undefined)
    throw new RangeError('Expected trustAnchors and now to verify with');
  const before = accepted.get(credentials);
  if (before !== undefined && isStillGood(before, task.chain, credentials, now())) {
    verify(task.scheme, task.content, task.signature, before.key);
    return;
  }
  const chain = task.chain.slice(0, MAX_CERTIFICATES).map(read);
  if (chain.length === 0) throw new Refusal(CryptoAlert.badCertificate, 'the peer sent no certificate');
  const leaf = chain[0];
  verify(task.scheme, task.content, task.signature, publicKeyOf(leaf)); // cheapest way to lose a stranger
  checkLeaf(leaf);
  const path = findPath(leaf, chain.slice(1), trustAnchors.map(read), now());
  if (serverName !== undefined && serverName !== '') checkName(leaf, serverName);
  accepted.set(credentials, {
    chain: task.chain.map((der) => der.slice()),
    trustAnchors,
    serverName,
    key: publicKeyOf(leaf),
    from: Math.max(...path.map(({ x509 }) => Date.parse(x509.validFrom))),
    to: Math.min(...path.map(({ x509 }) => Date.parse(x509.validTo))),
  });
}

function isStillGood(
  before: Accepted,
  chain: readonly Uint8Array[],
  { trustAnchors, serverName }: Partial<ClientCredentials>,
  now: number,
): boolean {
  return (
    before.trustAnchors === trustAnchors &&
    before.serverName === serverName &&
    now >= before.from &&
    now <= before.to &&
    before.chain.length === chain.length &&
    before.chain.every((der, i) => Buffer.compare(der, chain[i]) === 0)
  );
}

function read(der: Uint8Array): Certificate {
  try {
    return { x509: new X509Certificate(der), facts: readFacts(der) };
  } catch (cause) {
    throw new Refusal(CryptoAlert.badCertificate, 'a certificate cannot be read', { cause });
  }
}

function publicKeyOf(certificate: Certificate): KeyObject {
  try {
    return certificate.x509.publicKey;
  } catch (cause) {
    throw new Refusal(CryptoAlert.unsupportedCertificate, 'the key of a certificate cannot be read', { cause });
  }
}

function checkLeaf(leaf: Certificate): void {
  const { keyUsage, serverAuth, criticalUnknown } = leaf.facts;
  if (criticalUnknown) throw new Refusal(CryptoAlert.unsupportedCertificate, 'unknown critical extension');
  if (keyUsage !== undefined && !keyUsage.digitalSignature) {
    throw new Refusal(CryptoAlert.unsupportedCertificate, 'the certificate is not for signatures');
  }
  if (serverAuth === false) throw new Refusal(CryptoAlert.unsupportedCertificate, 'the certificate is not for servers');
}

/**
 * Depth-first from the leaf to any anchor. The most telling failure on the way is reported: a path that ends in an anchor
 * but is expired says so, instead of "unknown".
 * @returns the path, anchor last
 */
function findPath(
  leaf: Certificate,
  given: Certificate[],
  anchors: Certificate[],
  now: number,
): readonly Certificate[] {
  let failure: Refusal | undefined;
  let found: readonly Certificate[] = [];
  let budget = MAX_CERTIFICATES * MAX_PATH; // signatures verified at most
  const climb = (path: Certificate[]): boolean => {
    const top = path[path.length - 1];
    if (anchors.some((anchor) => anchor.x509.raw.equals(top.x509.raw))) return accept(path);
    for (const anchor of anchors) {
      if (issued(anchor, top) && --budget > 0 && accept([...path, anchor])) return true;
    }
    if (path.length >= MAX_PATH) return false;
    for (const next of given) {
      if (path.includes(next) || --budget <= 0 || !issued(next, top)) continue;
      if (climb([...path, next])) return true;
    }
    return false;
  };
  const accept = (path: readonly Certificate[]): boolean => {
    try {
      checkWhole(path, now);
      found = path;
      return true;
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      failure = error;
      return false;
    }
  };
  if (climb([leaf])) return found;
  throw failure ?? new Refusal(CryptoAlert.unknownCa, `no path from "${leaf.x509.subject}" to a trusted certificate`);
}

function issued(issuer: Certificate, subject: Certificate): boolean {
  return subject.x509.checkIssued(issuer.x509) && subject.x509.verify(publicKeyOf(issuer));
}

/** Everything about a path whose signatures hold. */
function checkWhole(path: readonly Certificate[], now: number): void {
  path.forEach((certificate, depth) => {
    checkStrength(certificate);
    checkValidity(certificate, now);
    if (depth > 0) checkAuthority(certificate, path.slice(1, depth));
  });
}

function checkStrength(certificate: Certificate): void {
  const key = publicKeyOf(certificate);
  const details = key.asymmetricKeyDetails;
  const bits =
    key.asymmetricKeyType === 'ec'
      ? (CURVE_BITS[details?.namedCurve ?? ''] ?? 0)
      : (details?.modulusLength ?? Infinity);
  if (bits < (key.asymmetricKeyType === 'ec' ? MIN_EC_BITS : MIN_RSA_BITS)) {
    throw new Refusal(CryptoAlert.badCertificate, `the key of "${certificate.x509.subject}" is too weak`);
  }
}

function checkValidity({ x509 }: Certificate, now: number): void {
  const from = Date.parse(x509.validFrom);
  const to = Date.parse(x509.validTo);
  if (now >= from && now <= to) return;
  const state = now < from ? `not valid before ${x509.validFrom}` : `expired at ${x509.validTo}`;
  throw new Refusal(CryptoAlert.certificateExpired, `the certificate of "${x509.subject}" is ${state}`);
}

/** @param below authorities between this one and the leaf, which its path length limits */
function checkAuthority({ x509, facts }: Certificate, below: readonly Certificate[]): void {
  const selfIssued = ({ x509: each }: Certificate): boolean => each.subject === each.issuer;
  const depth = below.filter((each) => !selfIssued(each)).length;
  if (!x509.ca) throw new Refusal(CryptoAlert.unknownCa, `"${x509.subject}" is no certificate authority`);
  if (facts.keyUsage !== undefined && !facts.keyUsage.keyCertSign) {
    throw new Refusal(CryptoAlert.unknownCa, `"${x509.subject}" may not sign certificates`);
  }
  if (facts.pathLength !== undefined && depth > facts.pathLength) {
    throw new Refusal(CryptoAlert.unknownCa, `the path below "${x509.subject}" is too long`);
  }
  if (facts.criticalUnknown) throw new Refusal(CryptoAlert.unsupportedCertificate, 'unknown critical extension');
}

/**
 * The sentence for people.
 * @param names as Node writes alternative names or a subject: an authority's word, but not what a terminal should obey
 */
export function otherName(serverName: string, names: string): string {
  const printable = names.replace(/\p{C}+/gu, ' ').trim();
  const short = printable.length > MOST_NAMES ? `${printable.slice(0, MOST_NAMES)}…` : printable;
  return `asked for ${serverName}, it is for ${short || 'nobody'}`;
}

/** SAN dNSName where there is one, else the common name. */
function checkName(leaf: Certificate, serverName: string): void {
  if (leaf.x509.checkHost(serverName, { subject: 'default', partialWildcards: false }) !== undefined) return;
  const names = leaf.x509.subjectAltName ?? leaf.x509.subject;
  throw new Refusal(CryptoAlert.badCertificate, otherName(serverName, names));
}
