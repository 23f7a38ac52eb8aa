/**
 * What stands in a server's place when the generator itself is measured: it receives, finds the session, opens (so every tag and every
 * replay window is checked) and counts the packets. No TUN, no forwarding, no logins.
 */
import type { MessagePort } from 'node:worker_threads';
import { HEADER, VERDICTS } from '../datapath/batch.ts';
import { type Batches, createBatches, nativeBatch } from '../datapath/batches.ts';
import { PUBLIC_SLOT_BYTES, SECRET_SLOT_BYTES, SlotFlag, SlotState } from '../datapath/layout.ts';
import { createNativeNodes, type Nodes } from '../datapath/nodes.ts';
import { checkLayout, SessionTable } from '../datapath/table.ts';
import { type Addon, type IndexHandle, type LanesHandle, loadAddon, type PortHandle } from '../native/index.ts';
import { VERSION_1_3 } from '../wire/header.ts';
import { type Micros, MS, SECOND } from '../wire/time.ts';
import { bareId } from './clients.ts';
import { LANE_KEY } from './loader.ts';
import { Traffic, type TrafficOptions } from './traffic.ts';

const BUFFER_BYTES = 64 << 20;
const LOOP_PASS: Micros = 1 * MS;
const LONGEST_WAIT: Micros = 0.5 * MS;
const VECTOR = 32;

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

/** Until it is told to close. */
export async function runChecker(task: CheckerTask, channel: MessagePort): Promise<void> {
  const addon = loadAddon();
  checkLayout(addon);
  await new Checker(addon, task, channel).run();
}

class Checker {
  readonly #addon: Addon;
  readonly #channel: MessagePort;
  readonly #slots: number;
  readonly #socket: { descriptor: number; portNumber: number };
  readonly #batches: Batches;
  readonly #port: PortHandle;
  readonly #table: SessionTable;
  readonly #index: IndexHandle;
  readonly #lanes: LanesHandle;
  readonly #nodes: Nodes;
  readonly #traffic: Traffic;
  #closed = false;

  constructor(addon: Addon, task: CheckerTask, channel: MessagePort) {
    this.#addon = addon;
    this.#channel = channel;
    const slots = task.traffic.clients;
    this.#slots = slots;
    this.#socket = addon.openUdp({
      address: '127.0.0.1',
      portNumber: 0,
      reusePort: false,
      bufferBytes: BUFFER_BYTES,
      gro: true,
      packetInfo: true,
      pmtu: 'omit',
    });
    this.#batches = createBatches(addon);
    const udp = { udp: this.#socket.descriptor, udpReceive: nativeBatch(this.#batches.trainsIn) };
    this.#port = addon.openPort({ io: 'epoll', tun: -1, vnetHeader: false, ...udp });
    const memory = {
      public: addon.createMemfd('check-sessions', slots * PUBLIC_SLOT_BYTES),
      secret: addon.createMemfd('check-secrets', slots * SECRET_SLOT_BYTES),
    };
    const mapping = addon.openTable({ ...memory, slots });
    this.#table = new SessionTable(mapping.public, slots);
    this.#index = addon.attachIndex(addon.createIndex(slots).id);
    const single = { shard: 0, shards: 1, generation: 1, aead: task.aead };
    const { handle, counters } = addon.createLanes({ table: mapping.handle, index: this.#index, ...single });
    this.#lanes = handle;
    this.#nodes = createNativeNodes(addon, handle, counters);
    this.#traffic = new Traffic(addon, task.traffic);
  }

  run(): Promise<void> {
    return new Promise((resolve) => {
      this.#channel.on('message', (command: CheckerCommand) => {
        if (command.type === 'keys') this.#install(command.keys);
        else if (command.type === 'count') this.#say(this.#counted());
        else {
          this.#close();
          resolve();
        }
      });
      this.#say({ type: 'listening', portNumber: this.#socket.portNumber });
      setImmediate(this.#loop);
    });
  }

  #say(report: CheckerReport): void {
    this.#channel.postMessage(report);
  }

  #install(keys: Uint8Array): void {
    const { fields } = this.#table;
    for (let slot = 0; slot < this.#slots; slot++) {
      this.#addon.clearSlot(this.#lanes, slot);
      this.#addon.claimSlot(this.#lanes, slot);
      fields.flags.set(slot, SlotFlag.aadFlags);
      fields.versionMajor.set(slot, VERSION_1_3.major);
      fields.versionMinor.set(slot, VERSION_1_3.minor);
      fields.currentId.set(slot, bareId(slot));
      this.#addon.laneInstallReceive(this.#lanes, slot, keys.subarray(slot * LANE_KEY, (slot + 1) * LANE_KEY));
      fields.state.set(slot, SlotState.online);
      this.#addon.indexSet(this.#index, 'id', bareId(slot), slot);
    }
    this.#say({ type: 'installed' });
  }

  readonly #loop = (): void => {
    if (this.#closed) return;
    const began = this.#addon.monotonicMicros();
    while (this.#addon.monotonicMicros() - began < LOOP_PASS) this.#turn();
    setImmediate(this.#loop);
  };

  #turn(): void {
    if ((this.#addon.wait(this.#port, LONGEST_WAIT) & 1) === 0) return;
    const { trainsIn, packets } = this.#batches;
    const now = this.#addon.monotonicMicros();
    this.#addon.clear(nativeBatch(trainsIn));
    const count = this.#addon.udpReceive(this.#port, VECTOR);
    this.#nodes.locate(trainsIn);
    while (trainsIn.header[HEADER.consumed] < count) {
      this.#addon.clear(nativeBatch(packets));
      this.#nodes.open(trainsIn, packets, now);
      this.#addon.receiveTraffic(this.#traffic.handle, nativeBatch(packets), undefined, now);
    }
    this.#addon.clear(nativeBatch(packets));
  }

  #counted(): CheckerReport {
    const { udpDatagramsIn, socketDrops } = this.#addon.portCounters(this.#port);
    const { user, system } = process.threadCpuUsage();
    return {
      type: 'counted',
      packets: this.#traffic.total('delivered'),
      datagrams: udpDatagramsIn,
      socketDrops,
      verdicts: Object.fromEntries(VERDICTS.map((name, i) => [name, Number(this.#nodes.counters[i])])),
      cpuSeconds: (user + system) / SECOND,
    };
  }

  #close(): void {
    this.#closed = true;
    this.#addon.closePort(this.#port);
    this.#addon.closeDescriptor(this.#socket.descriptor);
    this.#channel.close();
  }
}
