/**
 * What a receiver behind a shallow buffer loses: the way from server to client has a bottleneck of 200 Mbit/s with room for 20 datagrams. Down
 * the tunnel come bursts of 40 packets, 100 Mbit/s on average, and then one TCP flow: with trains as they come, with short ones, and paced.
 */
import { createCredentials } from '../src/lab/credentials.ts';
import { FLOW_PROGRAM, type FlowReceived, type FlowSent } from '../src/lab/flow.ts';
import { Lab, NET_ADDRESS } from '../src/lab/hosts.ts';
import { run } from '../src/lab/programs.ts';
import { RINGWAY, ringway, stateFolder, Tunnel } from '../src/lab/tunnel.ts';
import { spread } from './rounds.ts';

const BOTTLENECK = ['tbf', 'rate', '200mbit', 'burst', '3000', 'limit', '30000'];
const ROUNDS = 7;
const MEGABITS = 100;
const PACKET_BYTES = 1_272; // 1,300 inside with IP and UDP headers
const BURST = 40;
const TCP_BYTES = 20_000_000;

const WAYS = {
  'as they come': [],
  'trains of 16': ['--train-segments', '16'],
  'paced at 180M': ['--pace-rate', '180M'],
  'paced at 180M, trains of 4': ['--pace-rate', '180M', '--train-segments', '4'],
};

async function verdicts(lab: Lab): Promise<Record<string, number>> {
  const status = await run([RINGWAY, 'status', '--json', '--all', '--state', stateFolder(lab, 'server')]);
  const [{ shards }] = JSON.parse(status) as { shards: { verdicts: Record<string, number> }[] }[];
  return shards[0].verdicts;
}

async function flow(lab: Lab, seconds: number): Promise<{ sent: FlowSent; received: FlowReceived }> {
  const options = [MEGABITS, PACKET_BYTES, BURST, seconds].map(String);
  const source = lab.net.start('source', [process.execPath, FLOW_PROGRAM, 'serve', '4100', ...options]);
  await source.line(/^ready/);
  const sink = lab.client.start('sink', [process.execPath, FLOW_PROGRAM, 'receive', '4100', NET_ADDRESS]);
  const sent = JSON.parse(await source.line(/^\{/, 60_000)) as FlowSent;
  const received = JSON.parse(await sink.line(/^\{/, 60_000)) as FlowReceived;
  return { sent, received };
}

interface Measured {
  /** Percent. */
  readonly loss: number;
  /** Milliseconds. */
  readonly p99: number;
  /** One TCP flow, Mbit/s. */
  readonly megabits: number;
}

async function measure(flags: readonly string[], quick: boolean): Promise<Measured> {
  const lab = await Lab.create();
  try {
    const credentials = await createCredentials(lab.folder);
    const [server, client] = [ringway(lab, 'server', ['--shards', '1', ...flags]), ringway(lab, 'client')];
    const tunnel = await Tunnel.start(lab, { mode: 'udp', expresslane: true, credentials, server, client });
    await lab.server.run('tc', 'qdisc', 'add', 'dev', 's0', 'root', ...BOTTLENECK);
    const { sent, received } = await flow(lab, quick ? 1 : 2);
    const tcp = await tunnel.transfer('down', quick ? TCP_BYTES / 10 : TCP_BYTES, 3);
    const { held, pacerFull } = await verdicts(lab);
    if (held > 0 || pacerFull > 0) console.log(`    at the pacer: ${held} held, ${pacerFull} dropped`);
    const megabits = (tcp.bytes * 8) / tcp.seconds / 1e6;
    return { loss: 100 * (1 - received.received / sent.sent), p99: received.p99, megabits };
  } finally {
    await lab.close();
  }
}

export async function bench(quick: boolean): Promise<void> {
  const rounds = quick ? 1 : ROUNDS;
  const measured: Record<string, Measured[]> = Object.fromEntries(Object.keys(WAYS).map((name) => [name, []]));
  for (let round = 0; round < rounds; round++)
    for (const [name, flags] of Object.entries(WAYS)) measured[name].push(await measure(flags, quick));
  console.log(`\nLoss behind a shallow buffer: ${BOTTLENECK.join(' ')}; bursts of ${BURST}, ${MEGABITS} Mbit/s`);
  console.log(`(medians of ${rounds} rounds that took turns, low to high)`);
  for (const [name, all] of Object.entries(measured)) {
    const range = (figure: (each: Measured) => number, digits: number) => {
      const { median, low, high } = spread(all.map(figure));
      return `${median.toFixed(digits)} [${low.toFixed(digits)}-${high.toFixed(digits)}]`;
    };
    const tcp = range(({ megabits }) => megabits, 0);
    const delay = range(({ p99 }) => p99, 1);
    console.log(
      `  ${name.padEnd(26)}  loss ${range(({ loss }) => loss, 2)} %  p99 ${delay} ms  one TCP flow ${tcp} Mbit/s`,
    );
  }
}
