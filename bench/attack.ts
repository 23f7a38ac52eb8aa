/**
 * What an established session carries while somebody floods the server's port, against the same flood aimed at the port beside it, in rounds
 * that take turns: spoofed first ClientHellos, garbage, replays and forged packets, plaintext from the session's own address, and ids that nobody has,
 * each as fast as one core can send. `RINGWAY_BENCH_ATTACKS=follow`: forged packets of who sees the session as it goes by, which nobody can tell
 * apart. Needs root. At the end, how many strangers can log in meanwhile.
 * Every datagram that reached the port must be in a counter, and is looked for there: those that the kernel says it gave to sockets, or dropped at them,
 * among what the shards have read, or know to be dropped; and those that were read among entries of lanes.open, rejects and drops.
 *
 * Replays and forged packets of both kinds come a second time where the server's outside device joins what comes into trains (GRO) for 20 µs, as network
 * cards do by themselves and veth does not. Only what has a checksum, one length and an IP identification that does not jump is joined: that is the
 * flood of somebody who does not know, or does not care; `gro` says which is which.
 * `RINGWAY_BENCH_ATTACKS=hello,replay` runs some of them, `RINGWAY_BENCH_ATTACKS=logins` only that end, `RINGWAY_BENCH_GRO=off` (or on,
 * or unsummed: on, and no checksums) one kind of device, RINGWAY_BENCH_ROUNDS=3 so many rounds, and RINGWAY_BENCH_DTLS=1 a session of DTLS records
 * alone, whose numbers are encrypted.
 */
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { Group } from '../src/crypto/groups.ts';
import { createNativeVault } from '../src/crypto/native-vault.ts';
import { Suite } from '../src/crypto/vault.ts';
import { DtlsClient } from '../src/dtls/client.ts';
import { createMemoryProtection } from '../src/dtls/memory-protection.ts';
import { createCredentials } from '../src/lab/credentials.ts';
import { Lab, SERVER_OUTSIDE } from '../src/lab/hosts.ts';
import { RINGWAY, ringway, stateFolder, Tunnel, transferCommand } from '../src/lab/tunnel.ts';
import { loadAddon } from '../src/native/index.ts';
import { EMPTY, encodeHeader, VERSION_1_3 } from '../src/wire/header.ts';
import { interleave, show } from './rounds.ts';
import type { Table } from './table.ts';

const FLOOD = fileURLToPath(new URL('attack/flood.c', import.meta.url));
const PORT_NUMBER = 27690;
const KINDS = process.env.RINGWAY_BENCH_ATTACKS?.split(',').filter((each) => each !== 'logins') ?? [
  'hello',
  'garbage',
  'replay',
  'forged',
  'near',
  'plain',
  'unknown',
];
const WITH_LOGINS = process.env.RINGWAY_BENCH_ATTACKS?.includes('logins') ?? true;
const DEVICES = process.env.RINGWAY_BENCH_GRO?.split(',') ?? ['off', 'on'];
const ROUNDS = Number(process.env.RINGWAY_BENCH_ROUNDS ?? 7);
/** Attacks from one address, which GRO may join. */
const FROM_ONE = ['replay', 'forged', 'near', 'follow'];
const DTLS = process.env.RINGWAY_BENCH_DTLS === '1';
const STORM = fileURLToPath(new URL('storm.ts', import.meta.url));
/** What may be under way while counters are read, shard by shard; and of a hundred what may not be found. */
const [UNDER_WAY, PERCENT] = [4_096, 0.1];
/** What is dropped at the sockets, as the shards know. */
const AT_SOCKETS = [
  'socketDrops',
  'filtered',
  'garbage',
  'handshakeDrops',
  'strangerDrops',
  'suspectDrops',
  'udpBeyondShare',
];
/** Clients that log in during a flood, one every tenth of a second, and how long they try. */
const [LOGINS, PATIENCE] = [20, 10];

/** The first datagram of a client that never was. */
function firstHello(): Uint8Array {
  const vault = createNativeVault(loadAddon());
  const random = (length: number) => crypto.getRandomValues(new Uint8Array(length));
  const protection = createMemoryProtection(vault);
  const client = new DtlsClient({
    vault,
    random,
    protection,
    suites: [Suite.aes256],
    groups: [Group.x25519MlKem768, Group.x25519],
    share: undefined,
  });
  client.start(0);
  for (const output of client.drain())
    if (output.kind === 'datagram')
      return Buffer.concat([
        encodeHeader({ version: VERSION_1_3, aggressive: false, expresslane: false, sessionId: EMPTY }),
        output.bytes,
      ]);
  throw new Error('a client that says nothing');
}

