/**
 * Pings that the addon answers, against the sessions' own answers (src/session/session.ts): whatever is said, and whatever else happens in between, a
 * client hears the same records under the same numbers, and the same is left behind.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, describe, expect, it } from 'vitest';
import { SlotFlag, SlotState } from '../../src/datapath/layout.ts';
import { parseIpv4 } from '../../src/server/leases.ts';
import { SERVER_DEFAULTS } from '../../src/session/types.ts';
import { HEADER_SIZE } from '../../src/wire/header.ts';
import { SECOND } from '../../src/wire/time.ts';
import { seeded } from '../dtls/network.ts';
import { addon, namespaceRefusal } from '../io/rig.ts';
import { build, bytesOf, concat, pattern, UDP } from '../packet/packets.ts';
import { CLIENT_INSIDE, flavours, NET_ADDRESS, numbered, Rig, type RigClient, type RigOptions } from './rig.ts';

const refusal = namespaceRefusal();
if (refusal) console.warn(`skipped: ${refusal}`);

const UPDATE = 60 * SECOND;
const PING = 2;
const APPLICATION = 23;
/** EIO, EAGAIN, EINVAL: lost, later, and what the kernel says of trains. */
const ERRORS = [5, 11, 22];
const rigs: Rig[] = [];
afterEach(() => {
  for (const rig of rigs.splice(0)) rig.close();
});

function start(options: Partial<RigOptions> = {}): Rig {
  const rig = new Rig({ io: 'epoll', shards: 1, keyUpdateInterval: UPDATE, ...options });
  rigs.push(rig);
  return rig;
}

const up = (number: number) =>
  build({ ...UDP, source: parseIpv4(CLIENT_INSIDE), destination: NET_ADDRESS, payload: numbered(number) });
const ping = (id: number, payload: Uint8Array, length = payload.length) =>
  concat(Uint8Array.of(PING), bytesOf('u16', id), bytesOf('u16', length), payload);
const KEEPALIVE = ping(0, new Uint8Array(0));
const answered = (rig: Rig) => rig.counters().pings ?? 0;

/** A record of a Ping, sound mostly. */
function content(random: () => number): Uint8Array {
  const below = (limit: number) => Math.floor(random() * limit);
  const sound = ping(below(2) * below(65_536), pattern(below(4) * below(300)));
  switch (below(10)) {
    case 0:
      return sound.slice(0, 1 + below(sound.length)); // cut off
    case 1:
      return ping(below(9), pattern(40), below(80)); // its length lies
    case 2:
      return concat(sound, KEEPALIVE);
    case 3:
      return concat(sound, Uint8Array.of(below(24)), pattern(below(8)));
    case 4:
      return concat(Uint8Array.of(1), sound); // behind a NoOp
    case 5:
      return concat(Uint8Array.of(below(24)), sound.subarray(1));
    default:
      return sound;
  }
}

/** One thing that happens, the same in every rig that is given the same numbers. */
function happen(rig: Rig, client: RigClient, random: () => number): void {
  const below = (limit: number) => Math.floor(random() * limit);
  const { state } = rig.table.fields;
  const { slot } = client;
  switch (below(10)) {
    case 0:
      client.send(Array.from({ length: below(20) }, (_, i) => client.lane(up(i)))); // counted in what Pongs report
      break;
    case 1:
      client.send([client.record(up(1))]);
      break;
    case 2:
      client.updateKeys(below(2) === 0);
      client.flush();
      break;
    case 3:
      rig.now += UPDATE + 1;
      break;
    case 4:
      client.move();
      break;
    case 5: {
      const before = state.get(slot);
      state.set(slot, [SlotState.linkUp, SlotState.closing][below(2)]);
      client.content(content(random));
      rig.settle();
      state.set(slot, before);
      break;
    }
    case 6:
      client.content(KEEPALIVE);
      client.send([client.taken(), new Uint8Array(60), Uint8Array.of(0x48)].flat()); // what opens as nothing
      break;
    case 7: {
      const id = client.lane(up(1), { id: BigInt(0x7700 + below(9)) as never }); // a session that nobody has
      client.send([id]);
      break;
    }
    case 8:
      rig.settle();
      addon.injectErrors(rig.handles[0], 'udp', [ERRORS[below(ERRORS.length)]]);
      client.content(KEEPALIVE);
      rig.settle(); // it is this Pong that is refused: others of the same vector may leave in another order
      break;
    default:
      client.ping();
      client.flush();
  }
}

