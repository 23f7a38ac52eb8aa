/**
 * What a warm shard leaves to the garbage collector: packets through both pipelines, counted by the heap that its turns take.
 * Nothing allocated in a turn is nothing to collect.
 */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { DOOR_VECTOR } from '../../src/datapath/batches.ts';
import { parseIpv4 } from '../../src/server/leases.ts';
import { encodeFrame } from '../../src/wire/frames.ts';
import { encodeHeader, VERSION_1_3 } from '../../src/wire/header.ts';
import { backends, namespaceRefusal } from '../io/rig.ts';
import { build, bytesOf, concat, UDP } from '../packet/packets.ts';
import { CLIENT_INSIDE, NET_ADDRESS, numbered, Rig, RigClient, Socket } from './rig.ts';

const refusal = namespaceRefusal();
if (refusal) console.warn(`skipped: ${refusal}`);

/** At most, and on the average of a run (issue: allocation-free pipelines). */
const BYTES_A_TURN = 200;
/** At most for what is counted, and no more: plaintext from a session's own address, ids that nobody has. */
const BYTES_A_DROP = 20;
/** At most for a first ClientHello of a stranger: what a turn takes, shared by those that came together. */
const BYTES_A_HELLO = 40;
const HELLOS = 96_000;
const HELLOS_AT_ONCE = 1_600;
const WARM_TURNS = 12_000;
const WARM_FLOODS = 100;
const ROUNDS = 40;
/** Packets of a round, each way: what fits the sockets and the device at once. */
const UP = 400;
const DOWN = 60;
/** How long a shard looks before it is said to be quiet. */
const QUIET_US = 300;

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;

