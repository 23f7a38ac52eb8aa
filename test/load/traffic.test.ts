/** What native/load makes and counts, held against the reference forms: payload.ts, schedule.ts, buckets.ts. */
import { deepEqual, equal, ok, throws } from 'node:assert/strict';
import fc from 'fast-check';
import { describe, it } from 'vitest';
import { type Batch, Flag, GsoType, HEADER, viewBatch } from '../../src/datapath/batch.ts';
import { nativeBatch } from '../../src/datapath/batches.ts';
import { bucketOf } from '../../src/load/buckets.ts';
import { decodePayload, encodePayload, PayloadFlag, PayloadType } from '../../src/load/payload.ts';
import { createSchedule } from '../../src/load/schedule.ts';
import { Traffic, type TrafficOptions } from '../../src/load/traffic.ts';
import { loadAddon } from '../../src/native/index.ts';
import { verifyTransportChecksum } from './checksums.ts';

const addon = loadAddon();
const IP_UDP = 28;

function createPool(capacity = 256, blocks = 16): Batch {
  const arena = addon.createArena(66_048, blocks);
  const { handle, buffer } = addon.createBatch(arena.handle, capacity);
  return viewBatch(buffer, capacity, new Uint8Array(arena.buffer), handle);
}

function options(more: Partial<TrafficOptions> = {}): TrafficOptions {
  const common = { clients: 3, first: 0, run: 7, form: 'inside' as const, destination: 0x0a630002, portNumber: 5201 };
  return { ...common, flows: 1, burst: 4, window: false, echoEvery: 0, sizes: [1350], ...more };
}

function online(traffic: Traffic): Traffic {
  for (let client = 0; client < traffic.clients; client++) {
    traffic.set('source', client, 0x6440_0006);
    traffic.set('online', client, 1);
  }
  return traffic;
}

const always = { start: 1_000, spacing: 10, measureFrom: 1_000, measureTo: 1e9, stop: 1e9 };

function go(traffic: Traffic, times = {}): void {
  addon.scheduleTraffic(traffic.handle, { ...always, ...times });
}

const entries = (batch: Batch) =>
  Array.from({ length: batch.header[HEADER.count] }, (_, i) => {
    const at = batch.offset[i];
    return {
      bytes: batch.bytes.slice(at, at + batch.length[i]),
      slot: batch.slot[i],
      segmentSize: batch.segmentSize[i],
      kind: batch.kind[i],
      flags: batch.flags[i],
    };
  });

/** The payloads of an inner superpacket. */
function payloads({ bytes, segmentSize }: { bytes: Uint8Array; segmentSize: number }, header = IP_UDP) {
  const all = bytes.subarray(header);
  const step = segmentSize || all.length;
  return Array.from({ length: Math.ceil(all.length / step) }, (_, i) => decodePayload(all.subarray(i * step)));
}

/** Inner superpackets as the other end gets them: datagrams of one train each. */
function deliver(from: Batch, to: Batch, keep: (sequence: number) => boolean = () => true): void {
  for (const entry of entries(from)) {
    const all = entry.bytes.subarray(IP_UDP);
    const step = entry.segmentSize || all.length;
    for (let at = 0; at < all.length; at += step) {
      const datagram = all.subarray(at, at + step);
      if (keep(decodePayload(datagram)?.sequence ?? -1))
        ok(addon.put(nativeBatch(to), -1, 0, new Uint8Array(40), datagram));
    }
  }
}

/** As the loader finds it behind lanes.open. */
function behindIp(datagram: Uint8Array): Uint8Array {
  const packet = new Uint8Array(IP_UDP + datagram.length);
  packet.set([0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17]);
  packet.set(datagram, IP_UDP);
  return packet;
}

