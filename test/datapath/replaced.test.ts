/**
 * A shard that is replaced between any two steps of something under way. What it had not yet sent is lost like a datagram is; the
 * successor knows the rest. Steps are turns of the shard and of the client by turns, so every one of them is tried.
 */
import { afterEach, describe, expect, it } from 'vitest';
import { SlotState } from '../../src/datapath/layout.ts';
import { DtlsDrop } from '../../src/dtls/events.ts';
import { parseIpv4 } from '../../src/server/leases.ts';
import { SECOND } from '../../src/wire/time.ts';
import { namespaceRefusal } from '../io/rig.ts';
import { build, UDP } from '../packet/packets.ts';
import { CLIENT_INSIDE, NET_ADDRESS, numbered, Rig, type RigClient } from './rig.ts';

const refusal = namespaceRefusal();
if (refusal) console.warn(`skipped: ${refusal}`);

const UPDATE = 60 * SECOND;
/** More steps than any of these takes. */
const STEPS = 10;

let rig: Rig | undefined;
afterEach(() => {
  rig?.close();
  rig = undefined;
});

const up = (number: number) =>
  build({ ...UDP, source: parseIpv4(CLIENT_INSIDE), destination: NET_ADDRESS, payload: numbered(number) });
const down = (client: RigClient, number: number) =>
  build({ ...UDP, source: NET_ADDRESS, destination: client.lease, payload: numbered(number) });

const UNDER_WAY: Record<string, (rig: Rig, client: RigClient) => void> = {
  'a key update by the server, with its id rotation': (rig) => {
    rig.now += UPDATE + 1;
  },
  'a key update by the client that asks for the other direction': (_rig, client) => {
    client.updateKeys(true);
    client.flush();
  },
  'a float, with its id rotation': (_rig, client) => {
    client.move(9);
    client.send([client.lane(up(1))]);
  },
  'key updates by both at once, and a float': (rig, client) => {
    client.updateKeys(true);
    client.move(9);
    client.flush();
    rig.now += UPDATE + 1;
  },
};

function carries(rig: Rig, client: RigClient): void {
  rig.inside.receive();
  client.inner();
  client.send([client.lane(up(1)), client.record(up(2))]);
  rig.inside.send([down(client, 3)]);
  rig.settle();
  expect(rig.inside.receive()).toHaveLength(2);
  expect(client.inner()).toHaveLength(1);
}

describe.skipIf(refusal !== undefined).each(Object.entries(UNDER_WAY))('%s', (_name, begin) => {
  it.each(Array.from({ length: STEPS }, (_, step) => step))(
    'goes on in the successor of a shard replaced after step %i',
    (step) => {
      rig = new Rig({ io: 'epoll', shards: 1, keyUpdateInterval: UPDATE });
      const client = rig.connect(2);
      const { slot } = client;
      begin(rig, client);
      for (let i = 0; i < step; i++) {
        if (i % 2 === 0) rig.shards[0].turn(rig.now, 0);
        else client.take();
      }
      expect(rig.start()).toBe(1);
      rig.pass(20 * SECOND, SECOND / 5);
      carries(rig, client);
      carries(rig, client);
      expect(client.closed).toEqual([]);
      expect(client.dtls.drops[DtlsDrop.replayed]).toBe(0);
      expect(client.dtls.drops[DtlsDrop.unauthentic]).toBe(0);
      expect(client.repeated).toBe(0);
      const { state, pendingId } = rig.table.fields;
      expect(state.get(slot)).toBe(SlotState.online);
      expect(client.slot).toBe(slot);
      expect(pendingId.isZero(slot)).toBe(true);
      // and the next one works as well
      rig.pass(UPDATE + 1, 5 * SECOND);
      carries(rig, client);
      expect(client.closed).toEqual([]);
    },
  );
});
