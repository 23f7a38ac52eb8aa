/**
 * One session at ten times its share, and one of 10 Mbit/s beside it, on one shard: what the small one loses and how late its packets are, up and
 * down, alone (once) and beside the greedy one, in rounds. The greedy one sends small datagrams as fast as one core makes them. The server works without
 * offload where a second set says so: there a shard carries so little that ten times the share can be made here.
 */
import { readFileSync } from 'node:fs';
import { createCredentials } from '../src/lab/credentials.ts';
import { FLOW_PROGRAM, type FlowReceived, type FlowSent } from '../src/lab/flow.ts';
import { Lab, NET_ADDRESS } from '../src/lab/hosts.ts';
import { type Program, run } from '../src/lab/programs.ts';
import {
  type EndOptions,
  RINGWAY,
  ringway,
  SERVER_DEVICE,
  startClient,
  stateFolder,
  Tunnel,
} from '../src/lab/tunnel.ts';
import type { ShardStatistics } from '../src/observe/statistics.ts';
import type { Table } from './table.ts';

/** The second client of the lab: a device, an address and a part of the net of its own. */
const OTHER = { device: 'lwd', inside: '100.64.1.6', net: '10.99.1.2' };
const ROUNDS = 7;
const SMALL = { megabits: 10, bytes: 1_272, burst: 1 };
const GREEDY = { megabits: 100_000, bytes: 200, burst: 60 };

/** A core for the server and one for all others: what is to be seen is whom the server drops, not whom the scheduler leaves waiting. */
const SERVER_CPU = ['taskset', '-c', '0'];
const OTHER_CPU = ['taskset', '-c', '1'];

const SERVERS = {
  'with offload': [],
  'without offload': ['--tun-offload', 'off', '--gro', 'off'],
};

type Way = 'up' | 'down';
type Traffic = typeof SMALL;

async function told(lab: Lab): Promise<ShardStatistics> {
  const status = await run([RINGWAY, 'status', '--json', '--all', '--state', stateFolder(lab, 'server')]);
  return (JSON.parse(status) as { shards: ShardStatistics[] }[])[0].shards[0];
}

function onCpu(cpu: readonly string[], end: EndOptions): EndOptions {
  return { ...end, command: [...cpu, ...end.command] };
}

/** A second session through the same server, and its way to the net. */
async function joinOther(lab: Lab, options: Parameters<typeof startClient>[1]): Promise<void> {
  const keys = { tun_name: OTHER.device, tun_local_ip: OTHER.inside };
  const { command } = options.client;
  const flags = ['--state', `${lab.folder}/state-other`];
  await startClient(lab, { ...options, client: { command, flags, keys, ready: /keeper: started/ } });
  await lab.client.device(OTHER.device);
  await lab.client.run('ip', 'address', 'replace', `${OTHER.inside}/32`, 'dev', OTHER.device);
  await lab.client.run('ip', 'link', 'set', OTHER.device, 'up');
  await lab.client.run('ip', 'route', 'replace', `${OTHER.net}/32`, 'dev', OTHER.device, 'src', OTHER.inside);
  await lab.net.run('ip', 'address', 'add', `${OTHER.net}/32`, 'dev', 'n0');
  await lab.server.run('ip', 'route', 'add', `${OTHER.net}/32`, 'via', NET_ADDRESS);
  await lab.client.run('ping', '-n', '-q', '-c', '1', '-i', '0.1', '-w', '15', OTHER.net);
}

interface Flow {
  readonly source: Program;
  readonly sink: Program;
}

/** What kernels drop before anybody can be fair: at the server's TUN device, and in the queue between two namespaces (all of the machine). */
async function kernelDrops(lab: Lab): Promise<{ device: number; backlog: number }> {
  const table = await lab.server.run('ip', '-s', 'link', 'show', SERVER_DEVICE);
  const transmitted = /TX:.*\n\s*([\d ]+)/.exec(table)?.[1].trim().split(/\s+/).map(Number) ?? [];
  const softnet = readFileSync('/proc/net/softnet_stat', 'utf8').trim().split('\n');
  const backlog = softnet.reduce((sum, line) => sum + Number.parseInt(line.split(/\s+/)[1], 16), 0);
  return { device: transmitted[3] ?? 0, backlog };
}

let port = 4_200;

