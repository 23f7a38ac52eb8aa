/** Inner packets for tests, built byte by byte with a checksum of their own, and fast-check arbitraries of them. */
import fc from 'fast-check';

export interface Tcp {
  readonly kind: 'tcp';
  readonly source: number;
  readonly destination: number;
  readonly ports: readonly [number, number];
  readonly sequence: number;
  readonly acknowledgement: number;
  readonly flags: number;
  readonly window: number;
  /** A multiple of four bytes. */
  readonly options: Uint8Array;
  readonly payload: Uint8Array;
  readonly id: number;
  /** DF, MF and offset as they stand in the header. */
  readonly fragment: number;
  readonly tos: number;
  readonly ttl: number;
}

export interface Udp {
  readonly kind: 'udp';
  readonly source: number;
  readonly destination: number;
  readonly ports: readonly [number, number];
  readonly payload: Uint8Array;
  readonly checksum: boolean;
  readonly id: number;
  readonly fragment: number;
  readonly tos: number;
  readonly ttl: number;
}

export const TCP: Tcp = {
  kind: 'tcp',
  source: 0x0a000002,
  destination: 0xc0000201,
  ports: [40_000, 443],
  sequence: 0xffff_f000,
  acknowledgement: 7,
  flags: 0x10,
  window: 500,
  options: new Uint8Array(0),
  payload: new Uint8Array(0),
  id: 0xfff0,
  fragment: 0x4000,
  tos: 0,
  ttl: 64,
};

export const UDP: Udp = {
  kind: 'udp',
  source: 0x0a000002,
  destination: 0xc0000201,
  ports: [40_000, 53],
  payload: new Uint8Array(0),
  checksum: true,
  id: 1,
  fragment: 0,
  tos: 0,
  ttl: 64,
};

/** One word after another, carry at once: as slow and as obvious as RFC 1071 §4.1. */
export function naiveChecksum(...parts: Uint8Array[]): number {
  const all = parts.flatMap((part) => [...part]);
  let sum = 0;
  for (let i = 0; i < all.length; i += 2) {
    sum += all[i] * 256 + (all[i + 1] ?? 0);
    if (sum > 0xffff) sum -= 0xffff;
  }
  return 0xffff - sum;
}

export function build(packet: Tcp | Udp): Uint8Array {
  const body = packet.kind === 'tcp' ? tcpBody(packet) : udpBody(packet);
  const protocol = packet.kind === 'tcp' ? 6 : 17;
  const pseudo = bytesOf('u32', packet.source, 'u32', packet.destination, 'u16', protocol, 'u16', body.length);
  const at = packet.kind === 'tcp' ? 16 : 6;
  const checksum = naiveChecksum(pseudo, body);
  if (packet.kind === 'tcp') new DataView(body.buffer).setUint16(at, checksum);
  else if (packet.checksum) new DataView(body.buffer).setUint16(at, checksum || 0xffff);
  return ipv4(packet, protocol, body);
}

/** An IPv4 packet around any body. */
export function ipv4(
  fields: Pick<Tcp, 'source' | 'destination' | 'id' | 'fragment' | 'tos' | 'ttl'>,
  protocol: number,
  body: Uint8Array,
): Uint8Array {
  const { source, destination, id, fragment, tos, ttl } = fields;
  const first = bytesOf(
    'u8',
    0x45,
    'u8',
    tos,
    'u16',
    20 + body.length,
    'u16',
    id,
    'u16',
    fragment,
    'u8',
    ttl,
    'u8',
    protocol,
  );
  const header = concat(first, bytesOf('u16', 0, 'u32', source, 'u32', destination));
  new DataView(header.buffer).setUint16(10, naiveChecksum(header));
  return concat(header, body);
}

export function ipv6(hopLimit: number, flow: number, protocol: number, body: Uint8Array): Uint8Array {
  const address = (last: number) => Uint8Array.from({ length: 16 }, (_, i) => (i === 0 ? 0xfd : i === 15 ? last : 0));
  const header = bytesOf('u32', 0x6000_0000 + flow, 'u16', body.length, 'u8', protocol, 'u8', hopLimit);
  return concat(header, address(1), address(2), body);
}

/** TCP in IPv6, with a right checksum. */
export function buildTcp6(packet: Tcp): Uint8Array {
  const body = tcpBody(packet);
  const whole = ipv6(packet.ttl, packet.tos, 6, body);
  const pseudo = concat(whole.subarray(8, 40), bytesOf('u32', body.length, 'u32', 6));
  new DataView(whole.buffer).setUint16(40 + 16, naiveChecksum(pseudo, body));
  return whole;
}

function tcpBody({ ports, sequence, acknowledgement, flags, window, options, payload }: Tcp): Uint8Array {
  const offset = ((20 + options.length) / 4) << 4;
  const first = bytesOf('u16', ports[0], 'u16', ports[1], 'u32', sequence, 'u32', acknowledgement);
  return concat(first, bytesOf('u8', offset, 'u8', flags, 'u16', window, 'u32', 0), options, payload);
}

