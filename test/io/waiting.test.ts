/** A port with a socket and a device only, as a client's, waits for them in poll(): what the ring has taken meanwhile must not wait with it. */
import { equal } from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { describe, it } from 'vitest';
import {
  addon,
  backends,
  createPool,
  type Io,
  namespaceRefusal,
  openSocket,
  openUdpPort,
  PACKET_BLOCK,
} from './rig.ts';

const refusal = namespaceRefusal();
if (refusal) console.warn(`skipped: ${refusal}`);

/** Longer than a test may take: what is lost is only found when the wait is over. */
const WAIT_US = 12_000_000;
const TIMEOUT_MS = 10_000;
const ASKED = 20;

/** That many datagrams at once; or, for 0, one for every line it hears, a little later. */
const SENDER = `
  const [port, count] = process.argv.slice(1).map(Number);
  const socket = require('node:dgram').createSocket('udp4');
  const send = (sent) => socket.send(Buffer.alloc(8), sent);
  socket.connect(port, '127.0.0.1', () => {
    let left = count;
    for (let i = 0; i < count; i++) send(() => --left === 0 && socket.close());
    if (count > 0) return;
    process.stdin.on('data', () => setTimeout(send, 3)).on('end', () => socket.close());
    console.log('ready');
  });`;
const sender = (portNumber: number, count: number) => ['-e', SENDER, `${portNumber}`, `${count}`];

interface Receiver {
  readonly portNumber: number;
  /** Waits, and takes what there is. */
  receive(): number;
  close(): void;
}

function open(io: Io, sqpoll: boolean): Receiver {
  const socket = openSocket();
  const { descriptors } = addon.openTun({ name: '', queues: 1, vnetHeader: true });
  const packets = createPool(PACKET_BLOCK, 32);
  const device = { tun: descriptors[0], vnetHeader: true, tunReceive: packets.handle };
  const { port, trains } = openUdpPort(io, socket, { ...device, sqpoll });
  return {
    portNumber: socket.portNumber,
    receive: () => {
      const ready = addon.wait(port, WAIT_US);
      if (ready & 2) addon.tunReceive(port, 64);
      const count = ready & 1 ? addon.udpReceive(port, 64) : 0;
      addon.clear(packets.handle);
      addon.clear(trains.handle);
      return count;
    },
    close: () => {
      addon.closePort(port);
      for (const descriptor of [socket.descriptor, ...descriptors]) addon.closeDescriptor(descriptor);
    },
  };
}

describe.skipIf(refusal !== undefined).each(backends())('a client waits over %s', (io) => {
  it(
    'for what comes as its receives are armed anew',
    () => {
      const receiver = open(io, false);
      try {
        equal(spawnSync(process.execPath, sender(receiver.portNumber, 60)).status, 0);
        let received = 0;
        for (let looks = 0; received < 60 && looks < 20; looks++) received += receiver.receive(); // as many as it has blocks at a time
        equal(received, 60);
      } finally {
        receiver.close();
      }
    },
    TIMEOUT_MS,
  );

  it.skipIf(io !== 'io_uring')(
    'beside a thread of the kernel that works for its ring',
    async () => {
      const receiver = open(io, true);
      const child = spawn(process.execPath, sender(receiver.portNumber, 0), { stdio: ['pipe', 'pipe', 'inherit'] });
      try {
        await once(child.stdout, 'data');
        for (let asked = 0; asked < ASKED; asked++) {
          child.stdin.write('one\n');
          let received = 0;
          for (let looks = 0; received === 0 && looks < 20; looks++) received = receiver.receive();
          equal(received, 1);
        }
      } finally {
        child.kill();
        receiver.close();
      }
    },
    TIMEOUT_MS,
  );
});
