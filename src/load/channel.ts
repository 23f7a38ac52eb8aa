/**
 * What loader and sink say to each other beside the traffic: JSON, a line each, over TCP or a Unix socket (which reaches into other
 * network namespaces of the machine). One run at a time.
 *
 *     loader  begin ──▶          sink   ready: it listens, its counters are at zero
 *             go ──▶                    its own traffic starts (download)
 *             ◀── tick                  what it has counted so far, at the loader's pace
 *             finish ──▶                its traffic ends
 *             ◀── result                client by client
 */
import net from 'node:net';
import { RingwayError } from '../errors.ts';
import { toSparse } from './buckets.ts';
import type { Scenario } from './scenario.ts';
import type { Snapshot } from './traffic.ts';
import { parseEndpoint } from './units.ts';

export const SINK_PROTOCOL = 1;

/** A snapshot whose histograms are sparse pairs. */
export type SparseSnapshot = Omit<Snapshot, 'histograms'> & { readonly histograms: Readonly<Record<string, number[]>> };

export type ToSink =
  | { type: 'begin'; protocol: number; run: number; scenario: Scenario; echoEvery: number; tickMs: number }
  /** Spans from now on, in Micros. */
  | { type: 'go'; spacing: number; warmup: number; duration: number }
  | { type: 'finish' };

export type FromSink =
  | { type: 'ready'; portNumber: number; boot: string; pid: number }
  | { type: 'refused'; message: string }
  | { type: 'tick'; known: number; snapshot: SparseSnapshot }
  | { type: 'result'; sent: number[]; received: number[]; measuredBytes: number[]; snapshot: SparseSnapshot };

const LONGEST_LINE = 1 << 24;

/** `unix:PATH` or `HOST:PORT`. */
export function parseControl(text: string, name: string): net.NetConnectOpts {
  if (text.startsWith('unix:')) return { path: text.slice(5) };
  const { host, portNumber } = parseEndpoint(text, name);
  return { host, port: portNumber };
}

export class Channel<In, Out> {
  readonly #socket: net.Socket;
  readonly closed: Promise<void>;
  /** Set it before the first line can come: in the turn that made the channel. */
  hear: (message: In) => void = () => {};

  constructor(socket: net.Socket) {
    this.#socket = socket;
    let heard = '';
    socket.setEncoding('utf8');
    socket.on('data', (text: string) => {
      const lines = (heard + text).split('\n');
      heard = lines.pop() ?? '';
      if (heard.length > LONGEST_LINE) return void socket.destroy();
      for (const line of lines) this.#take(line);
    });
    socket.on('error', () => socket.destroy());
    this.closed = new Promise((resolve) => {
      socket.on('close', () => resolve());
    });
  }

  #take(line: string): void {
    try {
      this.hear(JSON.parse(line) as In);
    } catch (error) {
      if (!(error instanceof SyntaxError)) throw error;
      this.#socket.destroy(); // not one of ours
    }
  }

  say(message: Out): void {
    if (!this.#socket.destroyed) this.#socket.write(`${JSON.stringify(message)}\n`);
  }

  close(): void {
    this.#socket.end();
  }
}

/** @throws RingwayError LOAD_SINK when nobody answers there */
export function connectSink(control: string): Promise<Channel<FromSink, ToSink>> {
  return new Promise((resolve, reject) => {
    const socket = net.connect(parseControl(control, '--sink-control'));
    socket.once('connect', () => resolve(new Channel(socket)));
    socket.once('error', (cause) =>
      reject(
        new RingwayError(
          'LOAD_SINK',
          `no sink answers at ${control}: ${cause.message}`,
          'start one behind the server: ringway load sink',
          { cause },
        ),
      ),
    );
  });
}

export function sparse(snapshot: Snapshot): SparseSnapshot {
  const { oneWay, roundTrip, delay } = snapshot.histograms;
  return {
    ...snapshot,
    histograms: { oneWay: toSparse(oneWay), roundTrip: toSparse(roundTrip), delay: toSparse(delay) },
  };
}
