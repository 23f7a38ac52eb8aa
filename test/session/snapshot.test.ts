import { deepEqual, equal, ok, throws } from 'node:assert/strict';

import fc from 'fast-check';
import { describe, it } from 'vitest';

import { ClientSession } from '../../src/session/client.ts';
import { ServerSession } from '../../src/session/server.ts';
import { SNAPSHOT_SIZE } from '../../src/session/snapshot.ts';
import { CLIENT_DEFAULTS } from '../../src/session/types.ts';
import { encodeFrame } from '../../src/wire/frames.ts';
import { VERSION_1_2, VERSION_1_3 } from '../../src/wire/header.ts';
import { type Micros, MS, SECOND } from '../../src/wire/time.ts';
import { pass } from './drive.ts';
import { MemoryKeys } from './keys.ts';
import { CALM, clientConfig, Dice, type End, NETWORK, Pair, serverConfig } from './network.ts';

const STORM = { loss: 0.2, duplication: 0.2, delay: 20 * MS, jitter: 50 * MS, laneLoss: 0 };

// Where a snapshot holds the times of the last sign of life, which change without `changed`.
const ACTIVITY = {
  server: [[3, 11]],
  client: [
    [4, 12],
    [20, 28],
  ],
};

type Record = Pick<End, 'outputs' | 'packets' | 'unopened' | 'closed' | 'online'>;
type Life = { now: Micros; client: Record; server: Record };

/** Login, traffic, rotations, degrading and a cut wire, with every call into a session shown to `visit`. */
function life(seed: number, visit: (pair: Pair, end: End) => void): Life {
  const lane = { enabled: true, rotationInterval: 8 * SECOND };
  const keepalive = { ...CLIENT_DEFAULTS.keepalive, interval: 2 * SECOND, timeout: 30 * SECOND };
  const config = clientConfig({ expresslane: lane, keepalive });
  const pair = new Pair(seed, STORM, serverConfig({ expresslane: lane }), config);
  pair.inspect = (end) => visit(pair, end);
  pair.connect();
  const chat = (seconds: number) => {
    for (const until = pair.now + seconds * SECOND; pair.now < until; pair.runTo(pair.now + 100 * MS)) {
      pair.sendPacket(pair.client, 1);
      pair.sendPacket(pair.server, 2);
    }
  };
  pair.runTo(10 * SECOND);
  chat(30);
  pair.rotateId();
  pair.runTo(pair.now + 20 * SECOND);
  pair.weather = { ...STORM, laneLoss: 1 };
  lane.rotationInterval = 900 * SECOND;
  chat(30);
  lane.rotationInterval = 8 * SECOND; // a key of the server would be due, had the client not degraded
  chat(10);
  pair.runTo(pair.now + 20 * SECOND);
  pair.weather = { ...STORM, loss: 1 }; // the wire is cut: the client gives up
  pair.runTo(pair.now + 60 * SECOND);
  return { now: pair.now, client: record(pair.client), server: record(pair.server) };
}

function record({ outputs, packets, unopened, closed, online }: End): Record {
  return { outputs, packets, unopened, closed, online };
}

/** The engine crashes: another one continues from the slot. */
function replaceSession(pair: Pair, end: End): void {
  const bytes = new Uint8Array(SNAPSHOT_SIZE);
  end.session.snapshot(bytes);
  const keys = end.keys.clone(pair.dice.bytes);
  const restored =
    end.session instanceof ServerSession
      ? ServerSession.restore(pair.serverConfig, VERSION_1_3, keys, bytes)
      : ClientSession.restore(pair.clientConfig, VERSION_1_3, keys, bytes);
  ok(restored !== undefined);
  equal(keys.active, end.keys.active);
  equal(restored.nextDeadline(), end.session.nextDeadline());
  end.keys = keys;
  end.session = restored;
}

