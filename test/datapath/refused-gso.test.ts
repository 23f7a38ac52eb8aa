/** A path that refuses UDP_SEGMENT: the session it belongs to sends one by one for a minute, nothing is lost, and nobody else notices. */
import { constants } from 'node:os';
import { afterEach, describe, expect, it } from 'vitest';
import { SlotFlag } from '../../src/datapath/layout.ts';
import { SECOND } from '../../src/wire/time.ts';
import { addon, namespaceRefusal } from '../io/rig.ts';
import { build, UDP } from '../packet/packets.ts';
import { flavours, NET_ADDRESS, numbered, Rig, type RigClient } from './rig.ts';

const refusal = namespaceRefusal();
if (refusal) console.warn(`skipped: ${refusal}`);

const { EIO, EINVAL, EMSGSIZE, ENETUNREACH, EPERM } = constants.errno;
const PACKETS = 8;

let rig: Rig | undefined;
afterEach(() => {
  rig?.close();
  rig = undefined;
});

/** Sends `PACKETS` down to a client. @returns which of them have arrived, and how many `sendmsg` that took */
function send(on: Rig, client: RigClient, packets = PACKETS): { numbers: number[]; sends: number } {
  client.inner();
  const before = on.ports('udpTrainsOut');
  const packet = (number: number) =>
    build({ ...UDP, source: NET_ADDRESS, destination: client.lease, payload: numbered(number) });
  on.inside.send(Array.from({ length: packets }, (_, i) => packet(i)));
  on.settle();
  const numbers = client.inner().map((bytes) => new DataView(bytes.buffer, bytes.byteOffset).getUint32(28));
  return { numbers, sends: on.ports('udpTrainsOut') - before };
}

/** @returns how many `sendmsg` it took, when all have arrived in order */
function sendsFor(on: Rig, client: RigClient): number {
  const { numbers, sends } = send(on, client);
  expect(numbers).toEqual(Array.from({ length: PACKETS }, (_, i) => i));
  return sends;
}

describe.skipIf(refusal !== undefined).each(flavours())('over %s with %s', (io, aead) => {
  const refuse = (on: Rig, errnos: number[]) => addon.injectErrors(on.handles[0], 'udp', errnos);

  it.each([EIO, EINVAL, EMSGSIZE])(
    'errno %i turns GSO off for one session, for a minute, and is said once',
    (errno) => {
      rig = new Rig({ io, aead, shards: 1 });
      const [one, other] = [rig.connect(2), rig.connect(3)];
      const whole = sendsFor(rig, one);
      expect(whole).toBeLessThan(PACKETS);
      refuse(rig, [errno]);
      sendsFor(rig, one); // replayed: all arrived
      expect(rig.counters().gsoRefused).toBe(1);
      expect(sendsFor(rig, one)).toBe(PACKETS);
      expect(sendsFor(rig, other)).toBe(whole);
      rig.pass(60 * SECOND);
      expect(sendsFor(rig, one)).toBe(whole);
      refuse(rig, [errno]);
      sendsFor(rig, other);
      expect(rig.counters().gsoRefused).toBe(2);
      expect(rig.notes).toHaveLength(1);
      expect(rig.notes[0]).toContain(`127.0.0.2`);
    },
  );

  // every failed send was taken for a refusal, and the log blamed UDP_SEGMENT for a route that was gone
  it.each([ENETUNREACH, EPERM])('errno %i drops a train, is counted, and leaves GSO on', (errno) => {
    rig = new Rig({ io, aead, shards: 1 });
    const client = rig.connect(2);
    const whole = sendsFor(rig, client);
    refuse(rig, Array(whole).fill(errno));
    expect(send(rig, client)).toEqual({ numbers: [], sends: 0 });
    expect(rig.counters()).toMatchObject({ sendFailed: PACKETS });
    expect(rig.counters().gsoRefused).toBeUndefined();
    expect(sendsFor(rig, client)).toBe(whole);
    expect(rig.notes).toEqual([]);
  });

  it.each([EMSGSIZE, EIO, EINVAL])('errno %i of a datagram that leaves alone says nothing of GSO', (errno) => {
    rig = new Rig({ io, aead, shards: 1 });
    const client = rig.connect(2);
    const whole = sendsFor(rig, client);
    refuse(rig, [errno]);
    expect(send(rig, client, 1)).toEqual({ numbers: [], sends: 0 });
    expect(rig.counters()).toMatchObject({ sendFailed: 1 });
    expect(rig.counters().gsoRefused).toBeUndefined();
    expect(sendsFor(rig, client)).toBe(whole);
    expect(rig.notes).toEqual([]);
  });

  it('names what the train was refused for when one of its datagrams fails as well, and loses only that', () => {
    rig = new Rig({ io, aead, shards: 1 });
    const client = rig.connect(2);
    refuse(rig, [EIO, 0, EPERM]);
    expect(send(rig, client).numbers).toEqual([0, 2, 3, 4, 5, 6, 7]);
    expect(rig.counters()).toMatchObject({ sendFailed: 1, gsoRefused: 1 });
    expect(rig.notes).toHaveLength(1);
    expect(rig.notes[0]).toContain('EIO');
    expect(sendsFor(rig, client)).toBe(PACKETS);
  });

  // each refusal had a timer, and the first one to ring allowed GSO again: a second after it had been refused once more
  it('tries again a minute after the last refusal, not after the first', () => {
    rig = new Rig({ io, aead, shards: 1 });
    const client = rig.connect(2);
    const whole = sendsFor(rig, client);
    const { flags } = rig.table.fields;
    const slot = [...rig.shards[0].control.peers.keys()][0];
    refuse(rig, [EIO]);
    sendsFor(rig, client);
    rig.pass(59 * SECOND);
    flags.set(slot, flags.get(slot) & ~SlotFlag.noGso); // as for a train that was sealed before the first refusal
    refuse(rig, [EIO]);
    sendsFor(rig, client);
    expect(rig.counters().gsoRefused).toBe(2);
    rig.pass(59 * SECOND);
    expect(sendsFor(rig, client)).toBe(PACKETS);
    rig.pass(1 * SECOND);
    expect(sendsFor(rig, client)).toBe(whole);
  });

  it('does not confuse the next session of a slot with the one before', () => {
    rig = new Rig({ io, aead, shards: 1 });
    const gone = rig.connect(2);
    const [slot] = rig.shards[0].control.peers.keys();
    const whole = sendsFor(rig, gone);
    refuse(rig, [EIO]);
    sendsFor(rig, gone);
    rig.shards[0].control.closeSome(rig.now, 1);
    rig.settle();
    const next = rig.connect(3);
    expect([...rig.shards[0].control.peers.keys()]).toEqual([slot]);
    rig.pass(30 * SECOND);
    refuse(rig, [EIO]);
    sendsFor(rig, next);
    rig.pass(30 * SECOND); // a minute after the refusal of the one before
    expect(sendsFor(rig, next)).toBe(PACKETS);
    rig.pass(30 * SECOND);
    expect(sendsFor(rig, next)).toBe(whole);
  });
});
