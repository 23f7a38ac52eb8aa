/**
 * What `ringway calibrate` measures through: two hosts in network namespaces, a tunnel between them whose ends are two threads of this
 * process, and a TCP flow. Descriptors and keys stay; the shards are replaced for every combination of backends, as an engine replaces another.
 *
 *     near  sender ── TUN ── shard ── UDP over loopback ── shard ── TUN ── receiver  far
 */
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { encodeAddress } from '../datapath/address.ts';
import { chooseGro, longestTrain } from '../datapath/backends.ts';
import { PUBLIC_SLOT_BYTES, SECRET_SLOT_BYTES } from '../datapath/layout.ts';
import type { ShardOptions } from '../datapath/shard.ts';
import { RingwayError } from '../errors.ts';
import { outcomeOf, Program, run } from '../lab/programs.ts';
import { type Addon, loadAddon } from '../native/index.ts';
import type { EndCommand, EndReport } from './end.ts';
import { type Received, STREAM_PROGRAM } from './stream.ts';

export interface Combination {
  readonly io: 'io_uring' | 'epoll';
  readonly aead: 'ipsec-mb' | 'openssl' | 'noble';
  readonly gro: 'inline' | 'off';
  readonly tunOffload: 'on' | 'off';
  /** Both of io_uring alone. */
  readonly sqpoll: 'on' | 'off';
  readonly zeroCopy: 'on' | 'off';
}

export interface Carried extends Received {
  /** CPU seconds of both shards. */
  readonly cpuSeconds: number;
}

const PORT_NUMBER = 5_201;
const ENDS = ['near', 'far'] as const;
type EndName = (typeof ENDS)[number];
const SOCKET_BYTES = 15 << 20;
const MTU = '1350';
/** Third byte of the addresses of a pair of devices, 10.8.N.1 near and 10.8.N.2 far. */
const NETWORKS = { on: 0, off: 1 } as const;

interface End {
  readonly worker: Worker;
  readonly namespace: string;
  readonly tun: Readonly<Record<Combination['tunOffload'], { descriptor: number; offloads: number }>>;
  readonly udp: Readonly<Record<Combination['gro'], { descriptor: number; portNumber: number }>>;
  readonly table: ShardOptions['table'];
  readonly index: number;
}

export class Bridge {
  readonly #addon: Addon = loadAddon();
  readonly #trainSegments = longestTrain(this.#addon);
  readonly #ends: Partial<Record<EndName, End>> = {};
  readonly #namespaces: string[] = [];
  readonly #indices: unknown[] = []; // an index lives as long as somebody holds it
  #sender: Program | undefined;
  #receiver: Program | undefined;
  #generation = 0;
  /** Both ends have made a key and heard the other's: it lives in their slots from then on. */
  #keyed = false;

  /** @throws RingwayError LAB_PROGRAM where namespaces or devices cannot be made; nothing is left then */
  static async open(): Promise<Bridge> {
    const bridge = new Bridge();
    try {
      await bridge.#build();
      return bridge;
    } catch (error) {
      await bridge.close();
      throw error;
    }
  }

  async #build(): Promise<void> {
    await outcomeOf(['ip', 'link', 'set', 'lo', 'up']); // in a namespace of an ordinary user it is down
    for (const name of ENDS) this.#ends[name] = await this.#end(name);
    const inside = (name: EndName) => ['ip', 'netns', 'exec', this.#endOf(name).namespace, process.execPath];
    this.#receiver = new Program('receiver', [...inside('far'), STREAM_PROGRAM, 'receive', String(PORT_NUMBER)]);
    this.#sender = new Program('sender', [...inside('near'), STREAM_PROGRAM, 'send', String(PORT_NUMBER)]);
    await this.#receiver.line(/^ready/);
  }