const EXPRESSLANE_CONFIG = 20;
/** Behind the kind: version, flags, counter. The key that follows is nobody's to foresee. */
const BEFORE_KEY = 13;

/** All that a client was told, and what is left of it. Ids are random: told apart by the order in which they came. */
function account(rig: Rig, clients: readonly RigClient[]) {
  const { fields } = rig.table;
  const at = (datagram: Uint8Array) => Buffer.from(datagram.subarray(8, HEADER_SIZE)).toString('hex');
  return {
    counted: { ...rig.counters(), answered: 0, pings: 0 },
    sessions: clients.map(({ slot, closed, opened, heard }) => {
      const ids = [...new Set(heard.map(at))];
      return {
        closed,
        records: opened.map(({ epoch, sequence, contentType, content: bytes }) => {
          const end = bytes[0] === EXPRESSLANE_CONFIG ? BEFORE_KEY : bytes.length;
          return [
            epoch,
            sequence,
            contentType,
            bytes.length,
            Buffer.from(bytes.subarray(0, end)).toString('hex'),
          ].join();
        }),
        datagrams: heard.map((datagram) =>
          [ids.indexOf(at(datagram)), datagram.length, ...datagram.subarray(0, 8), datagram[HEADER_SIZE]].join(),
        ),
        slot: [fields.state, fields.flags, fields.sendEpoch, fields.laneSent, fields.laneReceived].map((field) =>
          field.get(slot),
        ),
        epochs: [fields.receiveEpochs, fields.recordNext, fields.recordSendCounter].map((field) =>
          [0, 1, 2, 3].map((i) => field.get(slot, i)),
        ),
      };
    }),
  };
}

/** @returns the account after each round */
function converse(seed: number, options: Partial<RigOptions>, begin: number) {
  const rig = start(options);
  rig.now = begin;
  const random = seeded(seed);
  const clients = [rig.connect(2), rig.connect(3, { expresslane: seed % 3 !== 0 }), rig.connect(4)];
  for (const { heard, opened } of clients) heard.length = opened.length = 0; // randoms and signatures
  const accounts = [account(rig, clients)];
  for (let round = 0; round < 25; round++) {
    const client = clients[Math.floor(random() * clients.length)];
    if (client.closed.length > 0) break;
    if (client.dtls.state === 'established') happen(rig, client, random);
    // what it says comes in one vector, with what happened or after it
    if (random() < 0.5) rig.settle();
    for (let left = Math.floor(random() * 5); left > 0; left--) {
      const speaker = clients[Math.floor(random() * clients.length)];
      const bytes = content(random);
      if (speaker.dtls.state === 'established') speaker.content(bytes);
    }
    rig.settle();
    rig.pass(6 * SECOND);
    accounts.push(account(rig, clients));
  }
  return { accounts, answered: answered(rig) };
}

describe.skipIf(refusal !== undefined)('Pings', () => {
  it('are answered by the addon with what the sessions would say, under the same numbers, whatever else happens', () => {
    let times = 0;
    for (let seed = 1; seed <= 12; seed++) {
      const begin = addon.monotonicMicros();
      const expected = converse(seed, { pingsInSession: true }, begin);
      expect(expected.answered).toBe(0);
      for (const stepwise of [true, false]) {
        const actual = converse(seed, { stepwise }, begin);
        expect(actual.accounts).toEqual(expected.accounts);
        times += actual.answered;
      }
      for (const rig of rigs.splice(0)) rig.close();
    }
    expect(times).toBeGreaterThan(300);
  }, 300_000);
});

