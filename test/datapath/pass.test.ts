/** A pass is the pipeline in one call: whatever comes, the same is opened, sealed, dropped and counted as when the nodes are called one by one. */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { FairShare } from '../../src/datapath/fair-share.ts';
import { SlotState } from '../../src/datapath/layout.ts';
import { StageCounters, TIMED_EVERY } from '../../src/datapath/stages.ts';
import { Turns } from '../../src/datapath/turns.ts';
import { parseIpv4 } from '../../src/server/leases.ts';
import { MS } from '../../src/wire/time.ts';
import { addon, backends, namespaceRefusal } from '../io/rig.ts';
import { build, concat, pattern, TCP, UDP } from '../packet/packets.ts';
import { CLIENT_INSIDE, NET_ADDRESS, numbered, Rig, RigClient, type RigOptions } from './rig.ts';

const refusal = namespaceRefusal();
if (refusal) console.warn(`skipped: ${refusal}`);

const rigs: Rig[] = [];
afterEach(() => {
  for (const rig of rigs.splice(0)) rig.close();
});

const EINVAL = 22;
const EIO = 5;
const EAGAIN = 11;
const SEGMENT = 1_200;

const upTo = (count: number) => Array.from({ length: count }, (_, i) => i);
const up = (number: number, source = parseIpv4(CLIENT_INSIDE)) =>
  build({ ...UDP, source, destination: NET_ADDRESS, payload: numbered(number) });
const segment = (number: number) =>
  build({
    ...TCP,
    source: parseIpv4(CLIENT_INSIDE),
    destination: NET_ADDRESS,
    sequence: number * SEGMENT,
    payload: pattern(SEGMENT),
  });
const down = (client: RigClient, number: number) =>
  build({ ...UDP, source: NET_ADDRESS, destination: client.lease, payload: numbered(number) });

const spoiled = (datagram: Uint8Array) => {
  const copy = datagram.slice();
  copy[copy.length - 1] ^= 1;
  return copy;
};

/** What a shard did that does not depend on how its turns fell. */
function account(rig: Rig) {
  const { stages } = rig.shards[0].statistics();
  return {
    counters: rig.counters(),
    stages: Object.fromEntries(stages.map(({ stage, entries, drops }) => [stage, { entries, drops }])),
  };
}

function start(io: RigOptions['io'], stepwise: boolean, steered = false, runs = false): Rig {
  const rig = new Rig({ io, stepwise, shards: 1, steered, runs, aead: addon.about().aead[0] });
  rigs.push(rig);
  return rig;
}

/** The same conversation with either kind of shard. */
function converse(rig: Rig) {
  const [one, two, three] = [2, 3, 4].map((host) => rig.connect(host));
  const inside: Uint8Array[] = [];
  const settle = () => {
    rig.settle();
    inside.push(...rig.inside.receive());
  };
  const before = account(rig);

  // a vector of bulk data alone, longer than the batch of packets is wide
  one.send(upTo(300).map((i) => one.lane(segment(i))));
  settle();
  // one that session.control has to look into, in the middle of it and by the way
  one.send([...upTo(20).map((i) => one.lane(up(i))), ...upTo(20).map((i) => one.record(up(20 + i)))]);
  two.ping();
  two.send([two.lane(up(100)), ...two.taken(), two.lane(up(101)), two.record(up(102))]);
  settle();
  // refused at every node of the uplink
  const again = one.lane(up(40));
  one.send([again, again, spoiled(one.lane(up(41))), Uint8Array.of(1, 2, 3), new Uint8Array(60), one.lane(up(42))]);
  one.send([one.lane(new Uint8Array(40).fill(0x60)), one.lane(up(43))]);
  two.send([two.lane(up(103), { id: 0x7777n as never }), two.lane(up(104))]);
  settle();
  // in two pieces, which session.control puts together, and what comes after them
  const packet = up(44);
  one.say({ kind: 'dataFrag', id: 1, offset: 0, more: true, piece: packet.slice(0, 16) });
  one.say({ kind: 'dataFrag', id: 1, offset: 16, more: false, piece: packet.slice(16) });
  settle();
  one.send([one.lane(up(45))]);
  settle();
  // somebody else's address, once moved and once only said
  three.move();
  three.send([three.lane(up(200)), three.lane(up(201))]);
  settle();

  // down: to several, to nobody, to one who is not online
  rig.inside.send(upTo(30).map((i) => down([one, two, three][i % 3], i)));
  settle();
  rig.inside.send([down(one, 30), build({ ...UDP, source: NET_ADDRESS, destination: parseIpv4('10.125.0.99') })]);
  settle();
  const { slot } = two;
  rig.table.fields.state.set(slot, SlotState.linkUp);
  rig.inside.send([down(one, 31), down(two, 31), down(three, 31)]);
  settle();
  rig.table.fields.state.set(slot, SlotState.online);
  // refused by the socket: a train one by one from now on, a single datagram lost, and counted
  addon.injectErrors(rig.handles[0], 'udp', [EINVAL]);
  rig.inside.send(upTo(8).map((i) => down(one, 40 + i)));
  settle();
  addon.injectErrors(rig.handles[0], 'udp', [EIO]);
  rig.inside.send([down(three, 50)]);
  settle();
  // and by the device, for good and for now
  for (const errno of [EINVAL, EAGAIN]) {
    addon.injectErrors(rig.handles[0], 'tun', [errno]);
    one.send(upTo(4).map((i) => one.lane(segment(300 + i))));
    settle();
  }

  const after = account(rig);
  const difference = (name: string) => (after.counters[name] ?? 0) - (before.counters[name] ?? 0);
  return {
    drops: Object.fromEntries(
      Object.keys(after.counters)
        .filter((name) => difference(name) !== 0 && !name.startsWith('session.') && !name.startsWith('hello.'))
        .map((name) => [name, difference(name)]),
    ),
    stages: Object.fromEntries(
      Object.entries(after.stages).map(([stage, { entries, drops }]) => [
        stage,
        { entries: entries - before.stages[stage].entries, drops },
      ]),
    ),
    inside: concat(...inside).length,
    outside: [one, two, three].map((client) => client.inner().length),
  };
}

