/** Every function of native/core, io, kernel and steering, called wrongly: it throws, naming function, argument and range; nothing crashes. */
import { ok, throws } from 'node:assert/strict';
import { afterAll, describe, it } from 'vitest';
import type { Addon } from '../../src/native/index.ts';
import { addon, createPool, openSocket, openUdpPort } from './rig.ts';

const socket = openSocket();
const { port, trains } = openUdpPort('epoll', socket);
const closedSocket = openSocket();
const closed = openUdpPort('epoll', closedSocket).port;
addon.closePort(closed);
const { handle: handover } = addon.createHandover(1, 4096);
const udpOptions = {
  address: '127.0.0.1',
  portNumber: 0,
  reusePort: false,
  bufferBytes: 0,
  gro: true,
  packetInfo: true,
  pmtu: 'omit',
};
const portOptions = { io: 'epoll', tun: -1, vnetHeader: false, udp: socket.descriptor, udpReceive: trains.handle };
const tunOptions = { name: '', queues: 1, vnetHeader: true };
const small = createPool(4096, 1);

afterAll(() => {
  addon.closePort(port);
  addon.closeDescriptor(socket.descriptor);
  addon.closeDescriptor(closedSocket.descriptor);
});

const nothing = Symbol('argument left out');
type Case = [name: keyof Addon, args: unknown[], message: RegExp];

