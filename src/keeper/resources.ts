/**
 * Everything the kernel gives us and that must survive an engine: TUN queues, sockets, session memory, steering. Opened once at
 * start-up, in the order an operator would look for trouble; what was opened before a refusal is closed again.
 */
import { setTimeout as wait } from 'node:timers/promises';
import type { ClientConfig, ServerConfig } from '../config/types.ts';
import { PUBLIC_SLOT_BYTES, SECRET_SLOT_BYTES } from '../datapath/layout.ts';
import { filterEntries } from '../datapath/socket-filter.ts';
import { bindRefused, type Kernel, tunRefused, USO } from './kernel.ts';
import type { Descriptors, TunDevice } from './protocol.ts';

const BACKLOG = 4_096;
/** What may wait behind a door: every client of a restarted server at once, and strangers for the time that one answer lasts them. */
const HANDSHAKES_BUFFER = 4 << 20;
const STRANGERS_BUFFER = 512 << 10;
/** And of suspects as many as are read in some milliseconds. */
const SUSPECTS_BUFFER = 256 << 10;
/** A steering map is 8 bytes of kernel memory an address. */
const LARGEST_STEERED_POOL = 2 ** 20;
/** io_uring lets go of a descriptor 25 to 60 ms after its process ended (docs/linux-facts.md §4). */
const LETTING_GO_MS = 20;
const LETTING_GO_TRIES = 10;

export interface Resources {
  readonly descriptors: Descriptors;
  readonly tun: TunDevice;
  /** The device was there before us, and stays. */
  readonly tunExisted: boolean;
  readonly tunMtu: number;
  /** What was settled for less, in words for the log. */
  readonly notes: readonly string[];
  close(): void;
}

export async function openServerResources(kernel: Kernel, config: ServerConfig): Promise<Resources> {
  const opened = new Opened(kernel);
  try {
    const tun = await opened.tun(config.tunName ?? '', config.shards, config.tunOffload);
    const { udp, tcp, portNumber } = await opened.listeners(config);
    const doors = udp.length > 0 ? opened.doors(config, udp, portNumber) : [];
    const steering = config.shards > 1 ? opened.steering(config, tun.queues) : null;
    const filter = udp.length > 0 ? opened.filter(config, udp, doors) : null;
    const tunShares = opened.tunShares(tun);
    return opened.done(tun, { tun: tun.queues, udp, doors, tcp, steering, filter, tunShares }, config.sessions);
  } catch (error) {
    opened.close();
    throw error;
  }
}

/** @param families address family of each server entry, 4 or 6 */
export async function openClientResources(
  kernel: Kernel,
  config: ClientConfig,
  families: readonly (4 | 6)[],
): Promise<Resources> {
  const opened = new Opened(kernel);
  try {
    const tun = await opened.tun(config.tunName, config.shards, config.tunOffload);
    const udp = config.servers.map(({ mode }, i) => (mode === 'udp' ? opened.outside(config, families[i]) : -1));
    const slots = Math.max(config.sessions, config.servers.length + 1); // all are dialled at once; the table keeps the last
    const none = { steering: null, filter: null, tunShares: null };
    return opened.done(tun, { tun: tun.queues, udp, doors: [], tcp: [], ...none }, slots);
  } catch (error) {
    opened.close();
    throw error;
  }
}

interface OpenTun {
  readonly device: TunDevice;
  readonly queues: readonly number[];
  readonly existed: boolean;
  readonly mtu: number;
}

interface Socket {
  readonly descriptor: number;
  readonly portNumber: number;
  readonly receiveBuffer?: number;
  readonly gro?: boolean;
}

class Opened {
  readonly #kernel: Kernel;
  readonly #descriptors: number[] = [];
  readonly #notes = new Set<string>(); // each once, however many sockets it is true of
  #restore: (() => void) | undefined;

  constructor(kernel: Kernel) {
    this.#kernel = kernel;
  }

