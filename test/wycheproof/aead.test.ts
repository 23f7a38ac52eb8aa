import { describe, expect, it } from 'vitest';
import { HEADER } from '../../src/datapath/batch.ts';
import { aeadOpen, aeadSeal } from '../../src/datapath/reference/aead.ts';
import { addon, backends } from '../datapath/backends.ts';
import { header } from '../datapath/peer.ts';
import { receive } from '../datapath/traffic.ts';
import { addressOf, bytesAt, countersOf, Slot, setUp, type World } from '../datapath/world.ts';
import { bytesOf, concat, pattern } from '../packet/packets.ts';
import { type Answer, bytes, type Case, equal, type Group, report, tally } from './vectors.ts';

const AES_128 = 0x1301;
const AES_256 = 0x1302;
const CHACHA20 = 0x1303;
/** Where views begin in memory: vector code must not depend on it. */
const ALIGNMENTS = [0, 1, 3, 8, 15, 17, 31, 63];

type Seal = (suite: number, key: Uint8Array, nonce: Uint8Array, aad: Uint8Array, plain: Uint8Array) => Uint8Array;
type Open = (
  suite: number,
  key: Uint8Array,
  nonce: Uint8Array,
  aad: Uint8Array,
  sealed: Uint8Array,
) => Uint8Array | undefined;

const paths: { name: string; seal: Seal; open: Open }[] = [{ name: 'noble', seal: aeadSeal, open: aeadOpen }];
for (const backend of addon?.about().aead ?? [])
  paths.push({
    name: backend,
    seal: (suite, ...rest) => addon!.aeadSeal(backend, suite, ...rest),
    open: (suite, ...rest) => addon!.aeadOpen(backend, suite, ...rest),
  });

const files = [
  {
    file: 'aes_gcm_test.json',
    suiteOf: (bits: unknown) => (bits === 128 ? AES_128 : bits === 256 ? AES_256 : undefined),
    refused: { 'nonce of another size than 96 bits': 119, 'key of 192 bits': 64 },
    refusedByNoble: { 'nonce of another size than 96 bits': 30 }, // below 64 bits; the rest it answers too
  },
  {
    file: 'chacha20_poly1305_test.json',
    suiteOf: () => CHACHA20,
    refused: { 'nonce of another size than 96 bits': 9 },
    refusedByNoble: { 'nonce of another size than 96 bits': 9 },
  },
];

function aligned(hex: unknown, offset: number): Uint8Array {
  const content = bytes(hex);
  const view = new Uint8Array(content.length + offset + 64).subarray(offset, offset + content.length);
  view.set(content);
  return view;
}

/** Why the protocol never asks for such a case, if it does not. */
function unused(group: Group, suite: number | undefined): string | undefined {
  if (group.ivSize !== 96) return 'nonce of another size than 96 bits';
  return suite === undefined ? `key of ${group.keySize} bits` : undefined;
}

function answerOf(path: (typeof paths)[number], suite: number, test: Case): Answer {
  const answers = ALIGNMENTS.map((offset, i) => {
    const next = ALIGNMENTS[(i + 3) % ALIGNMENTS.length];
    const [key, nonce, aad] = [aligned(test.key, offset), aligned(test.iv, next), aligned(test.aad, offset)];
    const sealed = concat(bytes(test.ct), bytes(test.tag));
    const text = new Uint8Array(sealed.length + next).subarray(next);
    text.set(sealed);
    const opened = path.open(suite, key, nonce, aad, text);
    const made = path.seal(suite, key, nonce, aad, aligned(test.msg, next));
    return equal(opened, bytes(test.msg)) && equal(made, sealed)
      ? 'accepted'
      : opened === undefined
        ? 'rejected'
        : 'opened otherwise';
  });
  const [first] = answers;
  return answers.every((answer) => answer === first) && first !== 'opened otherwise'
    ? first
    : { refused: `unsteady: ${answers}` };
}

/** Says no by an exception, before any byte is made. What is taken all the same has to be answered rightly. */
function refuses(path: (typeof paths)[number], suite: number, test: Case): boolean {
  try {
    path.seal(suite, bytes(test.key), bytes(test.iv), bytes(test.aad), bytes(test.msg));
    return false;
  } catch (error) {
    return error instanceof (path.name === 'noble' ? Error : RangeError);
  }
}

