import { deepEqual, equal, ok } from 'node:assert/strict';

import { describe, it } from 'vitest';

import { ClientSession } from '../../src/session/client.ts';
import { CLIENT_DEFAULTS, type ClientConfig, type KeepaliveConfig, type Output } from '../../src/session/types.ts';
import { encodeFrame, type Frame } from '../../src/wire/frames.ts';
import { VERSION_1_1, VERSION_1_2, VERSION_1_3 } from '../../src/wire/header.ts';
import { type Micros, MS, SECOND } from '../../src/wire/time.ts';
import { hear, kinds, pass, said } from './drive.ts';
import { MemoryKeys } from './keys.ts';
import { CALM, clientConfig, Dice, NETWORK, Pair, packet, serverConfig } from './network.ts';

const success: Frame = { ...NETWORK, kind: 'authSuccess', mtu: '1350', sessionId: 7n };
const pong: Frame = { kind: 'pong', id: 0, payload: new Uint8Array(0) };

function session(patch: Partial<ClientConfig> = {}): ClientSession {
  const config = clientConfig(patch);
  const udp = config.transport === 'udp';
  const keys = udp ? new MemoryKeys(new Dice(1).bytes) : undefined;
  const client = new ClientSession(config, udp ? VERSION_1_3 : VERSION_1_1, keys);
  client.start(0);
  client.linkUp(0);
  return client;
}

function online(patch: Partial<ClientConfig> = {}): ClientSession {
  const client = session(patch);
  hear(client, 0, success);
  return client;
}

function keepalive(patch: Partial<KeepaliveConfig>): Partial<ClientConfig> {
  return { keepalive: { ...CLIENT_DEFAULTS.keepalive, ...patch } };
}

/** When and what, in seconds. */
const times = (heard: [Micros, { kind: string }][]) => heard.map(([at, { kind }]) => [at / SECOND, kind]);

describe('login at the client', () => {
  it('sends its AuthRequest when the handshake is done, three times over UDP and once over TCP', () => {
    for (const [transport, repeat] of [
      ['udp', 3],
      ['tcp', 1],
    ] as const) {
      const client = session({ transport });
      equal(client.repeat, repeat);
      const [login, ...more] = client.drain();
      deepEqual(more, []);
      ok(login.kind === 'frame' && login.repeat === repeat && login.secret && login.bytes[0] === 4);
    }
  });

  it('sends it again after 0.1, 0.2, 0.4 ... 6.4 s, and goes on at 6.4 s', () => {
    const client = session({ loginWait: 40 * SECOND });
    client.drain();
    const again = [0.1, 0.3, 0.7, 1.5, 3.1, 6.3, 12.7, 19.1, 25.5, 31.9, 38.3].map((at) => [at, 'authRequest']);
    deepEqual(times(pass(client, 60 * SECOND)), [...again, [40, 'goodbye'], [40, 'closed']]);
  });

  it('does not send it again over TCP', () => {
    const client = session({ transport: 'tcp' });
    client.drain();
    deepEqual(times(pass(client, 59 * SECOND)), []);
  });

  it('is Online with the network configuration of AuthSuccess, and stops repeating itself', () => {
    const client = session();
    client.drain();
    deepEqual(hear(client, MS, success), [{ kind: 'online', networkConfig: NETWORK }]);
    equal(client.repeat, 1);
    deepEqual(times(pass(client, 9 * SECOND)), []);
  });

  it('sends its first key at once, and once, when Expresslane is on and the version has it', () => {
    const expresslane = { enabled: true, rotationInterval: 900 * SECOND };
    const config = clientConfig({ expresslane });
    for (const version of [VERSION_1_3, VERSION_1_2, VERSION_1_1]) {
      const client = new ClientSession(config, version, new MemoryKeys(new Dice(1).bytes));
      client.linkUp(0);
      client.drain();
      client.receive(MS, encodeFrame(success));
      const outputs = client.drain();
      equal(outputs.length, version === VERSION_1_3 ? 2 : 1);
      const key = outputs[1];
      if (key !== undefined) ok(key.kind === 'frame' && key.repeat === 1 && key.secret && key.bytes[0] === 20);
    }
  });

  it('ends with a Goodbye in three copies when it is refused', () => {
    const client = session();
    client.drain();
    client.receive(MS, new Uint8Array([7, ...new Uint8Array(52)]));
    const [goodbye, closed] = client.drain();
    ok(goodbye.kind === 'frame' && goodbye.repeat === 3 && goodbye.bytes[0] === 12);
    ok(closed.kind === 'closed' && closed.code === 'UNAUTHORIZED' && closed.notify && closed.repeat === 3);
  });

  it('says Goodbye once when it was Online', () => {
    const client = online();
    client.close(SECOND);
    for (const output of client.drain()) ok('repeat' in output && output.repeat === 1);
  });
});

