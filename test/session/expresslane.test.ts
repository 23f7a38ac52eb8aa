import { deepEqual, equal, ok } from 'node:assert/strict';

import fc from 'fast-check';
import { describe, it } from 'vitest';

import { Expresslane, LaneState } from '../../src/session/expresslane.ts';
import { createCounters } from '../../src/session/types.ts';
import { type ExpresslaneConfig, encodeStatistics } from '../../src/wire/expresslane.ts';
import { decodeFrame } from '../../src/wire/frames.ts';
import { Reader } from '../../src/wire/reader.ts';
import { type Micros, MS, SECOND } from '../../src/wire/time.ts';
import { counted } from './drive.ts';
import { MemoryKeys } from './keys.ts';
import { Dice } from './network.ts';

const MINUTE = 60 * SECOND;

/** One side of an exchange, and what it says. */
class Side {
  readonly counters = createCounters();
  readonly keys: MemoryKeys;
  readonly lane: Expresslane;
  #said: ExpresslaneConfig[] = [];

  constructor(role: 'client' | 'server', enabled = true, rotationInterval = 15 * MINUTE) {
    this.keys = new MemoryKeys(new Dice(role === 'client' ? 1 : 2).bytes);
    this.lane = new Expresslane(this.keys, { enabled, rotationInterval }, role);
  }

  sendFrame(bytes: Uint8Array, secret: boolean): void {
    equal(secret, true);
    this.#said.push(decodeFrame(new Reader(bytes.slice())) as ExpresslaneConfig);
  }

  said(): ExpresslaneConfig[] {
    const said = this.#said;
    this.#said = [];
    return said;
  }

  hear(now: Micros, ...configs: ExpresslaneConfig[]): ExpresslaneConfig[] {
    for (const config of configs) this.lane.receive(now, config, this);
    return this.said();
  }

  rotate(now: Micros): ExpresslaneConfig[] {
    this.lane.rotate(now, this);
    return this.said();
  }

  /** Lets time pass. @returns when configs leave */
  pass(end: Micros): Micros[] {
    const times: Micros[] = [];
    while (this.lane.deadline <= end) {
      const now = this.lane.deadline;
      this.lane.advance(now, this);
      for (const _ of this.said()) times.push(now);
    }
    return times;
  }

  /** A Pong with these numbers comes; undefined for one without. */
  pong(now: Micros, sent?: number, received?: number): ExpresslaneConfig[] {
    const payload = sent === undefined ? new Uint8Array(0) : encodeStatistics(sent, received as number);
    this.lane.judge(now, payload, this);
    return this.said();
  }
}

/** Both sides Active at time 0. */
function active(rotationInterval = 15 * MINUTE): { client: Side; server: Side } {
  const client = new Side('client', true, rotationInterval);
  const server = new Side('server', true, rotationInterval);
  let configs = client.rotate(0);
  for (let turn = 0; configs.length > 0; turn++) configs = (turn % 2 === 0 ? server : client).hear(0, ...configs);
  return { client, server };
}

const summary = (configs: ExpresslaneConfig[]) =>
  configs.map(({ ack, enabled, counter }) => ({ ack, enabled, counter }));
const states = (...sides: Side[]) => sides.map(({ lane }) => lane.state);

