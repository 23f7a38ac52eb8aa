/** Our endpoints on real UDP sockets of the loopback, with seeded loss and reordering on both ways of the socket. */
import { createSocket, type RemoteInfo, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { performance } from 'node:perf_hooks';
import { createReferenceVault } from '../../src/crypto/reference-vault.ts';
import { schemesOf } from '../../src/crypto/schemes.ts';
import { type Credentials, runTask } from '../../src/crypto/tasks.ts';
import { DtlsClient } from '../../src/dtls/client.ts';
import { CookieSecrets } from '../../src/dtls/cookie.ts';
import type { Endpoint, Output } from '../../src/dtls/events.ts';
import { answerHello } from '../../src/dtls/listener.ts';
import { createMemoryProtection } from '../../src/dtls/memory-protection.ts';
import { DtlsServer } from '../../src/dtls/server.ts';
import type { Micros } from '../../src/wire/time.ts';
import { seeded, seededBytes } from '../dtls/network.ts';

const vault = createReferenceVault();
export const now = (): Micros => performance.now() * 1_000;

/** Share of handshake datagrams that are lost, and that change places with the one after them. */
export interface Weather {
  readonly seed: number;
  readonly loss: number;
  readonly reorder: number;
}

export const CALM: Weather = { seed: 1, loss: 0, reorder: 0 };

/** Data of epoch 3 is spared: the peers' programs do not repeat what they send after the handshake. */
const isData = (bytes: Uint8Array): boolean => (bytes[0] & 0xe3) === 0x23;

/** One way of a bad road. A datagram held back goes out after the next, or after 30 ms. */
function road(weather: Weather, deliver: (bytes: Uint8Array) => void): (bytes: Uint8Array) => void {
  const random = seeded(weather.seed);
  let held: Uint8Array[] = [];
  const release = (): void => {
    for (const bytes of held.splice(0)) deliver(bytes);
  };
  return (bytes) => {
    const draw = random();
    if (!isData(bytes) && draw < weather.loss) return;
    if (!isData(bytes) && draw < weather.loss + weather.reorder && held.length === 0) {
      held = [bytes];
      setTimeout(release, 30);
      return;
    }
    deliver(bytes);
    release();
  };
}

/** An endpoint, its socket and its timer. */
export class Driver {
  readonly outputs: Output[] = [];
  /** Why datagrams started nothing. */
  readonly refused: string[] = [];
  endpoint: Endpoint | undefined;
  readonly #credentials: Credentials;
  readonly #transmit: (bytes: Uint8Array) => void;
  readonly #watchers: Array<() => void> = [];
  #timer: NodeJS.Timeout | undefined;

  constructor(credentials: Credentials, transmit: (bytes: Uint8Array) => void) {
    this.#credentials = credentials;
    this.#transmit = transmit;
  }

  /** Resolves when the condition holds after some step; the test's time limit is the patience. */
  until(condition: () => boolean): Promise<void> {
    return new Promise((resolve) => {
      const watch = (): void => {
        if (condition()) resolve();
      };
      this.#watchers.push(watch);
      watch();
    });
  }

  has(kind: Output['kind'], count = 1): boolean {
    return this.outputs.filter((each) => each.kind === kind).length >= count;
  }

  texts(): string[] {
    return this.outputs.flatMap((each) => (each.kind === 'data' ? [Buffer.from(each.content).toString()] : []));
  }

  /** Carries out what the endpoint wants after `act`, and sets its timer. */
  step(act: (endpoint: Endpoint) => void): void {
    const { endpoint } = this;
    if (endpoint === undefined) return;
    act(endpoint);
    for (let outputs = endpoint.drain(); outputs.length > 0; outputs = endpoint.drain()) {
      for (const output of outputs) this.#carryOut(endpoint, output);
    }
    clearTimeout(this.#timer);
    const deadline = endpoint.nextDeadline();
    if (deadline !== undefined) {
      this.#timer = setTimeout(
        () => this.step(() => endpoint.advance(now())),
        Math.max(0, (deadline - now()) / 1_000) + 1,
      );
    }
    for (const watch of this.#watchers) watch();
  }

  #carryOut(endpoint: Endpoint, output: Output): void {
    if (output.kind === 'datagram') this.#transmit(output.bytes);
    else if (output.kind === 'task') endpoint.complete(now(), output.id, runTask(output.task, this.#credentials));
    else this.outputs.push(output);
  }

  stop(): void {
    clearTimeout(this.#timer);
  }
}

export interface ServerSetup {
  readonly credentials: Credentials & Required<Pick<Credentials, 'certificateChain' | 'privateKey'>>;
  readonly suites: readonly number[];
  readonly groups: readonly number[];
  readonly weather?: Weather;
  readonly mtu?: number;
}

/** Serves one peer, echoes what it says. */
export async function serve(setup: ServerSetup): Promise<{ port: number; driver: Driver; close: () => void }> {
  const socket = createSocket('udp4');
  const weather = setup.weather ?? CALM;
  const { certificateChain, privateKey } = setup.credentials;
  const schemes = schemesOf(privateKey);
  const secrets = new CookieSecrets(vault, seededBytes(4)(32));
  const { suites, groups, mtu } = setup;
  const options = { vault, secrets, suites, groups, schemes, applicationData: (seed: Uint8Array) => seed };
  let peer: RemoteInfo | undefined;
  const transmit = road(weather, (bytes) => socket.send(bytes, peer!.port, peer!.address));
  const driver = new Driver(setup.credentials, transmit);
  let echoed = 0;
  const receive = road({ ...weather, seed: weather.seed + 1 }, (bytes) => {
    if (driver.endpoint === undefined) {
      const answer = answerHello(now(), bytes, Buffer.from(`${peer?.address}:${peer?.port}`), options);
      if (answer.kind === 'retry') transmit(answer.bytes);
      if (answer.kind === 'drop') driver.refused.push(answer.reason);
      if (answer.kind !== 'accept') return;
      const random = seededBytes(weather.seed);
      const own = { vault, random, protection: createMemoryProtection(vault), certificateChain, schemes, mtu };
      driver.endpoint = new DtlsServer(now(), answer.accepted, own);
      driver.step(() => {});
      return;
    }
    driver.step((endpoint) => endpoint.receive(now(), bytes));
    for (const text of driver.texts().slice(echoed)) {
      echoed++;
      if (driver.endpoint.state === 'established') driver.step((endpoint) => endpoint.send(now(), Buffer.from(text)));
    }
  });
  socket.on('message', (bytes, from) => {
    peer = from;
    receive(bytes);
  });
  const port = await bind(socket);
  return { port, driver, close: () => closeAll(driver, socket) };
}

export interface ClientSetup {
  readonly credentials: Credentials;
  readonly suites: readonly number[];
  readonly groups: readonly number[];
  readonly share?: number | undefined;
  readonly weather?: Weather;
}

export async function connect(port: number, setup: ClientSetup): Promise<{ driver: Driver; close: () => void }> {
  const socket = createSocket('udp4');
  const weather = setup.weather ?? CALM;
  const driver = new Driver(
    setup.credentials,
    road(weather, (bytes) => socket.send(bytes, port, '127.0.0.1')),
  );
  const receive = road({ ...weather, seed: weather.seed + 1 }, (bytes) =>
    driver.step((endpoint) => endpoint.receive(now(), bytes)),
  );
  socket.on('message', receive);
  await bind(socket);
  const { suites, groups } = setup;
  const own = { vault, random: seededBytes(weather.seed), protection: createMemoryProtection(vault) };
  const client = new DtlsClient({ ...own, suites, groups, ...('share' in setup ? { share: setup.share } : {}) });
  driver.endpoint = client;
  driver.step(() => client.start(now()));
  return { driver, close: () => closeAll(driver, socket) };
}

async function bind(socket: Socket): Promise<number> {
  socket.bind(0, '127.0.0.1');
  await once(socket, 'listening');
  return socket.address().port;
}

function closeAll(driver: Driver, socket: Socket): void {
  driver.step((endpoint) => endpoint.close(now()));
  driver.stop();
  setTimeout(() => socket.close(), 20); // the last datagram leaves asynchronously
}