const cases: Case[] = [
  ['batchLayout', [0], /capacity must be an integer from 1 to 65536, got 0/],
  ['batchLayout', ['8'], /capacity must be an integer from 1 to 65536, got a string of 1 byte/],
  ['batchLayout', [1.5], /got 1\.5/],
  ['batchLayout', [Number.NaN], /got NaN/],
  ['createArena', [63, 1], /blockSize must be an integer from 64 to 1048576, got 63/],
  ['createArena', [100, 1], /blockSize must be a multiple of 64/],
  ['createArena', [64, 32_769], /blockCount must be an integer from 1 to 32768, got 32769/],
  ['createArena', [1_048_576, 32_768], /blockCount times blockSize must be less than 4 GiB/],
  ['createBatch', [{}, 1], /arena must be an arena handle, got an object/],
  ['createBatch', [small.handle, 1], /got another handle/],
  ['createBatch', [small.arena, 65_537], /capacity must be an integer from 1 to 65536/],
  ['put', [small.arena, 0, 0, undefined, new Uint8Array(1)], /batch must be a batch handle, got another handle/],
  ['put', [small.handle, -2, 0, undefined, new Uint8Array(1)], /slot must be an integer from -1 to/],
  ['put', [small.handle, 0, 256, undefined, new Uint8Array(1)], /kind must be an integer from 0 to 255/],
  ['put', [small.handle, 0, 0, new Uint8Array(39), new Uint8Array(1)], /address must be 40 bytes long, got 39/],
  ['put', [small.handle, 0, 0, undefined, new Uint8Array(4096)], /bytes must be 0 to 4032 bytes long, got 4096/],
  ['put', [small.handle, 0, 0, undefined, new Uint16Array(1)], /bytes must be a Uint8Array, got an object/],
  ['put', [small.handle, 0, 0, undefined, 'bytes'], /bytes must be a Uint8Array, got a string of 5 bytes/],
  ['clear', [undefined], /batch must be a batch handle, got undefined/],
  ['clear', [nothing], /batch must be a batch handle, got nothing/],
  ['freeBlocks', [small.handle], /arena must be/],
  ['createPass', [{ port: {} }], /options\.port must be a port handle, got an object/],
  ['createPass', [{ port: closed, lanes: small.handle }], /options\.lanes must be .* handle, got another handle/],
  ['passTurns', [{}, 0, 0, 1, 0], /pass must be a pass handle, got an object/],
  ['passUplink', [{}, 0, 1], /pass must be a pass handle, got an object/],
  ['passDownlink', [port, 0, 1], /pass must be a pass handle, got another handle/],
  ['openPort', [nothing], /options must be an object, got nothing/],
  ['openPort', [{ ...portOptions, io: 'uring' }], /options\.io must be 'io_uring' or 'epoll', got a string of 5 bytes/],
  ['openPort', [{ ...portOptions, tun: -2 }], /options\.tun must be an integer from -1/],
  ['openPort', [{ ...portOptions, vnetHeader: 1 }], /options\.vnetHeader must be true or false, got 1/],
  [
    'openPort',
    [{ ...portOptions, udpReceive: undefined }],
    /options\.udpReceive must be a batch handle where the descriptor is given/,
  ],
  [
    'openPort',
    [{ ...portOptions, udpReceive: small.handle }],
    /options\.udpReceive must have blocks of 66,048 bytes or more/,
  ],
  [
    'openPort',
    [{ ...portOptions, tun: 0, tunReceive: small.handle }],
    /options\.tunReceive must have blocks of 65,600 bytes or more/,
  ],
  ['openPort', [{ ...portOptions, tun: 0, tunReceive: trains.handle }], /must have another arena than tunReceive/],
  ['openPort', [{ ...portOptions, handover, shard: 1 }], /options\.shard must be one of the handover's shards/],
  ['openPort', [{ ...portOptions, handover: port }], /options\.handover must be a handover handle, got another handle/],
  ['openPort', [{ ...portOptions, entries: 8 }], /options\.entries must be an integer from 16 to 4096, got 8/],
  ['closePort', [null], /port must be a port handle, got null/],
  ['wait', [port, -1], /waitUs must be a number from 0 to 60000000, got -1/],
  ['wait', [closed, 0], /port must be open, got a closed one/],
  ['arm', [port, 1], /callback must be a function, got 1/],
  ['arm', [closed, () => undefined], /port must be open/],
  ['disarm', [closed], /port must be open/],
  ['udpReceive', [port, -1], /limit must be an integer from 0 to 65536, got -1/],
  ['udpReceive', [closed, 1], /port must be open/],
  ['tunReceive', [port, 1], /tunReceive: port must have a TUN queue/],
  ['udpTransmit', [port, port], /trains must be a batch handle, got another handle/],
  ['udpTransmit', [closed, small.handle], /port must be open/],
  ['sendProbe', [closed, new Uint8Array(40), new Uint8Array(1)], /port must be open/],
  ['sendProbe', [port, new Uint8Array(39), new Uint8Array(1)], /address must/],
  ['sendProbe', [port, new Uint8Array(40), new Uint8Array(0)], /bytes must/],
  ['sendProbe', [port, new Uint8Array(40), new Uint8Array(65_508)], /bytes must/],
  ['tunTransmit', [port, small.handle], /port must have a TUN queue/],
  ['portCounters', [small.handle], /port must be a port handle/],
  ['injectErrors', [port, 'tcp', []], /where must be 'udp' or 'tun', got a string of 3 bytes/],
  ['injectErrors', [port, 'udp', 11], /errnos must be an array, got 11/],
  ['injectErrors', [port, 'udp', [5000]], /errnos must be an integer from -65535 to 4095, got 5000/],
  ['injectErrors', [port, 'udp', Array(5000).fill(1)], /errnos must have at most 4096 elements, got 5000/],
  ['createHandover', [0, 4096], /shards must be an integer from 1 to 256, got 0/],
  ['createHandover', [1, 4097], /bytesPerRing must be a multiple of 8/],
  ['attachHandover', [0], /id must be an integer from 1/],
  ['handOver', [handover, handover, small.handle, 'udp'], /lanes must be a lanes handle, got another handle/],
  ['takeOver', [handover, port, 'udp', 1], /handover must be the one the port was opened with/],
  ['takeOver', [handover, closed, 'udp', 1], /port must be open/],
  ['takeOver', [handover, port, 'both', 1], /kind must be 'udp' or 'tun', got a string of 4 bytes/],
  ['openTun', [{ ...tunOptions, name: 'a name of sixteen' }], /options\.name must be 0 to 15 bytes of UTF-8, got 17/],
  ['openTun', [{ ...tunOptions, name: 'a\0b' }], /options\.name must not contain a zero character/],
  ['openTun', [{ ...tunOptions, queues: 257 }], /options\.queues must be an integer from 1 to 256/],
  ['tunOffload', [-1, true], /descriptor must be an integer from 0/],
  ['tunOffload', [0, 'on'], /on must be true or false, got a string of 2 bytes/],
  ['tunMtu', [''], /name must be 1 to 15 bytes/],
  ['openUdp', [{ ...udpOptions, address: 'localhost' }], /options\.address must be an IPv4 or IPv6 address/],
  ['openUdp', [{ ...udpOptions, portNumber: 65_536 }], /options\.portNumber must be an integer from 0 to 65535/],
  [
    'openUdp',
    [{ ...udpOptions, pmtu: 'always' }],
    /options\.pmtu must be 'omit', 'default' or 'probe', got a string of 6 bytes/,
  ],
  [
    'openTcpListener',
    [{ address: '::1', portNumber: 0, reusePort: true, backlog: 0 }],
    /options\.backlog must be an integer from 1/,
  ],
  ['createMemfd', ['x', 0], /bytes must be an integer from 1/],
  ['createMemfd', [1, 1], /name must be a string, got 1/],
  ['closeDescriptor', [2], /descriptor must be an integer from 3/],
  ['setCloseOnExec', [-1, true], /descriptor must be an integer from 0/],
  ['pinThread', [1024], /cpu must be an integer from 0 to 1023, got 1024/],
  ['notifySystemd', [''], /state must be 1 to 4096 bytes/],
  ['steerUdp', [socket.descriptor, 0], /shards must be an integer from 1 to 256/],
  ['steerTun', [0, { poolBase: -1, poolSize: 1, queues: 1 }], /options\.poolBase must be an integer from 0/],
  ['steerTun', [0, { poolBase: 0, poolSize: 0, queues: 1 }], /options\.poolSize must be an integer from 1/],
  ['attachSteering', [0, 0], /poolSize must be an integer from 1/],
];

describe('arguments', () => {
  it.each(cases)('%s refuses case %#', (name, args, message) => {
    const given = args[0] === nothing ? [] : args;
    const call = addon[name] as (...given: unknown[]) => unknown;
    throws(
      () => call(...given),
      (error: Error) => {
        ok(error instanceof TypeError || error instanceof RangeError, String(error));
        ok(error.message.startsWith(`${name}: `), error.message);
        ok(message.test(error.message), error.message);
        return true;
      },
    );
  });

  it('every function without arguments of the right kind throws or answers, whatever it is given', () => {
    const junk = [
      undefined,
      null,
      0,
      -1,
      1e300,
      '',
      'x',
      {},
      [],
      () => undefined,
      Symbol('x'),
      1n,
      new Uint8Array(8),
      small.arena,
      small.handle,
      port,
    ];
    const harmless = new Set([
      'about',
      'verdicts',
      'tableLayout',
      'mappings',
      'monotonicMicros',
      'forbidDumps',
      'closeDescriptor',
      'setCloseOnExec',
      'pinThread',
    ]);
    let refused = 0;
    for (const [name, call] of Object.entries(addon) as [string, (...args: unknown[]) => unknown][]) {
      if (harmless.has(name)) continue;
      for (let seed = 0; seed < 40; seed++) {
        const args = Array.from({ length: 5 }, (_, i) => junk[(seed * 7 + i * (seed + 3)) % junk.length]);
        try {
          call(...args);
        } catch (error) {
          ok(error instanceof Error, `${name} threw ${String(error)}`);
          refused++;
        }
      }
    }
    ok(refused > 1500, `${refused}`);
  });

  it('an exception of a getter of the options comes out as it is', () => {
    throws(
      () =>
        addon.openTun({
          get name(): string {
            throw new Error('mine');
          },
          queues: 1,
          vnetHeader: true,
        }),
      /^Error: mine$/,
    );
  });
});