  async tun(name: string, queues: number, offload: boolean): Promise<OpenTun> {
    let tun: ReturnType<Kernel['openTun']>;
    try {
      tun = await patiently('EBUSY', () => this.#kernel.openTun({ name, queues, vnetHeader: offload }));
    } catch (cause) {
      throw tunRefused(name, cause);
    }
    this.#descriptors.push(...tun.descriptors);
    const [first] = tun.descriptors;
    const offloads = this.#kernel.tunOffload(first, offload);
    // The mask belongs to the device and survives us: a persistent one gets back what the kernel makes it with.
    if (tun.existed) this.#restore = () => void this.#kernel.tunOffload(first, false);
    if (offload && offloads === 0) this.#notes.add(`${tun.name} takes no offload: packets pass one by one`);
    else if (offload && (offloads & USO) === 0)
      this.#notes.add(`${tun.name} gives UDP packets one by one (no USO before Linux 6.2); TCP comes in superpackets`);
    if (tun.descriptors.length < queues) {
      this.#notes.add(`${tun.name} has ${tun.descriptors.length} queue for ${queues} shards: packets are handed over`);
    }
    return {
      device: { name: tun.name, vnetHeader: offload, offloads },
      queues: tun.descriptors,
      existed: tun.existed,
      mtu: tun.mtu,
    };
  }

  /** One socket a shard, bound to one address. */
  async listeners(config: ServerConfig): Promise<{ udp: number[]; tcp: number[]; portNumber: number }> {
    const { host: address } = config.bindAddress;
    const kind = config.mode === 'udp' ? 'UDP' : 'TCP';
    const open = (portNumber: number, reusePort: boolean): Socket =>
      kind === 'UDP'
        ? this.#serverSocket(config, portNumber, reusePort, config.udpBufferSize)
        : this.#kernel.openTcpListener({ address, portNumber, reusePort, backlog: BACKLOG });

    let { portNumber } = config.bindAddress;
    const descriptors: number[] = [];
    try {
      // A group would take in a second server without a word: the port has to be free for one socket alone first.
      if (portNumber !== 0)
        this.#kernel.closeDescriptor((await patiently('EADDRINUSE', () => open(portNumber, false))).descriptor);
      for (let shard = 0; shard < config.shards; shard++) {
        const socket = open(portNumber, kind === 'UDP' || config.shards > 1); // doors may join a single one
        this.#descriptors.push(socket.descriptor);
        descriptors.push(socket.descriptor);
        portNumber = socket.portNumber;
        if (shard === 0 && socket.receiveBuffer !== undefined)
          this.#noteBuffer(socket.receiveBuffer, config.udpBufferSize);
        if (shard === 0 && socket.gro !== undefined) this.#noteGro(socket.gro, config.gro);
      }
    } catch (cause) {
      throw bindRefused(address, portNumber, kind, cause);
    }
    return kind === 'UDP' ? { udp: descriptors, tcp: [], portNumber } : { udp: [], tcp: descriptors, portNumber };
  }

  /** Sockets for what names no session, and for suspects, where the kernel can tell it apart. The program comes first: without it nobody may join the group. */
  doors(config: ServerConfig, udp: readonly number[], portNumber: number): number[] {
    const without =
      udp.length > 1 ? 'they are handed over between shards' : 'strangers stand in one queue with sessions';
    const steer = () => {
      this.#kernel.steerUdp(udp[0], udp.length, true);
      return true;
    };
    if (!this.#try('steer datagrams', without, steer)) return [];
    const buffers = [HANDSHAKES_BUFFER, STRANGERS_BUFFER, SUSPECTS_BUFFER].flatMap((bytes) => udp.map(() => bytes));
    try {
      return buffers.map((bytes) => {
        const { descriptor } = this.#serverSocket(config, portNumber, true, bytes);
        this.#descriptors.push(descriptor);
        return descriptor;
      });
    } catch (cause) {
      throw bindRefused(config.bindAddress.host, portNumber, 'UDP', cause);
    }
  }

  #serverSocket(config: ServerConfig, portNumber: number, reusePort: boolean, bufferBytes: number): Socket {
    const { host: address } = config.bindAddress;
    return this.#kernel.openUdp({
      address,
      portNumber,
      reusePort,
      bufferBytes,
      gro: config.gro === 'inline', // of doors too: before steering, the kernel asks any socket of the group whether to coalesce
      packetInfo: address === '0.0.0.0' || address === '::',
      pmtu: 'omit', // protocol specification §1.8
    });
  }

  /** A client's outside socket: any port, any address, no peer. */
  outside(config: ClientConfig, family: 4 | 6): number {
    const address = family === 4 ? '0.0.0.0' : '::';
    try {
      const socket = this.#kernel.openUdp({
        address,
        portNumber: 0,
        reusePort: false,
        bufferBytes: config.rcvbuf,
        gro: config.gro === 'inline',
        packetInfo: false,
        pmtu: 'default',
        ...(config.fwmark === 0 ? {} : { mark: config.fwmark }),
      });
      this.#descriptors.push(socket.descriptor);
      this.#noteBuffer(socket.receiveBuffer, config.rcvbuf);
      this.#noteGro(socket.gro, config.gro);
      return socket.descriptor;
    } catch (cause) {
      throw bindRefused(address, 0, 'UDP', cause);
    }
  }

  /** The program that brings a packet to its shard. Where the kernel refuses it, packets are handed over instead. */
  steering(config: ServerConfig, tun: readonly number[]): { map: number; entries: number } | null {
    const entries = 2 ** (32 - config.ipPool.prefix);
    if (tun.length < 2) return null;
    if (entries > LARGEST_STEERED_POOL) {
      this.#notes.add(
        `an ip_pool of ${entries} addresses is too large to steer: packets are handed over between shards`,
      );
      return null;
    }
    const steered = this.#try('steer packets', 'they are handed over between shards', () =>
      this.#kernel.steerTun(tun[0], { poolBase: poolBase(config), poolSize: entries, queues: tun.length }),
    );
    if (!steered) return null;
    this.#descriptors.push(steered.map);
    return { map: steered.map, entries };
  }

  /**
   * The programs that drop replays, garbage and numbers far ahead at the sockets, and put aside what is suspected. Where the kernel refuses them, shards
   * read and refuse what comes.
   */
  filter(
    config: ServerConfig,
    udp: readonly number[],
    doors: readonly number[],
  ): { map: number; entries: number } | null {
    const entries = filterEntries(config.sessions, udp.length);
    const filtered = this.#try(
      'filter sockets',
      'floods cost the shards more, and who sends the most can fill their sockets',
      () => this.#kernel.filterUdp(udp, doors, entries),
    );
    if (!filtered) return null;
    this.#descriptors.push(filtered.map);
    if (!filtered.reveals)
      this.#notes.add(
        'without CAP_PERFMON the kernel lets no filter judge DTLS records: floods cost sessions without Expresslane more',
      );
    return { map: filtered.map, entries };
  }

  /**
   * The program by which nobody fills a queue of the device alone. Where the kernel refuses it, a full queue drops whatever comes. A device that stays when
   * we are gone, however we go, must not keep a program that waits for us to count.
   */
  tunShares({ queues, existed }: OpenTun): { map: number } | null {
    if (existed) return null;
    const without = 'who receives the most can fill its queue, and others lose by it';
    const shared = this.#try('share the device', without, () => this.#kernel.shareTun(queues[0], queues.length));
    if (!shared) return null;
    this.#descriptors.push(shared.map);
    return shared;
  }

  done(tun: OpenTun, descriptors: Omit<Descriptors, 'table'>, slots: number): Resources {
    const publicBytes = slots * PUBLIC_SLOT_BYTES;
    const secretBytes = slots * SECRET_SLOT_BYTES;
    const table = {
      public: this.#memory('ringway-public', publicBytes),
      publicBytes,
      secret: this.#memory('ringway-secret', secretBytes),
      secretBytes,
      slots,
    };
    return {
      descriptors: { ...descriptors, table },
      tun: tun.device,
      tunExisted: tun.existed,
      tunMtu: tun.mtu,
      notes: [...this.#notes],
      close: () => this.close(),
    };
  }

  close(): void {
    this.#restore?.();
    this.#restore = undefined;
    for (const descriptor of this.#descriptors.splice(0).reverse()) this.#kernel.closeDescriptor(descriptor);
  }

  #memory(name: string, bytes: number): number {
    const descriptor = this.#kernel.createMemfd(name, bytes);
    this.#descriptors.push(descriptor);
    return descriptor;
  }

  #noteBuffer(received: number, wanted: number): void {
    if (received < wanted) {
      this.#notes.add(
        `the kernel gives ${received} bytes of socket buffer instead of ${wanted}: raise net.core.rmem_max`,
      );
    }
  }

  #noteGro(given: boolean, wanted: ServerConfig['gro']): void {
    if (wanted === 'inline' && !given) this.#notes.add('the kernel has no UDP_GRO: datagrams come one by one');
  }

  #try<T>(what: string, without: string, load: () => T): T | undefined {
    try {
      return load();
    } catch (cause) {
      const { code = (cause as Error).message } = cause as NodeJS.ErrnoException;
      this.#notes.add(`the kernel refuses to ${what} (${code}): ${without}`);
      return undefined;
    }
  }
}

/** A predecessor that has just died may hold its descriptors for some milliseconds. */
async function patiently<T>(busy: string, open: () => T): Promise<T> {
  for (let left = LETTING_GO_TRIES; ; left--) {
    try {
      return open();
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code !== busy || left === 0) throw cause;
      await wait(LETTING_GO_MS);
    }
  }
}

/** First address of the pool, host bits cleared: 10.125.0.1/16 → 0x0a7d0000. */
function poolBase({ ipPool }: ServerConfig): number {
  const written = ipPool.address.split('.').reduce((sum, byte) => sum * 256 + Number(byte), 0);
  return ipPool.prefix === 0 ? 0 : (written & (-1 << (32 - ipPool.prefix))) >>> 0;
}
