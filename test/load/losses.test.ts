import { describe, expect, it } from 'vitest';
import { type Ends, findLosses, type Look } from '../../src/load/losses.ts';

const QUIET = { sockets: new Map<number, number>(), devices: new Map<string, number>() };

function look(control: Record<string, number>): Look {
  const shard = {
    shard: 0,
    io: 'epoll',
    sessions: 1,
    online: 1,
    turns: 1,
    turnTimes: [],
    cpuMicros: 1,
    port: {},
    verdicts: {},
  };
  const rest = { stages: [], trainsIn: [], trainsOut: [] };
  const use = { at: 1, cpuMicros: 1, mainCpuMicros: 1, residentBytes: 1 };
  const statistics = { ...use, assignedAddresses: 1, ages: null, tunDropped: 0 };
  return {
    loader: QUIET,
    server: QUIET,
    sink: QUIET,
    statistics: { ...statistics, shards: [{ ...shard, control, ...rest }] },
  } as Look;
}

const ENDS: Ends = {
  serverPort: 1,
  sinkPort: 2,
  trains: { before: [1, 1], behind: [1, 1] },
  loaderVerdicts: {},
  loaderPort: {},
  sinkPortCounters: {},
  datagramsSent: 0,
};

describe('losses of sessions over TCP', () => {
  it("are the loader's on the way up, where a connection took no more or had ended", () => {
    const ends = { ...ENDS, loaderPort: { streamFull: 7, unknownSlot: 2 } };
    const found = findLosses('up', look({}), look({}), ends);
    expect(found.map(({ where, reason, packets }) => [where, reason, packets])).toEqual([
      ['loader TCP connection', 'its buffer is full', 7],
      ['loader TCP connection', 'it has ended', 2],
    ]);
    expect(findLosses('down', look({}), look({}), ends)).toEqual([]);
  });

  it("are the server's on the way down, those since the run began", () => {
    const found = findLosses('down', look({ streamFull: 5 }), look({ streamFull: 30, unknownSlot: 1 }), ENDS);
    expect(found.map(({ where, reason, packets, estimated }) => [where, reason, packets, estimated])).toEqual([
      ['server TCP connection', 'its buffer is full', 25, false],
      ['server TCP connection', 'it has ended', 1, false],
    ]);
  });
});
