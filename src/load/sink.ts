/**
 * `ringway load sink`: plain UDP behind the server under load. Counts and times what comes up, acknowledges windows, echoes what asks for
 * it, and makes the way down's traffic. Serves one loader after the other, for as long as it runs.
 */
import { readFileSync, rmSync } from 'node:fs';
import net from 'node:net';
import { chooseAead } from '../datapath/backends.ts';
import { HEADER } from '../datapath/batch.ts';
import { type Batches, createBatches, nativeBatch } from '../datapath/batches.ts';
import { RingwayError } from '../errors.ts';
import { type Addon, loadAddon, type PortHandle } from '../native/index.ts';
import { type Micros, MS, SECOND } from '../wire/time.ts';
import { Channel, parseControl } from './channel.ts';
import { type FromSink, SINK_HEARS, SINK_PROTOCOL, type ToSink } from './messages.ts';
import { sparse } from './snapshots.ts';
import { Traffic } from './traffic.ts';

const VECTOR = 32;
const LONGEST_WAIT: Micros = 0.5 * MS;
const LOOP_PASS: Micros = 1 * MS;
/** Of the one socket that takes everybody's traffic. */
const BUFFER_BYTES = 64 << 20;

export interface SinkOptions {
  readonly address: string;
  readonly portNumber: number;
  /** `unix:PATH` or `HOST:PORT`. */
  readonly control: string;
  readonly io: 'auto' | 'io_uring' | 'epoll';
  /** Hears of every control connection that was closed for what it sent. */
  readonly complain: (line: string) => void;
}

/** Control connections at a time: whoever has not begun a run does not keep others from theirs. */
const MOST_CONNECTIONS = 32;

type Begin = Extract<ToSink, { type: 'begin' }>;

class SinkRun {
  readonly #addon: Addon;
  readonly #port: PortHandle;
  readonly #batches: Batches;
  readonly #channel: Channel<ToSink, FromSink>;
  readonly #traffic: Traffic;
  readonly #begin: Begin;
  readonly #portBefore: Record<string, number>;
  #start: Micros = 0;
  #spacing: Micros = 0;
  #stop: Micros = 0;
  #nextTick: Micros;
  #queued = 0;
  #over = false;

