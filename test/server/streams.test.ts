import { once } from 'node:events';
import net from 'node:net';
import tls from 'node:tls';
import { afterEach, describe, expect, it } from 'vitest';
import { encodeAddress } from '../../src/datapath/address.ts';
import { SlotState } from '../../src/datapath/layout.ts';
import { loadAddon } from '../../src/native/index.ts';
import { sourceOf } from '../../src/server/half-open.ts';
import { StreamAcceptor } from '../../src/server/streams.ts';
import { SERVER_DEFAULTS } from '../../src/session/types.ts';
import { encodeFrame } from '../../src/wire/frames.ts';
import { createMemory, MemoryServer, serverPem } from './memory-server.ts';

const PACKETS = 24;
const PACKET = encodeFrame({ kind: 'data', packet: new Uint8Array(1_362).fill(1) });
const TRAIN = Buffer.concat(Array(PACKETS).fill(PACKET)); // as lanes.seal makes it
const PING = encodeFrame({ kind: 'ping', id: 0, payload: new Uint8Array(0) });
const PONG = encodeFrame({ kind: 'pong', id: 0, payload: new Uint8Array(0) });
const LOGIN = encodeFrame({
  kind: 'authRequest',
  auth: { method: 'userPass', user: 'alice', password: Buffer.from('password') },
});

/** A real acceptor on a loopback port of its own, over a control path without packets. */
class StreamServer {
  readonly memory = new MemoryServer(createMemory(8), 1, 1);
  readonly portNumber: number;
  readonly acceptor: StreamAcceptor;
  readonly #listener: number;

  constructor() {
    const options = { address: '127.0.0.1', portNumber: 0, reusePort: false, backlog: 16 };
    const { descriptor, portNumber } = loadAddon().openTcpListener(options);
    this.#listener = descriptor;
    this.portNumber = portNumber;
    this.acceptor = new StreamAcceptor({
      ...serverPem,
      control: this.memory.control,
      halfOpen: this.memory.role.halfOpen,
      shard: 0,
      listener: descriptor,
      proxyProtocol: false,
      session: { ...SERVER_DEFAULTS, expresslane: { enabled: false, rotationInterval: 900_000_000 } },
      wake: () => this.memory.answer(this.memory.control.now()),
    });
  }

  async connect(): Promise<Client> {
    const socket = tls.connect({ host: '127.0.0.1', port: this.portNumber, rejectUnauthorized: false });
    const client = new Client(socket);
    await once(socket, 'secureConnect');
    socket.write(LOGIN);
    await client.heard(1);
    return client;
  }

  close(): void {
    this.acceptor.close();
    this.memory.control.closeSome(this.memory.control.now(), 8);
    loadAddon().closeDescriptor(this.#listener);
  }
}

class Client {
  readonly socket: tls.TLSSocket;
  received = 0;

  constructor(socket: tls.TLSSocket) {
    this.socket = socket;
    socket.on('data', ({ length }) => {
      this.received += length;
    });
  }

  /** Waits until `bytes` have come in all. */
  async heard(bytes: number): Promise<void> {
    while (this.received < bytes) await once(this.socket, 'data');
  }
}

let server: StreamServer | undefined;
afterEach(() => server?.close());

describe('sessions over TCP', () => {
  it('drop packets for a peer that does not read, count them, and deliver all that was not counted', async () => {
    server = new StreamServer();
    const { control } = server.memory;
    const client = await server.connect();
    expect(control.table.fields.state.get(0)).toBe(SlotState.online);
    const before = client.received;
    client.socket.pause();
    const trains = 600; // more than what the kernel's buffers of a loopback connection take
    for (let i = 0; i < trains; i++) control.stream(0, TRAIN);
    const { streamFull } = control.counters;
    expect(streamFull).toBeGreaterThan(0);
    client.socket.resume();
    const delivered = before + (trains * PACKETS - streamFull) * PACKET.length;
    for (let pongs = 1; pongs <= 2; pongs++) {
      client.socket.write(PING);
      await client.heard(delivered + pongs * PONG.length);
      expect(client.received).toBe(delivered + pongs * PONG.length);
    }
    client.socket.destroy();
  });

  it('count a handshake that fails once, whatever it fails of', async () => {
    server = new StreamServer();
    for (const bytes of ['GET / HTTP/1.0\r\n\r\n', '']) {
      const socket = net.connect(server.portNumber, '127.0.0.1');
      await once(socket, 'connect');
      socket.end(bytes);
      socket.resume();
      await once(socket, 'close');
    }
    const client = await server.connect(); // accepted after them
    expect(server.acceptor.counters).toEqual({
      accepted: 3,
      proxyRefused: 0,
      tlsFailed: 2,
      overload: 0,
      sourceFull: 0,
    });
    client.socket.destroy();
  });

  it('are not begun for a source with 256 that have not logged in, and are again when one has or has gone', async () => {
    server = new StreamServer();
    const { role } = server.memory;
    const source = sourceOf(encodeAddress('127.0.0.1', 1, ''));
    for (let i = 0; i < 255; i++) role.halfOpen.enter(source);
    const first = tls.connect({ host: '127.0.0.1', port: server.portNumber, rejectUnauthorized: false });
    await once(first, 'secureConnect');
    const refused = net.connect(server.portNumber, '127.0.0.1');
    await once(refused.resume(), 'close');
    expect(server.acceptor.counters).toMatchObject({ accepted: 2, sourceFull: 1, overload: 0 });
    const outside = net.connect({ host: '127.0.0.1', port: server.portNumber, localAddress: '127.0.0.2' });
    const elsewhere = tls.connect({ socket: outside, rejectUnauthorized: false });
    await once(elsewhere, 'secureConnect');
    first.write(LOGIN);
    const client = await server.connect(); // the first has logged in
    expect(role.halfOpen.hasRoom(source)).toBe(true);
    for (const socket of [client.socket, first, elsewhere]) socket.destroy();
  });

  it('are not begun beyond 1,024 that have not logged in, wherever they come from', async () => {
    server = new StreamServer();
    const { halfOpen } = server.memory.role;
    for (let slot = 1; slot <= 1_024; slot++) halfOpen.hold(slot, `source ${slot}`);
    const refused = net.connect(server.portNumber, '127.0.0.1');
    await once(refused.resume(), 'close');
    expect(server.acceptor.counters).toMatchObject({ accepted: 1, sourceFull: 0, overload: 1 });
    halfOpen.settled(1);
    const client = await server.connect();
    client.socket.destroy();
  });
});
