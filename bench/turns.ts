/**
 * What handshakes cost those who are already there: an established session is pinged 500 times a second while strangers log in
 * at 200 a second, and while none do. Prints the 99th percentile of the server's turns (from the end of one to the end of the next while
 * it is busy: the longest a packet waits for its turn) and of the round trip, and what both sides took of the machine they share. A first storm is
 * not measured: it compiles the code of both.
 */
import { fileURLToPath } from 'node:url';
import { createCredentials } from '../src/lab/credentials.ts';
import { Lab, NET_ADDRESS, SERVER_OUTSIDE } from '../src/lab/hosts.ts';
import { run } from '../src/lab/programs.ts';
import { RINGWAY, ringway, stateFolder, Tunnel } from '../src/lab/tunnel.ts';
import { turnBucketStart } from '../src/observe/statistics.ts';

const RATE = 200;
const STORM = fileURLToPath(new URL('./storm.ts', import.meta.url));

interface Look {
  readonly turnTimes: readonly number[];
  /** Processor time of the engine so far, in milliseconds: its shards, its main thread, and all else (crypto pool, collections). */
  readonly shard: number;
  readonly main: number;
  readonly pool: number;
}

interface Status {
  readonly shards: readonly { readonly turnTimes: readonly number[]; readonly cpuMicros: number }[];
  readonly engine: { readonly cpuMicros: number; readonly mainCpuMicros: number };
}

async function look(lab: Lab): Promise<Look> {
  const status = await run([RINGWAY, 'status', '--json', '--all', '--state', stateFolder(lab, 'server')]);
  const [{ shards, engine }] = JSON.parse(status) as Status[];
  const shard = shards.reduce((sum, each) => sum + each.cpuMicros, 0);
  return {
    turnTimes: shards[0].turnTimes.map((_, i) => shards.reduce((sum, each) => sum + each.turnTimes[i], 0)),
    shard: shard / 1000,
    main: engine.mainCpuMicros / 1000,
    pool: (engine.cpuMicros - engine.mainCpuMicros - shard) / 1000,
  };
}

function percentile(counts: readonly number[], part: number): number {
  let left = part * counts.reduce((sum, count) => sum + count, 0);
  const bucket = counts.findIndex((count) => {
    left -= count;
    return left <= 0;
  });
  return turnBucketStart(bucket + 1);
}

async function measure(lab: Lab, tunnel: Tunnel, authority: string, rate: number, seconds: number): Promise<string> {
  const before = await look(lab);
  const storm =
    rate > 0
      ? lab.client.run(process.execPath, STORM, SERVER_OUTSIDE, '27690', authority, String(rate), String(seconds))
      : Promise.resolve('{"begun":0,"online":0,"cpuMs":0}');
  const count = String(seconds * 500);
  const pings = await tunnel.lab.client.run('ping', '-n', '-i', '0.002', '-c', count, '-W', '1', NET_ADDRESS);
  const { begun, online, cpuMs } = JSON.parse(await storm) as { begun: number; online: number; cpuMs: number };
  const after = await look(lab);
  const trips = [...pings.matchAll(/time=([\d.]+) ms/g)].map(([, ms]) => Number(ms)).sort((a, b) => a - b);
  const p99 =
    percentile(
      after.turnTimes.map((now, i) => now - before.turnTimes[i]),
      0.99,
    ) / 1000;
  const trip = (part: number) => trips[Math.min(trips.length - 1, Math.floor(part * trips.length))].toFixed(2);
  const cpu = (ms: number) => `${Math.round(ms / 10 / seconds)} %`;
  return [
    `turns p99 ${p99.toFixed(2)} ms, round trip p50 ${trip(0.5)} p99 ${trip(0.99)} ms, ${Number(count) - trips.length} of ${count} lost,`,
    `${online} of ${begun} logged in; of one processor: shard ${cpu(after.shard - before.shard)},`,
    `main thread ${cpu(after.main - before.main)}, crypto pool ${cpu(after.pool - before.pool)}, their clients ${cpu(cpuMs)}`,
  ].join(' ');
}

export async function bench(quick: boolean): Promise<void> {
  const lab = await Lab.create();
  try {
    const credentials = await createCredentials(lab.folder);
    const [server, client] = [ringway(lab, 'server', ['--shards', '1']), ringway(lab, 'client')];
    const tunnel = await Tunnel.start(lab, { mode: 'udp', expresslane: true, credentials, server, client });
    if (!quick) await measure(lab, tunnel, credentials.authority, RATE, 4);
    console.log('\nAn established session while others log in');
    for (const rate of [0, RATE, 0, RATE].slice(0, quick ? 2 : 4))
      console.log(
        `  ${String(rate).padStart(3)} handshakes/s: ${await measure(lab, tunnel, credentials.authority, rate, quick ? 2 : 8)}`,
      );
  } finally {
    await lab.close();
  }
}