interface Figures {
  readonly shards: readonly {
    readonly verdicts: Record<string, number>;
    readonly control: Record<string, number>;
    readonly port: Record<string, number>;
    readonly stages: readonly { stage: string; entries: number; drops: Record<string, number> }[];
  }[];
}

interface Counted {
  readonly counters: Record<string, number>;
  /** Trains that sockets were given, or that were dropped there: as the kernel counts them, and as the shards do. */
  readonly delivered: number;
  readonly known: number;
  /** Datagrams that shards have read, and what became of them. */
  readonly read: number;
  readonly ended: number;
}

const total = (counts: Record<string, number>) => Object.values(counts).reduce((sum, by) => sum + by, 0);

async function countersOf(lab: Lab): Promise<Counted> {
  const text = await lab.server.run(RINGWAY, 'status', '--json', '--state', stateFolder(lab, 'server'));
  const kernel = await lab.server.run('cat', '/proc/net/snmp');
  const [names, values] = kernel.split('\n').filter((line) => line.startsWith('Udp:'));
  const ofKernel = (name: string) => Number(values.split(' ')[names.split(' ').indexOf(name)]);
  const counters: Record<string, number> = {};
  let [known, read, ended] = [0, 0, 0];
  // what a port drops is among the verdicts, too
  for (const { port, control, verdicts, stages } of (JSON.parse(text) as Figures[]).flatMap(({ shards }) => shards)) {
    for (const [name, by] of Object.entries({ ...port, ...control, ...verdicts }))
      if (typeof by === 'number') counters[name] = (counters[name] ?? 0) + by;
    read += port.udpDatagramsIn;
    known += port.udpTrainsIn + AT_SOCKETS.reduce((sum, name) => sum + (port[name] ?? 0), 0);
    ended += verdicts.reject + (port.truncated ?? 0);
    for (const { stage, entries, drops } of stages) if (stage === 'lanes.open') ended += entries + total(drops);
  }
  return { counters, delivered: ofKernel('InDatagrams') + ofKernel('InErrors'), known, read, ended };
}

/** @throws Error when something is in no counter, or in more than one */
function checkSum(kind: string, before: Counted, after: Counted, aimed: number): void {
  const check = (what: string, from: number, found: number) => {
    console.log(`  ${what}: ${from}, found in the counters: ${found}`);
    const missing = from - found;
    if (Math.abs(missing) <= UNDER_WAY + (from * PERCENT) / 100) return;
    if (DTLS && missing < 0) return; // what looks like several records in a datagram is counted for each
    const where = missing > 0 ? 'no counter' : 'more than one';
    throw new Error(`under ${kind}, of ${from} ${what} ${Math.abs(missing)} are in ${where}`);
  };
  const brought = after.delivered - before.delivered;
  if (brought < aimed)
    throw new Error(`under ${kind}, ${brought} trains came where ${aimed} and more were aimed: it was no flood`);
  check('trains brought to the sockets', after.delivered - before.delivered, after.known - before.known);
  check('datagrams read', after.read - before.read, after.ended - before.ended);
}

