import { deepEqual, equal, ok } from 'node:assert/strict';

import { describe, it } from 'vitest';

import { ServerSession } from '../../src/session/server.ts';
import type { Transport } from '../../src/session/types.ts';
import type { Frame } from '../../src/wire/frames.ts';
import { VERSION_1_1, VERSION_1_3 } from '../../src/wire/header.ts';
import { type Micros, MS, SECOND } from '../../src/wire/time.ts';
import { counted, hear, kinds, pass, said } from './drive.ts';
import { MemoryKeys } from './keys.ts';
import { Dice, NETWORK, packet, serverConfig } from './network.ts';

const PASSWORD = new TextEncoder().encode('password');
const login: Frame = { kind: 'authRequest', auth: { method: 'userPass', user: 'user', password: PASSWORD } };
const granted = { granted: true, networkConfig: NETWORK, sessionId: 0xabcn } as const;
const welcome = { kind: 'authSuccess', localIp: '10.125.0.5', peerIp: '10.125.0.6', dnsIp: '10.125.0.1', mtu: '1350' };

function session(transport: Transport = 'udp', patch = {}): ServerSession {
  const keys = transport === 'udp' ? new MemoryKeys(new Dice(1).bytes) : undefined;
  const server = new ServerSession(serverConfig({ transport, ...patch }), keys ? VERSION_1_3 : VERSION_1_1, keys);
  server.start(0);
  return server;
}

function online(transport: Transport = 'udp', patch = {}): ServerSession {
  const server = session(transport, patch);
  server.linkUp(0);
  hear(server, 0, login);
  server.authorise(0, granted);
  server.drain();
  return server;
}

describe('login at the server', () => {
  it('asks for the check once, and answers with AuthSuccess', () => {
    const server = session();
    server.linkUp(0);
    deepEqual(hear(server, 0, login), [
      { kind: 'authenticate', auth: { method: 'userPass', user: 'user', password: PASSWORD } },
    ]);
    server.authorise(4 * MS, granted);
    deepEqual(said(server), [
      { ...welcome, sessionId: 0xabcn },
      { kind: 'online', networkConfig: undefined },
    ]);
    equal(server.state, 'online');
    deepEqual(counted(server.counters), {});
  });

  it('ignores further AuthRequests while one is checked, so that copies cost no password hash', () => {
    const server = session();
    server.linkUp(0);
    hear(server, 0, login);
    deepEqual(hear(server, MS, login, login), []);
    deepEqual(counted(server.counters), { authUnderWay: 2 });
  });

  it('answers an AuthRequest in Online again, without a check', () => {
    const server = online();
    deepEqual(hear(server, SECOND, login), [{ ...welcome, sessionId: 0xabcn }]);
  });

  it('answers a refused login with AuthFailure and Goodbye', () => {
    for (const code of ['ACCESS_DENIED', 'NO_ADDRESS'] as const) {
      const server = session();
      server.linkUp(0);
      hear(server, 0, login);
      server.authorise(MS, { granted: false, code });
      const [failure, goodbye, closed] = said(server);
      deepEqual([failure.kind, goodbye.kind], ['authFailure', 'goodbye']);
      equal(closed.kind === 'closed' && closed.code, code);
      equal(server.state, 'closed');
    }
  });

  it('takes an answer that comes after the end for nothing', () => {
    const server = session();
    server.linkUp(0);
    hear(server, 0, login);
    server.close(MS);
    server.drain();
    server.authorise(2 * MS, granted);
    deepEqual(said(server), []);
    equal(server.state, 'closed');
  });

  it('takes an answer nobody asked for, for nothing', () => {
    const server = session();
    server.linkUp(0);
    server.authorise(0, granted);
    equal(server.state, 'linkUp');
    deepEqual(said(server), []);
  });
});