  constructor(addon: Addon, port: PortHandle, batches: Batches, channel: Channel<ToSink, FromSink>, begin: Begin) {
    this.#addon = addon;
    this.#port = port;
    this.#batches = batches;
    this.#channel = channel;
    this.#begin = begin;
    const { scenario, run, echoEvery } = begin;
    this.#traffic = new Traffic(addon, {
      clients: scenario.clients,
      first: 0,
      run,
      form: 'outside',
      destination: 0,
      portNumber: 0,
      flows: 1,
      burst: scenario.burst,
      window: scenario.traffic === 'window',
      echoEvery,
      sizes: scenario.sizes,
    });
    this.#portBefore = addon.portCounters(port);
    this.#nextTick = addon.monotonicMicros();
    setImmediate(this.#loop);
  }

  obey(command: ToSink): void {
    if (command.type === 'go') {
      this.#start = this.#addon.monotonicMicros();
      this.#spacing = command.spacing;
      const measureFrom = this.#start + command.warmup;
      this.#stop = measureFrom + command.duration;
      const times = {
        start: this.#start,
        spacing: command.spacing,
        measureFrom,
        measureTo: this.#stop,
        stop: this.#stop,
      };
      this.#addon.scheduleTraffic(this.#traffic.handle, times);
    } else if (command.type === 'stop') {
      this.#stop = 0;
    } else if (command.type === 'finish') {
      const column = (name: 'sent' | 'received' | 'measuredBytes') => this.#traffic.column(name);
      this.#channel.say({
        type: 'result',
        sent: column('sent'),
        received: column('received'),
        measuredBytes: column('measuredBytes'),
        snapshot: this.#snapshot(),
      });
    }
  }

  end(): void {
    this.#over = true;
  }

  readonly #loop = (): void => {
    if (this.#over) return;
    const began = this.#addon.monotonicMicros();
    for (let now = began; now - began < LOOP_PASS; now = this.#addon.monotonicMicros()) this.#turn(now);
    setImmediate(this.#loop);
  };

  #turn(begun: Micros): void {
    const { trainsIn, trainsOut } = this.#batches;
    const ready = this.#addon.wait(this.#port, this.#patience(begun));
    const now = this.#addon.monotonicMicros();
    if (ready & 1) {
      this.#addon.clear(nativeBatch(trainsIn));
      this.#addon.udpReceive(this.#port, VECTOR);
      this.#addon.receiveTraffic(this.#traffic.handle, nativeBatch(trainsIn), nativeBatch(trainsOut), now);
    }
    if (this.#queued === 0 && this.#stop > 0)
      this.#addon.sendTraffic(this.#traffic.handle, nativeBatch(trainsOut), now);
    if (trainsOut.header[HEADER.count] > 0 || this.#queued > 0) {
      this.#queued = this.#addon.udpTransmit(this.#port, nativeBatch(trainsOut));
      this.#addon.clear(nativeBatch(trainsOut));
    }
    if (now < this.#nextTick) return;
    this.#nextTick = now + this.#begin.tickMs * MS;
    const known = this.#traffic.column('known').reduce((sum, each) => sum + each, 0);
    const snapshot = this.#snapshot();
    const sinceStart = this.#stop > 0 ? Math.min(snapshot.at, this.#stop) - this.#start : null;
    this.#channel.say({ type: 'tick', known, sinceStart, snapshot });
  }

  #patience(now: Micros): Micros {
    if (this.#stop === 0 || now >= this.#stop) return LONGEST_WAIT;
    if (this.#begin.scenario.traffic === 'window') return LONGEST_WAIT / 5;
    if (this.#spacing === 0) return 0;
    const next = this.#start + this.#traffic.total('turns') * this.#spacing;
    return Math.max(0, Math.min(next - now, LONGEST_WAIT));
  }

  #snapshot() {
    const at = this.#addon.monotonicMicros(); // before what it dates: nothing may seem due that could not have been counted
    const { user, system } = process.threadCpuUsage();
    const counters = this.#addon.portCounters(this.#port);
    const port = Object.fromEntries(
      Object.entries(counters).map(([name, value]) => [name, value - (this.#portBefore[name] ?? 0)]),
    );
    const [totals, histograms] = [this.#traffic.totals(), this.#traffic.histograms()];
    return sparse({
      totals,
      histograms,
      port,
      verdicts: {},
      at,
      cpuSeconds: (user + system) / SECOND,
    });
  }
}

/** Serves loaders until `stop` resolves. @throws RingwayError LOAD_SINK_LISTEN */
export async function runSink(options: SinkOptions, stop: Promise<unknown>, listening: () => void): Promise<void> {
  const addon = loadAddon();
  chooseAead(addon, 'auto'); // fails early where the build does not fit the machine
  const udp = addon.openUdp({
    address: options.address,
    portNumber: options.portNumber,
    reusePort: false,
    bufferBytes: BUFFER_BYTES,
    gro: true,
    packetInfo: true,
    pmtu: 'omit',
  });
  const batches = createBatches(addon);
  const port = openSinkPort(addon, options.io, udp.descriptor, batches);
  const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
  let active: { channel: Channel<ToSink, FromSink>; run: SinkRun } | undefined;
  const server = net.createServer((socket) => {
    const peer = socket.remoteAddress ?? 'a program of this machine';
    const channel = new Channel<ToSink, FromSink>(socket, SINK_HEARS);
    const refuse = (message: string) => {
      channel.say({ type: 'refused', message });
      channel.close();
    };
    channel.hear = (command) => {
      const own = active?.channel === channel ? active : undefined;
      if (command.type !== 'begin') return own?.run.obey(command);
      if (command.protocol !== SINK_PROTOCOL) return refuse(`this sink speaks protocol ${SINK_PROTOCOL}`);
      if (active) return refuse(own ? 'a connection is for one run' : 'another run is under way at this sink');
      active = { channel, run: new SinkRun(addon, port, batches, channel, command) };
      channel.say({ type: 'ready', portNumber: udp.portNumber, boot, pid: process.pid });
    };
    void channel.closed.then((why) => {
      if (why !== undefined) options.complain(`sink: closed the control connection of ${peer}: ${why}`);
      if (active?.channel !== channel) return;
      active.run.end();
      active = undefined;
    });
  });
  server.maxConnections = MOST_CONNECTIONS;
  await listen(server, options.control);
  listening();
  await stop;
  active?.run.end();
  active?.channel.close();
  server.close();
  addon.closePort(port);
  addon.closeDescriptor(udp.descriptor);
}

function openSinkPort(addon: Addon, io: SinkOptions['io'], udp: number, batches: Batches): PortHandle {
  const open = (backend: 'io_uring' | 'epoll') =>
    addon.openPort({ io: backend, tun: -1, vnetHeader: false, udp, udpReceive: nativeBatch(batches.trainsIn) });
  if (io !== 'auto') return open(io);
  try {
    return open('io_uring');
  } catch {
    return open('epoll'); // the kernel refuses io_uring
  }
}

function listen(server: net.Server, control: string): Promise<void> {
  const where = parseControl(control, '--control') as net.ListenOptions;
  if (where.path !== undefined) rmSync(where.path, { force: true });
  return new Promise((resolve, reject) => {
    server.once('error', (cause) =>
      reject(
        new RingwayError(
          'LOAD_SINK_LISTEN',
          `the sink cannot listen at ${control}: ${cause.message}`,
          'choose another --control',
          {
            cause,
          },
        ),
      ),
    );
    server.listen(where, resolve);
  });
}