describe('traffic that is due', () => {
  it('is what the schedule says, train by train, for any rate, burst and time', () => {
    const scenarios = fc.record({
      clients: fc.integer({ min: 1, max: 5 }),
      burst: fc.integer({ min: 1, max: 8 }),
      rate: fc.integer({ min: 100_000, max: 10_000_000 }),
      after: fc.integer({ min: 0, max: 3_000 }),
    });
    fc.assert(
      fc.property(scenarios, ({ clients, burst, rate, after }) => {
        const schedule = createSchedule({ clients, rate, burst, sizes: [1350] });
        const traffic = online(new Traffic(addon, options({ clients, burst })));
        go(traffic, { spacing: schedule.spacing });
        const batch = createPool(4_096, 64);
        const made = addon.sendTraffic(traffic.handle, nativeBatch(batch), 1_000 + after);
        equal(made, schedule.trainsDue(after) * burst);
        const clientsOf = entries(batch).map(({ slot }) => slot);
        deepEqual(
          clientsOf,
          clientsOf.map((_, train) => schedule.client(train)),
        );
      }),
      { numRuns: 50 },
    );
  });

  it('carries its due time, however late it is made', () => {
    const traffic = online(new Traffic(addon, options({ clients: 1, burst: 1 })));
    go(traffic, { spacing: 100 });
    const batch = createPool();
    equal(addon.sendTraffic(traffic.handle, nativeBatch(batch), 1_950), 10);
    const times = entries(batch).flatMap((entry) => payloads(entry).map((payload) => payload?.timeNs));
    deepEqual(
      times,
      [0, 1, 2, 3, 4, 5, 6, 7, 8, 9].map((i) => (1_000 + i * 100) * 1_000),
    );
    const late = traffic.histograms().delay;
    equal(late[bucketOf(950_000)], 1);
    equal(late[bucketOf(50_000)], 1);
  });

  it('ends at the stop, and owes what was due before', () => {
    const traffic = online(new Traffic(addon, options({ clients: 1, burst: 1 })));
    go(traffic, { spacing: 100, stop: 1_500 });
    equal(addon.sendTraffic(traffic.handle, nativeBatch(createPool()), 9_999), 5);
    equal(traffic.total('turns'), 5);
  });

  it('waits for room and goes on where it was: nothing is skipped, nothing is sent twice', () => {
    const traffic = online(new Traffic(addon, options({ clients: 2, burst: 3, sizes: [64, 1350] })));
    go(traffic, { spacing: 10 });
    const small = createPool(2, 4);
    const sequences: number[][] = [[], []];
    for (let turn = 0; turn < 20; turn++) {
      addon.clear(nativeBatch(small));
      addon.sendTraffic(traffic.handle, nativeBatch(small), 1_095);
      for (const entry of entries(small))
        for (const payload of payloads(entry)) sequences[entry.slot].push(payload?.sequence ?? -1);
    }
    deepEqual(sequences, [Array.from({ length: 15 }, (_, i) => i), Array.from({ length: 15 }, (_, i) => i)]);
    ok(traffic.total('noRoom') > 0);
  });

  it('passes over clients that are not online, without running ahead of them', () => {
    const traffic = new Traffic(addon, options({ clients: 2, burst: 1 }));
    go(traffic);
    equal(addon.sendTraffic(traffic.handle, nativeBatch(createPool()), 1_100), 0);
    traffic.set('online', 1, 1);
    const batch = createPool();
    addon.sendTraffic(traffic.handle, nativeBatch(batch), 1_200);
    ok(entries(batch).every(({ slot }) => slot === 1));
  });
});

describe('an inner packet', () => {
  it('is a UDP superpacket of equal segments, or a packet with its checksum begun', () => {
    const traffic = online(new Traffic(addon, options({ clients: 1, burst: 4, sizes: [1350] })));
    go(traffic);
    const batch = createPool();
    addon.sendTraffic(traffic.handle, nativeBatch(batch), 1_000);
    const [entry] = entries(batch);
    deepEqual(
      [entry.segmentSize, entry.kind, entry.flags, entry.bytes.length],
      [1322, GsoType.udp, Flag.needsChecksum | Flag.checksumValid, IP_UDP + 4 * 1322],
    );
    equal(payloads(entry).length, 4);
  });

  it('has IP and UDP headers that add up', () => {
    const traffic = online(new Traffic(addon, options({ clients: 1, burst: 1, sizes: [64, 577] })));
    go(traffic);
    const batch = createPool();
    addon.sendTraffic(traffic.handle, nativeBatch(batch), 1_015);
    for (const { bytes } of entries(batch)) ok(verifyTransportChecksum(bytes));
    deepEqual(
      entries(batch).map(({ bytes }) => bytes.length),
      [64, 577],
    );
  });

  it('mixes sizes in the order they were given, runs of one size together', () => {
    const traffic = online(new Traffic(addon, options({ clients: 1, burst: 6, sizes: [64, 64, 576] })));
    go(traffic);
    const batch = createPool();
    addon.sendTraffic(traffic.handle, nativeBatch(batch), 1_000);
    deepEqual(
      entries(batch).map((entry) => payloads(entry).length),
      [2, 1, 2, 1],
    );
  });
});

