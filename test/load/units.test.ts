import { describe, expect, it } from 'vitest';
import { readScenario } from '../../src/load/scenario.ts';
import { createSchedule, loginsDue, meanSize } from '../../src/load/schedule.ts';
import {
  formatRate,
  formatShare,
  formatTime,
  parseCount,
  parseCounts,
  parseEndpoint,
  parseRate,
  parseTime,
} from '../../src/load/units.ts';
import { MS, SECOND } from '../../src/wire/time.ts';

describe('units of the command line', () => {
  it.each([
    ['25M', 25e6],
    ['1.5G', 1.5e9],
    ['1.5Gbit/s', 1.5e9],
    ['800kbps', 800e3],
    ['64000', 64e3],
    ['max', null],
  ])('--rate %s is %s bits per second', (text, rate) => {
    expect(parseRate(text)).toBe(rate);
  });

  it.each(['', '0', '-3M', '25 MB/s', 'fast', '1e9', '25MM'])('--rate %j is refused', (text) => {
    expect(() => parseRate(text)).toThrow(/is no rate/);
  });

  it.each([
    ['30s', 30 * SECOND],
    ['500ms', 500 * MS],
    ['1.5m', 90 * SECOND],
    ['20us', 20],
    ['0s', 0],
  ])('%s is %s µs', (text, span) => {
    expect(parseTime(text, '--duration')).toBe(span);
  });

  it('a time without a unit is refused, and the advice shows one', () => {
    expect(() => parseTime('30', '--duration')).toThrow(
      expect.objectContaining({ code: 'LOAD_USAGE', message: '--duration 30 is no time' }),
    );
  });

  it('counts take thousands, and name their range when it is missed', () => {
    expect(parseCount('1,000', '--clients', 1, 10_000)).toBe(1_000);
    expect(parseCount('10k', '--clients', 1, 10_000)).toBe(10_000);
    expect(() => parseCount('10001', '--clients', 1, 10_000)).toThrow(
      '--clients 10001 is not a whole number from 1 to 10000',
    );
    expect(() => parseCount('1.5', '--clients', 1, 10)).toThrow(/whole number/);
    expect(parseCounts('1,10,100,10', '--clients', 1, 1000)).toEqual([1, 10, 100]);
  });

  it('an endpoint has a host and a port, with brackets around IPv6', () => {
    expect(parseEndpoint('vpn.example:27690', '--server')).toEqual({ host: 'vpn.example', portNumber: 27_690 });
    expect(parseEndpoint('[::1]:53', '--server')).toEqual({ host: '::1', portNumber: 53 });
    for (const wrong of ['vpn.example', '::1:53', 'a:0', 'a:70000', ':1'])
      expect(() => parseEndpoint(wrong, '--server')).toThrow(/no address with a port/);
  });

  it('are written back with three digits that count', () => {
    expect([4.126e9, 25e6, 999.6e6, 0].map(formatRate)).toEqual([
      '4.13 Gbit/s',
      '25.0 Mbit/s',
      '1.00 Gbit/s',
      '0 bit/s',
    ]);
    expect([0.25, 12.34, 1500, 2.5e6].map(formatTime)).toEqual(['250 ns', '12.3 µs', '1.50 ms', '2.50 s']);
    expect([0, 0.000_001, 0.0123, 1].map(formatShare)).toEqual(['0 %', '< 0.001 %', '1.23 %', '100 %']);
  });
});

describe('a scenario', () => {
  it('has a default for everything', () => {
    expect(readScenario('upload', {})).toMatchObject({
      clients: 100,
      rate: 1e6,
      burst: 1,
      sizes: [1350],
      expresslane: true,
    });
  });

  it('over TCP has no Expresslane, and refuses it', () => {
    expect(readScenario('upload', { transport: 'tcp' }).expresslane).toBe(false);
    expect(() => readScenario('upload', { transport: 'tcp', expresslane: 'on' })).toThrow(/does not go with/);
  });

  it('knows IMIX as 7 : 4 : 1 parts of 64, 576 and 1,350 bytes', () => {
    const { sizes } = readScenario('upload', { size: 'imix' });
    expect(sizes).toHaveLength(12);
    expect(meanSize(sizes)).toBeCloseTo((7 * 64 + 4 * 576 + 1350) / 12);
  });

  it('refuses packets that hold no measurement, and packets beyond the tunnel MTU', () => {
    expect(() => readScenario('upload', { size: '63' })).toThrow(/from 64 to 1350/);
    expect(() => readScenario('upload', { size: '1351' })).toThrow(/from 64 to 1350/);
  });
});

describe('the schedule', () => {
  it('offers exactly the rate: a second of 100 clients at 25 Mbit/s in trains of 16', () => {
    const scenario = readScenario('upload', { clients: '100', rate: '25M', burst: '16' });
    const { trainsDue } = createSchedule(scenario);
    const bits = (trainsDue(10 * SECOND) - 1) * 16 * 1350 * 8;
    expect(bits / 10 / (100 * 25e6)).toBeCloseTo(1, 3);
  });

  it('gives clients turns, so that no client waits for more than one round', () => {
    const schedule = createSchedule(readScenario('upload', { clients: '3', rate: '1M' }));
    expect([0, 1, 2, 3].map(schedule.client)).toEqual([0, 1, 2, 0]);
    expect(schedule.due(3) - schedule.due(0)).toBeCloseTo((1350 * 8 * SECOND) / 1e6);
  });

  it('owes nothing before it starts, and one train the moment it does', () => {
    const { trainsDue } = createSchedule(readScenario('upload', {}));
    expect([-1, 0].map(trainsDue)).toEqual([0, 1]);
  });

  it('begins logins at the pace of the ramp', () => {
    expect([0, 0.5, 1, 60].map((s) => loginsDue(s * SECOND, 200, 1000))).toEqual([1, 101, 201, 1000]);
  });
});
