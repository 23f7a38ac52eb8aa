import { deepEqual, equal, ok } from 'node:assert/strict';

import fc from 'fast-check';
import { describe, it } from 'vitest';

import { ClientSession } from '../../src/session/client.ts';
import { ServerSession } from '../../src/session/server.ts';
import type { CloseCode, State, Transport } from '../../src/session/types.ts';
import type { Frame } from '../../src/wire/frames.ts';
import { VERSION_1_1, VERSION_1_3 } from '../../src/wire/header.ts';
import { type Micros, MS, SECOND } from '../../src/wire/time.ts';
import { hear, said } from './drive.ts';
import { MemoryKeys } from './keys.ts';
import { clientConfig, Dice, NETWORK, packet, serverConfig } from './network.ts';

// The model is the table of protocol §5.1 and nothing else: a state, what is waited for, and by when.

type Model = { state: State; isChecking: boolean; lastHeard: Micros; linkUpAt: Micros };
type Step =
  | {
      do:
        | 'linkUp'
        | 'login'
        | 'grant'
        | 'deny'
        | 'welcome'
        | 'failure'
        | 'data'
        | 'noOp'
        | 'goodbye'
        | 'close'
        | 'bulk';
    }
  | { do: 'wait'; span: Micros };

const LIFE: Record<State, State[]> = {
  connecting: ['linkUp', 'authenticating', 'closed'],
  linkUp: ['online', 'closed'],
  authenticating: ['online', 'closed'],
  online: ['closed'],
  closed: [],
};

const FRAMES: Partial<Record<Step['do'], Frame>> = {
  login: { kind: 'authRequest', auth: { method: 'token', token: 'token' } },
  welcome: { ...NETWORK, kind: 'authSuccess', mtu: '1350', sessionId: 7n },
  failure: { kind: 'authFailure' },
  data: { kind: 'data', packet: packet(1) },
  noOp: { kind: 'noOp' },
  goodbye: { kind: 'goodbye' },
};

const names = [
  'linkUp',
  'login',
  'grant',
  'deny',
  'welcome',
  'failure',
  'data',
  'noOp',
  'goodbye',
  'close',
  'bulk',
] as const;
const spans = [1, 99 * MS, SECOND, 9 * SECOND, 12 * SECOND, 59 * SECOND, 3600 * SECOND, 86_400 * SECOND].map(
  (span) => ({ do: 'wait', span }) as const,
);

/** Steps that mostly leave the session alive, from any point of its life. */
function steps(role: 'client' | 'server'): fc.Arbitrary<Step[]> {
  const whole = role === 'server' ? (['linkUp', 'login', 'grant'] as const) : (['linkUp', 'welcome'] as const);
  const plain = (list: readonly Exclude<Step['do'], 'wait'>[]) => list.map((what) => ({ do: what }));
  const begin = fc.nat(whole.length).map((length): Step[] => plain(whole.slice(0, length)));
  const mild = fc.constantFrom(...plain([...whole, ...whole, 'data', 'noOp', 'bulk']));
  const step: fc.Arbitrary<Step> = fc.oneof(
    { weight: 10, arbitrary: mild },
    { weight: 1, arbitrary: fc.constantFrom(...plain(names)) },
    { weight: 4, arbitrary: fc.constantFrom(...spans) },
  );
  return fc.tuple(begin, fc.array(step, { maxLength: 30 })).map(([first, rest]) => [...first, ...rest]);
}

/** What a server is to do with a step. @returns why the session ends, if it does */
function modelServer(model: Model, what: Step['do'], transport: Transport): CloseCode | undefined {
  const { state } = model;
  const tooEarly = transport === 'tcp' ? 'INVALID_STATE' : undefined;
  switch (what) {
    case 'linkUp':
      if (state === 'connecting') model.state = 'linkUp';
      return undefined;
    case 'login':
      if (state === 'connecting') return tooEarly;
      if (state === 'linkUp') model.isChecking = true;
      return undefined;
    case 'grant':
      if (state === 'linkUp' && model.isChecking) model.state = 'online';
      return undefined;
    case 'deny':
      return state === 'linkUp' && model.isChecking ? 'ACCESS_DENIED' : undefined;
    case 'data':
      return state === 'online' ? undefined : tooEarly;
    case 'welcome':
    case 'failure':
      return 'WRONG_ROLE';
    case 'goodbye':
      return 'GOODBYE';
    case 'close':
      return 'LOCAL';
    default:
      return undefined;
  }
}