export async function bench(quick: boolean, table: Table): Promise<void> {
  const seconds = quick ? 1 : 2;
  const rounds = quick ? 1 : ROUNDS;
  try {
    execFileSync('ethtool', ['--version'], { stdio: 'ignore' });
  } catch {
    throw new Error('ethtool is not there, which turns GRO on and off: apt-get install ethtool');
  }
  const lab = await Lab.create();
  try {
    const flood = join(lab.folder, 'flood');
    const hello = join(lab.folder, 'hello');
    execFileSync('cc', ['-O2', '-o', flood, FLOOD]);
    writeFileSync(hello, firstHello());
    await lab.server.run('sysctl', '-qw', 'net.ipv4.conf.all.rp_filter=0', 'net.ipv4.conf.s0.rp_filter=0');
    await lab.server.run('ip', 'route', 'add', '198.18.0.0/15', 'via', '10.9.0.1');
    const credentials = await createCredentials(lab.folder);
    await Tunnel.start(lab, {
      mode: 'udp',
      expresslane: !DTLS,
      credentials,
      server: ringway(lab, 'server', process.env.RINGWAY_BENCH_FLAGS?.split(' ') ?? []),
      client: ringway(lab, 'client'),
    });
    lab.client.start('pings', ['ping', '-q', '-n', '-i', '0.01', '10.99.0.2']); // something to replay
    lab.client.start('flow', transferCommand('up', 1e12, 1));
    await sleep(1_000);

    /** Bytes a second that reach the net while `kind` is aimed at `aim`. */
    const carried = async (kind: string, aim: number, sums: string) => {
      const before = lab.net.counters('n0').bytesIn;
      const began = performance.now();
      const args = [kind, 'c0', SERVER_OUTSIDE, String(PORT_NUMBER), String(aim), String(seconds), sums, hello];
      floods.push(Number(await lab.client.run(flood, ...args)));
      return ((lab.net.counters('n0').bytesIn - before) * 8) / ((performance.now() - began) * 1e3);
    };
    let floods: number[] = [];
    const cases = KINDS.flatMap((kind) =>
      (FROM_ONE.includes(kind) ? DEVICES : ['off']).map((device) => ({ kind, device })),
    );
    for (const { kind, device } of cases) {
      await lab.server.run('ethtool', '-K', 's0', 'gro', device === 'off' ? 'off' : 'on');
      await lab.client.run('ethtool', '-K', 'c0', 'tso', device === 'off' ? 'on' : 'off'); // else veth passes GRO by
      await lab.server.run('sh', '-c', `echo ${device === 'off' ? 0 : 20_000} > /sys/class/net/s0/gro_flush_timeout`);
      const sums = device === 'on' ? '1' : '0';
      const before = await countersOf(lab);
      floods = [];
      const results = await interleave(
        [
          { name: 'beside', run: () => carried(kind, PORT_NUMBER + 1, sums) },
          { name: 'ours', run: () => carried(kind, PORT_NUMBER, sums) },
        ],
        rounds,
      );
      const perSecond = floods.reduce((sum, each) => sum + each, 0) / floods.length / seconds;
      const where = FROM_ONE.includes(kind) ? `, gro ${device}` : '';
      show(`Under ${kind}${where}, ${(perSecond / 1e3).toFixed(0)} thousand a second`, 'Mbit/s', results, rounds);
      const what = `${kind}${where}`;
      table.add(
        {
          group: 'Carried under attack, against the same flood beside us',
          what,
          sense: 'at least',
          bound: 0.9,
          unit: '×',
        },
        results[1].ratios,
      );
      const after = await countersOf(lab);
      const by = (name: string) => after.counters[name] - (before.counters[name] ?? 0);
      const changed = Object.keys(after.counters).filter((name) => by(name) !== 0);
      const aimed = floods.filter((_, i) => i % 2 === 1).reduce((sum, each) => sum + each, 0);
      console.log(`  ${aimed} aimed at us; ${changed.map((name) => `${name} ${by(name)}`).join(', ')}`);
      checkSum(kind, before, after, device === 'off' ? aimed / 2 : aimed / 128); // some may be lost before, or joined
    }
    await lab.server.run('ethtool', '-K', 's0', 'gro', 'off');
    for (const aim of !WITH_LOGINS ? [] : quick ? [PORT_NUMBER] : [PORT_NUMBER + 1, PORT_NUMBER]) {
      const args = [
        'hello',
        'c0',
        SERVER_OUTSIDE,
        String(PORT_NUMBER),
        String(aim),
        String(LOGINS / 10 + PATIENCE),
        '0',
        hello,
      ];
      const flooded = lab.client.run(flood, ...args);
      const to = [SERVER_OUTSIDE, String(PORT_NUMBER), credentials.authority];
      const said = await lab.client.run(process.execPath, STORM, ...to, '10', String(LOGINS / 10), String(PATIENCE));
      await flooded;
      console.log(
        `Logins under a flood of first ClientHellos ${aim === PORT_NUMBER ? 'at us' : 'beside'}: ${said.trim()}`,
      );
    }
  } finally {
    await lab.close();
  }
}
