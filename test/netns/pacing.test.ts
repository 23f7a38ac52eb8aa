/** Pacing in the real kernel: what is counted, and who loses less behind a shallow buffer. Rates and times are the bench's affair. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createCredentials, USER } from '../../src/lab/credentials.ts';
import { FLOW_PROGRAM, type FlowReceived, type FlowSent } from '../../src/lab/flow.ts';
import { Lab, NET_ADDRESS } from '../../src/lab/hosts.ts';
import { run } from '../../src/lab/programs.ts';
import { RINGWAY, ringway, stateFolder, Tunnel } from '../../src/lab/tunnel.ts';
import type { ShardStatistics } from '../../src/observe/statistics.ts';

const TRANSFER_BYTES = 30_000_000;
/** 50 Mbit/s in bursts of 40 into room for 20. */
const BURSTS = ['50', '1272', '40', '2'];
const BOTTLENECK = ['root', 'tbf', 'rate', '200mbit', 'burst', '3000', 'limit', '30000'];

async function told(lab: Lab, end: 'server' | 'client'): Promise<ShardStatistics> {
  const status = await run([RINGWAY, 'status', '--json', '--all', '--state', stateFolder(lab, end)]);
  return (JSON.parse(status) as { shards: ShardStatistics[] }[])[0].shards[0];
}

async function lossOfBursts(lab: Lab): Promise<number> {
  const source = lab.net.start('source', [process.execPath, FLOW_PROGRAM, 'serve', '4100', ...BURSTS]);
  await source.line(/^ready/);
  const sink = lab.client.start('sink', [process.execPath, FLOW_PROGRAM, 'receive', '4100', NET_ADDRESS]);
  const { sent } = JSON.parse(await source.line(/^\{/, 60_000)) as FlowSent;
  const { received } = JSON.parse(await sink.line(/^\{/, 60_000)) as FlowReceived;
  return 1 - received / sent;
}

async function startTunnel(lab: Lab, serverFlags: readonly string[], clientFlags: readonly string[]): Promise<Tunnel> {
  const credentials = await createCredentials(lab.folder);
  const server = ringway(lab, 'server', ['--shards', '1', ...serverFlags]);
  const client = ringway(lab, 'client', clientFlags);
  return Tunnel.start(lab, { mode: 'udp', expresslane: true, credentials, server, client });
}

describe.each(['io_uring', 'epoll'])('a user with a rate of 150 Mbit/s, over %s', (io) => {
  let lab: Lab;
  let tunnel: Tunnel;

  beforeAll(async () => {
    lab = await Lab.create();
    const rates = join(lab.folder, 'rates.yaml');
    await writeFile(rates, `nobody: 64k\n${USER}: 150M\n`);
    const flags = ['--io', io, '--train-segments', '8'];
    tunnel = await startTunnel(lab, ['--user-rates', rates, ...flags], ['--pace-rate', '150M', ...flags]);
  });
  afterAll(() => lab?.close());

  it.each(['down', 'up'] as const)('gets 30 MB %s with equal checksums, from the pacer of the sender', async (way) => {
    const { sent, received } = await tunnel.transfer(way, TRANSFER_BYTES, 9);
    expect(received).toBe(sent);
    const { verdicts, stages } = await told(lab, way === 'down' ? 'server' : 'client');
    expect(verdicts.held).toBeGreaterThan(0);
    const released = stages.find(({ stage }) => stage === 'pacer.release')?.entries ?? 0;
    expect(released).toBeGreaterThan(verdicts.held); // they are cut there
  });

  it('is sent no train longer than 8', async () => {
    const { trainsOut } = await told(lab, 'server');
    expect(trainsOut.slice(4)).toEqual([0, 0, 0, 0]);
    expect(trainsOut[2] + trainsOut[3]).toBeGreaterThan(0);
  });

  it('loses less than a third of bursts that a shallow buffer cannot hold', async () => {
    await lab.server.run('tc', 'qdisc', 'add', 'dev', 's0', ...BOTTLENECK);
    expect(await lossOfBursts(lab)).toBeLessThan(0.33);
  });
});

describe('without pacing', () => {
  it('the same bursts lose more than a third', async () => {
    const lab = await Lab.create();
    try {
      await startTunnel(lab, [], []);
      await lab.server.run('tc', 'qdisc', 'add', 'dev', 's0', ...BOTTLENECK);
      expect(await lossOfBursts(lab)).toBeGreaterThan(0.33);
      const { verdicts } = await told(lab, 'server');
      expect([verdicts.held, verdicts.pacerFull]).toEqual([0, 0]);
    } finally {
      await lab.close();
    }
  });
});