describe('the first exchange', () => {
  it('takes four frames, and each side sends with the key the other has installed', () => {
    const client = new Side('client');
    const server = new Side('server');
    deepEqual(server.rotate(0), []); // a server waits for its client
    const [offer] = client.rotate(0);
    deepEqual({ ...offer, key: client.keys.next }, { ...offer, version: 2, enabled: true, ack: false, counter: 1n });
    const [ack, counterOffer, ...none] = server.hear(0, offer);
    deepEqual(none, []);
    deepEqual(ack, { ...offer, ack: true });
    deepEqual(states(client, server), [LaneState.inactive, LaneState.inactive]);
    const [lastAck, ...more] = client.hear(0, ack, counterOffer);
    deepEqual([more, states(client)], [[], [LaneState.active]]);
    deepEqual(server.hear(0, lastAck), []);
    deepEqual(states(client, server), [LaneState.active, LaneState.active]);
    deepEqual([client.keys.send, server.keys.send], [server.keys.current, client.keys.current]);
    deepEqual([client.keys.active, server.keys.active], [true, true]);
    deepEqual([client.lane.deadline, server.lane.deadline], [Infinity, Infinity]);
    deepEqual([counted(client.counters), counted(server.counters)], [{}, {}]);
  });

  it('is repeated, equal, at 0.5, 1.5, 3, 5 and 7.5 s, and given up at 10.5 s', () => {
    const client = new Side('client');
    const [first] = client.rotate(0);
    equal(client.lane.deadline, 500 * MS);
    client.lane.advance(500 * MS, client);
    deepEqual(client.said(), [first]);
    deepEqual(client.pass(10 * SECOND), [1500 * MS, 3000 * MS, 5000 * MS, 7500 * MS]);
    equal(client.lane.deadline, 10_500 * MS);
    deepEqual(client.rotate(10 * SECOND), []);
    client.pass(11 * SECOND);
    equal(client.lane.deadline, Infinity);
    const [second] = client.rotate(12 * SECOND);
    equal(second.counter, 2n);
    ok(Buffer.compare(second.key, first.key) !== 0);
  });

  it('ends with an ack that comes after giving up', () => {
    const client = new Side('client');
    const server = new Side('server');
    const offers = client.rotate(0);
    client.pass(11 * SECOND);
    const answers = server.hear(11 * SECOND, ...offers);
    const acks = client.hear(11 * SECOND, ...answers);
    deepEqual(summary(acks), [{ ack: true, enabled: true, counter: 1n }]);
    server.hear(11 * SECOND, ...acks);
    deepEqual(states(client, server), [LaneState.active, LaneState.active]);
    deepEqual(client.rotate(12 * SECOND), []);
  });

  it('leaves both on DTLS when one side has Expresslane off', () => {
    const client = new Side('client');
    const server = new Side('server', false);
    const answers = server.hear(0, ...client.rotate(0));
    deepEqual(summary(answers), [{ ack: true, enabled: true, counter: 1n }]);
    deepEqual(client.hear(0, ...answers), []);
    deepEqual(states(client, server), [LaneState.inactive, LaneState.disabled]);
    deepEqual([client.keys.active, server.keys.active], [false, false]);
    deepEqual(server.keys.current, client.keys.send);
    deepEqual(server.rotate(MINUTE * 60), []);
  });
});

describe('the version', () => {
  const row = (peer: number, agreed: number) => [peer, agreed] as const;

  it('is the lower of both, and ours where the peer says something unknown', () => {
    for (const [peer, agreed] of [row(1, 1), row(2, 2), row(0, 2), row(3, 2), row(255, 2)]) {
      const server = new Side('server');
      const [offer] = new Side('client').rotate(0);
      const answers = server.hear(0, { ...offer, version: peer });
      deepEqual(
        answers.map(({ version }) => version),
        [agreed, agreed],
      );
      equal(server.keys.version, agreed);
    }
  });

  it('does not change once a packet was sent', () => {
    const { client, server } = active();
    client.keys.sent = 1;
    const [offer] = server.rotate(16 * MINUTE);
    const [ack] = client.hear(16 * MINUTE, { ...offer, version: 1 });
    deepEqual([ack.version, client.keys.version], [2, 2]);
    deepEqual(counted(client.counters), { versionLocked: 1 });
  });
});