describe('time at the server', () => {
  const end = (heard: [Micros, { kind: string; code?: string }][]) =>
    heard.map(([at, { kind, code }]) => [at, code ?? kind]);

  it('drops a handshake without end after 60 s, in silence', () => {
    deepEqual(end(pass(session(), 120 * SECOND)), [[60 * SECOND, 'STALE']]);
  });

  it('waits 12.7 s for an AuthRequest, then says Goodbye', () => {
    const server = session();
    server.linkUp(SECOND);
    deepEqual(end(pass(server, 60 * SECOND)), [
      [13_700 * MS, 'goodbye'],
      [13_700 * MS, 'LOGIN_TIMEOUT'],
    ]);
  });

  it('waits for a slow password check up to the 60 s of a stale session', () => {
    const server = session();
    server.linkUp(0);
    hear(server, 0, login);
    deepEqual(end(pass(server, 120 * SECOND)), [
      [60 * SECOND, 'goodbye'],
      [60 * SECOND, 'STALE'],
    ]);
  });

  it('closes an Online session a day after the last sign of life, of whatever kind', () => {
    const day = 86_400 * SECOND;
    const server = online();
    equal(server.nextDeadline(), day);
    server.received(SECOND);
    hear(server, 2 * SECOND, { kind: 'noOp' });
    server.received(1.5 * SECOND);
    deepEqual(end(pass(server, 2 * day)), [
      [day + 2 * SECOND, 'goodbye'],
      [day + 2 * SECOND, 'IDLE'],
    ]);
    equal(server.nextDeadline(), undefined);
  });
});

describe('an Online server session', () => {
  it('answers each Ping with a Pong of its id and without its payload', () => {
    const payload = new Uint8Array(1200);
    for (const id of [0, 1, 0xf00b]) {
      const pong = { kind: 'pong', id, payload: new Uint8Array(0) };
      deepEqual(hear(online(), 0, { kind: 'ping', id, payload }), [pong]);
    }
  });

  it('announces a session id with a Ping of id 0', () => {
    const server = online();
    server.announce(0);
    deepEqual(said(server), [{ kind: 'ping', id: 0, payload: new Uint8Array(0) }]);
  });

  it('hands inner packets on, from Data and from fragments', () => {
    const server = online();
    const bytes = packet(5, 1350);
    const piece = { kind: 'dataFrag', id: 1, offset: 0, more: true, piece: bytes.slice(0, 1240) } as const;
    deepEqual(hear(server, 0, { kind: 'data', packet: bytes }), [{ kind: 'packet', bytes }]);
    deepEqual(hear(server, 0, piece), []);
    deepEqual(hear(server, 0, { ...piece, offset: 1240, more: false, piece: bytes.slice(1240) }), [
      { kind: 'packet', bytes },
    ]);
  });

  it('gives a half reassembled packet up after 10 s', () => {
    const server = online();
    hear(server, SECOND, { kind: 'dataFrag', id: 1, offset: 0, more: true, piece: new Uint8Array(8) });
    equal(server.nextDeadline(), 11 * SECOND);
    pass(server, 12 * SECOND);
    deepEqual(counted(server.counters), { fragmentEvicted: 1 });
  });

  it('has all it heard before Goodbye in one record, and nothing after', () => {
    const server = online();
    const bytes = packet(1);
    const data = { kind: 'data', packet: bytes } as const;
    server.receive(0, Uint8Array.of(1));
    const heard = hear(server, 0, data, { kind: 'goodbye' }, data);
    deepEqual(
      heard.map(({ kind }) => kind),
      ['packet', 'goodbye', 'closed'],
    );
    deepEqual(hear(server, 1, data), []);
    deepEqual(counted(server.counters), { afterClose: 1 });
  });

  it('says no Goodbye to a peer that is gone, and asks for no close_notify', () => {
    for (const code of ['PEER_GONE', 'OUTER_FAILED'] as const) {
      const server = online();
      server.close(0, code);
      const [closed, ...more] = said(server);
      deepEqual(more, []);
      ok(closed.kind === 'closed' && closed.code === code && !closed.notify);
    }
  });

  it('ends once', () => {
    const server = online();
    server.close(0);
    server.close(0, 'EXPIRED');
    deepEqual(kinds(server), ['goodbye', 'closed']);
  });

  it('never repeats itself', () => {
    const server = session();
    server.linkUp(0);
    server.receive(0, Uint8Array.of(12));
    for (const output of server.drain()) ok(output.kind !== 'frame' || output.repeat === 1);
  });
});