describe('a snapshot', () => {
  it('lets another session continue after every single transition, to the same outputs, packets and end', () => {
    for (let seed = 1; seed <= 20; seed++) {
      const plain = life(seed, () => {});
      let replaced = 0;
      const patched = lifeWithCrashes(seed, () => {
        replaced++;
        return true;
      });
      deepEqual(patched, plain);
      ok(replaced > 500);
      equal(plain.client.closed, 'KEEPALIVE_TIMEOUT');
    }
  });

  it('lets it continue also when only some transitions are followed by a crash', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 1_000_000 }), fc.integer({ min: 1, max: 50 }), (seed, every) => {
        let count = 0;
        const plain = life(seed, () => {});
        const patched = lifeWithCrashes(seed, () => ++count % every === 0);
        deepEqual(patched, plain);
      }),
      { numRuns: 10 },
    );
  });

  it('changes only when `changed` says so, but for the times of the last sign of life', () => {
    for (let seed = 1; seed <= 10; seed++) {
      const saved = new Map<End, Uint8Array>();
      let written = 0;
      let compared = 0;
      life(seed, (_, end) => {
        if (end.session.state !== 'online') return;
        const { changed } = end.session;
        const bytes = new Uint8Array(SNAPSHOT_SIZE);
        end.session.snapshot(bytes);
        equal(end.session.changed, false);
        const before = saved.get(end);
        saved.set(end, bytes);
        if (changed) {
          written++;
          return;
        }
        ok(before !== undefined);
        compared++;
        deepEqual(withoutActivity(end, bytes), withoutActivity(end, before));
      });
      ok(written > 50 && compared > 500, `${written} ${compared}`);
    }
  });

  it('is due again when a key exchange is given up, though nothing is sent then', () => {
    const expresslane = { enabled: true, rotationInterval: 900 * SECOND };
    const keepalive = { ...CLIENT_DEFAULTS.keepalive, interval: 60 * SECOND };
    const pair = new Pair(1, CALM, serverConfig(), clientConfig({ expresslane, keepalive }));
    pair.connect();
    pair.weather = { ...CALM, loss: 1 };
    const { session } = pair.client;
    session.receive(0, encodeFrame({ ...NETWORK, kind: 'authSuccess', mtu: '1350', sessionId: 1n }));
    pass(session, 10 * SECOND);
    session.snapshot(new Uint8Array(SNAPSHOT_SIZE));
    equal(session.nextDeadline(), 10.5 * SECOND);
    session.advance(10.5 * SECOND);
    deepEqual([session.drain().length, session.changed], [0, true]);
  });

  it('is due again when the idle time it holds lags by a hundredth, so that a restored session is not closed early', () => {
    const server = onlineServer();
    server.snapshot(new Uint8Array(SNAPSHOT_SIZE));
    server.received(600 * SECOND);
    equal(server.changed, false);
    server.received(700 * SECOND);
    equal(server.changed, true);
  });

  it('fits 320 bytes of a slot and is refused any fewer than it needs', () => {
    ok(SNAPSHOT_SIZE <= 320);
    const server = onlineServer();
    throws(() => server.snapshot(new Uint8Array(SNAPSHOT_SIZE - 1)), RangeError);
    const slot = new Uint8Array(320).fill(0xee);
    server.snapshot(slot.subarray(32));
    ok(slot.subarray(0, 32).every((byte) => byte === 0xee));
    ok(slot.subarray(32 + SNAPSHOT_SIZE).every((byte) => byte === 0xee));
  });

  it('holds no key', () => {
    const lane = { enabled: true, rotationInterval: 8 * SECOND };
    const pair = new Pair(5, CALM, serverConfig({ expresslane: lane }), clientConfig({ expresslane: lane }));
    pair.connect();
    pair.runTo(SECOND);
    for (const { session, keys } of [pair.client, pair.server]) {
      ok(keys.active);
      const bytes = new Uint8Array(SNAPSHOT_SIZE);
      session.snapshot(bytes);
      for (const key of [keys.send, keys.next, keys.current]) {
        for (let at = 0; at < 32; at += 8)
          equal(Buffer.from(bytes).includes(Buffer.from(key.subarray(at, at + 8))), false);
      }
    }
  });

  it('keeps the longest texts of a network configuration, and the AuthSuccess made of them', () => {
    const long = {
      localIp: '2001:db8:1:2:3:4:5:6ff',
      peerIp: 'fe80::1234:5678:9abc:de',
      dnsIp: '1.1.1.1',
      mtu: 65_535,
    };
    const server = onlineServer(long);
    const bytes = new Uint8Array(SNAPSHOT_SIZE);
    server.snapshot(bytes);
    const restored = ServerSession.restore(serverConfig(), VERSION_1_3, undefined, bytes) as ServerSession;
    const login = Uint8Array.from([4, 2, 0, 1, 97]);
    server.receive(1, login);
    restored.receive(1, login);
    deepEqual(restored.drain(), server.drain());
    deepEqual(pass(restored, 90_000 * SECOND), pass(server, 90_000 * SECOND));
  });

  it('is not taken from another role, another version, or memory nobody wrote', () => {
    const bytes = new Uint8Array(SNAPSHOT_SIZE);
    equal(ServerSession.restore(serverConfig(), VERSION_1_3, undefined, bytes), undefined);
    onlineServer().snapshot(bytes);
    equal(ClientSession.restore(clientConfig(), VERSION_1_3, undefined, bytes), undefined);
    equal(ServerSession.restore(serverConfig(), VERSION_1_2, undefined, bytes), undefined);
    ok(ServerSession.restore(serverConfig(), VERSION_1_3, undefined, bytes) !== undefined);
    bytes[0]++;
    equal(ServerSession.restore(serverConfig(), VERSION_1_3, undefined, bytes), undefined);
  });

  it('exists only of an Online session', () => {
    const server = new ServerSession(serverConfig(), VERSION_1_3, undefined);
    throws(() => server.snapshot(new Uint8Array(SNAPSHOT_SIZE)), RangeError);
  });
});

function lifeWithCrashes(seed: number, crashes: () => boolean): Life {
  return life(seed, (pair) => {
    // Outputs of the transition leave from the session that made them; the next call finds the restored one.
    pair.afterDrain = (end) => {
      if (end.session.state === 'online' && crashes()) replaceSession(pair, end);
    };
  });
}

function onlineServer(networkConfig = NETWORK): ServerSession {
  const keys = new MemoryKeys(new Dice(1).bytes);
  const server = new ServerSession(serverConfig(), VERSION_1_3, keys);
  server.start(0);
  server.linkUp(0);
  server.receive(0, Uint8Array.from([4, 2, 0, 1, 97]));
  server.authorise(0, { granted: true, networkConfig, sessionId: 9n });
  server.drain();
  return server;
}

function withoutActivity(end: End, bytes: Uint8Array): Uint8Array {
  const rest = bytes.slice();
  const role = end.session instanceof ServerSession ? 'server' : 'client';
  for (const [from, to] of ACTIVITY[role]) rest.fill(0, from, to);
  return rest;
}
