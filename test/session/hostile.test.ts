import { deepEqual, equal } from 'node:assert/strict';

import fc from 'fast-check';
import { describe, it } from 'vitest';

import { ClientSession } from '../../src/session/client.ts';
import { ServerSession } from '../../src/session/server.ts';
import type { Session } from '../../src/session/session.ts';
import type { DropReason, Transport } from '../../src/session/types.ts';
import { encodeFrame, type Frame } from '../../src/wire/frames.ts';
import { VERSION_1_1, VERSION_1_3 } from '../../src/wire/header.ts';
import { SECOND } from '../../src/wire/time.ts';
import { frame as anyFrame, hex } from '../wire/arbitrary.ts';
import { counted, hear } from './drive.ts';
import { MemoryKeys } from './keys.ts';
import { clientConfig, Dice, NETWORK, packet, serverConfig } from './network.ts';

type Phase = 'connecting' | 'login' | 'online';
type Role = 'client' | 'server';

const login: Frame = { kind: 'authRequest', auth: { method: 'token', token: 'token' } };
const success: Frame = { ...NETWORK, kind: 'authSuccess', mtu: '1350', sessionId: 7n };
const lane = { enabled: true, rotationInterval: 900 * SECOND };

function session(role: Role, transport: Transport, phase: Phase): Session {
  const keys = transport === 'udp' ? new MemoryKeys(new Dice(1).bytes) : undefined;
  const version = transport === 'udp' ? VERSION_1_3 : VERSION_1_1;
  const made =
    role === 'client'
      ? new ClientSession(clientConfig({ transport, expresslane: lane }), version, keys)
      : new ServerSession(serverConfig({ transport, expresslane: lane }), version, keys);
  made.start(0);
  if (phase !== 'connecting') made.linkUp(0);
  if (phase === 'online') {
    hear(made, 0, role === 'client' ? success : login);
    const sessionId = 7n;
    if (made instanceof ServerSession) made.authorise(0, { granted: true, networkConfig: NETWORK, sessionId });
  }
  made.drain();
  return made;
}

const config = (patch: object): Frame => ({
  kind: 'expresslaneConfig',
  version: 2,
  enabled: true,
  ack: false,
  counter: 1n,
  key: new Uint8Array(32).fill(9),
  ...patch,
});
const frag = (patch: object): Frame => ({
  kind: 'dataFrag',
  id: 1,
  offset: 0,
  more: true,
  piece: packet(1, 40),
  ...patch,
});
const bytes = (...frames: Frame[]) => new Uint8Array(Buffer.concat(frames.map(encodeFrame)));
const cut = (whole: Uint8Array, by: number) => whole.subarray(0, whole.length - by);

/** What it costs: one counter, and over UDP either nothing else or the session. Over TCP always the session, but for what `tcp` says. */
type Row = [
  what: string,
  to: Role[],
  in_: Phase[],
  bytes: Uint8Array,
  cost: DropReason,
  udp: 'goesOn' | 'ends',
  tcp?: 'goesOn',
];

const both: Role[] = ['client', 'server'];
const after: Phase[] = ['online'];
const always: Phase[] = ['connecting', 'login', 'online'];
const early: Phase[] = ['connecting', 'login'];

