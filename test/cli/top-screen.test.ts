import { stripVTControlCharacters } from 'node:util';
import { describe, expect, it } from 'vitest';
import { topLine, topScreen } from '../../src/cli/top-screen.ts';
import { VERDICTS } from '../../src/datapath/batch.ts';
import type { Status } from '../../src/keeper/control.ts';
import { ratesBetween } from '../../src/observe/rates.ts';
import { engineWith, shardWith } from '../observe/engine-statistics.ts';

const STATUS: Status = {
  role: 'server',
  pid: 4_194_304,
  namespace: 'net:[1]',
  configFile: `/etc/${'deep/'.repeat(40)}server.yaml`,
  tun: 'fifteen-letters',
  enginePid: 4_194_303,
  generation: 12_345,
  deaths: 678,
  upSeconds: 8_640_000,
  ready: true,
};

/** A second of everything at its highest: 400 Gbit/s, and every reason to drop. */
function busiest(shards: number) {
  const one = (shard: number, times: number) =>
    shardWith({
      shard,
      turns: times,
      sessions: 16_383,
      online: 16_383,
      cpuMicros: 1e6 * times,
      port: {
        systemCalls: 1_234_567 * times,
        udpDatagramsIn: 98_765_432 * times,
        udpDatagramsOut: 98_765_432 * times,
        udpTrainsIn: 999_999 * times,
        udpTrainsOut: 999_999 * times,
        tunBytesIn: 50e9 * times,
        tunBytesOut: 50e9 * times,
      },
      verdicts: Object.fromEntries(VERDICTS.map((name) => [name, 123_456 * times])),
      stages: {
        'session.control': {
          vectors: 9e4 * times,
          entries: 9e6 * times,
          timedEntries: 9 * times,
          timedMicros: times,
        },
      },
    });
  const all = (times: number) => Array.from({ length: shards }, (_, shard) => one(shard, times));
  return ratesBetween('server', engineWith(1e6, ...all(1)), engineWith(2e6, ...all(2)));
}

const widths = (screen: string) => screen.split('\n').map((line) => stripVTControlCharacters(line).length);

describe('topScreen', () => {
  it.each([1, 8, 64])('keeps to 79 columns of 80 with %i shards at the highest figures', (shards) => {
    const history = Array.from({ length: 200 }, (_, i) => i * 1e9);
    expect(Math.max(...widths(topScreen(STATUS, busiest(shards), history, 80)))).toBeLessThanOrEqual(79);
  });

  it('shows throughput, packets a call, trains, sessions, CPU, every stage and every reason that dropped', () => {
    const rates = ratesBetween(
      'server',
      engineWith(1e6, shardWith({})),
      engineWith(
        2e6,
        shardWith({
          turns: 9,
          sessions: 2,
          online: 1,
          cpuMicros: 400_000,
          port: { systemCalls: 10, udpDatagramsIn: 400, udpTrainsIn: 10, tunBytesOut: 250e6 },
          verdicts: { noRoute: 7, replayed: 1_500 },
          stages: { 'lanes.open': { vectors: 10, entries: 400, timedEntries: 10, timedMicros: 2.5 } },
          trainsIn: [1, 0, 0, 4, 0, 8, 16, 0],
        }),
      ),
    );
    const screen = stripVTControlCharacters(topScreen({ ...STATUS, configFile: '/etc/s.yaml' }, rates, [], 80));
    for (const words of [
      'up        2.00 Gbit/s',
      'per call  40.0',
      'trains    40.0 in, – out',
      'sessions  2, 1 online',
      'memory    200 MB, 2 addresses',
    ])
      expect(screen).toContain(words);
    expect(screen).toMatch(/^lengths {3}1 ▕▁ {2}▂ ▄█ ▏ 128\+ in +lengths {3}1 ▕ {8}▏ 128\+ out$/m); // nothing out
    expect(screen).toMatch(/^ {4}0 {3}40 % +1 +2\.00G +0 +400 +40\.0 +40\.0\/– +0$/m);
    expect(screen).toMatch(/^lanes\.open +10 +400 +40\.0 +250 +0 % +0$/m);
    expect(screen).toContain('drops  replayed 1.50 k/s   noRoute 7/s');
    expect(screen).toContain('/etc/s.yaml');
  });

  it('says so when no engine answers, in both forms', () => {
    expect(topScreen(STATUS, undefined, [], 80)).toContain('no engine answers');
    expect(topLine(STATUS, undefined)).toBe('server 4194304  no engine answers');
  });
});

describe('topLine', () => {
  it('is one line', () => {
    expect(topLine(STATUS, busiest(2))).toBe(
      'up 800 Gbit/s  down 800 Gbit/s  395 M packets/s  160 packets/call  trains 98.8 in 98.8 out  32766 online  cpu 25 %  drops 6.17 M/s',
    );
  });
});