describe('a rotation', () => {
  it('is due with the first inner packet after the interval, and never by time alone', () => {
    const { client } = active();
    deepEqual(client.rotate(15 * MINUTE), []);
    deepEqual(client.pass(60 * MINUTE), []);
    deepEqual(summary(client.rotate(15 * MINUTE + 1)), [{ ack: false, enabled: true, counter: 2n }]);
  });

  it('sends with the old key until the ack, and the peer opens both', () => {
    const { client, server } = active();
    const old = client.keys.send;
    const [offer] = client.rotate(16 * MINUTE);
    equal(client.keys.send, old);
    equal(client.keys.active, true);
    const acks = server.hear(16 * MINUTE, offer);
    ok(server.keys.opens(old) && server.keys.opens(client.keys.next));
    client.hear(16 * MINUTE, ...acks);
    deepEqual(client.keys.send, offer.key);
  });

  it('makes the other side rotate too when its own is due', () => {
    const { client, server } = active();
    const answers = server.hear(16 * MINUTE, ...client.rotate(16 * MINUTE));
    deepEqual(summary(answers), [
      { ack: true, enabled: true, counter: 2n },
      { ack: false, enabled: true, counter: 2n },
    ]);
  });

  it('waits for the one under way, however short the interval', () => {
    const { client } = active(1);
    equal(client.rotate(SECOND).length, 1);
    deepEqual(client.rotate(1100 * MS), []);
  });

  it('uses DTLS while a repeated config is not acknowledged, since a stock peer may have forgotten the old key', () => {
    const { client, server } = active();
    const [offer] = client.rotate(16 * MINUTE);
    client.pass(16 * MINUTE + SECOND);
    deepEqual([client.keys.active, client.lane.ready], [false, true]);
    client.hear(16 * MINUTE + SECOND, ...server.hear(16 * MINUTE, offer));
    equal(client.keys.active, true);
  });

  it('that was given up is followed by another, on DTLS until its ack', () => {
    const { client, server } = active();
    client.rotate(16 * MINUTE);
    client.pass(17 * MINUTE);
    deepEqual([client.keys.active, client.lane.state], [false, LaneState.inactive]);
    const [offer] = client.rotate(17 * MINUTE);
    equal(offer.counter, 3n);
    const answers = server.hear(17 * MINUTE, offer);
    equal(client.keys.active, false);
    client.hear(17 * MINUTE, ...answers);
    equal(client.keys.active, true);
  });

  it('acknowledges a repeated config again and keeps the previous key', () => {
    const { client, server } = active();
    const old = client.keys.send;
    const [offer] = client.rotate(16 * MINUTE);
    const [ack] = server.hear(16 * MINUTE, offer);
    deepEqual(server.hear(16 * MINUTE, offer), [ack]);
    ok(server.keys.opens(old));
    deepEqual(counted(server.counters), { repeatedConfig: 1 });
  });

  it('is not undone by a config that arrives after a newer one', () => {
    const { client, server } = active();
    const [older] = client.rotate(16 * MINUTE);
    const [newer] = [{ ...older, counter: 3n, key: new Uint8Array(32).fill(3) }];
    server.hear(16 * MINUTE, newer);
    deepEqual(server.hear(16 * MINUTE, older), []);
    deepEqual(server.keys.current, newer.key);
    deepEqual(counted(server.counters), { staleConfig: 1 });
  });

  it('takes no ack but that of the latest config, once', () => {
    const { client, server } = active();
    const [offer] = client.rotate(16 * MINUTE);
    client.hear(16 * MINUTE, { ...offer, ack: true, counter: 1n }, { ...offer, ack: true, counter: 3n });
    ok(Buffer.compare(client.keys.send, offer.key) !== 0);
    const [ack] = server.hear(16 * MINUTE, offer);
    client.hear(16 * MINUTE, ack, ack);
    deepEqual(counted(client.counters), { lateAck: 3 });
  });
});

