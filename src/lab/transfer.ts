/**
 * Traffic whose every byte is checked, as a program for either end of a tunnel:
 *
 *     node src/lab/transfer.ts serve PORT                          TCP sink and source, UDP echo
 *     node src/lab/transfer.ts up|down ADDRESS PORT BYTES SEED     one TCP flow; prints "a quarter" to standard error on
 *                                                                  its way, then {bytes, seconds, sent, received}
 *     node src/lab/transfer.ts queries ADDRESS PORT COUNT SEED     UDP datagrams of 30 to 512 bytes, one after the other;
 *                                                                  prints {asked, answered, wrong}
 *
 * The bytes are a key stream, so that both ends can make them from the seed alone; `sent` and `received` are SHA-256 sums
 * made at the two ends.
 */
import { type Cipheriv, createCipheriv, createHash } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { createConnection, createServer, type Socket } from 'node:net';
import { createInterface } from 'node:readline';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { fileURLToPath } from 'node:url';

/** What one end asks of the other, as the first line of a TCP connection. */
interface Order {
  readonly direction: 'up' | 'down';
  readonly bytes: number;
  readonly seed: number;
}

export interface TransferResult {
  readonly bytes: number;
  readonly seconds: number;
  readonly sent: string;
  readonly received: string;
}

export interface QueryResult {
  readonly asked: number;
  readonly answered: number;
  readonly wrong: number;
}

export const TRANSFER_PROGRAM = fileURLToPath(import.meta.url);

const PIECE = new Uint8Array(64 * 1024);
const ANSWER_WITHIN_MS = 2_000;

function keyStream(seed: number): Cipheriv {
  const key = createHash('sha256').update(String(seed)).digest();
  return createCipheriv('aes-256-ctr', key, new Uint8Array(16));
}

/** `bytes` bytes of the seed's key stream, in pieces. */
function* pieces(bytes: number, seed: number): Generator<Uint8Array> {
  const stream = keyStream(seed);
  for (let left = bytes; left > 0; left -= PIECE.length)
    yield stream.update(PIECE.subarray(0, Math.min(left, PIECE.length)));
}

/** Called with the bytes moved so far. */
type Progress = (moved: number) => void;

/** Sends and sums at once. @returns SHA-256 of what was sent */
async function send(socket: Socket, { bytes, seed }: Order, progress: Progress = () => {}): Promise<string> {
  const sum = createHash('sha256');
  let moved = 0;
  const summed = function* () {
    for (const piece of pieces(bytes, seed)) {
      sum.update(piece);
      moved += piece.length;
      progress(moved);
      yield piece;
    }
  };
  await pipeline(Readable.from(summed()), socket, { end: false });
  return sum.digest('hex');
}

/** What comes in over a connection, in the order it is asked for. */
class Incoming {
  readonly #pieces: AsyncIterator<Buffer>;
  #rest: Buffer = Buffer.alloc(0);

  constructor(socket: Socket) {
    this.#pieces = socket.iterator({ destroyOnReturn: false });
  }

  async #next(): Promise<Buffer> {
    const { value, done } = await this.#pieces.next();
    if (done) throw new Error('the connection ended early');
    return value;
  }

  /** The next line, without its end. @throws Error when the connection ends first */
  async line(): Promise<string> {
    let end = this.#rest.indexOf(10);
    for (; end < 0; end = this.#rest.indexOf(10)) this.#rest = Buffer.concat([this.#rest, await this.#next()]);
    const line = this.#rest.toString('utf8', 0, end);
    this.#rest = this.#rest.subarray(end + 1);
    return line;
  }

  /** Takes exactly `bytes` bytes. @returns their SHA-256. @throws Error when the connection ends first */
  async sum(bytes: number, progress: Progress = () => {}): Promise<string> {
    const sum = createHash('sha256');
    for (let left = bytes; left > 0; ) {
      if (this.#rest.length === 0) this.#rest = await this.#next();
      const piece = this.#rest.subarray(0, left);
      sum.update(piece);
      left -= piece.length;
      progress(bytes - left);
      this.#rest = this.#rest.subarray(piece.length);
    }
    return sum.digest('hex');
  }
}

async function answer(socket: Socket): Promise<void> {
  const incoming = new Incoming(socket);
  const order = JSON.parse(await incoming.line()) as Order;
  const sum = order.direction === 'up' ? await incoming.sum(order.bytes) : await send(socket, order);
  socket.end(`${sum}\n`);
}

/** Serves until its standard input ends. */
async function serve(port: number): Promise<void> {
  const tcp = createServer((socket) => {
    answer(socket).catch((error: Error) => {
      console.error(`transfer: ${error.message}`);
      socket.destroy();
    });
  });
  const udp = createSocket('udp4', (datagram, from) => udp.send(datagram, from.port, from.address));
  udp.bind(port);
  tcp.listen(port, '0.0.0.0');
  await Promise.all([once(udp, 'listening'), once(tcp, 'listening')]);
  console.log(`serving on ${port}`);
  await once(createInterface({ input: process.stdin }), 'close');
  process.exit(0);
}

/** Says once when a quarter has moved, for whoever wants something to happen in the middle. */
function quarterAnnouncer(bytes: number): Progress {
  let said = false;
  return (moved) => {
    if (said || moved < bytes / 4) return;
    said = true;
    console.error('a quarter');
  };
}

async function transfer(address: string, port: number, order: Order): Promise<TransferResult> {
  const socket = createConnection(port, address);
  await once(socket, 'connect');
  const start = performance.now();
  socket.write(`${JSON.stringify(order)}\n`);
  const incoming = new Incoming(socket);
  const progress = quarterAnnouncer(order.bytes);
  const own = await (order.direction === 'up' ? send(socket, order, progress) : incoming.sum(order.bytes, progress));
  const theirs = await incoming.line();
  socket.end();
  const seconds = (performance.now() - start) / 1000;
  const [sent, received] = order.direction === 'up' ? [own, theirs] : [theirs, own];
  return { bytes: order.bytes, seconds, sent, received };
}

/** Asks one question after the other, as a resolver does; one that stays unanswered for two seconds is counted and given up. */
async function queries(address: string, port: number, count: number, seed: number): Promise<QueryResult> {
  const socket = createSocket('udp4');
  const stream = keyStream(seed);
  let answered = 0;
  let wrong = 0;
  for (let i = 0; i < count; i++) {
    const question = stream.update(PIECE.subarray(0, 30 + ((i * 97) % 483)));
    const reply = once(socket, 'message', { signal: AbortSignal.timeout(ANSWER_WITHIN_MS) }) as Promise<[Buffer]>;
    socket.send(question, port, address);
    try {
      if ((await reply)[0].equals(question)) answered++;
      else wrong++;
    } catch {
      // counted by its absence
    }
  }
  socket.close();
  return { asked: count, answered, wrong };
}

async function main([command, ...args]: string[]): Promise<void> {
  const [address, port, amount, seed] = [args[0], ...args.slice(1).map(Number)] as [string, number, number, number];
  switch (command) {
    case 'serve':
      return serve(Number(address));
    case 'up':
    case 'down':
      return console.log(JSON.stringify(await transfer(address, port, { direction: command, bytes: amount, seed })));
    case 'queries':
      return console.log(JSON.stringify(await queries(address, port, amount, seed)));
    default:
      throw new Error(`expected serve, up, down or queries but received ${command}`);
  }
}

if (process.argv[1] === TRANSFER_PROGRAM) await main(process.argv.slice(2));
