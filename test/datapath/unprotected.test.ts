/**
 * What comes to an Online session in plaintext, or under keys that it does not have: anybody may have sent it. It is counted once and left to nobody,
 * but for the ClientHello of a client that begins anew from the address it had, of which session.control hears a few.
 */
import { describe, expect, it } from 'vitest';
import { HEADER } from '../../src/datapath/batch.ts';
import { SlotState } from '../../src/datapath/layout.ts';
import { HELLOS } from '../../src/datapath/limits.ts';
import { type Micros, MS, SECOND } from '../../src/wire/time.ts';
import { build, bytesOf, concat, pattern, UDP } from '../packet/packets.ts';
import { backends } from './backends.ts';
import { dataFrame, header, sealRecord, WHOLE } from './peer.ts';
import { receive } from './traffic.ts';
import { addressOf, countersOf, entriesOf, idOf, recordKey, Slot, setUp } from './world.ts';

const NOW: Micros = 5_000 * SECOND + 0.5;
/** From here on, 32 bits of milliseconds begin anew. */
const WRAPS: Micros = 2 ** 32 * MS;

const plain = (type: number, content: Uint8Array) =>
  concat(bytesOf('u8', type, 'u16', 0xfefd, 'u16', 0, 'u48', 9, 'u16', content.length), content);
const message = (type: number) => plain(22, concat(Uint8Array.of(type), pattern(30)));
const HELLO = message(1);
const FOREIGN = concat(bytesOf('u8', 0x2e, 'u16', 0, 'u16', 32), pattern(32));
const PACKET = build(UDP);
const record = (number: number, slot: number = Slot.records) =>
  sealRecord(recordKey(slot, 'receive', 5), number, 23, dataFrame(PACKET), WHOLE);

describe.each(backends)('$name', ({ create }) => {
  const world = create();

  /** What datagrams of these records come to. */
  function send(now: Micros, datagrams: readonly Uint8Array[], slot: number = Slot.records, from: number = slot) {
    const { nodes, trains, packets } = world;
    for (const batch of [trains, packets]) nodes.clear(batch);
    nodes.counters.fill(0n);
    const whole = datagrams.map((body) => concat(header(idOf(slot), false), body));
    receive(world, [{ address: addressOf(from), datagrams: whole }]);
    nodes.locate(trains);
    nodes.open(trains, packets, now);
    const wanted = packets.header[HEADER.wanted];
    return { counted: countersOf(world), wanted, entries: entriesOf(packets).entries.map(({ verdict }) => verdict) };
  }

  it.each([
    ['a ServerHello', message(2), 'unprotected'],
    ['a Finished in plaintext', message(20), 'unprotected'],
    ['an alert', plain(21, bytesOf('u16', 0x0228)), 'unprotected'],
    ['an ACK', plain(26, bytesOf('u16', 0)), 'unprotected'],
    ['a record that is cut off', message(2).slice(0, 20), 'unprotected'],
    ['a header that is cut off', message(2).slice(0, 5), 'unprotected'],
    ['garbage that begins like one', concat(Uint8Array.of(22), new Uint8Array(60)), 'unprotected'],
    ['two of them', concat(message(2), message(20)), 'unprotected'],
    [
      'a hundred of no length',
      concat(...Array.from({ length: 100 }, () => plain(20, new Uint8Array(0)))),
      'unprotected',
    ],
    ['a ClientHello behind another record', concat(message(2), HELLO), 'unprotected'],
    ['a record of the handshake', FOREIGN, 'noKey'],
    ['one without a length', concat(Uint8Array.of(0x2a), pattern(40)), 'noKey'],
    ['one that is cut off', FOREIGN.slice(0, 3), 'noKey'],
    ['one of the handshake, and plaintext', concat(FOREIGN, message(2)), 'noKey'],
  ] as const)('%s is counted once, and session.control sees nothing of it', (_name, body, verdict) => {
    setUp(world);
    expect(send(NOW, [body])).toEqual({ counted: { [verdict]: 1 }, wanted: 0, entries: [] });
    setUp(world);
    world.table.fields.state.set(Slot.records, SlotState.linkUp);
    expect(send(NOW, [body])).toEqual({ counted: { divert: 1 }, wanted: 1, entries: ['divert'] });
  });

  it.each([
    ['in front of', (body: Uint8Array) => concat(body, record(0))],
    ['behind', (body: Uint8Array) => concat(record(0), body)],
    ['between', (body: Uint8Array) => concat(record(0), body, record(1))],
  ] as const)('records that can be opened are, with such %s them', (_name, around) => {
    for (const [body, verdict] of [
      [message(2), 'unprotected'],
      [FOREIGN, 'noKey'],
    ] as const) {
      setUp(world);
      const { counted, wanted, entries } = send(NOW, [around(body)]);
      expect([counted, wanted]).toEqual([{ [verdict]: 1 }, 0]);
      expect(entries).toEqual(entries.map(() => 'pass'));
      expect(entries.length).toBe(around(new Uint8Array(0)).length / record(0).length);
    }
  });

  it.each([
    ['', NOW],
    [', while 32 bits of milliseconds end', WRAPS - SECOND],
  ] as const)('16 ClientHellos are heard at once, and one every 200 ms from then on%s', (_name, begin) => {
    setUp(world);
    const hellos = (count: number) => Array.from({ length: count }, () => HELLO);
    const heard = (now: Micros, count: number) => {
      const { counted, wanted, entries } = send(now, hellos(count));
      const { divert = 0, overload = 0 } = counted;
      expect([wanted, entries.length, divert + overload]).toEqual([divert, divert, count]);
      return divert;
    };
    heard(begin - 3_600 * SECOND, 20); // long ago
    expect(heard(begin, 40)).toBe(HELLOS.burst);
    expect(heard(begin + 199 * MS, 5)).toBe(0);
    expect(heard(begin + 200 * MS, 5)).toBe(1);
    let sum = 0;
    for (let now = begin + 300 * MS; now <= begin + 10_200 * MS; now += 100 * MS) sum += heard(now, 3);
    expect(sum).toBe(50);
    expect(heard(begin + 10_200 * MS + HELLOS.every * HELLOS.burst * MS, 40)).toBe(HELLOS.burst);
    // other sessions have places of their own
    expect(send(begin + 200 * MS, [HELLO], Slot.lane).counted).toEqual({ divert: 1 });
  });

  it('a ClientHello is heard of no client and from no other address', () => {
    setUp(world);
    const once = { counted: { unprotected: 1 }, wanted: 0, entries: [] };
    expect(send(NOW, [HELLO], Slot.client)).toEqual(once);
    expect(send(NOW, [HELLO], Slot.records, 70)).toEqual(once);
  });
});
