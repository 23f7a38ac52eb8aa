/**
 * The connection beside the traffic: JSON, a line each (messages.ts), over TCP or a Unix socket (which reaches into other network
 * namespaces of the machine). One run at a time. A line that is too long, or no message, costs its connection and nothing else.
 *
 *     loader  begin ──▶          sink   ready: it listens, its counters are at zero
 *             go ──▶                    its own traffic starts (download)
 *             ◀── tick                  what it has counted so far, at the loader's pace
 *             stop ──▶                  its traffic ends, if it is not over yet
 *             finish ──▶
 *             ◀── result                client by client
 */
import net from 'node:net';
import type { Duplex } from 'node:stream';
import type { z } from 'zod';
import { RingwayError } from '../errors.ts';
import { type FromSink, type Hearing, LOADER_HEARS, type ToSink } from './messages.ts';
import { parseEndpoint } from './units.ts';

/** Bytes said to somebody who does not read them. */
const MOST_UNREAD = 1 << 24;
const LONGEST_REASON = 200;

/** `unix:PATH` or `HOST:PORT`. */
export function parseControl(text: string, name: string): net.NetConnectOpts {
  if (text.startsWith('unix:')) return { path: text.slice(5) };
  const { host, portNumber } = parseEndpoint(text, name);
  return { host, port: portNumber };
}

export class Channel<In, Out> {
  readonly #stream: Duplex;
  readonly #hearing: Hearing<In>;
  /** What has come of a line that has not ended. */
  #begun = '';
  #refusal: string | undefined;
  /** With why this end closed it, if it did so for something that the other end did. */
  readonly closed: Promise<string | undefined>;
  /** Set it before the first line can come: in the turn that made the channel. */
  hear: (message: In) => void = () => {};

  constructor(stream: Duplex, hearing: Hearing<In>) {
    this.#stream = stream;
    this.#hearing = hearing;
    stream.setEncoding('utf8');
    stream.on('data', (text: string) => this.#read(text));
    stream.on('error', () => stream.destroy());
    this.closed = new Promise((resolve) => {
      stream.on('close', () => resolve(this.#refusal));
    });
  }

  #read(text: string): void {
    let from = 0;
    for (let end = text.indexOf('\n'); end >= 0 && !this.#stream.destroyed; end = text.indexOf('\n', from)) {
      const line = this.#begun + text.slice(from, end);
      this.#begun = '';
      from = end + 1;
      this.#take(line);
    }
    this.#begun += text.slice(from);
    if (this.#begun.length > this.#hearing.longestLine) this.#refuse('a line without end');
  }

  #take(line: string): void {
    const message = line.length > this.#hearing.longestLine ? 'a line too long' : parse(line, this.#hearing.schema);
    if (typeof message === 'string') this.#refuse(message);
    else this.hear(message.data);
  }

  #refuse(why: string): void {
    this.#refusal ??= why;
    this.#begun = '';
    this.#stream.destroy();
  }

  say(message: Out): void {
    if (this.#stream.destroyed || this.#stream.writableEnded) return;
    this.#stream.write(`${JSON.stringify(message)}\n`);
    if (this.#stream.writableLength > MOST_UNREAD) this.#refuse('it does not read what it is told');
  }

  close(): void {
    this.#stream.end();
  }
}

/** @returns the message, or what is wrong with the line: fit for a log, whatever the line holds */
function parse<In>(line: string, schema: z.ZodType<In>): { data: In } | string {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    return 'a line that is no JSON';
  }
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed;
  const [{ path, message }] = parsed.error.issues;
  const said = `${path.length > 0 ? path.join('.') : 'the message'}: ${message}`;
  return `no message of the load lab: ${said.slice(0, LONGEST_REASON).replaceAll(/[^ -~]/g, '?')}`;
}

/** @throws RingwayError LOAD_SINK when nobody answers there */
export function connectSink(control: string): Promise<Channel<FromSink, ToSink>> {
  return new Promise((resolve, reject) => {
    const socket = net.connect(parseControl(control, '--sink-control'));
    socket.once('connect', () => resolve(new Channel(socket, LOADER_HEARS)));
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
