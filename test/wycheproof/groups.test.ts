/**
 * The cases in groups, as lanes.open and lanes.seal hand packets to the AEAD: up to nine under one key, of mixed lengths, genuine, forged and
 * skipped ones side by side, their parts at odd places in one arena. Packets of up to 208 bytes with up to 32 of additional data go four at a time
 * through native/aead/short_gcm.cc where the CPU has VAES. Neighbours come from @noble/ciphers, so that nobody vouches for himself.
 */
import { describe, expect, it } from 'vitest';
import { aeadSeal } from '../../src/datapath/reference/aead.ts';
import type { AeadItem } from '../../src/native/index.ts';
import { addon } from '../datapath/backends.ts';
import { concat, pattern } from '../packet/packets.ts';
import { type Answer, bytes, type Case, equal, type Group, report, tally } from './vectors.ts';

const AES_128 = 0x1301;
const AES_256 = 0x1302;
const CHACHA20 = 0x1303;
const SHORT = { length: 208, aad: 32 }; // native/aead/short_gcm.h

/** Of neighbours; they take turns, so that any two lengths stand side by side in some group. */
const LENGTHS = [0, 208, 1, 64, 209, 16, 207, 1400, 15, 112, 33];
const AAD_LENGTHS = [18, 5, 16, 0, 32, 2, 33];

interface Packet {
  readonly nonce: Uint8Array;
  readonly aad: Uint8Array;
  readonly plain: Uint8Array;
  readonly text: Uint8Array;
  readonly tag: Uint8Array;
  readonly state: 'case' | 'genuine' | 'forged' | 'skipped';
}

const backends = addon?.about().aead ?? [];
type Backend = (typeof backends)[number];

function neighbours(suite: number, key: Uint8Array): Packet[] {
  return LENGTHS.map((length, i) => {
    const [nonce, aad, plain] = [
      pattern(12, i),
      pattern(AAD_LENGTHS[i % AAD_LENGTHS.length], 50 + i),
      pattern(length, i),
    ];
    const sealed = aeadSeal(suite, key, nonce, aad, plain);
    return { nonce, aad, plain, text: sealed.slice(0, length), tag: sealed.slice(length), state: 'genuine' };
  });
}

/** With one bit changed, now here, now there. */
function forged(packet: Packet, which: number): Packet {
  const parts = {
    tag: packet.tag.slice(),
    text: packet.text.slice(),
    aad: packet.aad.slice(),
    nonce: packet.nonce.slice(),
  };
  const part = [parts.tag, parts.text, parts.aad, parts.nonce][which % 4];
  const touched = part.length > 0 ? part : parts.tag;
  touched[which % touched.length] ^= 1 << (which % 8);
  return { ...packet, ...parts, state: 'forged' };
}

/** `size` packets, the case at `position`. @param spoil forge a third of its neighbours, and skip some */
function groupAround(one: Packet, others: readonly Packet[], size: number, position: number, spoil: boolean): Packet[] {
  return Array.from({ length: size }, (_, i) => {
    if (i === position) return one;
    const turn = i + 2 * size + 5 * position;
    const other = others[turn % others.length];
    if (!spoil) return other;
    if (turn % 3 === 0) return forged(other, turn);
    return turn % 7 === 1 ? { ...other, state: 'skipped' } : other;
  });
}

/** Lays the packets out with gaps of changing size, the last part at the end of the memory. */
function layOut(group: readonly Packet[], sealed: boolean, from: number): { arena: Uint8Array; items: AeadItem[] } {
  const parts: Uint8Array[] = [];
  let end = 0;
  const place = (part: Uint8Array, gap: number) => {
    parts.push(new Uint8Array(gap).fill(0xa5), part);
    end += gap + part.length;
    return end - part.length;
  };
  const items = group.map(({ nonce, aad, plain, text, tag, state }, i) => ({
    nonce: place(nonce, (from * 13 + i * 7) % 65),
    aad: place(aad, i % 3),
    aadLength: aad.length,
    at: place(sealed ? text : plain, (from + i * 5) % 17),
    length: plain.length,
    tag: place(sealed ? tag : new Uint8Array(16), 0),
    skip: state === 'skipped',
  }));
  return { arena: concat(...parts), items };
}

/** What the case came to, or what went wrong with its neighbours. */
function opened(backend: Backend, suite: number, key: Uint8Array, group: readonly Packet[], from: number): Answer {
  const { arena, items } = layOut(group, true, from);
  const expected = arena.slice();
  const verdicts = addon!.aeadOpenGroup(backend, suite, key, arena, items);
  let answer: Answer = { refused: 'no case in the group' };
  for (const [i, { state, plain }] of group.entries()) {
    const { at, length } = items[i];
    const now = arena.subarray(at, at + length);
    if (state === 'case')
      answer = !verdicts[i] ? 'rejected' : equal(now, plain) ? 'accepted' : { refused: 'opened otherwise' };
    else if (verdicts[i] !== (state === 'genuine'))
      return { refused: `a ${state} neighbour was judged ${verdicts[i]}` };
    if (verdicts[i]) expected.set(plain, at);
    else if (state !== 'skipped') expected.set(now, at); // bytes without meaning
  }
  return equal(arena, expected) ? answer : { refused: 'other bytes changed' };
}

