/** The extensions of a certificate that node:crypto does not tell: a small strict DER reader (X.690, RFC 5280 §4.2). */

export interface CertificateFacts {
  readonly keyUsage: { digitalSignature: boolean; keyCertSign: boolean } | undefined;
  /** From extended key usage; undefined without that extension. */
  readonly serverAuth: boolean | undefined;
  /** From basic constraints. */
  readonly pathLength: number | undefined;
  /** A critical extension that nobody here understands (RFC 5280 §4.2: refuse). */
  readonly criticalUnknown: boolean;
}

const Tag = {
  boolean: 0x01,
  integer: 0x02,
  bits: 0x03,
  octets: 0x04,
  oid: 0x06,
  sequence: 0x30,
  extensions: 0xa3,
} as const;

/** Object identifiers as hex of their DER content. */
const Oid = {
  keyUsage: '551d0f',
  basicConstraints: '551d13',
  extendedKeyUsage: '551d25',
  subjectAltName: '551d11',
  serverAuth: '2b06010505070301',
  anyUsage: '551d2500',
} as const;

interface Element {
  readonly tag: number;
  readonly body: Uint8Array;
}

/** @throws RangeError if the DER is not a certificate */
export function readFacts(der: Uint8Array): CertificateFacts {
  const [certificate] = elements(der);
  const [body] = elements(expectTag(certificate, Tag.sequence));
  const wrapper = elements(expectTag(body, Tag.sequence)).find((each) => each.tag === Tag.extensions);
  const facts: { -readonly [key in keyof CertificateFacts]: CertificateFacts[key] } = {
    keyUsage: undefined,
    serverAuth: undefined,
    pathLength: undefined,
    criticalUnknown: false,
  };
  if (wrapper === undefined) return facts;
  for (const extension of elements(expectTag(elements(wrapper.body)[0], Tag.sequence))) {
    const parts = elements(expectTag(extension, Tag.sequence));
    const oid = hex(expectTag(parts[0], Tag.oid));
    const critical = parts[1]?.tag === Tag.boolean && parts[1].body[0] !== 0;
    const value = expectTag(parts[parts.length - 1], Tag.octets);
    if (oid === Oid.keyUsage) facts.keyUsage = keyUsage(value);
    else if (oid === Oid.basicConstraints) facts.pathLength = pathLength(value);
    else if (oid === Oid.extendedKeyUsage) facts.serverAuth = serverAuth(value);
    else if (critical && oid !== Oid.subjectAltName) facts.criticalUnknown = true;
  }
  return facts;
}

function keyUsage(value: Uint8Array): { digitalSignature: boolean; keyCertSign: boolean } {
  const bits = expectTag(elements(value)[0], Tag.bits);
  const first = bits[1] ?? 0; // bits[0] counts unused bits
  return { digitalSignature: (first & 0x80) !== 0, keyCertSign: (first & 0x04) !== 0 };
}

function pathLength(value: Uint8Array): number | undefined {
  const limit = elements(expectTag(elements(value)[0], Tag.sequence)).find((each) => each.tag === Tag.integer);
  return limit === undefined ? undefined : limit.body.reduce((sum, byte) => sum * 256 + byte, 0);
}

function serverAuth(value: Uint8Array): boolean {
  return elements(expectTag(elements(value)[0], Tag.sequence)).some((each) => {
    const oid = hex(each.body);
    return oid === Oid.serverAuth || oid === Oid.anyUsage;
  });
}

function expectTag(element: Element | undefined, tag: number): Uint8Array {
  if (element === undefined || element.tag !== tag) throw new RangeError('certificate is not well-formed DER');
  return element.body;
}

function elements(bytes: Uint8Array): Element[] {
  const found: Element[] = [];
  for (let offset = 0; offset < bytes.length; ) {
    const [length, start] = readLength(bytes, offset + 1);
    if (start + length > bytes.length) throw new RangeError('certificate is not well-formed DER');
    found.push({ tag: bytes[offset], body: bytes.subarray(start, start + length) });
    offset = start + length;
  }
  return found;
}

/** @returns length, and where the content starts */
function readLength(bytes: Uint8Array, offset: number): [number, number] {
  const first = bytes[offset];
  if (first === undefined) throw new RangeError('certificate is not well-formed DER');
  if (first < 0x80) return [first, offset + 1];
  const size = first & 0x7f;
  if (size === 0 || size > 3 || offset + 1 + size > bytes.length)
    throw new RangeError('certificate is not well-formed DER');
  let length = 0;
  for (let i = 1; i <= size; i++) length = length * 256 + bytes[offset + i];
  return [length, offset + 1 + size];
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex');
}
