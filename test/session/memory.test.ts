import { ok } from 'node:assert/strict';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

import { describe, it } from 'vitest';

import { ClientSession } from '../../src/session/client.ts';
import { ServerSession } from '../../src/session/server.ts';
import { SNAPSHOT_SIZE } from '../../src/session/snapshot.ts';
import type { LaneKeys } from '../../src/session/types.ts';
import { VERSION_1_3 } from '../../src/wire/header.ts';
import { SECOND } from '../../src/wire/time.ts';
import { CALM, clientConfig, NETWORK, Pair, packet, serverConfig } from './network.ts';

const SESSIONS = 2000;

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;

function heapUsed(): number {
  collect();
  collect();
  return process.memoryUsage().heapUsed;
}

// Keys live in slots; here one object stands for all of them.
const keys: LaneKeys = {
  stage: () => new Uint8Array(32).fill(1),
  stageNone: () => {},
  staged: () => new Uint8Array(32).fill(1),
  promote: () => {},
  installReceive: () => {},
  receiveKeyIs: () => false,
  sendValid: () => true,
  receiveValid: () => true,
  setActive: () => {},
  setReady: () => {},
  setVersion: () => {},
  packetsSent: () => 0,
  packetsReceived: () => 0,
};

const lane = { enabled: true, rotationInterval: 900 * SECOND };

describe('an idle Online session', () => {
  it('costs at most 2 KB of heap at the server, with a fragment put together and a key exchanged', () => {
    const config = serverConfig({ expresslane: lane });
    const slot = new Uint8Array(SNAPSHOT_SIZE);
    const before = heapUsed();
    const sessions = Array.from({ length: SESSIONS }, (_, i) => {
      const server = new ServerSession(config, VERSION_1_3, keys);
      server.start(i + 0.5);
      server.linkUp(i + 1.5);
      server.receive(i + 2.5, Uint8Array.from([4, 2, 0, 1, 97]));
      server.authorise(i + 3.5, { granted: true, networkConfig: NETWORK, sessionId: BigInt(i) });
      server.receive(
        i + 4.5,
        Uint8Array.from([20, 2, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, ...new Uint8Array(32).fill(7)]),
      );
      const bytes = packet(i, 24);
      server.receive(i + 5.5, Uint8Array.from([15, 0, 16, 0, 1, 0x20, 0, ...bytes.subarray(0, 16)]));
      server.receive(i + 6.5, Uint8Array.from([15, 0, 8, 0, 1, 0, 2, ...bytes.subarray(16)]));
      server.insideActivity(i + 7.5);
      const outputs = server.drain();
      ok(outputs.at(-1)?.kind === 'packet');
      server.snapshot(slot);
      return server;
    });
    const each = (heapUsed() - before) / SESSIONS;
    ok(each < 2048, `${each} bytes`);
    ok(sessions.every(({ state }) => state === 'online'));
  });

  it('costs at most 2 KB of heap at the client', () => {
    const config = clientConfig({ expresslane: lane });
    const pair = new Pair(1, CALM);
    pair.connect();
    pair.runTo(SECOND);
    const slot = new Uint8Array(SNAPSHOT_SIZE);
    pair.client.session.snapshot(slot);
    const before = heapUsed();
    const sessions = Array.from({ length: SESSIONS }, () => ClientSession.restore(config, VERSION_1_3, keys, slot));
    const each = (heapUsed() - before) / SESSIONS;
    ok(each < 2048, `${each} bytes`);
    ok(sessions.every((session) => session?.state === 'online'));
  });
});