describe('health', () => {
  it('is judged by losses: three Pongs with more than half of ten or more packets lost, either way', () => {
    const rows = [
      ['all inbound lost', 1, 10, 0, 0, 0],
      ['all outbound lost', 1, 0, 0, 10, 0],
      ['both ways', 1, 10, 0, 10, 0],
      ['exactly half', 0, 10, 5, 10, 5],
      ['one more than half', 1, 100, 49, 0, 0],
      ['nine packets', 0, 9, 0, 9, 0],
    ] as const;
    for (const [what, bad, theySent, weGot, weSent, theyGot] of rows) {
      const { client } = active();
      const notices: ExpresslaneConfig[] = [];
      for (let i = 1; i <= 3; i++) {
        client.keys.sent = i * weSent;
        client.keys.received = i * weGot;
        notices.push(...client.pong(i * 10 * SECOND, i * theySent, i * theyGot));
        if (i === 2) equal(client.lane.state, LaneState.active, what);
      }
      equal(notices.length, bad, what);
      equal(client.lane.state, bad ? LaneState.degraded : LaneState.active, what);
    }
  });

  it('forgives one strike for each good Pong', () => {
    const { client } = active();
    let sent = 0;
    const pongs = [true, true, false, true, false, false, false, true, true];
    for (const bad of pongs) {
      sent += 10;
      client.keys.received += bad ? 0 : 10;
      deepEqual(client.pong(SECOND, sent, 0), []);
    }
    equal(client.lane.inboundStrikes, 2);
    equal(client.pong(SECOND, sent + 10, 0).length, 1);
  });

  it('degrades after three Pongs in a row without statistics', () => {
    const { client } = active();
    deepEqual([client.pong(1), client.pong(2), client.pong(3, 0, 0), client.pong(4), client.pong(5)].flat(), []);
    deepEqual(summary(client.pong(6)), [{ ack: false, enabled: false, counter: 2n }]);
  });

  it('is not judged before both directions have keys', () => {
    const client = new Side('client');
    client.rotate(0);
    for (let i = 0; i < 10; i++) deepEqual(client.pong(i), []);
  });

  it('survives any statistics a peer may claim', () => {
    const numbers = fc.array(fc.tuple(fc.maxSafeNat(), fc.maxSafeNat()), { maxLength: 20 });
    fc.assert(
      fc.property(numbers, (claims) => {
        const { client } = active();
        for (const [sent, received] of claims) client.pong(SECOND, sent, received);
        ok(client.lane.inboundStrikes <= 3 && client.lane.outboundStrikes <= 3);
      }),
    );
  });
});

describe('a degraded side', () => {
  function degraded(): { client: Side; server: Side; notice: ExpresslaneConfig } {
    const { client, server } = active();
    const [notice] = [client.pong(1), client.pong(2), client.pong(3)].flat();
    return { client, server, notice };
  }

  it('says so with a key of zeros, repeats it until the ack, and never comes back', () => {
    const { client, server, notice } = degraded();
    deepEqual([notice.enabled, notice.counter, notice.key], [false, 2n, new Uint8Array(32)]);
    equal(client.keys.active, false);
    deepEqual(client.pass(2 * SECOND).length, 2);
    const answers = server.hear(2 * SECOND, notice);
    deepEqual(summary(answers), [{ ack: true, enabled: false, counter: 2n }]);
    client.hear(2 * SECOND, ...answers);
    equal(client.keys.sendValid(), false);
    deepEqual([client.lane.deadline, client.lane.state], [Infinity, LaneState.degraded]);
    deepEqual(client.rotate(60 * MINUTE), []);
  });

  it('stays degraded when the notice is never acknowledged', () => {
    const { client } = degraded();
    client.pass(MINUTE);
    deepEqual([client.lane.state, client.lane.deadline], [LaneState.degraded, Infinity]);
  });

  it('does not acknowledge keys any more', () => {
    const { client, server } = degraded();
    deepEqual(client.hear(16 * MINUTE, ...server.rotate(16 * MINUTE)), []);
    deepEqual(counted(client.counters), { configWhileDegraded: 1 });
  });

  it('is left alone by its peer, which would never get an ack', () => {
    const { server, notice } = degraded();
    server.hear(MINUTE, notice);
    deepEqual([server.keys.active, server.lane.state], [false, LaneState.inactive]);
    deepEqual(server.rotate(60 * MINUTE), []);
    server.hear(60 * MINUTE, { ...notice, enabled: true, counter: 3n, key: new Uint8Array(32).fill(1) });
    equal(server.keys.active, false);
  });

  it('changes nothing at a peer that has Expresslane off', () => {
    const server = new Side('server', false);
    const { notice } = degraded();
    deepEqual(summary(server.hear(0, notice)), [{ ack: true, enabled: false, counter: 2n }]);
    equal(server.lane.state, LaneState.disabled);
  });
});
