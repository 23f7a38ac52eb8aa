/** A result with believable figures, for what is made of results. */
import { bucketOf, noBuckets, summarise } from '../../src/load/buckets.ts';
import type { DirectionResult, Result } from '../../src/load/result.ts';
import { readScenario } from '../../src/load/scenario.ts';
import { seeded } from '../../src/load/sweep.ts';

export function direction(overrides: Partial<DirectionResult> = {}, seed = 1): DirectionResult {
  const random = seeded(seed);
  const buckets = noBuckets();
  for (let i = 0; i < 50_000; i++) buckets[bucketOf(60_000 * (1 + random() ** -0.35))]++;
  return {
    offeredBits: 2.5e9,
    goodputBits: 2.487e9,
    offered: 2_314_814,
    delivered: 2_302_770,
    duplicates: 0,
    reordered: 12,
    latencyKind: 'one-way',
    latency: summarise(buckets),
    fairness: 0.9987,
    clientBits: Array.from({ length: 100 }, () => 24e6 + random() * 1.5e6),
    losses: [
      { where: 'server socket', reason: 'SO_RXQ_OVFL', packets: 11_500, estimated: true },
      { where: 'server', reason: 'noBlock', packets: 544, estimated: false },
    ],
    unexplained: 0,
    trainSent: 16,
    trainReceived: 15.3,
    ...overrides,
  };
}

export function result(overrides: Partial<Result> = {}, seed = 1): Result {
  const random = seeded(seed + 100);
  const at = Array.from({ length: 40 }, (_, i) => i / 4);
  const around = (value: number, spread: number) => at.map(() => value * (1 + (random() - 0.5) * spread));
  return {
    format: 'ringway-load',
    version: 1,
    title: 'Upload from 100 clients',
    started: '2026-11-22 02:30:00Z',
    command: 'ringway load upload --self --clients 100 --rate 25M --burst 16 --report out.html',
    release: '0.1.0',
    subject: 'Ringway 0.1.0',
    scenario: readScenario('upload', { rate: '25M', burst: '16' }),
    endedEarly: false,
    invalid: [],
    measuredSeconds: 10,
    clients: { wanted: 100, online: 100, lost: 0, failed: {}, loginSeconds: 1.2 },
    uplink: direction({}, seed),
    downlink: null,
    generator: { lag: 0.0003, delay: direction({}, seed + 7).latency, busy: 0.42, cpuSeconds: 4.2 },
    cpu: { cores: 2, server: 6.1, sink: 1.9, serverPerGb: 1.96 },
    saturated: null,
    shards: [
      { udpDatagramsIn: 1_151_385, socketDrops: 5_750, tunPacketsOut: 75_000 },
      { udpDatagramsIn: 1_151_385, socketDrops: 5_750, tunPacketsOut: 76_000 },
    ],
    series: {
      at,
      upBits: around(2.487e9, 0.05),
      downBits: at.map(() => 0),
      loss: around(0.005, 1),
      p50: around(92, 0.2),
      p99: around(410, 0.8),
      train: around(15.3, 0.05),
      cores: [around(0.93, 0.1), around(0.88, 0.2)],
    },
    machine: { CPU: 'AMD EPYC 9B45, 2 cores', kernel: '6.18.5', memory: '8 GB' },
    configuration: { clients: '100', rate: '25 Mbit/s each', trains: '16', io: 'io_uring' },
    ...overrides,
  };
}
