/** The addon's listener against `answerHello`: the same answers and counts for the same time, secret and datagram, whatever that is. */
import fc from 'fast-check';
import { afterEach, describe, expect, it } from 'vitest';
import { DEFAULT_GROUPS, Group } from '../../src/crypto/groups.ts';
import { createNativeVault } from '../../src/crypto/native-vault.ts';
import { Scheme } from '../../src/crypto/schemes.ts';
import { Suite } from '../../src/crypto/vault.ts';
import { encodeAddress } from '../../src/datapath/address.ts';
import { ADDRESS, HEADER, Verdict } from '../../src/datapath/batch.ts';
import { createBatches, nativeBatch } from '../../src/datapath/batches.ts';
import { DtlsError } from '../../src/dtls/alerts.ts';
import { join, Reader, u16, u16List, uint } from '../../src/dtls/bytes.ts';
import { DtlsClient } from '../../src/dtls/client.ts';
import { CookieSecrets } from '../../src/dtls/cookie.ts';
import { decodeFragments, HandshakeType } from '../../src/dtls/handshake.ts';
import { decodeClientHello, Extension, encodeClientHello, encodeKeyShare } from '../../src/dtls/hello.ts';
import { answerHello } from '../../src/dtls/listener.ts';
import { createMemoryProtection } from '../../src/dtls/memory-protection.ts';
import type { ListenerOptions } from '../../src/dtls/options.ts';
import { ContentType, splitRecords } from '../../src/dtls/records.ts';
import { loadAddon } from '../../src/native/index.ts';
import { FirstHellos } from '../../src/server/first-hellos.ts';
import { steeredId } from '../../src/server/sessions.ts';
import { EMPTY, encodeHeader, VERSION_1_3 } from '../../src/wire/header.ts';
import { type Micros, SECOND } from '../../src/wire/time.ts';
import { seededBytes } from '../dtls/network.ts';
import { createMemory } from './memory-server.ts';

const addon = loadAddon();
const [SHARD, SHARDS] = [1, 3];
const SEED = seededBytes(7)(32);
const TERMS = {
  suites: [Suite.aes256, Suite.chacha20, Suite.aes128],
  groups: DEFAULT_GROUPS,
  schemes: [Scheme.ed25519, Scheme.ecdsaSecp256r1Sha256],
};
const SLOTS = 4;
const HEAD = encodeHeader({ version: VERSION_1_3, aggressive: false, expresslane: false, sessionId: EMPTY });
const ADDRESSES = ['192.0.2.7', '2001:db8::7'].map((remote) => encodeAddress(remote, 4433, ''));

const vault = createNativeVault(addon);
const listener: ListenerOptions = {
  ...TERMS,
  vault,
  secrets: new CookieSecrets(vault, SEED),
  applicationData: (seed: Uint8Array) => steeredId(seed, SHARD, SHARDS),
};
const memory = createMemory(SLOTS);
const index = addon.attachIndex(addon.createIndex(SLOTS).id);
const { handle: lanes } = addon.createLanes({
  table: addon.openTable(memory).handle,
  index,
  shard: SHARD,
  shards: SHARDS,
  generation: 1,
  aead: 'openssl',
});
const batches = createBatches(addon);
const native = new FirstHellos({ ...TERMS, addon, lanes, seed: SEED });
/** Both once more, who answer with no more bytes than they got: by the limit of three no sound hello is too small. */
const strict = {
  listener: { ...listener, amplification: 1 },
  native: new FirstHellos({ ...TERMS, addon, lanes, seed: SEED, amplification: 1 }),
};

function clear(): void {
  for (const batch of [batches.packets, batches.trainsIn, batches.trainsOut]) addon.clear(nativeBatch(batch));
}
afterEach(clear);

interface Said {
  /** The entry is still JavaScript's to hear. */
  readonly left: boolean;
  readonly answers: readonly { readonly bytes: Uint8Array; readonly address: Uint8Array }[];
  readonly drops: Record<string, number>;
}

