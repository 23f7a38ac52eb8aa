/** What a running server and client tell of themselves, against what really went through them. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createCredentials } from '../../src/lab/credentials.ts';
import { Lab } from '../../src/lab/hosts.ts';
import { kill, run } from '../../src/lab/programs.ts';
import { CLIENT_DEVICE, RINGWAY, ringway, SERVER_DEVICE, stateFolder, Tunnel } from '../../src/lab/tunnel.ts';
import type { Rates } from '../../src/observe/rates.ts';
import type { EngineStatistics, ShardStatistics } from '../../src/observe/statistics.ts';

const TRANSFER_BYTES = 50_000_000;

interface Told {
  readonly enginePid: number;
  readonly generation: number;
  readonly engine: Omit<EngineStatistics, 'shards'> | null;
  readonly shards: readonly ShardStatistics[];
}

describe('the statistics of a tunnel', () => {
  let lab: Lab;
  let tunnel: Tunnel;

  beforeAll(async () => {
    lab = await Lab.create();
    const credentials = await createCredentials(lab.folder);
    const [server, client] = [
      ringway(lab, 'server', ['--shards', '2'], { statistics_reporting_interval: '1s' }),
      ringway(lab, 'client'),
    ];
    tunnel = await Tunnel.start(lab, { mode: 'udp', expresslane: true, credentials, server, client });
  });
  afterAll(() => lab?.close());

  const ask = (end: 'server' | 'client', ...words: string[]) =>
    run([RINGWAY, ...words, '--all', '--state', stateFolder(lab, end)]);
  const told = async (end: 'server' | 'client') => (JSON.parse(await ask(end, 'status', '--json')) as Told[])[0];
  const sum = ({ shards }: Told, figure: (shard: ShardStatistics) => number) =>
    shards.reduce((all, shard) => all + figure(shard), 0);

  it('count every byte that the kernel counts at the TUN device, and one session on one shard', async () => {
    const { sent, received } = await (await tunnel.transferUnderWay('up', TRANSFER_BYTES, 31)).result;
    expect(received).toBe(sent);
    const { bytesOut } = lab.client.counters(CLIENT_DEVICE);
    const [server, client] = [await told('server'), await told('client')];
    expect(sum(client, ({ port }) => port.tunBytesIn)).toBeGreaterThanOrEqual(bytesOut);
    expect(sum(client, ({ port }) => port.tunBytesIn)).toBeGreaterThan(TRANSFER_BYTES);
    expect(sum(server, ({ port }) => port.tunBytesOut)).toBeGreaterThan(TRANSFER_BYTES);
    expect(server.shards.map(({ online }) => online).sort()).toEqual([0, 1]);
    expect(server.engine?.assignedAddresses).toBe(1);
    expect(server.engine?.ages?.active).toEqual([1, 1, 1]);
  });

  it('agree with each other: trains by length are all trains, stages follow one another', async () => {
    for (const end of ['server', 'client'] as const) {
      const { shards } = await told(end);
      for (const { port, trainsIn, trainsOut, stages, cpuMicros } of shards) {
        const all = (lengths: readonly number[]) => lengths.reduce((count, each) => count + each, 0);
        expect(all(trainsIn)).toBe(port.udpTrainsIn);
        expect(all(trainsOut)).toBe(port.udpTrainsOut);
        const entries = Object.fromEntries(stages.map((stage) => [stage.stage, stage.entries]));
        expect(entries['udp.receive']).toBe(port.udpTrainsIn + port.takenOver);
        expect(entries['guard.admit']).toBe(entries['lanes.open']);
        expect(entries['tun.receive']).toBe(port.tunPacketsIn);
        expect(entries['lanes.seal']).toBe(entries['routes.lookup']);
        expect(cpuMicros).toBeGreaterThan(0);
      }
    }
  });

  it('have what the kernel drops at the TUN device while nobody reads it', async () => {
    const { enginePid, engine } = await told('server');
    expect(engine?.tunDropped).toBe(lab.server.counters(SERVER_DEVICE).droppedOut);
    const flood = `
      const socket = require('node:dgram').createSocket('udp4');
      let left = 2000;
      for (let i = 0; i < 2000; i++) socket.send('x', 9, '10.125.99.99', () => --left || socket.close());`;
    expect(kill(enginePid, 'SIGSTOP')).toBe(true);
    try {
      await lab.server.run(process.execPath, '-e', flood);
    } finally {
      kill(enginePid, 'SIGCONT');
    }
    const { droppedOut } = lab.server.counters(SERVER_DEVICE);
    expect(droppedOut).toBeGreaterThan(engine?.tunDropped ?? 0);
    expect((await told('server')).engine?.tunDropped).toBe(droppedOut);
    expect(await ask('server', 'metrics')).toContain(
      `ringway_tun_device_drops_total{role="server",tun="${SERVER_DEVICE}"} ${droppedOut}`,
    );
  });

  it('are shown by top while they change, until Ctrl-C', async () => {
    const [json, lines] = [['--json'], []].map((words) =>
      lab.server.start('top', [RINGWAY, 'top', ...words, '--state', stateFolder(lab, 'server')]),
    );
    await Promise.all([json.line(/"rates":\{/), lines.line(/^up .* online /)]);
    const said = [json.lines.length, lines.lines.length];
    expect(await tunnel.ping(20)).toBe(20);
    const look = JSON.parse(await json.line(/"upBitsPerSecond":[1-9]/, 5_000, said[0])) as { rates: Rates };
    expect(look.rates).toMatchObject({ online: 1, assignedAddresses: 1, tunDroppedPerSecond: 0 });
    expect(look.rates.packetsPerSystemCall).toBeGreaterThan(0);
    expect(look.rates.stages.find(({ stage }) => stage === 'lanes.open')?.entriesPerSecond).toBeGreaterThan(0);
    await lines.line(/^up [1-9].*bit\/s {2}down [1-9]/, 5_000, said[1]);
    for (const top of [json, lines]) expect(await top.stop('SIGINT')).toEqual({ code: 0, signal: null });
  });

  it('are printed by top --once and by metrics', async () => {
    expect(await ask('server', 'top', '--once')).toMatch(/^lanes\.open /m);
    const scrape = await ask('client', 'metrics');
    expect(scrape).toContain(`ringway_sessions_online{role="client",tun="${CLIENT_DEVICE}",shard="0"} 1`);
  });

  it('are logged by the server at every interval', async () => {
    const line = await tunnel.server.line(/Session Statistics .*current=1\b/, 10_000);
    expect(line).toMatch(/standby_5m=\d+ .*active_60m=1/);
    await tunnel.server.line(/IP Statistics .*assigned=1/, 10_000);
  });

  it('begin anew with the engine that follows a dead one, which has the session already', async () => {
    const before = await told('client');
    const said = tunnel.client.lines.length;
    expect(kill(before.enginePid, 'SIGKILL')).toBe(true);
    await tunnel.client.line(/keeper: started, connecting/, 10_000, said);
    expect(await tunnel.carries(10)).toBe(true); // its shard runs: until then there is nothing to tell of
    const after = await told('client');
    expect(after.generation).toBe(before.generation + 1);
    expect(after.shards).toHaveLength(1);
    expect(sum(after, ({ port }) => port.tunBytesIn)).toBeLessThan(TRANSFER_BYTES);
    expect(sum(after, ({ online }) => online)).toBe(1);
  });
});