  async #end(name: EndName): Promise<End> {
    const namespace = `rw-${process.pid}-${name}`;
    await run(['ip', 'netns', 'add', namespace]);
    this.#namespaces.push(namespace);
    const addon = this.#addon;
    const tun = async (offload: Combination['tunOffload']) => {
      const device = `rw${name}${offload}`;
      const opened = addon.openTun({ name: device, queues: 1, vnetHeader: offload === 'on' });
      const [descriptor] = opened.descriptors;
      const offloads = addon.tunOffload(descriptor, offload === 'on');
      const inside = (...words: string[]) => run(['ip', 'netns', 'exec', namespace, ...words]);
      await run(['ip', 'link', 'set', device, 'netns', namespace]);
      const address = `10.8.${NETWORKS[offload]}.${name === 'near' ? 1 : 2}/24`;
      await inside('ip', 'address', 'add', address, 'dev', device);
      await inside('ip', 'link', 'set', device, 'mtu', MTU, 'up');
      return { descriptor, offloads };
    };
    const udp = (gro: boolean) =>
      addon.openUdp({
        ...{ address: '127.0.0.1', portNumber: 0, reusePort: false, bufferBytes: SOCKET_BYTES },
        ...{ gro, packetInfo: false, pmtu: 'omit' },
      });
    const index = addon.createIndex(1);
    this.#indices.push(index.handle);
    return {
      worker: new Worker(new URL('./end.ts', import.meta.url)),
      namespace,
      tun: { on: await tun('on'), off: await tun('off') },
      udp: { inline: udp(true), off: udp(false) },
      table: {
        public: addon.createMemfd('calibrate', PUBLIC_SLOT_BYTES),
        secret: addon.createMemfd('calibrate-secret', SECRET_SLOT_BYTES),
        slots: 1,
      },
      index: index.id,
    };
  }

  #endOf(name: EndName): End {
    return this.#ends[name] as End;
  }

  /** Carries one flow for so long. @returns undefined, and why, where this kernel or this build has no such combination */
  async carry(combination: Combination, forMs: number): Promise<Carried | { readonly why: string }> {
    const why = await this.#start(combination);
    try {
      if (why !== undefined) return { why };
      const heard = this.#receiver?.lines.length ?? 0;
      const far = `10.8.${NETWORKS[combination.tunOffload]}.2`;
      this.#sender?.say(`${far} ${forMs}`);
      const line = await this.#receiver?.line(/^\{/, 10_000 + forMs, heard);
      return { ...(JSON.parse(line ?? '{}') as Received), cpuSeconds: await this.#stop() };
    } finally {
      if (why !== undefined) await this.#stop();
    }
  }

  async #start(combination: Combination): Promise<string | undefined> {
    this.#generation++;
    const isFirst = !this.#keyed;
    const keys: Partial<Record<EndName, Uint8Array>> = {};
    for (const name of ENDS) {
      const other = this.#endOf(name === 'near' ? 'far' : 'near');
      const remote = encodeAddress('127.0.0.1', other.udp[combination.gro].portNumber, '');
      const report = await this.#ask(name, {
        type: 'start',
        options: this.#options(name, combination),
        remote,
        isFirst,
      });
      if (report.type === 'refused') return report.why;
      if (report.type === 'started' && report.key) keys[name] = report.key;
    }
    if (keys.near) this.#endOf('far').worker.postMessage({ type: 'key', key: keys.near } satisfies EndCommand);
    if (keys.far) this.#endOf('near').worker.postMessage({ type: 'key', key: keys.far } satisfies EndCommand);
    this.#keyed ||= keys.near !== undefined && keys.far !== undefined;
    return undefined;
  }

  /** @returns CPU seconds of both shards */
  async #stop(): Promise<number> {
    const reports = await Promise.all(ENDS.map((name) => this.#ask(name, { type: 'stop' })));
    return reports.reduce((sum, report) => sum + (report.type === 'stopped' ? report.cpuSeconds : 0), 0);
  }

  async #ask(name: EndName, command: EndCommand): Promise<EndReport> {
    const { worker } = this.#endOf(name);
    const answer = once(worker, 'message');
    worker.postMessage(command);
    return (await answer)[0] as EndReport;
  }

  #options(name: EndName, { io, aead, gro, tunOffload, sqpoll, zeroCopy }: Combination): ShardOptions {
    const { tun, udp, table, index } = this.#endOf(name);
    const vnetHeader = tunOffload === 'on';
    return {
      ...{ shard: 0, shards: 1, generation: this.#generation, io, aead },
      ...{ sqpoll: sqpoll === 'on', zeroCopy: zeroCopy === 'on' },
      ...{
        trainSegments: this.#trainSegments,
        paced: false,
        handover: undefined,
        doors: [],
        single: 0,
        table,
        index,
        vnetHeader,
      },
      gro: chooseGro(gro, { vnetHeader, offloads: tun[tunOffload].offloads }),
      tun: tun[tunOffload].descriptor,
      udp: udp[gro].descriptor,
    };
  }

  async close(): Promise<void> {
    await Promise.all([this.#sender?.stop(), this.#receiver?.stop()]);
    for (const end of Object.values(this.#ends)) {
      await end.worker.terminate();
      const { tun, udp, table } = end;
      for (const { descriptor } of [tun.on, tun.off, udp.inline, udp.off]) this.#addon.closeDescriptor(descriptor);
      for (const descriptor of [table.public, table.secret]) this.#addon.closeDescriptor(descriptor);
    }
    for (const namespace of this.#namespaces.splice(0)) await outcomeOf(['ip', 'netns', 'delete', namespace]);
  }
}

/** @throws RingwayError CALIBRATE_NOTHING */
export function nothingCarried(why: string): RingwayError {
  return new RingwayError('CALIBRATE_NOTHING', `nothing was carried: ${why}`, 'npm run setup');
}