describe.skipIf(refusal !== undefined).each(flavours())('a Pong of the addon, over %s with %s', (io, aead) => {
  it('is byte for byte the record that the slot seals for the session under that number', () => {
    const rig = start({ io, aead });
    const client = rig.connect(2);
    const { recordSendCounter, sendEpoch, laneReceived } = rig.table.fields;
    const { slot } = client;
    for (let i = 0; i < 20; i++) {
      if (i % 5 === 4) client.send([client.lane(up(i))]);
      if (i === 10) {
        client.updateKeys(true);
        client.flush();
      }
      rig.settle();
      client.heard.length = 0;
      client.opened.length = 0;
      const before = answered(rig);
      client.content(ping(i % 3, pattern(i)));
      rig.settle();
      expect(answered(rig)).toBe(before + 1);
      expect(client.heard).toHaveLength(1);
      const [{ epoch, sequence, contentType, content: pong }] = client.opened;
      const reports =
        i % 3 === 0 ? concat(bytesOf('u64', 0n as never), bytesOf('u64', laneReceived.getBig(slot) as never)) : [];
      expect([...pong]).toEqual([3, 0, i % 3, 0, reports.length, ...reports]);
      expect([epoch, contentType]).toEqual([sendEpoch.get(slot), APPLICATION]);

      const next = recordSendCounter.get(slot, epoch & 3);
      expect(next).toBe(sequence + 1);
      recordSendCounter.set(slot, sequence, epoch & 3);
      const { bytes } = addon.slotSeal(rig.shards[0].control.lanes, slot, epoch, contentType, pong);
      expect(client.heard[0].slice(HEADER_SIZE)).toEqual(bytes);
      expect(recordSendCounter.get(slot, epoch & 3)).toBe(next);
    }
    expect(sendEpoch.get(slot)).toBe(4);
  });

  it('comes for a Ping alone: what asks for more, and what stands behind that, is the session’s', () => {
    const rig = start({ io, aead });
    const client = rig.connect(2);
    const other = rig.connect(3);
    const { state, flags } = rig.table.fields;
    const { slot } = client;
    const answers = (say: () => void) => {
      const before = answered(rig);
      const heard = client.heard.length;
      say();
      rig.settle();
      return [answered(rig) - before, client.heard.length - heard];
    };
    expect(answers(() => client.content(KEEPALIVE))).toEqual([1, 1]);
    expect(answers(() => client.content(concat(KEEPALIVE, KEEPALIVE)))).toEqual([0, 2]);
    expect(answers(() => client.content(KEEPALIVE.slice(0, 4)))).toEqual([0, 0]);
    expect(answers(() => client.content(concat(KEEPALIVE, Uint8Array.of(1))))).toEqual([0, 1]);
    // behind something of its own, but not behind what others say
    expect(
      answers(() => {
        other.content(Uint8Array.of(1));
        client.content(KEEPALIVE);
        client.content(Uint8Array.of(1));
        client.content(KEEPALIVE);
      }),
    ).toEqual([1, 2]);
    // however much of it there is: 16 sessions of which something is left are too many, not 16 records of one
    expect(
      answers(() => {
        client.content(Uint8Array.of(1));
        for (let i = 0; i < 20; i++) client.content(KEEPALIVE);
        other.content(KEEPALIVE);
      }),
    ).toEqual([1, 20]);
    flags.set(slot, flags.get(slot) | SlotFlag.client);
    expect(answers(() => client.content(KEEPALIVE))).toEqual([0, 1]);
    flags.set(slot, flags.get(slot) & ~SlotFlag.client);
    state.set(slot, SlotState.linkUp);
    expect(answers(() => client.content(KEEPALIVE))).toEqual([0, 1]);
    state.set(slot, SlotState.online);
    client.move();
    expect(answers(() => client.content(KEEPALIVE))[0]).toBe(0); // it floats, and is told its new id
    expect(rig.counters().floats).toBe(1);
    expect(rig.table.fields.pendingId.isZero(slot)).toBe(false);
    expect(answers(() => client.content(KEEPALIVE))).toEqual([0, 1]); // it uses that for the first time
    expect(answers(() => client.content(KEEPALIVE))).toEqual([1, 1]);
    // none leaves for a successor's session
    rig.table.fields.generation.set(slot, 99);
    expect(answers(() => client.content(KEEPALIVE))).toEqual([0, 0]);
  });

  it.skipIf(aead === 'noble')('comes from a shard that sleeps on', async () => {
    const rig = start({ io, aead, keyUpdateInterval: 900 * SECOND, steered: true });
    const client = rig.connect(2);
    const [shard] = rig.shards;
    shard.start();
    let asleep = 0;
    for (let i = 0; i < 10; i++) {
      await sleep(20);
      const passes = rig.passes.join();
      const before = answered(rig);
      const { entries = 0 } = shard.statistics().stages.find(({ stage }) => stage === 'session.control') ?? {};
      client.content(KEEPALIVE);
      for (let waited = 0; waited < 200 && !client.take(); waited++) await sleep(5);
      expect(answered(rig)).toBe(before + 1);
      expect(shard.statistics().stages.find(({ stage }) => stage === 'session.control')?.entries).toBe(entries + 1);
      asleep += rig.passes.join() === passes ? 1 : 0;
    }
    expect(client.opened.filter(({ content: [kind] }) => kind === 3)).toHaveLength(10);
    expect(asleep).toBeGreaterThan(0); // a machine that is busy may keep the shard awake for some of them
  });

  it('reports of the Expresslane what the session does, also to a successor of an engine that did not know the flag', () => {
    const rig = start({ io, aead });
    const client = rig.connect(2);
    const { flags, laneReceived } = rig.table.fields;
    const { slot } = client;
    const report = () => {
      client.opened.length = 0;
      const before = answered(rig);
      client.content(KEEPALIVE);
      rig.settle();
      expect(answered(rig)).toBe(before + 1);
      return [...client.opened[0].content.subarray(5)];
    };
    client.send([client.lane(up(1)), client.lane(up(2))]);
    rig.settle();
    const two = [...new Uint8Array(15), 2];
    expect(report()).toEqual(two);
    flags.set(slot, flags.get(slot) & ~SlotFlag.laneReady);
    rig.start();
    expect(flags.get(slot) & SlotFlag.laneReady).toBe(SlotFlag.laneReady);
    expect(report()).toEqual(two);
    expect(laneReceived.get(slot)).toBe(2);
    // the client gives the Expresslane up: its key is none
    client.say({
      kind: 'expresslaneConfig',
      version: 2,
      enabled: false,
      ack: false,
      counter: 9n,
      key: new Uint8Array(32),
    });
    rig.settle();
    expect(flags.get(slot) & SlotFlag.laneReady).toBe(0);
    expect(report()).toEqual([]);
  });

  it('keeps a session alive for as long as its own would: it is closed a day after the last one', () => {
    const rig = start({ io, aead, keyUpdateInterval: 1_000_000 * SECOND });
    const client = rig.connect(2);
    const { slot } = client;
    rig.pass(1_000 * SECOND, 1_000 * SECOND);
    const last = rig.now;
    client.content(KEEPALIVE);
    rig.settle();
    expect(rig.table.fields.lastOutside.get(slot)).toBe(last);
    rig.start(); // the sessions of the successor know no more than what is in the slots
    rig.clients.length = 0; // which would go on
    rig.pass(SERVER_DEFAULTS.idleAge - 1, SERVER_DEFAULTS.idleAge);
    expect(rig.table.fields.state.get(slot)).toBe(SlotState.online);
    rig.pass(2);
    expect(rig.table.fields.state.get(slot)).toBe(SlotState.free);
  });
});