function modelClient(model: Model, what: Step['do'], transport: Transport): CloseCode | undefined {
  const { state } = model;
  const tooEarly = transport === 'tcp' ? 'INVALID_STATE' : undefined;
  switch (what) {
    case 'linkUp':
      if (state === 'connecting') model.state = 'authenticating';
      return undefined;
    case 'welcome':
      if (state === 'connecting') return tooEarly;
      if (state === 'authenticating') model.state = 'online';
      return undefined;
    case 'login':
      return 'WRONG_ROLE';
    case 'failure':
      return 'UNAUTHORIZED';
    default:
      return modelServer(model, what, transport);
  }
}

/** Which ends a span of silence may bring, by the deadlines of §5.3 and §5.4. */
function ends(role: 'client' | 'server', model: Model, now: Micros): CloseCode | undefined {
  const { state, isChecking } = model;
  if (role === 'client') {
    if (state === 'authenticating' && now >= model.linkUpAt + 60 * SECOND) return 'LOGIN_TIMEOUT';
    return state === 'online' && now >= model.lastHeard + 70 * SECOND ? 'KEEPALIVE_TIMEOUT' : undefined;
  }
  if (state === 'linkUp' && !isChecking && now >= model.linkUpAt + 12_700 * MS && model.linkUpAt < 47_300 * MS)
    return 'LOGIN_TIMEOUT';
  if (state !== 'online' && now >= 60 * SECOND) return 'STALE';
  return state === 'online' && now >= model.lastHeard + 86_400 * SECOND ? 'IDLE' : undefined;
}

function live(role: 'client' | 'server', transport: Transport, list: Step[]): void {
  const isServer = role === 'server';
  const keys = transport === 'udp' ? new MemoryKeys(new Dice(1).bytes) : undefined;
  const version = transport === 'udp' ? VERSION_1_3 : VERSION_1_1;
  const session = isServer
    ? new ServerSession(serverConfig({ transport }), version, keys)
    : new ClientSession(clientConfig({ transport }), version, keys);
  const model: Model = { state: 'connecting', isChecking: false, lastHeard: 0, linkUpAt: 0 };
  let now = 0;
  session.start(now);

  for (const action of list) {
    const before = model.state;
    const packets = session.state === 'online' && action.do === 'data' ? 1 : 0;
    let heard = [...said(session)];
    let code: CloseCode | undefined;
    if (action.do === 'wait') {
      const end = now + action.span;
      for (let next = session.nextDeadline(); next !== undefined && next <= end; next = session.nextDeadline()) {
        ok(next >= now);
        now = next;
        session.advance(now);
        heard = heard.concat(said(session));
      }
      now = end;
      if (before !== 'closed') code = ends(role, model, now);
    } else if (before !== 'closed') {
      code = (isServer ? modelServer : modelClient)(model, action.do, transport);
      if (before === 'connecting' && model.state !== before) model.linkUpAt = now;
    }

    const frame = FRAMES[action.do];
    if (frame !== undefined) {
      heard = hear(session, now, frame);
      if (before !== 'closed' && code === undefined) model.lastHeard = now;
    } else if (action.do === 'linkUp') {
      session.linkUp(now);
    } else if (action.do === 'close') {
      session.close(now);
    } else if (action.do === 'bulk' && session.state === 'online') {
      session.received(now);
      model.lastHeard = now;
    } else if (session instanceof ServerSession && action.do === 'grant') {
      session.authorise(now, { granted: true, networkConfig: NETWORK, sessionId: 7n });
      if (before === 'linkUp' && model.state === 'online') model.lastHeard = now;
    } else if (session instanceof ServerSession && action.do === 'deny') {
      session.authorise(now, { granted: false, code: 'ACCESS_DENIED' });
    }
    heard = heard.concat(said(session));
    if (code !== undefined) model.state = 'closed';

    equal(session.state, model.state);
    ok(before === model.state || LIFE[before].includes(model.state));
    equal(heard.filter(({ kind }) => kind === 'packet').length, packets);
    const kinds = heard.map(({ kind }) => kind);
    if (code === undefined) {
      equal(kinds.includes('closed'), false);
    } else {
      const last = heard.at(-1);
      equal(last?.kind === 'closed' && last.code, code);
      deepEqual(kinds.filter((kind) => kind === 'goodbye').length, before === 'connecting' ? 0 : 1);
      equal(session.nextDeadline(), undefined);
    }
  }
}

describe('the life of a session', () => {
  for (const role of ['server', 'client'] as const) {
    for (const transport of ['udp', 'tcp'] as const) {
      it(`is that of the model, whatever happens in whatever order: ${role}, ${transport}`, () => {
        fc.assert(
          fc.property(steps(role), (list) => live(role, transport, list)),
          { numRuns: 1500 },
        );
      });
    }
  }
});
