/**
 * One TCP flow as fast as it goes, as a program for either end:
 *
 *     node src/calibrate/stream.ts receive PORT   prints "ready", and for every connection {bytes, seconds} when it ends
 *     node src/calibrate/stream.ts send PORT      reads lines "ADDRESS MS": connects, sends for so long, prints "sent"
 */
import { once } from 'node:events';
import { createConnection, createServer } from 'node:net';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

export const STREAM_PROGRAM = fileURLToPath(import.meta.url);

export interface Received {
  readonly bytes: number;
  readonly seconds: number;
}

const PIECE = Buffer.alloc(256 * 1024, 'r');

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}

function receive(portNumber: number): void {
  const server = createServer((socket) => {
    let bytes = 0;
    let began = 0;
    let last = 0;
    socket.on('data', (piece) => {
      last = performance.now();
      if (bytes === 0) began = last;
      bytes += piece.length;
    });
    socket.on('error', () => socket.destroy());
    socket.on('close', () => say(JSON.stringify({ bytes, seconds: (last - began) / 1000 } satisfies Received)));
    socket.on('end', () => socket.end());
  });
  server.listen(portNumber, '0.0.0.0', () => say('ready'));
}

async function send(portNumber: number): Promise<void> {
  for await (const line of createInterface({ input: process.stdin })) {
    const [address, ms] = line.split(' ');
    const socket = createConnection(portNumber, address);
    socket.on('error', () => socket.destroy());
    await once(socket, 'connect');
    const end = performance.now() + Number(ms);
    while (performance.now() < end && !socket.destroyed)
      if (!socket.write(PIECE)) await Promise.race([once(socket, 'drain'), once(socket, 'close')]);
    socket.destroySoon();
    if (!socket.closed) await once(socket, 'close');
    say('sent');
  }
}

if (process.argv[1] === STREAM_PROGRAM) {
  const [, , what, portNumber] = process.argv;
  if (what === 'receive') receive(Number(portNumber));
  else await send(Number(portNumber));
}