function sealed(backend: Backend, suite: number, key: Uint8Array, group: readonly Packet[], from: number): Answer {
  const { arena, items } = layOut(group, false, from);
  const expected = arena.slice();
  addon!.aeadSealGroup(backend, suite, key, arena, items);
  let answer: Answer = { refused: 'no case in the group' };
  for (const [i, { state, text, tag }] of group.entries()) {
    const { at, length, tag: tagAt } = items[i];
    const made = concat(arena.subarray(at, at + length), arena.subarray(tagAt, tagAt + 16));
    if (state === 'case') answer = equal(made, concat(text, tag)) ? 'accepted' : 'rejected';
    expected.set(state === 'case' ? made.subarray(0, length) : text, at);
    expected.set(state === 'case' ? made.subarray(length) : tag, tagAt);
  }
  return equal(arena, expected) ? answer : { refused: 'a neighbour or other bytes' };
}

/** In every place of groups of every size, opened and sealed: one answer, or what was unsteady. */
function answerOf(backend: Backend, suite: number, test: Case, sizes: readonly number[]): Answer {
  const key = bytes(test.key);
  const whole: Packet = {
    nonce: bytes(test.iv),
    aad: bytes(test.aad),
    plain: bytes(test.msg),
    text: bytes(test.ct),
    tag: bytes(test.tag),
    state: 'case',
  };
  const others = neighbours(suite, key);
  const answers = new Set<Answer>();
  for (const size of sizes)
    for (let position = 0; position < size; position++) {
      const from = test.tcId + size * 9 + position;
      answers.add(opened(backend, suite, key, groupAround(whole, others, size, position, true), from));
      answers.add(sealed(backend, suite, key, groupAround(whole, others, size, position, false), from));
    }
  const [first, second] = answers;
  return second === undefined || typeof first === 'object' ? first : { refused: `unsteady: ${JSON.stringify(second)}` };
}

const files = [
  {
    file: 'aes_gcm_test.json',
    suiteOf: (bits: unknown) => (bits === 128 ? AES_128 : bits === 256 ? AES_256 : undefined),
    sizes: [1, 2, 3, 4, 5, 6, 7, 8, 9], // one more than the nodes make
    run: 133,
    short: 97,
    refused: { 'nonce of another size than 96 bits': 119, 'key of 192 bits': 64 },
  },
  {
    file: 'chacha20_poly1305_test.json',
    suiteOf: () => CHACHA20,
    sizes: [1, 3, 8], // no backend has more than a loop for it
    run: 316,
    short: 0,
    refused: { 'nonce of another size than 96 bits': 9 },
  },
];

const isShort = (test: Case) => bytes(test.msg).length <= SHORT.length && bytes(test.aad).length <= SHORT.aad;

describe.each(backends)('groups, %s', (backend) => {
  it.each(files)(
    'answer every case of $file in every place of groups of $sizes, beside genuine, forged and skipped packets',
    async ({ file, suiteOf, sizes, run, short, refused }) => {
      let shortOnes = 0;
      const found = await tally(file, (test, group: Group) => {
        const suite = suiteOf(group.keySize);
        if (group.ivSize !== 96) return { refused: 'nonce of another size than 96 bits' };
        if (suite === undefined) return { refused: `key of ${group.keySize} bits` };
        if (suite !== CHACHA20 && isShort(test)) shortOnes++;
        return answerOf(backend, suite, test, sizes);
      });
      report(file, `groups, ${backend}, ${shortOnes} of them short`, found);
      expect(found.wrong).toEqual([]);
      expect({ run: found.run, short: shortOnes, refused: found.refused }).toEqual({ run, short, refused });
    },
  );

  it('refuse parts that lie outside, too many packets, and what is no packet', () => {
    const [key, arena] = [new Uint8Array(32), new Uint8Array(100)];
    const item: AeadItem = { nonce: 0, aad: 12, aadLength: 18, at: 30, length: 54, tag: 84 };
    const open = (items: readonly unknown[]) =>
      addon!.aeadOpenGroup(backend, AES_256, key, arena, items as readonly AeadItem[]);
    expect(open([])).toEqual([]);
    expect(open(Array(64).fill(item))).toHaveLength(64);
    for (const wrong of [{ nonce: 89 }, { aad: 83 }, { aadLength: 89 }, { at: 47 }, { length: 71 }, { tag: 85 }])
      expect(() => open([item, { ...item, ...wrong }])).toThrow('aeadOpenGroup: items must lie within bytes');
    expect(() => open([{ ...item, tag: -1 }])).toThrow('items.tag must be an integer from 0');
    expect(() => open([{ ...item, length: 2 ** 32 }])).toThrow('items.length must be an integer from 0');
    expect(() => open([{ ...item, skip: 1 }])).toThrow('items.skip must be true or false');
    expect(() => open([undefined])).toThrow('items must be an object, got undefined');
    expect(() => open(Array(65).fill(item))).toThrow('items must have at most 64 elements, got 65');
    expect(() => addon!.aeadSealGroup(backend, AES_128, key, arena, [item])).toThrow('key must be 16 bytes long');
  });

  it('use the bytes as they are after the packets were read: a getter that takes them away costs a refusal', () => {
    const arena = new Uint8Array(100);
    const item = {
      ...{ nonce: 0, aad: 12, aadLength: 18, at: 30, length: 54 },
      get tag() {
        arena.buffer.transfer(0);
        return 84;
      },
    };
    expect(() => addon!.aeadOpenGroup(backend, AES_256, new Uint8Array(32), arena, [item])).toThrow(
      'items must lie within bytes',
    );
  });
});
