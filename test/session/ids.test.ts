import { deepEqual, equal } from 'node:assert/strict';

import fc from 'fast-check';
import { describe, it } from 'vitest';

import { ClientIds, ServerIds } from '../../src/session/ids.ts';
import { EMPTY, REJECTED } from '../../src/wire/header.ts';
import { Dice } from './network.ts';

const random = new Dice(3).bytes;

describe('session ids at the server', () => {
  it('leave under the new id at once, and come in under both until the client has used it', () => {
    const ids = new ServerIds(5n);
    const fresh = ids.begin(random) as bigint;
    deepEqual([ids.outgoing, ids.current], [fresh, 5n]);
    deepEqual([ids.knows(5n), ids.knows(fresh), ids.knows(EMPTY), ids.knows(9n)], [true, true, true, false]);
    equal(ids.onDecoded(5n), EMPTY);
    equal(ids.onDecoded(EMPTY), EMPTY);
    equal(ids.onDecoded(9n), EMPTY);
    equal(ids.onDecoded(fresh), 5n);
    deepEqual([ids.outgoing, ids.current, ids.pending], [fresh, fresh, EMPTY]);
    equal(ids.knows(5n), false);
    equal(ids.onDecoded(fresh), EMPTY);
  });

  it('rotate one at a time', () => {
    const ids = new ServerIds(5n);
    const fresh = ids.begin(random);
    equal(ids.begin(random), undefined);
    equal(ids.outgoing, fresh);
  });

  it('take only an id the shard accepts', () => {
    const ids = new ServerIds(5n);
    equal((ids.begin(random, (id) => id % 16n === 7n) as bigint) % 16n, 7n);
  });
});

describe('session ids at the client', () => {
  it('adopt the id of any decoded datagram, but for the reserved ones', () => {
    const ids = new ClientIds();
    deepEqual([ids.onDecoded(EMPTY), ids.current], [false, EMPTY]);
    deepEqual([ids.onDecoded(REJECTED), ids.current], [false, EMPTY]);
    deepEqual([ids.onDecoded(4n), ids.current], [true, 4n]);
    deepEqual([ids.onDecoded(4n), ids.current], [false, 4n]);
    deepEqual([ids.onDecoded(6n), ids.current], [true, 6n]);
  });
});

describe('session ids at both ends', () => {
  it('meet after any number of rotations, lost datagrams and late ones', () => {
    const step = fc.constantFrom('rotate' as const, 'toClient' as const, 'toServer' as const, 'lost' as const);
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const server = new ServerIds(5n);
        const client = new ClientIds();
        for (const what of steps) {
          if (what === 'rotate') server.begin(random);
          if (what === 'toClient') client.onDecoded(server.outgoing);
          if (what === 'toServer') server.onDecoded(client.current);
          equal(server.knows(client.current), true);
        }
        client.onDecoded(server.outgoing);
        server.onDecoded(client.current);
        deepEqual([server.current, server.pending], [client.current, EMPTY]);
      }),
    );
  });
});
