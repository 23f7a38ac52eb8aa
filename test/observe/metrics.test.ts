import { readFileSync } from 'node:fs';
import { get } from 'node:http';
import { afterEach, describe, expect, it } from 'vitest';
import { FIRST_DROP, VERDICTS } from '../../src/datapath/batch.ts';
import { STAGES } from '../../src/datapath/pipeline.ts';
import { exposition, FAMILIES, type MetricsSource } from '../../src/observe/metrics.ts';
import { listenForMetrics, type MetricsListener } from '../../src/observe/metrics-listener.ts';
import { engineWith, shardWith } from './engine-statistics.ts';

const text = (name: string) => readFileSync(new URL(`../../docs/${name}`, import.meta.url), 'utf8');
const PAGE = text('metrics.md');

const STATISTICS = engineWith(
  2e6,
  shardWith({
    sessions: 3,
    online: 2,
    cpuMicros: 1_500_000,
    port: { udpDatagramsIn: 100, udpDatagramsOut: 7, systemCalls: 12 },
    verdicts: { forged: 4, handedOver: 2 },
    control: { sessionsOpened: 9, 'hello.badCookie': 5 },
    stages: { 'lanes.open': { vectors: 3, entries: 96, timedEntries: 32, timedMicros: 8, drops: { forged: 4 } } },
    trainsIn: [1, 2, 0, 0, 0, 3, 0, 1],
    turnTimes: [5, 0, 0, 0, 2, 0, 0, 0, 1], // 0 to 0.19 µs; 1 to 1.38 µs; 3 to 3.76 µs
  }),
  shardWith({ shard: 1 }),
);
const SOURCE: MetricsSource = { role: 'server', tun: 'lws', generation: 2, statistics: STATISTICS };