describe.skipIf(refusal !== undefined).each(backends())('the turns of a warm shard, over %s', (io) => {
  let rig: Rig;
  let client: RigClient;
  /** Whose kernel neither drops nor puts aside what floods it: all comes in by the socket of the sessions. */
  let unfiltered: Rig;

  beforeAll(() => {
    rig = new Rig({ io, shards: 1 });
    client = rig.connect(60);
    unfiltered = new Rig({ io, shards: 1, filtered: false });
  });
  afterAll(() => {
    rig.close();
    unfiltered.close();
  });

  /**
   * Sends in small pieces until the compiler has seen enough turns, then in large ones.
   * @returns turns, and heap a turn in the median round: a compiler at work takes some too
   */
  function measure(small: () => void, large: () => void): { turns: number; each: number } {
    const [shard] = rig.shards;
    const { now } = rig;
    const each = new Float64Array(ROUNDS);
    let turns = 0;
    for (let turn = 0; turn < WARM_TURNS; turn++) {
      if (turn % 4 === 0) small();
      shard.turn(now, 0);
      if (turn % 32 === 0) forget();
    }
    for (let round = 0; round < ROUNDS; round++) {
      large();
      collect(); // so that nothing is collected within the turns
      const first = turns;
      const nothing = process.memoryUsage().heapUsed;
      const before = process.memoryUsage().heapUsed;
      const asking = before - nothing; // what the answer takes itself: some 480 bytes
      for (let quiet = 0; quiet < 2; turns++) quiet = shard.turn(now, quiet === 0 ? 0 : QUIET_US) ? 0 : quiet + 1;
      each[round] = (process.memoryUsage().heapUsed - before - asking) / (turns - first);
      forget();
    }
    return { turns, each: each.sort()[ROUNDS / 2] };
  }

  function forget(): void {
    rig.inside.receive();
    client.socket.receive();
  }

  it('take at most 200 bytes of heap each, uplink', () => {
    const packet = build({ ...UDP, source: parseIpv4(CLIENT_INSIDE), destination: NET_ADDRESS, payload: numbered(1) });
    const send = (count: number) => client.send(Array.from({ length: count }, () => client.lane(packet)));
    const { each, turns } = measure(
      () => send(1),
      () => send(UP),
    );
    expect(each).toBeLessThan(BYTES_A_TURN);
    expect(turns).toBeGreaterThan(3 * ROUNDS);
    expect(Number(rig.table.fields.packetsOpened.get(client.slot))).toBeGreaterThanOrEqual(ROUNDS * UP);
  });

  it('take at most 200 bytes of heap each, downlink', () => {
    const packet = build({ ...UDP, source: NET_ADDRESS, destination: client.lease, payload: numbered(1) });
    const many = Array.from({ length: DOWN }, () => packet);
    const { each } = measure(
      () => rig.inside.send([packet]),
      () => rig.inside.send(many),
    );
    expect(each).toBeLessThan(BYTES_A_TURN);
    expect(Number(rig.table.fields.packetsSealed.get(client.slot))).toBeGreaterThanOrEqual(ROUNDS * DOWN);
  });

  it('take at most 200 bytes of heap each, answering Pings', () => {
    const keepalive = encodeFrame({ kind: 'ping', id: 0, payload: new Uint8Array(0) });
    const say = (count: number) => {
      for (let i = 0; i < count; i++) client.content(keepalive);
    };
    const before = rig.counters().pings ?? 0;
    const { each } = measure(
      () => say(1),
      () => say(UP),
    );
    expect(each).toBeLessThan(BYTES_A_TURN);
    expect(rig.counters().pings - before).toBeGreaterThanOrEqual(ROUNDS * UP);
  }, 60_000);

  /** Floods. @returns heap a datagram, with turns and all, in the median round, and in how many passes JavaScript had to go on */
  function flooded(verdict: string, send: () => void): { each: number; stopped: number } {
    const { shards, now, inside, passes: ended } = unfiltered;
    const [shard] = shards;
    const dropped = () => unfiltered.counters()[verdict] ?? 0;
    const flood = () => {
      send();
      for (let quiet = 0; quiet < 2; ) quiet = shard.turn(now, quiet === 0 ? 0 : QUIET_US) ? 0 : quiet + 1;
    };
    for (let i = 0; i < WARM_FLOODS; i++) {
      flood();
      inside.receive();
    }
    const first = dropped();
    const [through] = ended;
    const passes = () => ended.reduce((sum, times) => sum + times, 0);
    const before = passes();
    const grown: number[] = [];
    for (let round = 0; round < ROUNDS; round++) {
      send();
      collect();
      const nothing = process.memoryUsage().heapUsed;
      const used = process.memoryUsage().heapUsed;
      const asking = used - nothing;
      for (let quiet = 0; quiet < 2; ) quiet = shard.turn(now, quiet === 0 ? 0 : QUIET_US) ? 0 : quiet + 1;
      grown.push((process.memoryUsage().heapUsed - used - asking) / UP);
      inside.receive();
    }
    expect(dropped() - first).toBe(ROUNDS * UP);
    return { each: grown.sort((a, b) => a - b)[ROUNDS / 2], stopped: passes() - before - (ended[0] - through) };
  }

  it('drop plaintext from the address of a session with at most 20 bytes of heap each, and stop no pass for it', () => {
    const known = unfiltered.connect(60);
    const header = encodeHeader({ version: VERSION_1_3, aggressive: false, expresslane: false, sessionId: known.id });
    const content = new Uint8Array(100).fill(2);
    const plain = concat(header, bytesOf('u8', 22, 'u16', 0xfefd, 'u16', 0, 'u48', 9, 'u16', content.length), content);
    const many = Array.from({ length: UP }, () => plain);
    const { each, stopped } = flooded('unprotected', () => known.send(many));
    expect(each).toBeLessThan(BYTES_A_DROP);
    expect(stopped).toBe(0);
  }, 60_000);

  it('drop ids that nobody has with at most 20 bytes of heap each, and stop no pass for them', () => {
    const header = encodeHeader({ version: VERSION_1_3, aggressive: false, expresslane: true, sessionId: 77n });
    const socket = new Socket('127.0.0.63');
    const many = Array.from({ length: UP }, () => concat(header, new Uint8Array(100)));
    const { each, stopped } = flooded('unknownId', () => socket.send(unfiltered.address, many));
    socket.close();
    expect(each).toBeLessThan(BYTES_A_DROP);
    expect(stopped).toBe(0);
  }, 60_000);

  it('answer 96,000 first ClientHellos with at most 40 bytes of heap each, and no object for any', () => {
    const [shard] = rig.shards;
    const stranger = new RigClient(rig, 61);
    const [hello] = stranger.taken();
    stranger.socket.close();
    const socket = new Socket('127.0.0.62');
    const many = Array.from({ length: HELLOS_AT_ONCE }, () => hello);
    const answered = () => rig.counters().answered ?? 0;
    const first = answered();
    let now = rig.shards[0].control.now();
    rig.clock = () => now;
    const grown: number[] = [];
    for (let round = 0; round < HELLOS / HELLOS_AT_ONCE; round++) {
      socket.send(rig.address, many);
      collect();
      const before = process.memoryUsage().heapUsed;
      for (let turn = 0; turn < HELLOS_AT_ONCE / DOOR_VECTOR; turn++) {
        now += 10_000; // long enough for the strangers' share to be whole again
        shard.turn(rig.now, 0);
      }
      grown.push((process.memoryUsage().heapUsed - before) / HELLOS_AT_ONCE);
      for (const answer of socket.receive()) expect(answer.length).toBeLessThanOrEqual(3 * hello.length);
    }
    rig.clock = undefined;
    socket.close();
    expect(answered() - first).toBe(HELLOS);
    expect(grown.sort((a, b) => a - b)[grown.length / 2]).toBeLessThan(BYTES_A_HELLO);
  }, 120_000);
});