describe('keepalive', () => {
  it('sends a Ping 10 s after the last thing heard, and every 10 s until the Pong', () => {
    const client = online();
    hear(client, 3 * SECOND, { kind: 'noOp' });
    client.received(5 * SECOND);
    deepEqual(times(pass(client, 40 * SECOND)), [
      [15, 'ping'],
      [25, 'ping'],
      [35, 'ping'],
    ]);
    hear(client, 41 * SECOND, pong);
    deepEqual(times(pass(client, 60 * SECOND)), [[51, 'ping']]);
  });

  it('sends none while anything comes', () => {
    const client = online();
    for (let second = 1; second < 100; second++) {
      client.received(second * SECOND);
      deepEqual(times(pass(client, (second + 0.9) * SECOND)), []);
    }
  });

  it('is not set back by a report of packets heard before the last frame', () => {
    const client = online();
    hear(client, 8 * SECOND, { kind: 'noOp' });
    client.received(5 * SECOND);
    deepEqual(times(pass(client, 20 * SECOND)), [[18, 'ping']]);
  });

  it('gives the server up 60 s after the first Ping nothing has followed', () => {
    const client = online();
    const pings = [10, 20, 30, 40, 50, 60].map((at) => [at, 'ping']);
    deepEqual(times(pass(client, 200 * SECOND)), [...pings, [70, 'goodbye'], [70, 'closed']]);
  });

  it('starts the 60 s anew after anything that comes, also without a Pong', () => {
    const client = online();
    pass(client, 65 * SECOND);
    client.received(66 * SECOND);
    const heard = times(pass(client, 300 * SECOND));
    deepEqual(heard[0], [76, 'ping']);
    deepEqual(heard.at(-1), [136, 'closed']);
  });

  it('asks at once when the network changes, and waits 60 s from then', () => {
    const client = online();
    pass(client, 61 * SECOND);
    client.networkChanged(62 * SECOND);
    deepEqual(kinds(client), ['ping']);
    deepEqual(times(pass(client, 300 * SECOND)).at(-1), [122, 'closed']);
  });

  it('ends a TCP session when the network changes', () => {
    const client = online({ transport: 'tcp' });
    client.networkChanged(SECOND);
    const closed = said(client).at(-1);
    ok(closed?.kind === 'closed' && closed.code === 'NETWORK_CHANGED');
  });

  it('when not continuous, sends a Ping only for packets that leave into 10 s of silence, one for each silence', () => {
    const client = online(keepalive({ continuous: false }));
    deepEqual(times(pass(client, 100 * SECOND)), []);
    client.received(100 * SECOND);
    client.insideActivity(110 * SECOND);
    deepEqual(kinds(client), []);
    client.insideActivity(111 * SECOND);
    deepEqual(kinds(client), ['ping']);
    client.insideActivity(112 * SECOND);
    deepEqual(kinds(client), []);
    hear(client, 113 * SECOND, pong);
    deepEqual(times(pass(client, 200 * SECOND)), []);
    client.insideActivity(201 * SECOND);
    deepEqual(kinds(client), ['ping']);
    deepEqual(times(pass(client, 300 * SECOND)).at(-1), [261, 'closed']);
  });
});

describe('the path MTU at the client', () => {
  const base = 1250;
  const pathMtu = { base, max: 1419 };
  const raw = (client: ClientSession, now: Micros, frame: Frame) => {
    client.receive(now, encodeFrame(frame));
    return client.drain();
  };
  const probes = (outputs: readonly Output[]) => outputs.filter(({ kind }) => kind === 'probe' || kind === 'pathMtu');

  it('probes when Online over UDP, and says what packets fit', () => {
    const client = session({ pathMtu });
    const [probe, ...none] = probes(raw(client, 0, success));
    ok(probe.kind === 'probe');
    deepEqual(none, []);
    equal(probe.bytes.length, base);
    deepEqual([...probe.bytes.subarray(0, 5)], [2, 0, 1, (base - 5) >> 8, (base - 5) & 255]);
    const [next, found] = probes(raw(client, 10, { ...pong, id: 1 }));
    ok(next.kind === 'probe' && next.bytes.length === base + 32);
    deepEqual(found, { kind: 'pathMtu', packet: base - 18 });
    equal(client.counters.lateProbe, 0);
  });

  it('is left alone over TCP, and where it was not asked for', () => {
    for (const patch of [{ pathMtu, transport: 'tcp' as const }, {}])
      deepEqual(probes(raw(session(patch), 0, success)), []);
    const client = online();
    hear(client, 10, { ...pong, id: 1 });
    equal(client.counters.lateProbe, 1);
  });

  it('begins anew when the network changes', () => {
    const client = online({ pathMtu });
    hear(client, 10, { ...pong, id: 1 });
    client.drain();
    client.networkChanged(20);
    const [probe, unknown] = probes(client.drain());
    ok(probe.kind === 'probe' && probe.bytes.length === base);
    deepEqual(unknown, { kind: 'pathMtu', packet: 0 });
  });

  it('sends packets of any length so that the other end has them whole again, in records no longer than the path carries', () => {
    const network = new Pair(5, CALM, serverConfig(), clientConfig({ pathMtu }));
    network.connect();
    network.runTo(SECOND);
    equal(network.client.longest, 1419 - 18);
    const lengths = [20, 1250, 1416, 1417, 1420, 9_000, 65_535];
    for (const [mark, length] of lengths.entries()) {
      (network.client.session as ClientSession).sendLong(packet(mark, length));
      for (const output of network.client.session.drain()) {
        ok(output.kind === 'frame' && output.bytes.length <= 1419);
        network.server.session.receive(network.now, output.bytes);
      }
      const [whole] = network.server.session.drain();
      ok(whole.kind === 'packet');
      deepEqual(whole.bytes, packet(mark, length));
    }
  });
});