describe.each(paths)('AEAD of $name', (path) => {
  it.each(files)(
    'answers every case of $file at eight alignments',
    async ({ file, suiteOf, refused, refusedByNoble }) => {
      const found = await tally(file, (test, group) => {
        const suite = suiteOf(group.keySize) ?? AES_256;
        const reason = unused(group, suiteOf(group.keySize));
        return reason && refuses(path, suite, test) ? { refused: reason } : answerOf(path, suite, test);
      });
      report(file, path.name, found);
      expect(found.wrong).toEqual([]);
      expect(found.refused).toEqual(path.name === 'noble' ? refusedByNoble : refused);
    },
  );
});

// ---- the same through lanes.open: a datagram in a train ----------------------------------------------------------------

/** Cases whose AAD is what an Expresslane packet of version 1 or 2 has: id ‖ counter (‖ flags). */
function asLane(test: Case, group: Group): { id: Uint8Array; counter: bigint; flags: number; version: 1 | 2 } | string {
  const aad = bytes(test.aad);
  if (group.keySize !== 256 || group.ivSize !== 96) return 'not AES-256 with a nonce of 96 bits';
  if (aad.length !== 16 && aad.length !== 18) return 'additional data that are no id and counter';
  const counter = new DataView(aad.buffer).getBigUint64(8);
  const flags = aad.length === 18 ? aad[16] * 256 + aad[17] : 0;
  if (counter === 0n) return 'counter 0';
  if (aad.subarray(0, 8).every((byte) => byte === 0xff)) return 'the rejected id';
  return { id: aad.slice(0, 8), counter, flags: flags & 0x7fff, version: aad.length === 18 ? 2 : 1 };
}

function openInTrain(
  world: World,
  test: Case,
  lane: Exclude<ReturnType<typeof asLane>, string>,
  position: number,
): Answer {
  setUp(world);
  const slot = lane.version === 2 ? Slot.lane : Slot.oldLane;
  const key = bytes(test.key);
  world.secrets.installLane(slot, 'laneReceive', key, new Uint8Array(4));
  world.claim(slot);
  const text = bytes(test.ct);
  const lightway = header(lane.id, true, [1, lane.version === 2 ? 3 : 1]);
  const packet = (counter: bigint, tag: Uint8Array) =>
    concat(
      lightway,
      bytesOf('u64', counter as never),
      bytes(test.iv),
      tag,
      bytesOf('u16', text.length, 'u16', lane.flags),
      text,
    );
  const fillers = Array.from({ length: position }, (_, i) => packet(lane.counter + BigInt(i + 1), pattern(16, i)));
  receive(world, [{ address: addressOf(slot), datagrams: [...fillers, packet(lane.counter, bytes(test.tag))] }]);
  world.nodes.locate(world.trains);
  world.nodes.open(world.trains, world.packets, 1);
  if (world.packets.header[HEADER.count] === 0)
    return countersOf(world).forged === position + 1 ? 'rejected' : { refused: 'another verdict' };
  return equal(bytesAt(world.packets, 0), bytes(test.msg)) && countersOf(world).forged === (position || undefined)
    ? 'accepted'
    : { refused: 'another packet' };
}

describe.each(backends)('lanes.open, $name', ({ name, create }) => {
  it('answers every AES-GCM case that is an Expresslane packet, at positions 0 to 4 of a train', async () => {
    const world = create();
    const found = await tally('aes_gcm_test.json', (test, group) => {
      const lane = asLane(test, group);
      if (typeof lane === 'string') return { refused: lane };
      const answers = [0, 1, 2, 3, 4].map((position) => openInTrain(world, test, lane, position));
      return answers.every((answer) => answer === answers[0]) ? answers[0] : { refused: 'unsteady' };
    });
    report('aes_gcm_test.json', `lanes.open, ${name}`, found);
    expect(found.wrong).toEqual([]);
    expect(found.run).toBe(1);
    expect(found.refused).toEqual({
      'not AES-256 with a nonce of 96 bits': 250,
      'additional data that are no id and counter': 65,
    });
  });
});
