/** What a shard does for sessions that begin, and how little of a turn that takes. By a clock of the test's own: each job says how long it takes. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parseIpv4 } from '../../src/server/leases.ts';
import { backends, namespaceRefusal } from '../io/rig.ts';
import { build, UDP } from '../packet/packets.ts';
import { CLIENT_INSIDE, NET_ADDRESS, numbered, Rig, type RigClient } from './rig.ts';

const refusal = namespaceRefusal();
if (refusal) console.warn(`skipped: ${refusal}`);

const JOB_US = 200;

describe.skipIf(refusal !== undefined).each(backends())('a turn, over %s', (io) => {
  let rig: Rig;
  let client: RigClient;
  let now: number;
  let done: number[];

  beforeAll(() => {
    rig = new Rig({ io, shards: 1 });
    client = rig.connect(60);
    now = rig.shards[0].control.now();
    rig.clock = () => now;
    done = [];
  });
  afterAll(() => rig.close());

  function add(jobs: number): void {
    for (let job = 0; job < jobs; job++)
      rig.shards[0].control.later(() => {
        done.push(job);
        now += JOB_US;
      });
  }

  it('does 0.3 ms of what waits, and packets pass in between', () => {
    const [shard] = rig.shards;
    const packet = build({ ...UDP, source: parseIpv4(CLIENT_INSIDE), destination: NET_ADDRESS, payload: numbered(1) });
    add(7);
    for (const expected of [2, 4, 6, 7]) {
      client.send([client.lane(packet)]);
      expect(shard.turn(rig.now, 5_000)).toBe(true);
      expect(done.length).toBe(expected);
      expect(Number(rig.table.fields.packetsOpened.get(client.slot))).toBeGreaterThan(expected / 2 - 1);
    }
    expect(done).toEqual([0, 1, 2, 3, 4, 5, 6]);
    expect(shard.control.backlog).toBe(0);
    rig.clock = undefined;
    rig.settle();
    expect(rig.inside.receive().length).toBe(4);
  });

  it('does all that waits before it stops', () => {
    done.length = 0;
    add(50);
    rig.shards[0].stop();
    expect(done.length).toBe(50);
  });
});