/** What the addon makes of datagrams that came through the pipeline. */
function hear(now: Micros, payload: Uint8Array, address: Uint8Array, by = native): Said {
  clear();
  const { packets, trainsIn, trainsOut } = batches;
  addon.put(nativeBatch(trainsIn), -1, 0, address, join(HEAD, payload));
  addon.locate(lanes, nativeBatch(trainsIn));
  addon.open(lanes, nativeBatch(trainsIn), nativeBatch(packets), now, 'off');
  const before = by.drops;
  const judged = by.answer(now, batches, 0, 1);
  const drops = Object.entries(by.drops).map(([name, times]) => [name, times - (before[name] ?? 0)] as const);
  const left = packets.verdict[0] === Verdict.divert;
  expect([judged, packets.verdict[0]]).toEqual(left ? [0, Verdict.divert] : [1, Verdict.answered]);
  const answers = Array.from({ length: trainsOut.header[HEADER.count] }, (_, i) => ({
    bytes: trainsOut.bytes.slice(trainsOut.offset[i], trainsOut.offset[i] + trainsOut.length[i]),
    address: trainsOut.address.slice(i * ADDRESS.size, (i + 1) * ADDRESS.size),
  }));
  return { left, answers, drops: Object.fromEntries(drops.filter(([, times]) => times > 0)) };
}

/** The same by the reference; undefined for what only a peer with a cookie says. */
function expected(now: Micros, payload: Uint8Array, address: Uint8Array, by = listener): Said | undefined {
  const answer = answerHello(now, payload, address.subarray(0, ADDRESS.key), by);
  if (answer.kind === 'accept' || (answer.kind === 'drop' && answer.reason === 'staleCookie')) return undefined;
  const id = answer.kind === 'retry' ? answer.applicationData : new Uint8Array(8);
  const answers = answer.bytes ? [{ bytes: join(HEAD.subarray(0, 4), uint(4, 0), id, answer.bytes), address }] : [];
  return { left: false, answers, drops: answer.kind === 'drop' ? { [answer.reason]: 1 } : {} };
}

/** What is left to JavaScript: a ClientHello, or the first piece of one, that has a cookie, sound or not; and a later piece of a second one. */
function isLeft(payload: Uint8Array): boolean {
  try {
    const [first] = splitRecords(payload);
    if (first?.kind !== 'plaintext' || first.contentType !== ContentType.handshake) return false;
    const [{ type, sequence, offset, length, body }] = decodeFragments(first.content);
    if (type !== HandshakeType.clientHello || sequence > 1) return false;
    if (offset !== 0) return sequence === 1;
    if (body.length === length) return decodeClientHello(body).extensions.has(Extension.cookie);
    const from = new Reader(body);
    from.take(34); // legacy_version, random
    for (const lengthBytes of [1, 1, 2, 1]) from.prefixed(lengthBytes); // session id, legacy cookie, suites, compression
    from.u16();
    for (;;) {
      const extension = from.u16();
      from.prefixed(2);
      if (extension === Extension.cookie) return true;
    }
  } catch (error) {
    if (error instanceof DtlsError) return false;
    throw error;
  }
}

/** @returns what became of it: 'retry', a reason, or 'left' */
function agree(payload: Uint8Array, now: Micros = SECOND, address: Uint8Array = ADDRESSES[0]): string {
  const said = hear(now, payload, address);
  const wanted = expected(now, payload, address);
  expect(said.left).toBe(isLeft(payload));
  if (said.left) return 'left';
  expect(said).toEqual(wanted);
  return Object.keys(said.drops)[0] ?? 'retry';
}

/** ClientHello as one record of one fragment. */
function record(body: Uint8Array, { sequence = 0, messageSequence = 0 } = {}): Uint8Array {
  const fragment = join(uint(1, 1), uint(3, body.length), u16(messageSequence), uint(3, 0), uint(3, body.length), body);
  return join(uint(1, 22), u16(0xfefd), u16(0), uint(6, sequence), u16(fragment.length), fragment);
}

type Pieces = [type: number, content: Uint8Array][];