describe('traffic that came', () => {
  it('is counted once: what is lost, late or twice agrees with a plain Set', () => {
    const deliveries = fc.array(fc.nat(600), { maxLength: 400 });
    fc.assert(
      fc.property(deliveries, (sequences) => {
        const sink = new Traffic(addon, options({ form: 'outside', clients: 1 }));
        const [seen, counted] = [new Set<number>(), { duplicates: 0, reordered: 0, next: 0 }];
        const batch = createPool(512, 16);
        for (const sequence of sequences) {
          const payload = { type: PayloadType.data, flags: 0, run: 7, client: 0, sequence, timeNs: 0, count: 0 };
          ok(addon.put(nativeBatch(batch), -1, 0, new Uint8Array(40), encodePayload(payload)));
          if (seen.has(sequence)) counted.duplicates++;
          else if (sequence < counted.next) counted.reordered++;
          counted.next = Math.max(counted.next, sequence + 1);
          seen.add(sequence);
        }
        addon.receiveTraffic(sink.handle, nativeBatch(batch), undefined, 1);
        const { delivered, duplicates, reordered } = sink.totals();
        const { next: _, ...expected } = counted;
        deepEqual({ delivered, duplicates, reordered }, { ...expected, delivered: seen.size });
      }),
    );
  });

  it('is timed from when it was due, and only when it is measured', () => {
    const sink = new Traffic(addon, options({ form: 'outside', clients: 1 }));
    const batch = createPool();
    for (const [sequence, flags] of [0, PayloadFlag.measured].entries()) {
      const payload = { type: PayloadType.data, flags, run: 7, client: 0, sequence, timeNs: 1_000_000, count: 0 };
      addon.put(nativeBatch(batch), -1, 0, new Uint8Array(40), encodePayload(payload));
    }
    addon.receiveTraffic(sink.handle, nativeBatch(batch), undefined, 1_250);
    const { oneWay } = sink.histograms();
    equal(
      oneWay.reduce((sum, each) => sum + each, 0),
      1,
    );
    equal(oneWay[bucketOf(250_000)], 1);
    equal(sink.total('measuredDelivered'), 1);
  });

  it('ignores what is not of this run, and what is no traffic at all', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 80 }), fc.nat(3), fc.nat(20), (noise, type, client) => {
        const sink = new Traffic(addon, options({ form: 'outside', clients: 3 }));
        const batch = createPool(8, 4);
        addon.put(nativeBatch(batch), -1, 0, undefined, noise);
        const other = { type, flags: 7, run: 8, client, sequence: 0, timeNs: 0, count: 0 };
        addon.put(nativeBatch(batch), -1, 0, undefined, encodePayload(other));
        equal(addon.receiveTraffic(sink.handle, nativeBatch(batch), nativeBatch(createPool(8, 4)), 1), 0);
        equal(sink.total('delivered'), 0);
      }),
      { numRuns: 100 },
    );
  });

  it('of a client that does not exist changes nothing', () => {
    const sink = new Traffic(addon, options({ form: 'outside', clients: 3, first: 10 }));
    const batch = createPool(8, 4);
    for (const client of [0, 9, 13, 2 ** 32 - 1]) {
      const payload = { type: PayloadType.data, flags: 0, run: 7, client, sequence: 0, timeNs: 0, count: 0 };
      addon.put(nativeBatch(batch), -1, 0, undefined, encodePayload(payload));
    }
    equal(addon.receiveTraffic(sink.handle, nativeBatch(batch), undefined, 1), 0);
    equal(sink.total('foreign'), 4);
  });
});

