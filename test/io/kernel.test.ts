import { deepEqual, equal, ok } from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { closeSync, fstatSync, readlinkSync, readSync, rmSync, writeSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'vitest';
import { loadAddon } from '../../src/native/index.ts';
import { openSocket } from './rig.ts';

const addon = loadAddon();

function thrown(call: () => unknown): { code: string; errno: number; syscall: string } {
  try {
    call();
  } catch (error) {
    return error as never;
  }
  throw new Error('nothing was thrown');
}

/** What a process of its own says, asked for what would change this one. */
function inChild(call: 'pinThread' | 'forbidDumps' | 'notifySystemd', env: NodeJS.ProcessEnv = {}): string {
  const script = join(import.meta.dirname, 'kernel-child.ts');
  const done = spawnSync(process.execPath, [script, call], { encoding: 'utf8', env: { ...process.env, ...env } });
  equal(done.status, 0, done.stderr);
  return done.stdout.trim();
}

/** Binds a datagram socket at its first argument, runs the rest, prints what came. */
const LISTENER = `
import socket, subprocess, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind(sys.argv[1])
subprocess.run(sys.argv[2:], check=True, stdout=subprocess.DEVNULL)
print(s.recv(100).decode())
`;

describe('kernel calls', () => {
  it('throw what the kernel says, with code, errno and system call', () => {
    const { code, errno, syscall } = thrown(() => addon.closeDescriptor(1_000_000));
    deepEqual({ code, errno, syscall }, { code: 'EBADF', errno: 9, syscall: 'close' });
    const socket = openSocket();
    equal(thrown(() => openSocket({ portNumber: socket.portNumber })).code, 'EADDRINUSE');
    equal(thrown(() => openSocket({ address: '192.0.2.1' })).code, 'EADDRNOTAVAIL');
    equal(thrown(() => addon.tunMtu('rwio-none')).code, 'ENODEV');
    equal(thrown(() => addon.tunOffload(socket.descriptor, true)).syscall, 'ioctl(TUNSETOFFLOAD)');
    equal(thrown(() => addon.pinThread(1000)).code, 'EINVAL');
    addon.closeDescriptor(socket.descriptor);
  });

  it('open UDP sockets with the buffers asked for, as far as the kernel allows', () => {
    const socket = openSocket({ bufferBytes: 1 << 20 });
    ok(socket.portNumber > 0);
    ok(socket.receiveBuffer >= 1 << 17 && socket.sendBuffer >= 1 << 17);
    ok(readlinkSync(`/proc/self/fd/${socket.descriptor}`).startsWith('socket:'));
    addon.closeDescriptor(socket.descriptor);
  });

  it('name a port that nobody has when asked for any, also for a group', () => {
    const held = Array.from({ length: 300 }, () => openSocket({ reusePort: true }));
    const ports = new Set(held.map(({ portNumber }) => portNumber));
    equal(ports.size, held.length);
    for (let i = 0; i < 2_000; i++) {
      const { descriptor, portNumber } = openSocket({ reusePort: true }); // the kernel by itself takes one of those 21 times
      addon.closeDescriptor(descriptor);
      ok(!ports.has(portNumber));
    }
    for (const { descriptor } of held) addon.closeDescriptor(descriptor);
  });

  it('open TCP listeners that node:net accepts from', async () => {
    const { descriptor, portNumber } = addon.openTcpListener({
      address: '127.0.0.1',
      portNumber: 0,
      reusePort: true,
      backlog: 8,
    });
    const server = createServer();
    await new Promise<void>((resolve) => server.listen({ fd: descriptor }, resolve));
    equal((server.address() as { port: number }).port, portNumber);
    await new Promise((resolve) => server.close(resolve));
  });

  it('make memfds of fixed size, zeroed, closed on exec until told otherwise', () => {
    const descriptor = addon.createMemfd('rwio', 8192);
    equal(fstatSync(descriptor).size, 8192);
    const bytes = Buffer.alloc(8192, 1);
    readSync(descriptor, bytes, 0, 8192, 0);
    ok(bytes.every((byte) => byte === 0));
    equal(thrown(() => writeSync(descriptor, Buffer.alloc(1), 0, 1, 8192)).code, 'EPERM'); // sealed against growing
    const flags = () => /flags:\s*(\d+)/.exec(readFdInfo(descriptor))?.[1] ?? '';
    ok(Number.parseInt(flags(), 8) & 0o2000000);
    addon.setCloseOnExec(descriptor, false);
    ok((Number.parseInt(flags(), 8) & 0o2000000) === 0);
    closeSync(descriptor);
  });

  it('read one clock, in microseconds, that only goes forward', () => {
    const node = Number(process.hrtime.bigint()) / 1000;
    const ours = addon.monotonicMicros();
    ok(ours >= node && ours - node < 1e6);
    ok(addon.monotonicMicros() >= ours);
  });

  it('pin the calling thread, forbid dumps, and tell systemd', () => {
    equal(inChild('pinThread'), '0');
    equal(inChild('forbidDumps'), 'core 0 0');
    equal(inChild('notifySystemd', { NOTIFY_SOCKET: '' }), 'false');
    const path = join(tmpdir(), `rwio-notify-${process.pid}`);
    const child = [process.execPath, join(import.meta.dirname, 'kernel-child.ts'), 'notifySystemd'];
    const env = { ...process.env, NOTIFY_SOCKET: path };
    const told = spawnSync('python3', ['-c', LISTENER, path, ...child], { encoding: 'utf8', env });
    rmSync(path, { force: true });
    equal(told.stdout.trim(), 'READY=1\nSTATUS=up', told.stderr);
  });
});

function readFdInfo(descriptor: number): string {
  return spawnSync('cat', [`/proc/${process.pid}/fdinfo/${descriptor}`], { encoding: 'utf8' }).stdout;
}
