/**
 * What stands in a server's place when the generator itself is measured: it receives, finds the session, opens (so every tag and every
 * replay window is checked) and counts the packets. No TUN, no forwarding, no logins.
 */
import type { MessagePort } from 'node:worker_threads';
import { HEADER, VERDICTS } from '../datapath/batch.ts';
import { createBatches, nativeBatch } from '../datapath/batches.ts';
import { PUBLIC_SLOT_BYTES, SECRET_SLOT_BYTES, SlotFlag, SlotState } from '../datapath/layout.ts';
import { createNativeNodes } from '../datapath/nodes.ts';
import { checkLayout, SessionTable } from '../datapath/table.ts';
import { loadAddon } from '../native/index.ts';
import { type Micros, MS, SECOND } from '../wire/time.ts';
import { bareId } from './clients.ts';
import { LANE_KEY } from './loader.ts';
import { Traffic, type TrafficOptions } from './traffic.ts';

const BUFFER_BYTES = 64 << 20;
const LOOP_PASS: Micros = 1 * MS;
const LONGEST_WAIT: Micros = 0.5 * MS;
const VECTOR = 32;
const VERSION = { major: 1, minor: 3 };

export interface CheckerTask {
  readonly role: 'checker';
  readonly traffic: TrafficOptions;
  readonly aead: 'ipsec-mb' | 'openssl';
}

export type CheckerCommand = { type: 'keys'; keys: Uint8Array } | { type: 'count' } | { type: 'close' };

export type CheckerReport =
  | { type: 'listening'; portNumber: number }
  | { type: 'installed' }
  | {
      type: 'counted';
      packets: number;
      datagrams: number;
      /** Trains, as SO_RXQ_OVFL counts. */
      socketDrops: number;
      verdicts: Record<string, number>;
      cpuSeconds: number;
    };

export function runChecker(task: CheckerTask, channel: MessagePort): Promise<void> {
  const addon = loadAddon();
  checkLayout(addon);
  const { clients: slots } = task.traffic;
  const udp = addon.openUdp({
    address: '127.0.0.1',
    portNumber: 0,
    reusePort: false,
    bufferBytes: BUFFER_BYTES,
    gro: true,
    packetInfo: true,
    pmtu: 'omit',
    overflow: true,
  });
  const batches = createBatches(addon);
  const { trainsIn, packets } = batches;
  const port = addon.openPort({
    io: 'epoll',
    tun: -1,
    vnetHeader: false,
    udp: udp.descriptor,
    udpReceive: nativeBatch(trainsIn),
  });
  const memory = {
    public: addon.createMemfd('check-sessions', slots * PUBLIC_SLOT_BYTES),
    secret: addon.createMemfd('check-secrets', slots * SECRET_SLOT_BYTES),
  };
  const mapping = addon.openTable({ ...memory, slots });
  const table = new SessionTable(mapping.public, slots);
  const index = addon.attachIndex(addon.createIndex(slots).id);
  const lanes = addon.createLanes({
    table: mapping.handle,
    index,
    shard: 0,
    shards: 1,
    generation: 1,
    aead: task.aead,
  });
  const nodes = createNativeNodes(addon, lanes.handle, lanes.counters);
  const traffic = new Traffic(addon, task.traffic);
  const say = (report: CheckerReport) => channel.postMessage(report);

  const install = (keys: Uint8Array) => {
    const { fields } = table;
    for (let slot = 0; slot < slots; slot++) {
      addon.clearSlot(lanes.handle, slot);
      addon.claimSlot(lanes.handle, slot);
      fields.flags.set(slot, SlotFlag.aadFlags);
      fields.versionMajor.set(slot, VERSION.major);
      fields.versionMinor.set(slot, VERSION.minor);
      fields.currentId.set(slot, bareId(slot));
      addon.laneInstallReceive(lanes.handle, slot, keys.subarray(slot * LANE_KEY, (slot + 1) * LANE_KEY));
      fields.state.set(slot, SlotState.online);
      addon.indexSet(index, 'id', bareId(slot), slot);
    }
  };

  const turn = () => {
    if ((addon.wait(port, LONGEST_WAIT) & 1) === 0) return;
    const now = addon.monotonicMicros();
    addon.clear(nativeBatch(trainsIn));
    const count = addon.udpReceive(port, VECTOR);
    nodes.locate(trainsIn);
    while (trainsIn.header[HEADER.consumed] < count) {
      addon.clear(nativeBatch(packets));
      nodes.open(trainsIn, packets, now);
      addon.receiveTraffic(traffic.handle, nativeBatch(packets), undefined, now);
    }
    addon.clear(nativeBatch(packets));
  };

  const counted = (): CheckerReport => {
    const counters = addon.portCounters(port);
    const { user, system } = process.threadCpuUsage();
    const verdicts = Object.fromEntries(VERDICTS.map((name, i) => [name, Number(nodes.counters[i])]));
    return {
      type: 'counted',
      packets: traffic.total('delivered'),
      datagrams: counters.udpDatagramsIn,
      socketDrops: counters.socketDrops,
      verdicts,
      cpuSeconds: (user + system) / SECOND,
    };
  };

  return new Promise((resolve) => {
    let closed = false;
    channel.on('message', (command: CheckerCommand) => {
      if (command.type === 'keys') {
        install(command.keys);
        say({ type: 'installed' });
      } else if (command.type === 'count') {
        say(counted());
      } else {
        closed = true;
        addon.closePort(port);
        addon.closeDescriptor(udp.descriptor);
        channel.close();
        resolve();
      }
    });
    const loop = () => {
      if (closed) return;
      const began = addon.monotonicMicros();
      while (addon.monotonicMicros() - began < LOOP_PASS) turn();
      setImmediate(loop);
    };
    say({ type: 'listening', portNumber: udp.portNumber });
    setImmediate(loop);
  });
}
