/**
 * Two sessions of a server without offload, one of them flooded while its engine stands still, so that what is there decides and no clock: of the queues of
 * socket and device the other's slow flow finds its part, and loses nothing.
 */
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createCredentials } from '../../src/lab/credentials.ts';
import { type Host, Lab, NET_ADDRESS } from '../../src/lab/hosts.ts';
import { kill, type Program, run } from '../../src/lab/programs.ts';
import { RINGWAY, ringway, startClient, stateFolder, Tunnel, type TunnelOptions } from '../../src/lab/tunnel.ts';
import type { ShardStatistics } from '../../src/observe/statistics.ts';
import { filterRefusal } from '../io/rig.ts';

const TRAFFIC = join(import.meta.dirname, 'fairness.py');
/** The second client: a device, an address and a part of the net of its own. */
const OTHER = { device: 'lwd', inside: '100.64.1.6', net: '10.99.1.2' };
/** 819 places in the socket, 485 in a device of 500: one session may have 656, and 388 of them. */
const BUFFER = '1MiB';
const FLOOD = { count: 4_000, gapUs: 100 };
const SLOW = { count: 60, gapUs: 5_000 };
const ROUNDS = 3;
/** At least so many of a flood are beyond its share, whatever was lost on its way. */
const BEYOND = 500;
const refusal = filterRefusal();
if (refusal) console.warn(`skipped: ${refusal}`);

interface Told {
  readonly enginePid: number;
  readonly shards: readonly ShardStatistics[];
}

let lab: Lab;
let port = 5_000;

const traffic = (...words: (string | number)[]) => ['python3', TRAFFIC, ...words.map(String)];

async function told(): Promise<Told> {
  const text = await run([RINGWAY, 'status', '--json', '--all', '--state', stateFolder(lab, 'server')]);
  return (JSON.parse(text) as Told[])[0];
}

async function dropsAt(stage: string, reason: string): Promise<number> {
  const [{ stages }] = (await told()).shards;
  return stages.find((each) => each.stage === stage)?.drops[reason] ?? 0;
}

async function joinOther(options: TunnelOptions): Promise<void> {
  const keys = { tun_name: OTHER.device, tun_local_ip: OTHER.inside };
  const { command } = options.client;
  const flags = ['--state', `${lab.folder}/state-other`];
  await startClient(lab, { ...options, client: { command, flags, keys } });
  await lab.client.device(OTHER.device);
  await lab.client.run('ip', 'address', 'replace', `${OTHER.inside}/32`, 'dev', OTHER.device);
  await lab.client.run('ip', 'link', 'set', OTHER.device, 'up');
  await lab.client.run('ip', 'route', 'replace', `${OTHER.net}/32`, 'dev', OTHER.device, 'src', OTHER.inside);
  await lab.net.run('ip', 'address', 'add', `${OTHER.net}/32`, 'dev', 'n0');
  await lab.server.run('ip', 'route', 'add', `${OTHER.net}/32`, 'via', NET_ADDRESS);
  await lab.client.run('ping', '-n', '-q', '-c', '1', '-i', '0.1', '-w', '15', OTHER.net);
}

async function started(host: Host, ...words: (string | number)[]): Promise<Program> {
  const program = host.start('traffic', traffic(...words));
  await program.line(/^ready/);
  return program;
}

/** @returns what the net calls the client that reaches it at this address */
async function leaseOf(address: string): Promise<string> {
  const at = port++;
  const heard = await started(lab.net, 'heard', at);
  await lab.client.run(...traffic('send', address, at, 3, 10_000));
  return heard.line(/^10\./);
}

/** Floods one address while the engine stands still, and then sends to the other. @returns how many of the slow flow came */
async function flooded(from: Host, to: Host, flood: string, slow: string): Promise<number> {
  const [floodPort, slowPort] = [port++, port++];
  const held = await started(to, 'hold', floodPort);
  const received = await started(to, 'receive', slowPort, SLOW.count);
  const { enginePid } = await told();
  expect(kill(enginePid, 'SIGSTOP')).toBe(true);
  try {
    await from.run(...traffic('send', flood, floodPort, FLOOD.count, FLOOD.gapUs));
    await from.run(...traffic('send', slow, slowPort, SLOW.count, SLOW.gapUs));
  } finally {
    kill(enginePid, 'SIGCONT');
  }
  const line = await received.line(/^received/, 60_000);
  await held.stop();
  return Number(line.split(' ')[1]);
}

describe.skipIf(refusal !== undefined)('a slow flow beside a flood, at a server without offload', () => {
  beforeAll(async () => {
    lab = await Lab.create();
    const credentials = await createCredentials(lab.folder);
    const flags = ['--shards', '1', '--tun-offload', 'off', '--gro', 'off'];
    const server = ringway(lab, 'server', flags, { udp_buffer_size: BUFFER });
    const client = ringway(lab, 'client');
    const options = { mode: 'udp', expresslane: true, credentials, server, client } as const;
    await Tunnel.start(lab, options);
    await joinOther(options);
  });
  afterAll(() => lab?.close());

  it('loses nothing up, and what the other has sent beyond its share is counted', async () => {
    for (let round = 0; round < ROUNDS; round++) {
      const before = await dropsAt('udp.receive', 'beyondShare');
      expect(await flooded(lab.client, lab.net, OTHER.net, NET_ADDRESS)).toBe(SLOW.count);
      expect((await dropsAt('udp.receive', 'beyondShare')) - before).toBeGreaterThan(BEYOND);
    }
    expect(await dropsAt('udp.receive', 'socketFull')).toBe(0);
  });

  it('loses nothing down, and what was sent to the other beyond its share is counted', async () => {
    const [flood, slow] = [await leaseOf(OTHER.net), await leaseOf(NET_ADDRESS)];
    for (let round = 0; round < ROUNDS; round++) {
      const before = await dropsAt('tun.receive', 'beyondShare');
      expect(await flooded(lab.net, lab.client, flood, slow)).toBe(SLOW.count);
      expect((await dropsAt('tun.receive', 'beyondShare')) - before).toBeGreaterThan(BEYOND);
    }
  });
});
