/**
 * `npm start`: a server and a client in network namespaces of their own, with a certificate and a user made on the spot, carry
 * traffic both ways in each of the three modes. Started through bin/private.sh, so that nothing is left behind. Exit code 0
 * only when all three carried traffic both ways; 130 after Ctrl-C.
 */
import { accessSync, constants } from 'node:fs';
import { parseArgs } from 'node:util';
import { RingwayError } from '../errors.ts';
import { type Credentials, createCredentials } from '../lab/credentials.ts';
import { Lab, NET_ADDRESS } from '../lab/hosts.ts';
import { ringway, stateFolder, Tunnel } from '../lab/tunnel.ts';
import { engineCounters } from './counters.ts';
import { Meter, type Reading, sum } from './meter.ts';
import { type Row, Screen, table } from './screen.ts';

const MODES = [
  { name: 'UDP with Expresslane', mode: 'udp', expresslane: true },
  { name: 'UDP with DTLS alone', mode: 'udp', expresslane: false },
  { name: 'TCP', mode: 'tcp', expresslane: false },
] as const;

const LONGEST_SECONDS = 90; // of the whole demo beside its measurements, should something hang
const LONGEST_MEASUREMENT = 3_600;
const USAGE = 'usage: npm start [-- --seconds N], N seconds each way in each of the three modes';
const TUN = '/dev/net/tun';
const screen = new Screen();

/** Below the table. */
const LEGEND = 'packets a (system) call of either end; s/GB: CPU seconds for a gigabyte carried';

/** @throws RingwayError DEMO_TUN with the line to run */
function requireTun(): void {
  try {
    accessSync(TUN, constants.R_OK | constants.W_OK);
  } catch (cause) {
    const missing = (cause as NodeJS.ErrnoException).code === 'ENOENT';
    throw new RingwayError(
      'DEMO_TUN',
      `${TUN} ${missing ? 'is missing' : 'is closed to this user'}`,
      missing
        ? 'run: sudo modprobe tun (in a container, start it with --device /dev/net/tun)'
        : `run: sudo chmod 666 ${TUN}, or npm start as root`,
      { cause },
    );
  }
}

/** One direction of iperf3 with the figures of the moment. @returns bits per second as the receiver counted them */
async function measure(
  tunnel: Tunnel,
  name: string,
  direction: 'up' | 'down',
  seconds: number,
  readings: Reading[],
): Promise<number> {
  const words = [
    'iperf3',
    '--json',
    '--client',
    NET_ADDRESS,
    '--time',
    String(seconds),
    ...(direction === 'down' ? ['--reverse'] : []),
  ];
  const state = stateFolder(tunnel.lab, 'server');
  const meter = await Meter.start(tunnel, () => engineCounters(state));
  const look = async () => {
    const reading = await meter.read();
    readings.push(reading);
    screen.show(name, direction, reading);
  };
  const beat = setInterval(() => void look(), process.stdout.isTTY ? 250 : 1_000);
  try {
    const { code, stdout } = await tunnel.lab.client.outcome(words, (seconds + 10) * 1000);
    await look();
    const report = JSON.parse(stdout) as { error?: string; end?: { sum_received?: { bits_per_second: number } } };
    const rate = report.end?.sum_received?.bits_per_second ?? 0;
    if (code === 0 && rate > 0) return rate;
    throw new RingwayError(
      'DEMO_TRAFFIC',
      `iperf3 carried nothing: ${report.error ?? 'no bytes arrived'}`,
      'look at the lines above',
    );
  } finally {
    clearInterval(beat);
  }
}

async function carry(lab: Lab, credentials: Credentials, mode: (typeof MODES)[number], seconds: number): Promise<Row> {
  const { name } = mode;
  screen.next();
  let tunnel: Tunnel | undefined;
  try {
    const [server, client] = [ringway(lab, 'server'), ringway(lab, 'client')];
    tunnel = await Tunnel.start(lab, { ...mode, credentials, server, client });
    const pingMs = await tunnel.roundTrip();
    const readings: Reading[] = [];
    const upBitsPerSecond = await measure(tunnel, name, 'up', seconds, readings);
    const downBitsPerSecond = await measure(tunnel, name, 'down', seconds, readings);
    return { name, pingMs, upBitsPerSecond, downBitsPerSecond, whole: sum(readings) };
  } catch (error) {
    return { name, failure: (error as Error).message };
  } finally {
    await tunnel?.stop();
  }
}

/** @throws RingwayError DEMO_OPTION */
function secondsOf(args: string[]): number {
  let given: string | undefined;
  try {
    given = parseArgs({ args, options: { seconds: { type: 'string', default: '3' } } }).values.seconds;
  } catch (cause) {
    throw new RingwayError('DEMO_OPTION', (cause as Error).message.split('. ')[0], USAGE, { cause });
  }
  const seconds = Number(given);
  if (Number.isInteger(seconds) && seconds >= 1 && seconds <= LONGEST_MEASUREMENT) return seconds;
  const expected = `a whole number from 1 to ${LONGEST_MEASUREMENT}`;
  throw new RingwayError('DEMO_OPTION', `expected --seconds to be ${expected} but received ${given}`, USAGE);
}

async function main(): Promise<number> {
  const seconds = secondsOf(process.argv.slice(2));
  requireTun();
  const start = performance.now();
  const lab = await Lab.create();
  const rows: Row[] = [];
  let interrupted = false;
  let hung = false;
  const interrupt = new Promise<void>((resolve) => {
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
      process.on(signal, () => {
        interrupted = true;
        resolve();
      });
    const longest = LONGEST_SECONDS + 2 * MODES.length * seconds;
    setTimeout(() => {
      hung = true;
      resolve();
    }, longest * 1000).unref();
  });
  const all = async () => {
    const credentials = await createCredentials(lab.folder);
    screen.say('client 10.9.0.1 ══ tunnel ══ 10.9.0.2 server 10.99.0.1 ── 10.99.0.2 net');
    screen.say('each in a network namespace of its own');
    lab.net.start('iperf3', ['iperf3', '--server', '--forceflush']);
    for (const mode of MODES) {
      const row = await carry(lab, credentials, mode, seconds);
      if (interrupted || hung) return;
      rows.push(row);
    }
  };
  try {
    await Promise.race([all(), interrupt]);
  } finally {
    screen.done();
    await lab.close();
  }
  console.log(rows.length > 0 ? `\n${table(rows)}\n${LEGEND}\n` : '');
  if (hung && rows.length < MODES.length)
    console.log(`${MODES[rows.length].name} hung and was given up; please report it`);
  if (interrupted) console.log('interrupted; everything was cleared away');
  else
    console.log(
      `${((performance.now() - start) / 1000).toFixed(0)} s in all; nothing is left behind. Next: "Server and client" in README.md`,
    );
  if (interrupted) return 130;
  return rows.length === MODES.length && rows.every(({ failure }) => failure === undefined) ? 0 : 1;
}

try {
  process.exit(await main());
} catch (error) {
  const { message, code, advice } = error as RingwayError;
  console.error(`ringway: ${message}${advice ? `; ${advice}` : ''}${code ? ` [${code}]` : ''}`);
  process.exit(1);
}