function udpBody({ ports, payload }: Udp): Uint8Array {
  return concat(bytesOf('u16', ports[0], 'u16', ports[1], 'u16', 8 + payload.length, 'u16', 0), payload);
}

export function concat(...parts: Uint8Array[]): Uint8Array {
  return new Uint8Array(parts.flatMap((part) => [...part]));
}

/** Big-endian fields: `bytesOf('u16', 443, 'u8', 1)`. */
export function bytesOf(...fields: (string | number)[]): Uint8Array {
  const bytes: number[] = [];
  for (let i = 0; i < fields.length; i += 2)
    for (let bits = Number(String(fields[i]).slice(1)) - 8; bits >= 0; bits -= 8)
      bytes.push(Number((BigInt(fields[i + 1]) >> BigInt(bits)) & 0xffn));
  return Uint8Array.from(bytes);
}

/** Bytes that differ from place to place, cheap to make. */
export function pattern(length: number, seed = 1): Uint8Array {
  return Uint8Array.from({ length }, (_, i) => (i * 31 + (i >> 8) * 7 + seed * 17) & 0xff);
}

const address = fc.constantFrom(0x0a000002, 0x0a000003, 0xc0000201, 0xffff_ffff, 0x0a7d_0001);
const port = fc.constantFrom(0, 53, 443, 40_000, 0xffff);
const body = (max: number) =>
  fc.tuple(fc.integer({ min: 0, max }), fc.nat(255)).map(([length, seed]) => pattern(length, seed));
const options = fc.oneof(
  fc.constant(new Uint8Array(0)),
  fc.constant(bytesOf('u8', 1, 'u8', 1, 'u8', 8, 'u8', 10, 'u32', 77, 'u32', 88)), // time stamps
  fc.constant(bytesOf('u8', 2, 'u8', 4, 'u16', 1460)),
  fc.constant(bytesOf('u8', 1, 'u8', 2, 'u8', 4, 'u16', 9000, 'u8', 0, 'u8', 0, 'u8', 0)), // MSS at an odd place
  fc.uint8Array({ minLength: 4, maxLength: 40 }).map((bytes) => bytes.subarray(0, bytes.length & ~3)),
);

export const tcps = (maxPayload = 1400): fc.Arbitrary<Tcp> =>
  fc.record({
    kind: fc.constant('tcp' as const),
    source: address,
    destination: address,
    ports: fc.tuple(port, port),
    sequence: fc.nat(0xffff_ffff),
    acknowledgement: fc.constantFrom(0, 7, 0xffff_ffff),
    flags: fc.oneof(fc.constantFrom(0x10, 0x18, 0x02, 0x11, 0x50, 0x90), fc.nat(255)),
    window: fc.constantFrom(0, 500, 0xffff),
    options,
    payload: body(maxPayload),
    id: fc.nat(0xffff),
    fragment: fc.constantFrom(0, 0x4000, 0x4000, 0x2000, 0x0007, 0x8000),
    tos: fc.constantFrom(0, 3),
    ttl: fc.constantFrom(1, 64),
  });

export const udps = (maxPayload = 1400): fc.Arbitrary<Udp> =>
  fc.record({
    kind: fc.constant('udp' as const),
    source: address,
    destination: address,
    ports: fc.tuple(port, port),
    payload: body(maxPayload),
    checksum: fc.boolean(),
    id: fc.nat(0xffff),
    fragment: fc.constantFrom(0, 0x4000, 0x2000, 0x0007),
    tos: fc.constantFrom(0, 3),
    ttl: fc.constantFrom(1, 64),
  });

/** Any inner packet: sound, with one wrong byte, of another protocol or version, or noise. */
export const packets = (maxPayload = 1400): fc.Arbitrary<Uint8Array> => {
  const sound = fc.oneof(tcps(maxPayload).map(build), udps(maxPayload).map(build));
  return fc.oneof(
    { weight: 6, arbitrary: sound },
    { weight: 2, arbitrary: fc.tuple(sound, fc.nat(200), fc.integer({ min: 1, max: 255 })).map(flip) },
    {
      weight: 1,
      arbitrary: fc.tuple(udps(60), fc.nat(255)).map(([udp, protocol]) => ipv4(udp, protocol, udp.payload)),
    },
    { weight: 1, arbitrary: tcps(200).map(buildTcp6) },
    {
      weight: 1,
      arbitrary: fc.tuple(sound, fc.nat(80)).map(([bytes, by]) => bytes.slice(0, Math.max(0, bytes.length - by))),
    },
    { weight: 1, arbitrary: fc.tuple(sound, fc.nat(80)).map(([bytes, by]) => concat(bytes, pattern(by))) },
    { weight: 1, arbitrary: fc.uint8Array({ maxLength: 80 }) },
  );
};

function flip([bytes, at, by]: [Uint8Array, number, number]): Uint8Array {
  bytes[at % bytes.length] ^= by;
  return bytes;
}
