import { deepEqual, equal, ok } from 'node:assert/strict';

import { describe, it } from 'vitest';

import { LaneState } from '../../src/session/expresslane.ts';
import { CLIENT_DEFAULTS } from '../../src/session/types.ts';
import { EMPTY } from '../../src/wire/header.ts';
import { type Micros, MS, SECOND } from '../../src/wire/time.ts';
import { CALM, clientConfig, Dice, Pair, serverConfig, type Weather } from './network.ts';

const SESSIONS = 1000;

// With a quarter of all Pings and Pongs lost, one session in some hundreds would hear nothing for 60 s at an interval of 10 s.
const KEEPALIVE = { ...CLIENT_DEFAULTS.keepalive, interval: 2 * SECOND };

/** Up to 25 % loss, 25 % duplicates, and enough jitter to swap many neighbours. */
function weatherOf(dice: Dice): Weather {
  const loss = 0.25 * dice.next();
  const duplication = 0.25 * dice.next();
  return { loss, duplication, delay: dice.next() * 50 * MS, jitter: dice.next() * 60 * MS, laneLoss: 0 };
}

/** Packets in both directions every 50 ms. @returns the marks that left each end through Expresslane or not */
function chat(pair: Pair, until: Micros, every = 50 * MS): void {
  for (let mark = 1; pair.now < until; mark++) {
    pair.sendPacket(pair.client, mark);
    pair.sendPacket(pair.server, mark);
    pair.runTo(pair.now + every);
  }
}

describe(`${SESSIONS} sessions over lossy, reordering, duplicating networks`, () => {
  it('log in, exchange keys, rotate keys and ids, keep alive, degrade and close', () => {
    const seen = { active: 0, rotations: 0, degraded: 0, repeats: 0, idRotations: 0 };
    for (let seed = 1; seed <= SESSIONS; seed++) {
      const weather = weatherOf(new Dice(seed));
      const lane = { enabled: true, rotationInterval: 15 * SECOND };
      const config = clientConfig({ expresslane: lane, keepalive: KEEPALIVE });
      const pair = new Pair(seed, weather, serverConfig({ expresslane: lane }), config);
      const { client, server } = pair;
      const where = `seed ${seed}`;

      pair.connect();
      pair.runTo(20 * SECOND);
      equal(client.session.state, 'online', where);
      equal(server.session.state, 'online', where);
      deepEqual([client.online, server.online], [1, 1], where);

      // Traffic through at least two rotations; whatever arrives can be opened, through all of them.
      const first = [client.keys.send, server.keys.send];
      chat(pair, 55 * SECOND);
      deepEqual([client.unopened, server.unopened], [0, 0], where);
      ok(client.packets.length > 250 && server.packets.length > 250, where);
      if (client.keys.active && server.keys.active) seen.active++;
      const last = [client.keys.send, server.keys.send];
      seen.rotations += last.filter((key, i) => Buffer.compare(key, first[i]) !== 0).length;

      // An id rotation ends when the client has used the new id, on an idle link with its next keepalive.
      const old = server.serverIds?.current;
      pair.rotateId();
      for (let i = 0; i < 40 && server.serverIds?.pending !== EMPTY; i++) {
        pair.runTo(pair.now + 5 * SECOND);
        if (i % 8 === 7) server.session.announce(pair.now);
        pair.settle(server);
      }
      if (server.serverIds?.pending === EMPTY && server.serverIds.current !== old) seen.idRotations++;
      equal(client.clientIds.current, server.serverIds?.current, where);
      equal(client.session.state, 'online', where);

      // Half the sessions lose what goes through Expresslane, and nothing else: they go on without it.
      if (seed % 2 === 0) {
        pair.weather = { ...weather, laneLoss: 1 };
        lane.rotationInterval = 900 * SECOND; // configs are traffic too, and traffic puts Pings off
        for (let i = 0; i < 20 && client.session.lane?.state !== LaneState.degraded; i++) {
          chat(pair, pair.now + 10 * SECOND, 100 * MS);
        }
        pair.runTo(pair.now + 11 * SECOND); // all configs on their way are acknowledged or given up
        if (client.session.lane?.state === LaneState.degraded) seen.degraded++;
        deepEqual([client.keys.active, server.keys.active], [false, false], where);
        const before = server.packets.length;
        chat(pair, pair.now + 2 * SECOND);
        pair.runTo(pair.now + SECOND);
        ok(server.packets.length - before > 15, where);
      }
      seen.repeats += client.outputs.filter((output) => output.kind === 'frame' && output.secret).length;

      pair.weather = { ...weather, laneLoss: 0 };
      client.session.close(pair.now);
      pair.settle(client);
      pair.runTo(pair.now + 5 * SECOND);
      equal(client.closed, 'LOCAL', where);
      equal(client.session.nextDeadline(), undefined, where);
      ok([undefined, 'GOODBYE', 'PEER_GONE'].includes(server.closed), where);
      equal(client.outputs.at(-1)?.kind, 'closed', where);
    }
    ok(seen.active > 0.9 * SESSIONS, JSON.stringify(seen));
    ok(seen.rotations > 1.8 * SESSIONS, JSON.stringify(seen));
    equal(seen.idRotations, SESSIONS);
    ok(seen.degraded > 0.45 * SESSIONS, JSON.stringify(seen));
  });
});

describe('a peer that installs a repeated config twice, as the stock one does (protocol §6.4)', () => {
  it('can open every packet, since none is sealed with the old key while an ack is missing', () => {
    let doubts = 0;
    for (let seed = 1; seed <= 50; seed++) {
      const lane = { enabled: true, rotationInterval: 5 * SECOND };
      const weather = { ...CALM, loss: 0.3 };
      const pair = new Pair(seed, weather, serverConfig({ expresslane: lane }), clientConfig({ expresslane: lane }));
      pair.server.keys.receiveKeyIs = () => false;
      pair.inspect = (end) => {
        if (end.session.lane?.ready && !end.keys.active) doubts++;
      };
      pair.connect();
      chat(pair, 60 * SECOND);
      equal(pair.server.unopened, 0, `seed ${seed}`);
    }
    ok(doubts > 50, `${doubts}`);
  });
});

describe('a calm network', () => {
  it('carries every packet once through login, rotations and close', () => {
    const lane = { enabled: true, rotationInterval: 15 * SECOND };
    const pair = new Pair(7, CALM, serverConfig({ expresslane: lane }), clientConfig({ expresslane: lane }));
    pair.connect();
    pair.runTo(SECOND);
    chat(pair, 100 * SECOND);
    pair.runTo(101 * SECOND);
    const marks = Array.from({ length: 1980 }, (_, i) => i + 1);
    deepEqual(pair.client.packets, marks);
    deepEqual(pair.server.packets, marks);
    pair.server.session.close(pair.now);
    pair.settle(pair.server);
    pair.runTo(102 * SECOND);
    deepEqual([pair.client.closed, pair.server.closed], ['GOODBYE', 'LOCAL']);
  });
});
