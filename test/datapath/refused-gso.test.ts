/** A path that refuses UDP_SEGMENT: the session it belongs to sends one by one for a minute, nothing is lost, and nobody else notices. */
import { constants } from 'node:os';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { addon, namespaceRefusal } from '../io/rig.ts';
import { build, UDP } from '../packet/packets.ts';
import { flavours, NET_ADDRESS, numbered, Rig, type RigClient } from './rig.ts';

const refusal = namespaceRefusal();
if (refusal) console.warn(`skipped: ${refusal}`);

const { EIO, EINVAL, EMSGSIZE } = constants.errno;
const MINUTE_MS = 60_000;
const PACKETS = 8;

let rig: Rig | undefined;
afterEach(() => {
  vi.useRealTimers();
  rig?.close();
  rig = undefined;
});

/** Sends `PACKETS` down to a client. @returns how many `sendmsg` it took, when all have arrived in order */
function sendsFor(on: Rig, client: RigClient): number {
  client.inner();
  const before = on.ports('udpTrainsOut');
  const packet = (number: number) =>
    build({ ...UDP, source: NET_ADDRESS, destination: client.lease, payload: numbered(number) });
  on.inside.send(Array.from({ length: PACKETS }, (_, i) => packet(i)));
  on.settle();
  const numbers = client.inner().map((bytes) => new DataView(bytes.buffer, bytes.byteOffset).getUint32(28));
  expect(numbers).toEqual(Array.from({ length: PACKETS }, (_, i) => i));
  return on.ports('udpTrainsOut') - before;
}

describe.skipIf(refusal !== undefined).each(flavours())('over %s with %s', (io, aead) => {
  it.each([EIO, EINVAL, EMSGSIZE])(
    'errno %i turns GSO off for one session, for a minute, and is said once',
    (errno) => {
      vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
      rig = new Rig({ io, aead, shards: 1 });
      const [one, other] = [rig.connect(2), rig.connect(3)];
      const whole = sendsFor(rig, one);
      expect(whole).toBeLessThan(PACKETS);
      addon.injectErrors(rig.handles[0], 'udp', [errno]);
      sendsFor(rig, one); // replayed: all arrived
      expect(rig.counters().gsoRefused).toBe(1);
      expect(sendsFor(rig, one)).toBe(PACKETS);
      expect(sendsFor(rig, other)).toBe(whole);
      vi.advanceTimersByTime(MINUTE_MS);
      expect(sendsFor(rig, one)).toBe(whole);
      addon.injectErrors(rig.handles[0], 'udp', [errno]);
      sendsFor(rig, other);
      expect(rig.counters().gsoRefused).toBe(2);
      expect(rig.notes).toHaveLength(1);
      expect(rig.notes[0]).toContain(`127.0.0.2`);
    },
  );
});
