/**
 * Sessions of both roles over both transports, in every phase: whatever comes in, nothing is thrown, deadlines move on, and the
 * end comes once. The first byte picks role, transport and phase; then chunks follow, each behind its length and a pause.
 */
import { equal, ok } from 'node:assert/strict';
import { ClientSession } from '../../src/session/client.ts';
import { ServerSession } from '../../src/session/server.ts';
import type { Session } from '../../src/session/session.ts';
import { SNAPSHOT_SIZE } from '../../src/session/snapshot.ts';
import { CLIENT_DEFAULTS, createCounters, SERVER_DEFAULTS } from '../../src/session/types.ts';
import { VERSION_1_1, VERSION_1_3 } from '../../src/wire/header.ts';
import { SECOND } from '../../src/wire/time.ts';
import { MemoryKeys } from '../session/keys.ts';
import { NETWORK } from '../session/network.ts';

const expresslane = { enabled: true, rotationInterval: 10 * SECOND };
const counters = createCounters();
const login = Uint8Array.from([4, 2, 0, 1, 97]);
const welcome = new Uint8Array(105);
welcome.set([6]);
for (const [i, text] of ['10.0.0.1', '10.0.0.2', '10.0.0.3', '1350'].entries()) {
  welcome.set(Buffer.from(text), 1 + 24 * i);
}

function begin(choice: number): Session {
  const transport = choice & 1 ? 'tcp' : 'udp';
  const keys = choice & 1 ? undefined : new MemoryKeys((length) => new Uint8Array(length).fill(choice | 1));
  const version = choice & 1 ? VERSION_1_1 : VERSION_1_3;
  const credentials = { method: 'token', token: 't' } as const;
  const session =
    choice & 2
      ? new ClientSession({ ...CLIENT_DEFAULTS, transport, expresslane, counters, credentials }, version, keys)
      : new ServerSession({ ...SERVER_DEFAULTS, transport, expresslane, counters }, version, keys);
  session.start(0);
  if ((choice & 12) === 0) return session;
  session.linkUp(0);
  if ((choice & 12) === 4) return session;
  session.receive(0, choice & 2 ? welcome : login);
  if (session instanceof ServerSession) session.authorise(0, { granted: true, networkConfig: NETWORK, sessionId: 1n });
  equal(session.state, 'online');
  return session;
}

export function fuzz(input: Uint8Array): void {
  if (input.length === 0) return;
  const session = begin(input[0]);
  session.drain();
  const slot = new Uint8Array(SNAPSHOT_SIZE);
  let now = 0;
  let ends = 0;
  for (let at = 1; at < input.length; ) {
    const length = input[at];
    const pause = (input[at + 1] ?? 0) * 0.25 * SECOND;
    session.receive(now, input.subarray(at + 2, at + 2 + length));
    at += 2 + length;
    now += pause;
    for (let turns = 0; (session.nextDeadline() ?? Number.POSITIVE_INFINITY) <= now; turns++) {
      session.advance(session.nextDeadline() as number);
      ok(turns < 1000, 'deadlines stand still');
    }
    session.insideActivity(now);
    if (session.state === 'online') session.snapshot(slot);
    const outputs = session.drain();
    ends += outputs.filter(({ kind }) => kind === 'closed').length;
    equal(ends, session.state === 'closed' ? 1 : 0);
  }
}
