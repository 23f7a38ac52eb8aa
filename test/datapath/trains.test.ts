/** How many datagrams leave in one send: as many as the kernel takes, which is tried; up to 128, and 64 where it refuses. */
import { constants } from 'node:os';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { chooseTrain, longestTrain, MOST_SEGMENTS } from '../../src/datapath/backends.ts';
import { TRAIN_BUCKETS } from '../../src/observe/statistics.ts';
import { addon, namespaceRefusal } from '../io/rig.ts';
import { build, concat, pattern, TCP } from '../packet/packets.ts';
import { flavours, NET_ADDRESS, Rig, type RigClient } from './rig.ts';

const refusal = namespaceRefusal();
if (refusal) console.warn(`skipped: ${refusal}`);

const { EINVAL, ENETUNREACH } = constants.errno;
const SEGMENT = 200;
const SEGMENTS = 100;
const HEADERS = 40;

const answering = (errno: number) => ({ tryTrain: vi.fn(() => errno) });

let rig: Rig | undefined;
afterEach(() => {
  rig?.close();
  rig = undefined;
});

describe('what the kernel takes', () => {
  it('is 128 where it takes them, and 64 where it refuses, or could not be asked', () => {
    expect([0, EINVAL, ENETUNREACH].map((errno) => longestTrain(answering(errno)))).toEqual([128, 64, 64]);
  });

  it('is what a shard sends unless fewer are asked for; more are cut down, and it is said', () => {
    const [now, before] = [answering(0), answering(EINVAL)];
    expect([0, 16, 65, 128].map((wanted) => chooseTrain(now, wanted))).toEqual(
      [128, 16, 65, 128].map((segments) => ({ segments, note: undefined })),
    );
    expect([0, 16, 64].map((wanted) => chooseTrain(before, wanted))).toEqual(
      [64, 16, 64].map((segments) => ({ segments, note: undefined })),
    );
    const { segments, note } = chooseTrain(before, 100);
    expect([segments, note]).toEqual([64, expect.stringMatching(/64 datagrams at once, not 100.* 6\.9/)]);
  });

  it('is not asked where it does not matter', () => {
    const kernel = answering(0);
    expect(chooseTrain(kernel, 64).segments).toBe(64);
    expect(kernel.tryTrain).not.toHaveBeenCalled();
  });

  it('is told by this one: two it takes, a thousand no kernel does', () => {
    expect(addon.tryTrain(2)).toBe(0);
    expect(addon.tryTrain(1_000)).toBe(EINVAL);
    expect(() => addon.tryTrain(1)).toThrow(/tryTrain: segments/);
  });
});

describe.skipIf(refusal !== undefined).each(flavours())('over %s with %s', (io, aead) => {
  /** Sends a superpacket down. @returns how many sends it took, when every segment of it has arrived in order */
  function sendsFor(on: Rig, client: RigClient, sequence: number): number {
    client.inner();
    const before = on.ports('udpTrainsOut');
    const payload = pattern(SEGMENT * SEGMENTS);
    const whole = build({ ...TCP, source: NET_ADDRESS, destination: client.lease, sequence, payload });
    on.inside.sendSuperpacket(whole, SEGMENT);
    on.settle();
    const segments = client.inner();
    expect(segments.map((bytes) => bytes.length)).toEqual(Array(SEGMENTS).fill(HEADERS + SEGMENT));
    expect(concat(...segments.map((bytes) => bytes.subarray(HEADERS)))).toEqual(payload);
    return on.ports('udpTrainsOut') - before;
  }

  it('a superpacket of 100 small segments leaves in one send where the kernel takes it, else in two', () => {
    const most = longestTrain(addon);
    rig = new Rig({ io, aead, shards: 1, trainSegments: most });
    const client = rig.connect(2);
    expect(sendsFor(rig, client, 1)).toBe(most === MOST_SEGMENTS ? 1 : 2);
    const [{ trainsOut }] = rig.shards.map((shard) => shard.statistics());
    expect(trainsOut).toHaveLength(TRAIN_BUCKETS.length);
    expect(trainsOut[TRAIN_BUCKETS.indexOf('64-127')]).toBe(1);
  });

  it('and in two where it refuses', () => {
    rig = new Rig({ io, aead, shards: 1, trainSegments: longestTrain(answering(EINVAL)) });
    expect(sendsFor(rig, rig.connect(2), 1)).toBe(2);
  });

  it('a train of more than 64 that the path refuses is sent one by one, and nothing of it is lost', () => {
    rig = new Rig({ io, aead, shards: 1, trainSegments: longestTrain(addon) });
    const client = rig.connect(2);
    addon.injectErrors(rig.handles[0], 'udp', [EINVAL]);
    sendsFor(rig, client, 1);
    expect(rig.counters().gsoRefused).toBe(1);
    expect(sendsFor(rig, client, 1 + SEGMENT * SEGMENTS)).toBe(SEGMENTS);
  });
});