async function begin(
  lab: Lab,
  way: Way,
  address: string,
  traffic: Traffic,
  seconds: number,
  reads: boolean,
): Promise<Flow> {
  const { megabits, bytes, burst } = traffic;
  const numbers = [megabits, bytes, burst, seconds].map(String);
  const what = reads ? 'receive' : 'swallow';
  const at = String(port++);
  const flow = (...words: string[]) => [...OTHER_CPU, process.execPath, FLOW_PROGRAM, ...words];
  if (way === 'up') {
    const sink = lab.net.start('sink', flow(what, at));
    await sink.line(/^ready/);
    return { sink, source: lab.client.start('source', flow('send', address, at, ...numbers)) };
  }
  const source = lab.net.start('source', flow('serve', at, ...numbers));
  await source.line(/^ready/);
  return { source, sink: lab.client.start('sink', flow(what, at, address)) };
}

async function finish({ source, sink }: Flow): Promise<{ sent: FlowSent; received: FlowReceived }> {
  const sent = JSON.parse(await source.line(/^\{/, 60_000)) as FlowSent;
  const received = JSON.parse(await sink.line(/^\{/, 60_000)) as FlowReceived;
  return { sent, received };
}

interface Measured {
  readonly loss: number;
  /** Milliseconds. */
  readonly p99: number;
  readonly words: string;
}

async function measure(lab: Lab, way: Way, greedy: boolean, seconds: number): Promise<Measured> {
  const [before, lostBefore] = [await told(lab), await kernelDrops(lab)];
  const flood = greedy ? await begin(lab, way, OTHER.net, GREEDY, seconds + 2, false) : undefined;
  const { sent, received } = await finish(await begin(lab, way, NET_ADDRESS, SMALL, seconds, true));
  const flooded = flood ? (JSON.parse(await flood.source.line(/^\{/, 60_000)) as FlowSent) : undefined;
  await flood?.sink.stop();
  const [after, lostAfter] = [await told(lab), await kernelDrops(lab)];
  const grown = (name: string) => (after.verdicts[name] ?? 0) - (before.verdicts[name] ?? 0);
  const loss = 100 * (1 - received.received / sent.sent);
  const { p50, p99, most } = received;
  const own = `loss ${loss.toFixed(2).padStart(5)} %  p50 ${p50} p99 ${p99} most ${most} ms`;
  if (!flooded) return { loss, p99, words: own };
  const dropped = grown(way === 'up' ? 'overload' : 'pacerFull');
  const [from, to] = way === 'up' ? ['udpDatagramsIn', 'tunPacketsOut'] : ['tunPacketsIn', 'udpDatagramsOut'];
  const carried = after.port[to] - before.port[to];
  const offered = (flooded.sent / flooded.seconds / 1e3).toFixed(0);
  const words =
    `${own}  greedy: ${offered}k/s offered; shard: ${from} ${after.port[from] - before.port[from]}, ${to} ${carried},` +
    ` ${way === 'up' ? 'overload' : 'pacerFull'} ${dropped}, socketFull ${grown('socketFull')},` +
    ` device ${lostAfter.device - lostBefore.device}, kernel backlog ${lostAfter.backlog - lostBefore.backlog}`;
  return { loss, p99, words };
}

const GROUP = 'A session of 10 Mbit/s beside one that sends as fast as a core can';

/** What the small session loses, and how late it is. */
async function rounds(lab: Lab, name: string, way: Way, quick: boolean, table: Table): Promise<void> {
  const seconds = quick ? 2 : 3;
  const say = (greedy: string, words: string) => console.log(`  ${way.padEnd(4)} ${greedy}  ${words}`);
  say('alone ', (await measure(lab, way, false, seconds)).words);
  const measured: Measured[] = [];
  for (let round = 0; round < (quick ? 1 : ROUNDS); round++) {
    measured.push(await measure(lab, way, true, seconds));
    say('beside', measured[round].words);
  }
  const add = (what: string, bound: number, unit: string, values: number[]) =>
    table.add({ group: GROUP, what: `${what}, ${way}, ${name}`, sense: 'at most', bound, unit }, values);
  add(
    'loss',
    1,
    '%',
    measured.map(({ loss }) => loss),
  );
  add(
    'p99',
    20,
    'ms',
    measured.map(({ p99 }) => p99),
  );
}

export async function bench(quick: boolean, table: Table): Promise<void> {
  for (const [name, flags] of Object.entries(SERVERS)) {
    const lab = await Lab.create();
    try {
      const credentials = await createCredentials(lab.folder);
      const server = onCpu(SERVER_CPU, ringway(lab, 'server', ['--shards', '1', ...flags]));
      const client = onCpu(OTHER_CPU, ringway(lab, 'client'));
      const options = { mode: 'udp', expresslane: true, credentials, server, client } as const;
      await Tunnel.start(lab, options);
      await joinOther(lab, options);
      console.log(`\nA session of 10 Mbit/s beside a greedy one, ${name}`);
      for (const way of (process.env.WAYS ?? 'up,down').split(',') as Way[]) await rounds(lab, name, way, quick, table);
    } finally {
      await lab.close();
    }
  }
}