const SOUND: Pieces = [
  [Extension.supportedVersions, Uint8Array.of(2, 0xfe, 0xfc)],
  [Extension.keyShare, join(u16(4 + 32), encodeKeyShare({ group: Group.x25519, share: new Uint8Array(32) }))],
  [Extension.supportedGroups, u16List([Group.x25519])],
  [Extension.signatureAlgorithms, u16List([Scheme.ed25519])],
  [Extension.serverName, new Uint8Array(200)], // long enough for a retry of three times its length
];

function hello(change: Partial<Record<number, Uint8Array | undefined>> = {}, suites = [Suite.aes128 as number]) {
  const changed = SOUND.map(([type, content]) => [type, type in change ? change[type] : content] as const);
  const extensions = new Map(changed.filter((each): each is readonly [number, Uint8Array] => each[1] !== undefined));
  for (const [type, content] of Object.entries(change)) if (content) extensions.set(Number(type), content);
  return encodeClientHello({ random: new Uint8Array(32).fill(3), sessionId: new Uint8Array(0), suites, extensions });
}

/** What a hello cannot do without, and nothing in it that can be shorter. */
const SMALLEST = { [Extension.serverName]: undefined, [Extension.keyShare]: u16(0) };

/** First ClientHellos as clients of ours send them. */
function clients(): Uint8Array[] {
  const found: Uint8Array[] = [];
  for (const suite of TERMS.suites)
    for (const groups of [[Group.x25519MlKem768, Group.x25519], [Group.secp256r1], [Group.secp521r1MlKem1024]]) {
      const protection = createMemoryProtection(vault);
      const client = new DtlsClient({
        vault,
        random: seededBytes(1),
        protection,
        suites: [suite],
        groups,
        share: undefined,
      });
      client.start(0);
      for (const output of client.drain()) if (output.kind === 'datagram') found.push(output.bytes);
    }
  return found;
}

const CASES: [name: string, payload: Uint8Array, becomes: string][] = [
  ['a sound one', record(hello()), 'retry'],
  ['one of a high record number', record(hello(), { sequence: 2 ** 48 - 1 }), 'retry'],
  ['one that offers no share', record(hello({ [Extension.keyShare]: u16(0) })), 'retry'],
  ['DTLS 1.2', record(hello({ [Extension.supportedVersions]: Uint8Array.of(2, 0xfe, 0xfd) })), 'notDtls13'],
  ['another legacy version', record(hello().with(1, 0xff)), 'notDtls13'],
  ['no versions', record(hello({ [Extension.supportedVersions]: undefined })), 'missingExtension'],
  ['no key share', record(hello({ [Extension.keyShare]: undefined })), 'missingExtension'],
  ['no groups', record(hello({ [Extension.supportedGroups]: undefined })), 'missingExtension'],
  ['no schemes', record(hello({ [Extension.signatureAlgorithms]: undefined })), 'missingExtension'],
  ['a group of nobody', record(hello({ [Extension.supportedGroups]: u16List([0x9999]) })), 'noCommonGroup'],
  ['a scheme of nobody', record(hello({ [Extension.signatureAlgorithms]: u16List([0x9999]) })), 'noCommonScheme'],
  ['a suite of nobody', record(hello({}, [0x9999])), 'noCommonSuite'],
  ['no suite', record(hello({}, [])), 'noCommonSuite'],
  ['an odd list', record(hello({ [Extension.supportedGroups]: Uint8Array.of(0, 3, 0, 29, 0) })), 'malformed'],
  ['a short share', record(hello({ [Extension.keyShare]: Uint8Array.of(0, 5, 0, 29, 0, 1, 7) })), 'malformed'],
  ['a share twice', record(hello({ [Extension.keyShare]: Uint8Array.of(0, 8, 9, 9, 0, 0, 9, 9, 0, 0) })), 'malformed'],
  ['an empty cookie', record(hello({ [Extension.cookie]: Uint8Array.of(0, 0) })), 'left'],
  ['a cookie of nobody', record(hello({ [Extension.cookie]: join(u16(90), new Uint8Array(90)) })), 'left'],
  ['a second one without a cookie', record(hello(), { messageSequence: 1 }), 'notHello'],
  ['a third one', record(hello(), { messageSequence: 2 }), 'notHello'],
  ['the smallest that is sound', record(hello(SMALLEST)), 'retry'],
  ['nothing but a header', record(new Uint8Array(0)).slice(0, 13), 'notHello'],
];

