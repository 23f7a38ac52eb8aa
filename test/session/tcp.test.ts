import { deepEqual, equal, ok } from 'node:assert/strict';

import fc from 'fast-check';
import { describe, it } from 'vitest';

import { ClientSession } from '../../src/session/client.ts';
import { ServerSession } from '../../src/session/server.ts';
import type { Output } from '../../src/session/types.ts';
import { encodeFrame } from '../../src/wire/frames.ts';
import { VERSION_1_1 } from '../../src/wire/header.ts';
import { SECOND } from '../../src/wire/time.ts';
import { clientConfig, markOf, NETWORK, packet, serverConfig } from './network.ts';

/** Two sessions over one TCP connection that cuts what it carries into pieces of the given sizes, over and over. */
class Connection {
  readonly client = new ClientSession(clientConfig({ transport: 'tcp' }), VERSION_1_1, undefined);
  readonly server = new ServerSession(serverConfig({ transport: 'tcp' }), VERSION_1_1, undefined);
  readonly heard: Record<'client' | 'server', string[]> = { client: [], server: [] };
  readonly #sizes: number[];
  #turn = 0;
  #toServer: number[] = [];
  #toClient: number[] = [];

  constructor(sizes: number[]) {
    this.#sizes = sizes;
    for (const session of [this.server, this.client]) {
      session.start(0);
      session.linkUp(0);
    }
  }

  write(to: 'client' | 'server', bytes: Uint8Array): void {
    (to === 'server' ? this.#toServer : this.#toClient).push(...bytes);
  }

  /** Carries bytes to and fro until both fall silent. */
  run(now: number): void {
    for (let busy = true; busy; ) {
      busy = this.#settle(now);
      for (const [session, pipe] of [
        [this.server, this.#toServer],
        [this.client, this.#toClient],
      ] as const) {
        if (pipe.length === 0) continue;
        session.receive(now, Uint8Array.from(pipe.splice(0, this.#sizes[this.#turn++ % this.#sizes.length])));
        busy = true;
      }
    }
  }

  #settle(now: number): boolean {
    const client = this.client.drain();
    const server = this.server.drain();
    for (const output of client) this.#carry(now, 'client', output);
    for (const output of server) this.#carry(now, 'server', output);
    return client.length + server.length > 0;
  }

  #carry(now: number, from: 'client' | 'server', output: Output): void {
    if (output.kind === 'frame') this.write(from === 'client' ? 'server' : 'client', output.bytes);
    else if (output.kind === 'authenticate') {
      this.server.authorise(now, { granted: true, networkConfig: NETWORK, sessionId: 1n });
    } else if (output.kind === 'packet') this.heard[from].push(`packet ${markOf(output.bytes)}`);
    else this.heard[from].push(output.kind === 'closed' ? output.code : output.kind);
  }
}

describe('a session over TCP', () => {
  it('lives the same however the stream is cut: login, packets, fragments, keepalive, Goodbye', () => {
    const cuts = fc.array(fc.integer({ min: 1, max: 400 }), { minLength: 1, maxLength: 12 });
    fc.assert(
      fc.property(cuts, (sizes) => {
        const connection = new Connection(sizes);
        connection.run(0);
        deepEqual([connection.client.state, connection.server.state], ['online', 'online']);
        for (let mark = 1; mark <= 8; mark++) {
          const frame = encodeFrame({ kind: 'data', packet: packet(mark, 20 + 170 * mark) });
          connection.write(mark % 2 === 0 ? 'client' : 'server', frame);
        }
        const whole = packet(9, 1300);
        for (const offset of [800, 0]) {
          const piece = whole.slice(offset, offset + 800);
          connection.write('server', encodeFrame({ kind: 'dataFrag', id: 1, offset, more: offset === 0, piece }));
        }
        connection.run(SECOND);
        equal(connection.client.nextDeadline(), 11 * SECOND);
        connection.client.advance(11 * SECOND);
        connection.run(11 * SECOND);
        equal(connection.client.nextDeadline(), 21 * SECOND); // the Pong has come
        connection.client.close(12 * SECOND);
        connection.run(12 * SECOND);
        deepEqual(connection.heard, {
          client: ['online', 'packet 2', 'packet 4', 'packet 6', 'packet 8', 'LOCAL'],
          server: ['online', 'packet 1', 'packet 3', 'packet 5', 'packet 7', 'packet 9', 'GOODBYE'],
        });
      }),
      { numRuns: 60 },
    );
  });

  it('has no Expresslane, no copies and no repeated login', () => {
    const connection = new Connection([1000]);
    equal(connection.client.repeat, 1);
    equal(connection.client.lane, undefined);
    ok(connection.client.drain().every((output) => output.kind !== 'frame' || output.repeat === 1));
    equal(connection.client.nextDeadline(), 60 * SECOND); // an answer to the login has to come by then
  });
});