describe('exposition', () => {
  it('has every figure with its labels, as Prometheus reads it', async () => {
    const lines = (await exposition([SOURCE])).split('\n');
    for (const line of [
      'ringway_up{role="server",tun="lws"} 1',
      'ringway_engine_generation{role="server",tun="lws"} 2',
      'ringway_sessions_online{role="server",tun="lws",shard="0"} 2',
      'ringway_sessions_online{role="server",tun="lws",shard="1"} 0',
      'ringway_sessions_opened_total{role="server",tun="lws",shard="0"} 9',
      'ringway_sessions_active{role="server",tun="lws",within="60m"} 2',
      'ringway_assigned_addresses{role="server",tun="lws"} 2',
      'ringway_tun_device_drops_total{role="server",tun="lws"} 20',
      'ringway_datagrams_total{role="server",tun="lws",shard="0",direction="in"} 100',
      'ringway_drops_total{role="server",tun="lws",shard="0",reason="forged"} 4',
      'ringway_handovers_total{role="server",tun="lws",shard="0",direction="out"} 2',
      'ringway_control_events_total{role="server",tun="lws",shard="0",event="hello.badCookie"} 5',
      'ringway_stage_entries_total{role="server",tun="lws",shard="0",stage="lanes.open"} 96',
      'ringway_stage_timed_seconds_total{role="server",tun="lws",shard="0",stage="lanes.open"} 0.000008',
      'ringway_stage_drops_total{role="server",tun="lws",shard="0",stage="lanes.open",reason="forged"} 4',
      'ringway_shard_cpu_seconds_total{role="server",tun="lws",shard="0"} 1.5',
      '# TYPE ringway_train_datagrams histogram',
    ])
      expect(lines).toContain(line.replace('0.000008', String(8 / 1e6)));
  });

  it('counts train lengths cumulatively, up to all of them', async () => {
    const histogram = (await exposition([SOURCE]))
      .split('\n')
      .filter((line) => line.startsWith('ringway_train_datagrams') && line.includes('shard="0",direction="in"'))
      .map((line) => line.replace(/^ringway_train_datagrams_(\w+)\{[^}]*?(?:,le="([^"]+)")?\} (\d+)$/, '$1 $2 $3'));
    expect(histogram).toEqual([
      ...['bucket 1 1', 'bucket 3 3', 'bucket 7 3', 'bucket 15 3', 'bucket 31 3', 'bucket 63 6', 'bucket 127 6'],
      ...['bucket +Inf 7', 'sum  100', 'count  7'],
    ]);
  });

  it('counts turns cumulatively, a bound a doubling', async () => {
    const lines = (await exposition([SOURCE]))
      .split('\n')
      .filter((line) => /^ringway_turn_seconds.*shard="0"/.test(line));
    const figures = lines.map((line) => line.replace(/^.*?(?:le="([^"]+)")?\} (\d+)$/, '$1 $2'));
    expect(figures.slice(0, 4)).toEqual(['0.000001 5', '0.000003 7', '0.000007 8', '0.000015 8']);
    expect(figures.slice(-2)).toEqual(['+Inf 8', ' 8']);
  });

  it('says that an instance is down when no engine answers, and leaves its counters out', async () => {
    const both = await exposition([SOURCE, { role: 'client', tun: 'lwc', generation: 0, statistics: null }]);
    expect(both).toContain('ringway_up{role="client",tun="lwc"} 0');
    expect(both.split('\n').filter((line) => line.includes('tun="lwc"'))).toHaveLength(2);
    expect(both.match(/^# TYPE ringway_up /gm)).toHaveLength(1);
    expect(await exposition([{ ...SOURCE, statistics: null }])).not.toContain('ringway_sessions');
  });

  it('has names that Prometheus takes, one family each, and counters that end in _total', async () => {
    const names = FAMILIES.map(({ name }) => name);
    expect(new Set(names).size).toBe(names.length);
    for (const { name, type } of FAMILIES) {
      expect(name).toMatch(/^ringway_[a-z_]+$/);
      expect(name.endsWith('_total')).toBe(type === 'counter');
    }
  });
});

describe('docs/metrics.md', () => {
  it('has a row for every family, with its type, labels and stock names, and for none that is gone', () => {
    const rows = FAMILIES.map(({ name, type, help, stock = [], samples }) => {
      const keys = new Set(samples(STATISTICS).flatMap(({ labels = {} }) => Object.keys(labels)));
      keys.delete('le');
      const theirs = stock.map((each) => `\`${each}\``).join(', ') || '–';
      return `| \`${name}\` | ${type} | ${[...keys].join(', ')} | ${theirs} | ${help} |`;
    });
    const [, table] = PAGE.split('## Names');
    const written = table.split('\n## ')[0].match(/^\| `ringway_.*$/gm) ?? [];
    expect(written.slice(2)).toEqual(rows);
    expect(written.slice(0, 2).join()).toMatch(/`ringway_up`.*`ringway_engine_generation`/);
  });

  it('names no stock counter that the protocol specification does not have', () => {
    const theirs = text('protocol.md').split('## 12. ')[1].split('\n## ')[0];
    const known = (name: string) =>
      theirs.includes(name) || theirs.includes(name.replace(/^tun_rejected_packet/, '')) || /_(?:5|15|60)m$/.test(name);
    expect(FAMILIES.flatMap(({ stock = [] }) => stock).filter((name) => !known(name))).toEqual([]);
  });

  it('explains every stage and every reason to drop', () => {
    const rows = (PAGE.match(/^\| `([^`]+)` \|/gm) ?? []).map((row) => row.slice(3, -3));
    expect(STAGES.filter((stage) => !rows.includes(stage))).toEqual([]);
    const reasons = [...VERDICTS.slice(FIRST_DROP), 'socketFull', 'filtered', 'handshakesFull', 'strangersFull'];
    expect(reasons.filter((reason) => !rows.includes(reason))).toEqual([]);
  });
});

describe('listenForMetrics', () => {
  let listener: MetricsListener | undefined;
  afterEach(() => listener?.close());

  const ask = (path: string, method = 'GET') =>
    new Promise<{ status: number | undefined; type: string | undefined; text: string }>((resolve, reject) => {
      const request = get({ host: '127.0.0.1', port: listener?.portNumber, path, method, agent: false }, (response) => {
        let heard = '';
        response.setEncoding('utf8').on('data', (chunk: string) => {
          heard += chunk;
        });
        response.on('end', () =>
          resolve({ status: response.statusCode, type: response.headers['content-type'], text: heard }),
        );
      });
      request.on('error', reject);
    });
  const open = async (source: () => Promise<MetricsSource>) => {
    listener = await listenForMetrics({ host: '127.0.0.1', portNumber: 0 }, source);
  };

  it('answers GET /metrics with what is counted at that moment', async () => {
    let generation = 0;
    await open(async () => ({ ...SOURCE, generation: ++generation }));
    for (const expected of [1, 2]) {
      const { status, type, text: body } = await ask('/metrics?x=1');
      expect([status, type]).toEqual([200, 'text/plain; version=0.0.4; charset=utf-8']);
      expect(body).toContain(`ringway_engine_generation{role="server",tun="lws"} ${expected}\n`);
    }
  });

  it.each(['/', '//', '/metrics/', '/metrics%00'])('answers %s with 404', async (path) => {
    await open(async () => SOURCE);
    expect((await ask(path)).status).toBe(404);
  });

  it('changes nothing for anybody: POST is 405', async () => {
    await open(async () => SOURCE);
    expect((await ask('/metrics', 'POST')).status).toBe(405);
  });

  it('answers 503 when there are no statistics, and goes on', async () => {
    await open(async () => {
      throw new Error('no shard answers');
    });
    expect((await ask('/metrics')).status).toBe(503);
    expect((await ask('/metrics')).status).toBe(503);
  });

  it('is refused an address that is taken', async () => {
    await open(async () => SOURCE);
    const taken = { host: '127.0.0.1', portNumber: listener?.portNumber ?? 0 };
    await expect(listenForMetrics(taken, async () => SOURCE)).rejects.toMatchObject({ code: 'EADDRINUSE' });
  });
});
