/**
 * What handshakes cost those who are already there: an established session is pinged 500 times a second while strangers come
 * at 200 a second, log in and go, and while none do: by token, which costs little beside the handshake, and by password, whose hash (SHA-512 crypt) costs
 * more than all the rest. Prints the 99th percentile of the server's turns (from the end of one to the end of the next while
 * it is busy: the longest a packet waits for its turn) and of the round trip, and what both sides took of the machine they share. A first storm is
 * not measured: it compiles the code of both.
 */
import { generateKeyPairSync } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { CompactSign } from 'jose';
import { createCredentials } from '../src/lab/credentials.ts';
import { Lab, NET_ADDRESS, SERVER_OUTSIDE } from '../src/lab/hosts.ts';
import { run } from '../src/lab/programs.ts';
import { RINGWAY, ringway, stateFolder, Tunnel } from '../src/lab/tunnel.ts';
import { turnBucketStart } from '../src/observe/statistics.ts';

const RATE = 200;
/** Eight pings at 16 ms: one at 2 ms does not sleep in between, and takes a processor from what is measured. */
const PINGERS = 8;
const PING_INTERVAL = 0.016;
/** The server has a processor of its own, as it would have a machine; who loads it has the other. */
const ON_SERVER_CPU = ['taskset', '-c', '0'];
const ON_LOAD_CPU = ['taskset', '-c', '1'];
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

async function measure(
  lab: Lab,
  tunnel: Tunnel,
  authority: string,
  rate: number,
  seconds: number,
  login: string[],
): Promise<string> {
  const before = await look(lab);
  const storm =
    rate > 0
      ? lab.client.run(
          ...ON_LOAD_CPU,
          process.execPath,
          STORM,
          SERVER_OUTSIDE,
          '27690',
          authority,
          String(rate),
          String(seconds),
          '1.5',
          ...login,
        )
      : Promise.resolve('{"begun":0,"online":0,"cpuMs":0}');
  const ping = [
    ...ON_LOAD_CPU,
    'ping',
    '-n',
    '-i',
    String(PING_INTERVAL),
    '-c',
    String(seconds / PING_INTERVAL),
    '-W',
    '1',
    NET_ADDRESS,
  ];
  const all = await Promise.all(Array.from({ length: PINGERS }, () => tunnel.lab.client.run(...ping)));
  const pings = all.join('\n');
  const { begun, online, cpuMs } = JSON.parse(await storm) as { begun: number; online: number; cpuMs: number };
  const after = await look(lab);
  const trips = [...pings.matchAll(/time=([\d.]+) ms/g)].map(([, ms]) => Number(ms)).sort((a, b) => a - b);
  const p99 =
    percentile(
      after.turnTimes.map((now, i) => now - before.turnTimes[i]),
      0.99,
    ) / 1000;
  const trip = (part: number) => trips[Math.min(trips.length - 1, Math.floor(part * trips.length))].toFixed(2);
  const sent = (PINGERS * seconds) / PING_INTERVAL;
  const cpu = (ms: number) => `${Math.round(ms / 10 / seconds)} %`;
  return [
    `turns p99 ${p99.toFixed(2)} ms, round trip p50 ${trip(0.5)} p99 ${trip(0.99)} ms, ${sent - trips.length} of ${sent} lost,`,
    `${online} of ${begun} logged in; of one processor: shard ${cpu(after.shard - before.shard)},`,
    `main thread ${cpu(after.main - before.main)}, crypto pool ${cpu(after.pool - before.pool)}, their clients ${cpu(cpuMs)}`,
  ].join(' ');
}

/** A key for the server to check tokens with, and a token. */
async function createToken(folder: string): Promise<{ file: string; token: string }> {
  const { publicKey, privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const file = join(folder, 'token.pem');
  await writeFile(file, publicKey.export({ type: 'spki', format: 'pem' }));
  const claims = Buffer.from(JSON.stringify({ exp: Math.floor(Date.now() / 1000) + 3_600 }));
  return { file, token: await new CompactSign(claims).setProtectedHeader({ alg: 'RS256' }).sign(privateKey) };
}

export async function bench(quick: boolean): Promise<void> {
  const lab = await Lab.create();
  try {
    const credentials = await createCredentials(lab.folder);
    const { file, token } = await createToken(lab.folder);
    const server = ringway(lab, 'server', ['--shards', '1']);
    const client = ringway(lab, 'client');
    const tunnel = await Tunnel.start(lab, {
      mode: 'udp',
      expresslane: true,
      credentials,
      server: {
        ...server,
        command: [...ON_SERVER_CPU, ...server.command],
        keys: { ...server.keys, token_rsa_pub_key_pem: file },
      },
      client: { ...client, command: [...ON_LOAD_CPU, ...client.command] },
    });
    if (!quick) await measure(lab, tunnel, credentials.authority, RATE, 4, []);
    console.log('\nAn established session while others log in');
    const storms: [name: string, rate: number, login: string[]][] = [
      ['nobody', 0, []],
      [`${RATE}/s by token`, RATE, [token]],
      [`${RATE}/s by password`, RATE, []],
    ];
    for (const [name, rate, login] of quick ? storms : [...storms, ...storms]) {
      const found = await measure(lab, tunnel, credentials.authority, rate, quick ? 2 : 8, login);
      console.log(`  ${name.padStart(17)}: ${found}`);
    }
  } finally {
    await lab.close();
  }
}