describe("the addon's listener", () => {
  it.each(CASES)('judges %s like the reference', (_name, payload, becomes) => {
    expect(agree(payload)).toBe(becomes);
  });

  it('answers what clients of ours send, cut off anywhere or with any byte wrong, as the reference does', () => {
    const met = new Set<string>();
    for (const payload of [...clients(), record(hello()), record(hello({ [Extension.keyShare]: u16(0) }))]) {
      expect(agree(payload)).toBe('retry');
      for (let length = 1; length < payload.length; length++) met.add(agree(payload.slice(0, length)));
      for (let at = 0; at < payload.length; at++)
        for (const value of [0, 1, 0xff, payload[at] ^ 1, payload[at] ^ 0x80]) met.add(agree(payload.with(at, value)));
    }
    for (const reason of [
      'retry',
      'notHello',
      'malformed',
      'fragmented',
      'notDtls13',
      'missingExtension',
      'noCommonSuite',
    ])
      expect(met).toContain(reason);
  }, 120_000);

  it('answers the shortest sound hello with less than three times its length', () => {
    for (const suite of TERMS.suites) {
      const payload = record(hello(SMALLEST, [suite]));
      expect(agree(payload)).toBe('retry');
      const [{ bytes }] = hear(SECOND, payload, ADDRESSES[0]).answers;
      expect(bytes.length).toBeLessThanOrEqual(3 * payload.length);
    }
  });

  it('leaves a hello unanswered that is too small for its answer, to the byte, as the reference does', () => {
    const retried = hear(SECOND, record(hello(SMALLEST)), ADDRESSES[0]).answers[0].bytes.length - HEAD.length;
    const met = new Set<string>();
    for (let length = 0; length < 200; length++) {
      const payload = record(hello({ ...SMALLEST, [Extension.serverName]: new Uint8Array(length) }));
      const said = hear(SECOND, payload, ADDRESSES[0], strict.native);
      expect(said).toEqual(expected(SECOND, payload, ADDRESSES[0], strict.listener));
      expect(said.drops).toEqual(retried > payload.length ? { amplification: 1 } : {});
      met.add(Object.keys(said.drops)[0] ?? 'retry');
    }
    expect([...met]).toEqual(['amplification', 'retry']);
  });

  it('draws another cookie in every period, and for every address', () => {
    const payload = record(hello());
    const cookies = new Set<string>();
    for (const now of [0, 59 * SECOND, 60 * SECOND, 61 * SECOND, 0, 3e12 + 1 / 3])
      for (const address of ADDRESSES) {
        expect(agree(payload, now, address)).toBe('retry');
        cookies.add(Buffer.from(hear(now, payload, address).answers[0].bytes).toString('hex'));
      }
    expect(cookies.size).toBe(6);
  });

  it('reads 16,000 key shares as quickly as 64', () => {
    const shares = Array.from({ length: 16_000 }, (_, i) => join(u16(i), u16(0)));
    expect(agree(record(hello({ [Extension.keyShare]: join(u16(64_000), ...shares) })))).toBe('malformed');
    expect(agree(record(hello({ [Extension.keyShare]: join(u16(256), ...shares.slice(0, 64)) })))).toBe('malformed'); // 29 has no bytes
    expect(agree(record(hello({ [Extension.keyShare]: join(u16(256), ...shares.slice(30, 94)) })))).toBe('retry');
  });

  it('agrees with the reference on hellos of any pieces, with any bytes changed', () => {
    const piece = fc.oneof(
      fc.constantFrom(...SOUND),
      fc.tuple(fc.constantFrom(...Object.values(Extension), 0x1234), fc.uint8Array({ maxLength: 12 })),
      fc.constantFrom<[number, Uint8Array]>(
        [Extension.supportedVersions, Uint8Array.of(4, 0xfe, 0xfd, 0xfe, 0xfc)],
        [Extension.keyShare, u16(0)],
        [Extension.supportedGroups, u16List([0x9999, Group.secp384r1])],
      ),
    );
    const edits = fc.array(fc.tuple(fc.nat(600), fc.nat(255)), { maxLength: 3 });
    const shape = fc.record({
      pieces: fc.array(piece, { maxLength: 8 }),
      sessionId: fc.uint8Array({ maxLength: 40 }),
      suites: fc.array(fc.constantFrom<number>(...TERMS.suites, 0x0a0a), { maxLength: 4 }),
      sequence: fc.nat(2 ** 31),
      messageSequence: fc.constantFrom(0, 0, 0, 1, 2),
    });
    fc.assert(
      fc.property(shape, edits, ({ pieces, sessionId, suites, ...numbers }, changes) => {
        const extensions = join(...pieces.map(([type, content]) => join(u16(type), u16(content.length), content)));
        const fixed = join(u16(0xfefd), new Uint8Array(32), uint(1, sessionId.length), sessionId, uint(1, 0));
        const body = join(fixed, u16List(suites), Uint8Array.of(1, 0), u16(extensions.length), extensions);
        const payload = record(body, numbers);
        for (const [at, value] of changes) payload[at % payload.length] = value;
        agree(payload);
      }),
      { numRuns: 5_000 },
    );
  });

  it('never takes a datagram from an address the index knows, nor one of another train', () => {
    const payload = record(hello());
    addon.indexSet(index, 'outside', ADDRESSES[0].slice(0, ADDRESS.key), 2);
    expect(hear(SECOND, payload, ADDRESSES[0])).toMatchObject({ left: true, answers: [] });
    addon.indexDelete(index, 'outside', ADDRESSES[0].slice(0, ADDRESS.key), 2);
    hear(SECOND, payload, ADDRESSES[0]);
    batches.packets.verdict[0] = Verdict.divert;
    expect(native.answer(SECOND, batches, 1, 2)).toBe(0);
    expect(native.answer(SECOND, batches, 0, 0)).toBe(0);
    expect(native.answer(SECOND, batches, 0, 1)).toBe(1);
  });

  it('leaves to JavaScript what finds no room for its answer', () => {
    const { trainsOut } = batches;
    hear(SECOND, record(hello()), ADDRESSES[0]);
    while (addon.put(nativeBatch(trainsOut), -1, 0, undefined, Uint8Array.of(1)));
    batches.packets.verdict[0] = Verdict.divert;
    expect(native.answer(SECOND, batches, 0, 1)).toBe(0);
    expect(batches.packets.verdict[0]).toBe(Verdict.divert);
  });

  it('refuses wrong arguments by name', () => {
    const secret = addon.secretImport('sha256', SEED);
    const options = { ...TERMS, shareLengths: TERMS.groups.map(() => 32) };
    const create = (change: object, seed = secret) => addon.createListener(lanes, seed, { ...options, ...change });
    expect(() => create({ suites: [] })).toThrow(/createListener: suites must not be empty/);
    expect(() => create({ suites: [1] })).toThrow(/createListener: suites must be cipher suites/);
    expect(() => create({ groups: [70_000] })).toThrow(/createListener: groups must be an integer/);
    expect(() => create({ schemes: new Array(33).fill(1) })).toThrow(/createListener: schemes must have at most 32/);
    expect(() => create({ amplification: 0 })).toThrow(/createListener: options.amplification must be an integer/);
    expect(() => create({ shareLengths: [1] })).toThrow(/createListener: shareLengths must be as long as groups/);
    expect(() => create({}, addon.secretImport('sha256', new Uint8Array(8)))).toThrow(/seed must have 16 to 64 bytes/);
    addon.secretDestroy(secret);
    expect(() => create({})).toThrow(/seed must be a secret that was not destroyed/);
    expect(() => native.answer(SECOND, { ...batches, trainsOut: batches.packets }, 0, 1)).toThrow(
      /answers must have an arena/,
    );
  });
});
