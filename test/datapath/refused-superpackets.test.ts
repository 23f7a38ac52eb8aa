/** A TUN device that refuses superpackets: packets of that kind go to it one by one for a minute; nothing is lost, the other kind is joined as ever. */
import { constants } from 'node:os';
import { afterEach, describe, expect, it } from 'vitest';
import { parseIpv4 } from '../../src/server/leases.ts';
import { SECOND } from '../../src/wire/time.ts';
import { addon, namespaceRefusal } from '../io/rig.ts';
import { build, pattern, TCP, UDP } from '../packet/packets.ts';
import { CLIENT_INSIDE, flavours, NET_ADDRESS, numbered, Rig, type RigClient } from './rig.ts';

const refusal = namespaceRefusal();
if (refusal) console.warn(`skipped: ${refusal}`);

const { EINVAL, EMSGSIZE } = constants.errno;
const PACKETS = 8;
const SIZE = { tcp: 1_200, udp: 1_000 } as const;
const HEADERS = { tcp: 40, udp: 28 } as const;
type Kind = keyof typeof SIZE;
const kinds: readonly [Kind, Kind][] = [
  ['tcp', 'udp'],
  ['udp', 'tcp'],
];

let rig: Rig | undefined;
afterEach(() => {
  rig?.close();
  rig = undefined;
});

const ends = { source: parseIpv4(CLIENT_INSIDE), destination: NET_ADDRESS, fragment: 0x4000 };
const packetOf = (kind: Kind, number: number) =>
  kind === 'tcp'
    ? build({ ...TCP, ...ends, sequence: number * SIZE.tcp, payload: pattern(SIZE.tcp) })
    : build({ ...UDP, ...ends, payload: numbered(number, SIZE.udp) });

/** Which packets of `packetOf` a packet, or superpacket, holds. */
function numbersIn(kind: Kind, bytes: Uint8Array): number[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  const count = (bytes.length - HEADERS[kind]) / SIZE[kind];
  return Array.from({ length: count }, (_, i) =>
    kind === 'tcp' ? view.getUint32(24) / SIZE.tcp + i : view.getUint32(HEADERS.udp + i * SIZE.udp),
  );
}

/** Sends packets of a flow up, in one go. @returns into how many writes they went, when all have arrived in order */
function writesFor(on: Rig, client: RigClient, kind: Kind): number {
  on.inside.receive();
  const before = on.ports('tunPacketsOut');
  const numbers = Array.from({ length: PACKETS }, (_, i) => i);
  client.send(numbers.map((number) => client.lane(packetOf(kind, number))));
  on.settle();
  expect(on.inside.receive().flatMap((bytes) => numbersIn(kind, bytes))).toEqual(numbers);
  return on.ports('tunPacketsOut') - before;
}

function refuse(on: Rig, client: RigClient, kind: Kind, errno: number): void {
  addon.injectErrors(on.handles[0], 'tun', [errno]);
  expect(writesFor(on, client, kind)).toBe(PACKETS); // replayed
}

describe.skipIf(refusal !== undefined).each(flavours())('over %s with %s', (io, aead) => {
  // every superpacket cost a failed write, and nobody was told
  it.each(kinds)('joins no %s for a minute after one was refused, and %s as before', (kind, other) => {
    rig = new Rig({ io, aead, shards: 1 });
    const client = rig.connect(2);
    const whole = writesFor(rig, client, kind);
    expect(whole).toBeLessThan(PACKETS);
    refuse(rig, client, kind, EINVAL);
    expect([rig.ports('tunGsoRefused'), rig.ports('gsoRefused')]).toEqual([1, 0]);
    addon.injectErrors(rig.handles[0], 'tun', [...Array(PACKETS).fill(0), EINVAL]); // of a write, for the first superpacket
    expect(writesFor(rig, client, kind)).toBe(PACKETS);
    expect(rig.ports('tunGsoRefused')).toBe(1);
    addon.injectErrors(rig.handles[0], 'tun', []);
    expect(writesFor(rig, client, other)).toBe(whole);
    rig.pass(59 * SECOND);
    expect(writesFor(rig, client, kind)).toBe(PACKETS);
    rig.pass(1 * SECOND);
    expect(writesFor(rig, client, kind)).toBe(whole);
    expect(rig.counters().tunRefused).toBeUndefined();
  });

  it('says the first refusal of each kind, by its name, once', () => {
    rig = new Rig({ io, aead, shards: 1 });
    const client = rig.connect(2);
    refuse(rig, client, 'udp', EMSGSIZE);
    rig.pass(60 * SECOND);
    refuse(rig, client, 'udp', EINVAL);
    expect(rig.notes).toHaveLength(1);
    expect(rig.notes[0]).toContain('UDP superpacket');
    refuse(rig, client, 'tcp', EINVAL);
    expect(rig.notes).toHaveLength(2);
    expect(rig.notes[1]).toContain('TCP superpacket');
    expect(writesFor(rig, client, 'tcp')).toBe(PACKETS);
    expect(writesFor(rig, client, 'udp')).toBe(PACKETS);
  });

  it('hears of a refusal in turns that the addon takes by itself', () => {
    rig = new Rig({ io, aead, shards: 1, runs: true });
    const client = rig.connect(2);
    refuse(rig, client, 'udp', EINVAL);
    expect(rig.notes).toHaveLength(1);
    expect(writesFor(rig, client, 'udp')).toBe(PACKETS);
    expect(rig.ports('tunGsoRefused')).toBe(1);
    expect(writesFor(rig, client, 'tcp')).toBeLessThan(PACKETS);
  });
});