describe.skipIf(refusal !== undefined).each(backends())('a pass over %s', (io) => {
  it('opens, seals, drops and counts what the nodes do one by one', () => {
    const stepwise = start(io, true);
    const passing = start(io, false);
    const steps = converse(stepwise);
    expect(converse(passing)).toEqual(steps);
    expect(steps.drops).toMatchObject({ tooShort: 1, replayed: 1, forged: 1, noRoute: 1, notOnline: 1, sendFailed: 1 });
    expect(steps.outside).toEqual([20, 10, 11]);
    // and it has ended in every way there is
    expect(passing.passes.filter((times) => times === 0)).toEqual([]);
    expect(stepwise.passes.every((times) => times === 0)).toBe(true);
  });

  it('is taken turn after turn without JavaScript, to the same end', () => {
    const stepwise = start(io, true, true);
    const running = start(io, false, true, true);
    const steps = converse(stepwise);
    const before = running.shards[0].statistics();
    expect(converse(running)).toEqual(steps);
    expect(steps.outside).toEqual([20, 10, 11]);
    const { turns, turnTimes } = running.shards[0].statistics();
    const timed =
      turnTimes.reduce((sum, times) => sum + times, 0) - before.turnTimes.reduce((sum, times) => sum + times, 0);
    expect(timed).toBeGreaterThan(10); // the rig times none of JavaScript's
    expect(turns - before.turns).toBeGreaterThan(timed);
  });

  it('is timed, stage by stage, one in so many', () => {
    const rig = start(io, false, true, true);
    const client = rig.connect(2);
    rig.settle();
    const stages = () => rig.shards[0].statistics().stages;
    const before = stages();
    vi.spyOn(StageCounters.prototype, 'turn').mockImplementation(() => {}); // so JavaScript times nothing
    for (let i = 0; i < 3 * TIMED_EVERY; i++) {
      client.send(upTo(3).map((j) => client.lane(up(3 * i + j))));
      client.ping();
      client.flush();
      rig.inside.send([down(client, i)]);
      const now = addon.monotonicMicros();
      for (let turns = 0; turns < 4; turns++) rig.shards[0].turn(now, turns === 0 ? 1_000 : 0, now, now + 1 * MS);
      rig.inside.receive();
      client.take();
    }
    vi.restoreAllMocks();
    for (const [i, { stage, entries, timedEntries, timedMicros }] of stages().entries()) {
      const [all, timed, micros] = [
        entries - before[i].entries,
        timedEntries - before[i].timedEntries,
        timedMicros - before[i].timedMicros,
      ];
      if (stage === 'pacer.release') {
        expect(timed).toBe(0); // nothing waited
        continue;
      }
      expect({ stage, timed: timed > 0, few: timed < all / 10 }).toEqual({ stage, timed: true, few: true });
      expect({ stage, nanos: micros / timed > 0 }).toEqual({ stage, nanos: true });
    }
  });

  it('is the last one for now when the time is over', () => {
    const rig = start(io, false, true, true);
    const client = rig.connect(2);
    rig.settle();
    const [shard] = rig.shards;
    const { turns } = shard.statistics();
    for (let i = 0; i < 3; i++) {
      client.send([client.lane(up(i))]);
      const now = addon.monotonicMicros();
      expect(shard.turn(now, 1_000_000, now, now + 0.001)).toBe(true); // over before the second look
    }
    expect(shard.statistics().turns - turns).toBe(3);
    expect(rig.inside.receive().length).toBe(3);
  });

  it('is seen by who counts who sends how much, also where JavaScript has to finish it', () => {
    const rig = start(io, false, true, true);
    const client = rig.connect(2);
    rig.settle();
    const [shard] = rig.shards;
    const fair = vi.spyOn(FairShare.prototype, 'vector');
    const turns = vi.spyOn(Turns.prototype, 'vector');
    for (let i = 0; i < 20; i++) {
      client.send([client.lane(up(i))]);
      rig.inside.send([down(client, i), build({ ...UDP, source: NET_ADDRESS, destination: parseIpv4('10.125.0.99') })]);
      for (const waited = performance.now(); performance.now() - waited < 1; );
      const now = addon.monotonicMicros();
      expect(shard.turn(rig.now, 1_000_000, now, now + 100)).toBe(true);
    }
    const seen = turns.mock.calls.filter(([, , count]) => count > 0).length;
    vi.restoreAllMocks();
    expect(fair.mock.calls.length).toBeGreaterThanOrEqual(20);
    expect(seen).toBeGreaterThanOrEqual(20);
  });

  it('is a turn with work where session.control has to finish it', () => {
    const rig = start(io, false, true, true);
    const client = rig.connect(2);
    rig.settle();
    client.move();
    client.send([client.lane(up(0))]);
    const now = addon.monotonicMicros();
    expect(rig.shards[0].turn(rig.now, 1_000_000, now, now + 1_000)).toBe(true);
    expect(rig.counters()['session.floats'] ?? rig.shards[0].statistics().control.floats).toBe(1);
  });

  it('hears no more strangers for it that the shard may sleep', async () => {
    // no doors: strangers come to the socket of the sessions, and are heard as far as their share of the time goes
    const rig = start(io, false);
    const stranger = new RigClient(rig, 78);
    const [hello] = stranger.taken();
    const [shard] = rig.shards;
    shard.start();
    for (let i = 1; i <= 5; i++) {
      await sleep(10);
      const { divert = 0 } = rig.counters();
      const before = rig.passes.join();
      stranger.send([hello]);
      for (let waited = 0; waited < 200 && rig.counters().divert !== divert + 1; waited++) await sleep(5);
      expect(rig.counters().divert).toBe(divert + 1);
      expect(rig.passes.join()).not.toBe(before); // through JavaScript, where the share is counted
    }
    stranger.socket.close();
  });

  it('takes lone packets through a sleeping shard without JavaScript, and leaves to it what is for session.control', async () => {
    const rig = start(io, false, true);
    const client = rig.connect(2);
    const [shard] = rig.shards;
    shard.start();
    const came = async (what: () => boolean) => {
      for (let waited = 0; waited < 200; waited++) {
        if (what()) return true;
        await sleep(10);
      }
      return false;
    };
    let alone = 0;
    for (let i = 0; i < 10; i++) {
      await sleep(20);
      const before = rig.passes.join();
      client.send([client.lane(up(i))]);
      expect(await came(() => rig.inside.receive().length > 0)).toBe(true);
      rig.inside.send([down(client, i)]);
      expect(await came(() => client.take())).toBe(true);
      alone += rig.passes.join() === before ? 1 : 0;
    }
    expect(client.inner()).toHaveLength(10);
    expect(alone).toBeGreaterThan(0); // a machine that is busy may keep the shard awake for some of them
    const { stages } = shard.statistics();
    for (const name of ['udp.receive', 'lanes.open', 'gro.coalesce', 'tun.receive', 'routes.lookup', 'lanes.seal'])
      expect(stages.find(({ stage }) => stage === name)?.entries).toBeGreaterThanOrEqual(10);

    await sleep(20);
    const heard = client.heard.length;
    client.ping();
    client.flush();
    expect(await came(() => client.take())).toBe(true);
    expect(client.heard.length).toBeGreaterThan(heard);
    const { forged = 0 } = rig.counters();
    client.send([spoiled(client.lane(up(11)))]);
    expect(await came(() => rig.counters().forged === forged + 1)).toBe(true);
  });
});