const ROWS: Row[] = [
  ['kind 0', both, always, hex('00'), 'unknownKind', 'goesOn'],
  ['kind 8, a relic', both, always, hex('08'), 'unknownKind', 'goesOn'],
  ['kind 21', both, always, hex('15'), 'unknownKind', 'goesOn'],
  ['a login for version 1.4', both, always, hex('04 03 0104 0001 61'), 'badVersion', 'goesOn'],
  ['a login by method 9', both, always, hex('04 09'), 'badFrame', 'ends'],
  ['a user of 51 bytes', both, always, hex(`04 01 33 00 ${'61'.repeat(100)}`), 'badFrame', 'ends'],
  ['a user that is not UTF-8', both, always, hex(`04 01 01 00 ff${'00'.repeat(99)}`), 'badFrame', 'ends'],
  ['a boolean of 7', both, always, hex('12 0000000000000001 07'), 'badFrame', 'ends'],
  ['a server config of 1,349 bytes', both, always, hex(`0e 0545 ${'61'.repeat(1349)}`), 'badFrame', 'ends'],
  ['a Ping too early', both, early, bytes({ kind: 'ping', id: 0, payload: hex('') }), 'invalidState', 'goesOn'],
  ['a Pong too early', both, early, bytes({ kind: 'pong', id: 0, payload: hex('') }), 'invalidState', 'goesOn'],
  ['Data too early', both, early, bytes({ kind: 'data', packet: packet(1) }), 'invalidState', 'goesOn'],
  ['a fragment too early', both, early, bytes(frag({})), 'invalidState', 'goesOn'],
  ['encoded Data too early', both, early, bytes({ kind: 'encodedData', packet: packet(1) }), 'invalidState', 'goesOn'],
  ['a key too early', both, early, bytes(config({})), 'invalidState', 'goesOn'],
  ['a login during the handshake', ['server'], ['connecting'], bytes(login), 'invalidState', 'goesOn'],
  ['a welcome during the handshake', ['client'], ['connecting'], bytes(success), 'invalidState', 'goesOn'],
  ['a login', ['client'], always, bytes(login), 'wrongRole', 'ends'],
  ['a welcome', ['server'], always, bytes(success), 'wrongRole', 'ends'],
  ['a refusal', ['server'], always, bytes({ kind: 'authFailure' }), 'wrongRole', 'ends'],
  ['a server config', ['server'], always, bytes({ kind: 'serverConfig', payload: hex('') }), 'wrongRole', 'goesOn'],
  [
    'a server config',
    ['client'],
    always,
    bytes({ kind: 'serverConfig', payload: hex('') }),
    'serverConfig',
    'goesOn',
    'goesOn',
  ],
  ['a second welcome', ['client'], after, bytes(success), 'lateAuthSuccess', 'goesOn', 'goesOn'],
  ['a welcome to nowhere', ['client'], ['login'], bytes({ ...success, localIp: 'here' } as Frame), 'badFrame', 'ends'],
  ['a welcome with no MTU', ['client'], ['login'], bytes({ ...success, mtu: '' } as Frame), 'badFrame', 'ends'],
  [
    'a welcome with an MTU of 70,000',
    ['client'],
    ['login'],
    bytes({ ...success, mtu: '70000' } as Frame),
    'badFrame',
    'ends',
  ],
  ['Data without bytes', both, after, hex('05 0000'), 'invalidPacket', 'goesOn'],
  [
    'Data of 19 bytes',
    both,
    after,
    bytes({ kind: 'data', packet: packet(1, 20).subarray(0, 19) }),
    'invalidPacket',
    'goesOn',
  ],
  [
    'an IPv6 packet',
    both,
    after,
    bytes({ kind: 'data', packet: hex(`60${'00'.repeat(60)}`) }),
    'invalidPacket',
    'goesOn',
  ],
  ['encoded Data', both, after, bytes({ kind: 'encodedData', packet: packet(1) }), 'noCodec', 'ends'],
  ['an encoded fragment', both, after, bytes({ ...frag({}), kind: 'encodedDataFrag' } as Frame), 'noCodec', 'ends'],
  [
    'an encoding request',
    ['server'],
    always,
    bytes({ kind: 'encodingRequest', id: 1n, enable: true }),
    'noCodec',
    'goesOn',
    'goesOn',
  ],
  [
    'an encoding response',
    ['client'],
    always,
    bytes({ kind: 'encodingResponse', id: 1n, enable: true }),
    'noCodec',
    'ends',
  ],
  [
    'an encoding request',
    ['client'],
    always,
    bytes({ kind: 'encodingRequest', id: 1n, enable: true }),
    'wrongRole',
    'goesOn',
  ],
  ['an empty fragment', both, after, bytes(frag({ piece: hex('') })), 'fragmentEmpty', 'goesOn'],
  ['a fragment twice', both, after, bytes(frag({}), frag({})), 'fragmentOverlap', 'goesOn'],
  ['a fragment beyond 65,535', both, after, bytes(frag({ offset: 65_520 })), 'fragmentTooLarge', 'goesOn'],
  [
    'a fragment behind the last',
    both,
    after,
    bytes(frag({ more: false, offset: 40 }), frag({ offset: 80 })),
    'fragmentBeyondEnd',
    'goesOn',
  ],
  [
    'a last fragment amid others',
    both,
    after,
    bytes(frag({ offset: 80 }), frag({ more: false })),
    'fragmentBeyondEnd',
    'goesOn',
  ],
  [
    'fragments that make no packet',
    both,
    after,
    bytes(frag({ more: false, piece: new Uint8Array(40) })),
    'invalidPacket',
    'goesOn',
  ],
  [
    'a Pong to no probe',
    both,
    after,
    bytes({ kind: 'pong', id: 9, payload: hex('') }),
    'lateProbe',
    'goesOn',
    'goesOn',
  ],
];