describe('an echo', () => {
  it('comes back for one packet of so many, and is timed from when that was due', () => {
    const loader = online(new Traffic(addon, options({ clients: 1, burst: 1, echoEvery: 4 })));
    const sink = new Traffic(addon, options({ clients: 1, form: 'outside' }));
    go(loader, { spacing: 100 });
    const [up, came, back, down] = [createPool(), createPool(), createPool(), createPool()];
    equal(addon.sendTraffic(loader.handle, nativeBatch(up), 1_750), 8);
    deliver(up, came);
    addon.receiveTraffic(sink.handle, nativeBatch(came), nativeBatch(back), 2_000);
    const echoes = entries(back).map(({ bytes }) => decodePayload(bytes));
    deepEqual(
      echoes.map((echo) => [echo?.type, echo?.timeNs]),
      [
        [PayloadType.echo, 1_000_000],
        [PayloadType.echo, 1_400_000],
      ],
    );
    for (const { bytes } of entries(back)) ok(addon.put(nativeBatch(down), 0, 0, undefined, behindIp(bytes)));
    addon.receiveTraffic(loader.handle, nativeBatch(down), undefined, 2_400);
    const { roundTrip } = loader.histograms();
    deepEqual([roundTrip[bucketOf(1_400_000)], roundTrip[bucketOf(1_000_000)]], [1, 1]);
    equal(loader.total('delivered'), 0); // an echo is no traffic
  });
});

describe('a window', () => {
  /** Rounds of: send, lose some, receive, acknowledge. @returns packets sent in each round */
  function rounds(count: number, lose: (sequence: number) => boolean): number[] {
    const loader = online(new Traffic(addon, options({ clients: 1, burst: 1, window: true })));
    const sink = new Traffic(addon, options({ form: 'outside', clients: 1, burst: 1, window: true }));
    go(loader, { spacing: 0 });
    const [up, came, acks, down] = [createPool(1_024, 64), createPool(4_096, 128), createPool(), createPool()];
    return Array.from({ length: count }, (_, round) => {
      for (const batch of [up, came, acks, down]) addon.clear(nativeBatch(batch));
      const now = 1_000 + round * 1_000;
      let sent = 0;
      for (let more = 1; more > 0; sent += more) more = addon.sendTraffic(loader.handle, nativeBatch(up), now);
      deliver(up, came, (sequence) => !lose(sequence));
      addon.receiveTraffic(sink.handle, nativeBatch(came), nativeBatch(acks), now + 500);
      for (const { bytes } of entries(acks)) addon.put(nativeBatch(down), 0, 0, undefined, behindIp(bytes));
      addon.receiveTraffic(loader.handle, nativeBatch(down), undefined, now + 900);
      return sent;
    });
  }

  it('doubles each round trip while nothing is lost', () => {
    deepEqual(
      rounds(5, () => false),
      [10, 20, 40, 80, 160],
    );
  });

  it('halves after a loss, once for all that was under way, and then grows by one a round trip', () => {
    const sent = rounds(8, (sequence) => sequence === 75);
    deepEqual(sent.slice(0, 5), [10, 20, 40, 80, 40]);
    for (let i = 5; i < 8; i++) ok(sent[i] - sent[i - 1] >= 0 && sent[i] - sent[i - 1] <= 2, sent.join());
  });

  it('stops when nothing is acknowledged, and starts small again after 300 ms', () => {
    const loader = online(new Traffic(addon, options({ clients: 1, burst: 4, window: true })));
    go(loader, { spacing: 0 });
    const batch = createPool();
    const send = (now: number) => addon.sendTraffic(loader.handle, nativeBatch(batch), now);
    let first = 0;
    for (let more = 1; more > 0; first += more) more = send(1_000);
    equal(first, 10);
    equal(send(200_000), 0);
    equal(send(400_000), 2);
    equal(loader.total('timeouts'), 1);
  });
});

describe('createTraffic', () => {
  it('refuses what it cannot hold, and names it', () => {
    throws(() => addon.createTraffic(options({ clients: 0 })), /createTraffic: options.clients/);
    throws(() => addon.createTraffic(options({ burst: 65 })), /createTraffic: options.burst/);
    throws(() => addon.createTraffic(options({ sizes: [] })), /options.sizes/);
    throws(() => addon.createTraffic(options({ sizes: [63] })), /options.sizes/);
    throws(() => addon.createTraffic(options({ form: 'sideways' as 'inside' })), /options.form/);
  });
});