const LANE_ROWS: [string, Uint8Array, DropReason][] = [
  ['an ack for nothing', bytes(config({ ack: true, counter: 99n })), 'lateAck'],
  ['a key of zeros', bytes(config({ key: new Uint8Array(32) })), 'emptyKey'],
  ['a key older than the last', bytes(config({ counter: 5n }), config({ counter: 4n })), 'staleConfig'],
  ['the same key again', bytes(config({}), config({})), 'repeatedConfig'],
];

describe('a hostile frame', () => {
  for (const [what, roles, phases, plaintext, cost, udp, tcp] of ROWS) {
    for (const role of roles) {
      for (const phase of phases) {
        it(`costs ${cost} and ${udp === 'ends' ? 'the session' : 'nothing else'}: ${what}, to the ${role}, ${phase}`, () => {
          const over = session(role, 'udp', phase);
          over.receive(1, plaintext);
          deepEqual(counted(over.counters), { [cost]: 1 });
          equal(over.state === 'closed', udp === 'ends');
          if (udp === 'goesOn') deepEqual(over.drain(), []);

          const stream = session(role, 'tcp', phase);
          stream.receive(1, plaintext);
          deepEqual(counted(stream.counters), { [cost]: 1 });
          equal(stream.state === 'closed', tcp !== 'goesOn');
        });
      }
    }
  }

  for (const [what, plaintext, cost] of LANE_ROWS) {
    it(`costs ${cost} and nothing else over UDP, and the session over TCP: ${what}`, () => {
      for (const role of both) {
        const over = session(role, 'udp', 'online');
        over.receive(1, plaintext);
        deepEqual(counted(over.counters), { [cost]: 1 });
        equal(over.state, 'online');
        const stream = session(role, 'tcp', 'online');
        stream.receive(1, plaintext);
        deepEqual(counted(stream.counters), { notSupported: 1 });
        equal(stream.state, 'closed');
      }
    });
  }

  it('costs truncatedFrame cut at any byte over UDP, and waits over TCP', () => {
    const whole = [bytes({ kind: 'data', packet: packet(1) }), bytes(config({})), bytes(login), bytes(success)];
    for (const plaintext of whole) {
      for (let by = 1; by < plaintext.length; by++) {
        const over = session('server', 'udp', 'online');
        over.receive(1, cut(plaintext, by));
        deepEqual(counted(over.counters), { truncatedFrame: 1 });
        equal(over.state, 'online');
        const stream = session('server', 'tcp', 'online');
        stream.receive(1, cut(plaintext, by));
        deepEqual(counted(stream.counters), {});
        equal(stream.state, 'online');
      }
    }
  });

  it('does not spoil what stood before it in its record, nor the next record', () => {
    const over = session('server', 'udp', 'online');
    over.receive(1, new Uint8Array([...bytes({ kind: 'data', packet: packet(1) }), 0, 1, 2]));
    over.receive(2, bytes({ kind: 'data', packet: packet(2) }));
    deepEqual(
      over.drain().map(({ kind }) => kind),
      ['packet', 'packet'],
    );
  });

  it('makes a stranger over TCP unable to have more than 1,351 bytes kept', () => {
    const stream = session('server', 'tcp', 'login');
    stream.receive(1, hex('05 ffff'));
    equal(stream.state, 'closed');
  });
});

describe('any frames and any bytes, in any phase', () => {
  it('raise nothing, and after the end nothing comes out', () => {
    const role = fc.constantFrom<Role>('client', 'server');
    const transport = fc.constantFrom<Transport>('udp', 'tcp');
    const phase = fc.constantFrom<Phase>('connecting', 'login', 'online');
    const chunk = fc.oneof(anyFrame.map(encodeFrame), fc.uint8Array({ maxLength: 60 }));
    fc.assert(
      fc.property(role, transport, phase, fc.array(chunk, { maxLength: 12 }), (r, t, p, chunks) => {
        const made = session(r, t, p);
        let now = 0;
        for (const plaintext of chunks) {
          const closed = made.state === 'closed';
          made.receive(++now, plaintext);
          const outputs = made.drain();
          if (closed) deepEqual(outputs, []);
          const at = outputs.findIndex(({ kind }) => kind === 'closed');
          equal(at === -1 || at === outputs.length - 1, true);
          equal(at !== -1, made.state === 'closed' && !closed);
        }
      }),
      { numRuns: 1000 },
    );
  });
});
