import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { loadClientConfig } from '../../src/config/client.ts';
import { loadServerConfig } from '../../src/config/server.ts';
import type { Kernel } from '../../src/keeper/kernel.ts';
import { openClientResources, openServerResources } from '../../src/keeper/resources.ts';
import { createFolder, type Folder } from '../config/folder.ts';

type Call = readonly [name: string, ...args: unknown[]];

/** A kernel that hands out numbers, remembers what it was asked, and refuses what the script says. */
class ScriptedKernel implements Kernel {
  readonly calls: Call[] = [];
  readonly open = new Set<number>();
  /** How often, and with which code, a call is refused: `openUdp` → ['EADDRINUSE', 2]. */
  readonly refusals: Record<string, [code: string, times: number]> = {};
  existed = false;
  queuesGiven = Number.POSITIVE_INFINITY;
  bufferGiven = Number.POSITIVE_INFINITY;
  hasGro = true;
  reveals = true;
  offloads = 0x67;
  #next = 10;

  #ask(name: string, ...args: unknown[]): void {
    this.calls.push([name, ...args]);
    const refusal = this.refusals[name];
    if (!refusal || refusal[1]-- <= 0) return;
    throw Object.assign(new Error(`${name} refused`), { code: refusal[0] });
  }

  #give(): number {
    this.open.add(this.#next);
    return this.#next++;
  }

  openTun(options: Parameters<Kernel['openTun']>[0]) {
    this.#ask('openTun', options);
    const queues = Math.min(options.queues, this.queuesGiven);
    return {
      name: options.name || 'tun0',
      descriptors: Array.from({ length: queues }, () => this.#give()),
      existed: this.existed,
      mtu: 1350,
    };
  }

  tunOffload(descriptor: number, on: boolean): number {
    this.#ask('tunOffload', descriptor, on);
    return on ? this.offloads : 0;
  }

  openUdp(options: Parameters<Kernel['openUdp']>[0]) {
    this.#ask('openUdp', options);
    const buffer = Math.min(options.bufferBytes, this.bufferGiven);
    return {
      descriptor: this.#give(),
      portNumber: options.portNumber || 40_000,
      sendBuffer: buffer,
      receiveBuffer: buffer,
      gro: options.gro && this.hasGro,
    };
  }

  openTcpListener(options: Parameters<Kernel['openTcpListener']>[0]) {
    this.#ask('openTcpListener', options);
    return { descriptor: this.#give(), portNumber: options.portNumber };
  }

  createMemfd(name: string, bytes: number): number {
    this.#ask('createMemfd', name, bytes);
    return this.#give();
  }

  closeDescriptor(descriptor: number): void {
    if (!this.open.delete(descriptor)) throw new Error(`${descriptor} was closed twice`);
  }

  steerUdp(descriptor: number, shards: number, doors?: boolean): void {
    this.#ask('steerUdp', descriptor, shards, doors);
  }

  steerTun(descriptor: number, options: Parameters<Kernel['steerTun']>[1]) {
    this.#ask('steerTun', descriptor, options);
    return { map: this.#give() };
  }

  filterUdp(sessions: readonly number[], doors: readonly number[], entries: number) {
    this.#ask('filterUdp', sessions, doors, entries);
    return { map: this.#give(), reveals: this.reveals };
  }

  shareTun(descriptor: number, queues: number) {
    this.#ask('shareTun', descriptor, queues);
    return { map: this.#give() };
  }

  forbidDumps(): void {}

  notifySystemd(): boolean {
    return false;
  }

  named(name: string): Call[] {
    return this.calls.filter(([called]) => called === name);
  }
}

let folder: Folder;
let kernel: ScriptedKernel;

beforeEach(() => {
  folder = createFolder();
  kernel = new ScriptedKernel();
});
afterEach(() => folder.remove());

function server(lines: string, flags: Record<string, string> = {}) {
  return loadServerConfig(folder.write('s.yaml', `user_db: u\ntun_name: lws\n${lines}`), { flags, env: {} }).config;
}

function client(lines: string) {
  return loadClientConfig(folder.write('c.yaml', `user: u\npassword: p\n${lines}`), { flags: {}, env: {} }).config;
}

describe('openServerResources', () => {
  it('opens a TUN queue, a socket and three doors of one group for each shard, and steers both', async () => {
    const { descriptors, tun, notes } = await openServerResources(kernel, server('mode: udp\n', { shards: '3' }));
    expect(descriptors).toMatchObject({
      tun: [10, 11, 12],
      udp: [14, 15, 16],
      doors: [17, 18, 19, 20, 21, 22, 23, 24, 25],
      tcp: [],
      steering: { map: 26, entries: 65_536 },
      filter: { map: 27, entries: 16_384 },
    });
    expect(tun).toEqual({ name: 'lws', vnetHeader: true, offloads: 0x67 });
    expect(kernel.named('steerUdp')).toEqual([['steerUdp', 14, 3, true]]);
    expect(kernel.named('steerTun')).toEqual([['steerTun', 10, { poolBase: 0x0a7d0000, poolSize: 65_536, queues: 3 }]]);
    const { udp, doors } = descriptors;
    expect(kernel.named('filterUdp')).toEqual([['filterUdp', udp, doors, 16_384]]);
    expect(notes).toEqual([]);
  });

  it('asks for the socket options of protocol specification §1.8', async () => {
    await openServerResources(kernel, server('mode: udp\n', { shards: '1' }));
    expect(kernel.named('openUdp')[1][1]).toEqual({
      address: '0.0.0.0',
      portNumber: 27_690,
      reusePort: true,
      bufferBytes: 15 * 2 ** 20,
      gro: true,
      packetInfo: true,
      pmtu: 'omit',
    });
    await openServerResources(kernel, server('mode: udp\nbind_address: 10.9.0.2:1\n', { shards: '1', gro: 'off' }));
    expect(kernel.named('openUdp').at(-1)?.[1]).toMatchObject({ packetInfo: false, gro: false });
  });

  it('binds one socket alone first: a group would take in a second server without a word', async () => {
    await openServerResources(kernel, server('mode: udp\n', { shards: '2' }));
    const shared = kernel.named('openUdp').map(([, options]) => (options as { reusePort: boolean }).reusePort);
    expect(shared).toEqual([false, ...Array(8).fill(true)]);
    expect(kernel.open.has(12)).toBe(false);
  });

  it('waits for a socket that a dead predecessor still holds', async () => {
    kernel.refusals.openUdp = ['EADDRINUSE', 2];
    const { descriptors } = await openServerResources(kernel, server('mode: udp\n', { shards: '1' }));
    expect(descriptors.udp).toHaveLength(1);
  });

  it('makes every socket of the group listen on the port the kernel chose for the first', async () => {
    await openServerResources(kernel, server('mode: udp\nbind_address: 127.0.0.1:0\n', { shards: '2' }));
    const ports = kernel.named('openUdp').map(([, options]) => (options as { portNumber: number }).portNumber);
    expect(ports).toEqual([0, ...Array(7).fill(40_000)]);
  });

  it('listens on TCP where the mode says so', async () => {
    const { descriptors } = await openServerResources(kernel, server('mode: tcp\n', { shards: '2' }));
    expect([descriptors.udp.length, descriptors.tcp.length]).toEqual([0, 2]);
  });

  it('makes session memory of the size that the slots need', async () => {
    const { descriptors } = await openServerResources(kernel, server('mode: udp\n', { sessions: '100', shards: '1' }));
    expect(descriptors.table).toMatchObject({ slots: 100, publicBytes: 256_000, secretBytes: 128_000 });
    expect(kernel.named('createMemfd').map(([, , bytes]) => bytes)).toEqual([256_000, 128_000]);
  });

  it.each([
    ['openTun', 'EPERM', 'TUN_DENIED'],
    ['openTun', 'EBUSY', 'TUN_IN_USE'],
    ['openTun', 'ENOENT', 'TUN_MISSING'],
    ['openTun', 'EINVAL', 'TUN_KIND'],
    ['openUdp', 'EADDRINUSE', 'PORT_IN_USE'],
    ['openUdp', 'EADDRNOTAVAIL', 'ADDRESS_ELSEWHERE'],
    ['openUdp', 'EACCES', 'BIND_DENIED'],
  ])('says of %s %s that it is %s, and closes what it had opened', async (call, code, expected) => {
    kernel.refusals[call] = [code, 1_000];
    await expect(openServerResources(kernel, server('mode: udp\n', { shards: '2' }))).rejects.toMatchObject({
      code: expected,
    });
    expect(kernel.open.size).toBe(0);
  });

  it.each(['steerUdp', 'steerTun', 'filterUdp'])(
    'goes on where the kernel refuses %s, and says so once',
    async (call) => {
      kernel.refusals[call] = ['EPERM', 1];
      const { descriptors, notes } = await openServerResources(kernel, server('mode: udp\n', { shards: '2' }));
      expect(notes).toEqual([expect.stringMatching(/^the kernel refuses to (?:steer|filter) [a-z]+ \(EPERM\): /)]);
      expect(descriptors.steering === null).toBe(call === 'steerTun');
      expect(descriptors.filter === null).toBe(call === 'filterUdp');
      expect(descriptors.doors).toHaveLength(call === 'steerUdp' ? 0 : 6);
    },
  );

  it('says what the kernel’s filters cannot judge, where it takes no more of them', async () => {
    kernel.reveals = false;
    const { descriptors, notes } = await openServerResources(kernel, server('mode: udp\n', { shards: '2' }));
    expect(notes).toEqual([expect.stringContaining('CAP_PERFMON')]);
    expect(descriptors.filter).not.toBeNull();
  });

  it('filters the sessions’ sockets alone where there are no doors, and nothing where there are no datagrams', async () => {
    kernel.refusals.steerUdp = ['EPERM', 1];
    await openServerResources(kernel, server('mode: udp\n', { shards: '2' }));
    expect(kernel.named('filterUdp')).toEqual([['filterUdp', [expect.any(Number), expect.any(Number)], [], 16_384]]);
    const { descriptors } = await openServerResources(kernel, server('mode: tcp\n', { shards: '2' }));
    expect([descriptors.filter, kernel.named('filterUdp')]).toEqual([null, [expect.anything()]]);
  });

  it('shares a device of its own between those it carries for, all queues at once, and closes that map with the rest', async () => {
    const resources = await openServerResources(kernel, server('mode: udp\n', { shards: '3' }));
    const { tun, tunShares } = resources.descriptors;
    expect(kernel.named('shareTun')).toEqual([['shareTun', tun[0], 3]]);
    expect(kernel.open.has(tunShares?.map ?? -1)).toBe(true);
    resources.close();
    resources.close();
    expect(kernel.open.size).toBe(0);
    const single = await openServerResources(kernel, server('mode: tcp\n', { shards: '1' }));
    expect(kernel.named('shareTun')[1]).toEqual(['shareTun', single.descriptors.tun[0], 1]);
  });

  it('shares the queues that the device has, where it has fewer than shards', async () => {
    kernel.queuesGiven = 1;
    await openServerResources(kernel, server('mode: udp\n', { shards: '2' }));
    expect(kernel.named('shareTun')).toEqual([['shareTun', 10, 1]]);
  });

  it('leaves a device alone that was there before: its program would outlive who counts for it', async () => {
    kernel.existed = true;
    const { descriptors, notes } = await openServerResources(kernel, server('mode: udp\n', { shards: '2' }));
    expect([descriptors.tunShares, kernel.named('shareTun'), notes]).toEqual([null, [], []]);
  });

  it('goes on where the kernel refuses to share the device, and says so once', async () => {
    kernel.refusals.shareTun = ['EPERM', 1];
    const { descriptors, notes } = await openServerResources(kernel, server('mode: udp\n', { shards: '2' }));
    expect(descriptors.tunShares).toBeNull();
    expect(notes).toEqual([expect.stringMatching(/^the kernel refuses to share the device \(EPERM\): /)]);
    expect(kernel.named('shareTun')).toHaveLength(1);
  });

  it('gives a single shard doors as well, smaller than its socket, and coalescing like it', async () => {
    const { descriptors } = await openServerResources(kernel, server('mode: udp\n', { shards: '1' }));
    expect(descriptors).toMatchObject({ udp: [12], doors: [13, 14, 15] });
    const [socket, handshakes, strangers, suspects] = kernel
      .named('openUdp')
      .slice(1)
      .map(([, options]) => options as { gro: boolean; bufferBytes: number });
    expect(strangers.bufferBytes).toBeLessThan(handshakes.bufferBytes);
    expect(handshakes.bufferBytes).toBeLessThan(socket.bufferBytes);
    expect(suspects.bufferBytes).toBeLessThanOrEqual(strangers.bufferBytes);
    expect([handshakes.gro, strangers.gro, suspects.gro]).toEqual([true, true, true]);
  });

  it('closes everything when a door cannot be opened', async () => {
    let sockets = 0;
    const openUdp = kernel.openUdp.bind(kernel);
    kernel.openUdp = (options) => {
      if (++sockets === 4) throw Object.assign(new Error('too many open files'), { code: 'EMFILE' });
      return openUdp(options);
    };
    await expect(openServerResources(kernel, server('mode: udp\n', { shards: '1' }))).rejects.toMatchObject({
      code: 'BIND_REFUSED',
    });
    expect(kernel.open.size).toBe(0);
  });

  it('settles for one queue, a small buffer, and a pool too large to steer, saying each', async () => {
    kernel.queuesGiven = 1;
    kernel.bufferGiven = 425_984;
    const small = await openServerResources(kernel, server('mode: udp\n', { shards: '2' }));
    expect(small.descriptors).toMatchObject({ tun: [10], steering: null });
    expect(small.notes).toHaveLength(2);
    kernel.queuesGiven = 2;
    const large = await openServerResources(kernel, server('mode: udp\nip_pool: 10.0.0.0/8\n', { shards: '2' }));
    expect(large.descriptors.steering).toBeNull();
    expect(large.notes).toHaveLength(2);
  });

  it.each([
    [0x67, true, []],
    [0x07, true, [/no USO/]],
    [0, true, [/no offload/]],
    [0x67, false, [/no UDP_GRO/]],
  ])('says once what an older kernel lacks: offloads %i, UDP_GRO %s', async (offloads, hasGro, expected) => {
    Object.assign(kernel, { offloads, hasGro });
    const { notes } = await openServerResources(kernel, server('mode: udp\n', { shards: '2' }));
    expect(notes).toHaveLength(expected.length);
    for (const [i, note] of notes.entries()) expect(note).toMatch(expected[i]);
    const twice = client('tun_name: lws\nservers:\n  - {server: "a:1", mode: udp}\n  - {server: "c:1", mode: udp}\n');
    expect((await openClientResources(kernel, twice, [4, 4])).notes).toEqual(notes);
    const off = await openServerResources(
      kernel,
      server('mode: udp\n', { gro: 'off', tun_offload: 'off', shards: '1' }),
    );
    expect(off.notes).toEqual([]);
  });

  it('gives a device that was there before its offloads back, and closes everything once', async () => {
    kernel.existed = true;
    const resources = await openServerResources(kernel, server('mode: udp\n', { shards: '2' }));
    resources.close();
    resources.close();
    expect(kernel.named('tunOffload')).toEqual([
      ['tunOffload', 10, true],
      ['tunOffload', 10, false],
    ]);
    expect(kernel.open.size).toBe(0);
  });

  it('opens the TUN device plain where offload is off', async () => {
    const { tun } = await openServerResources(kernel, server('mode: udp\n', { tun_offload: 'off', shards: '1' }));
    expect(tun).toMatchObject({ vnetHeader: false, offloads: 0 });
  });
});

describe('openClientResources', () => {
  it('opens a socket a UDP server, of its family, and none for a TCP server', async () => {
    const config = client(
      'servers:\n  - {server: "a:1", mode: udp}\n  - {server: "b:1"}\n  - {server: "c:1", mode: udp}\nfwmark: 7\n',
    );
    const { descriptors } = await openClientResources(kernel, config, [4, 4, 6]);
    expect(descriptors.udp.map((descriptor) => descriptor >= 0)).toEqual([true, false, true]);
    expect(kernel.named('openUdp').map(([, options]) => options)).toMatchObject([
      { address: '0.0.0.0', portNumber: 0, mark: 7, bufferBytes: 8 * 2 ** 20 },
      { address: '::', portNumber: 0, mark: 7 },
    ]);
  });

  it('shares no device: what a client carries is all its own', async () => {
    const { descriptors } = await openClientResources(kernel, client('server: "a:1"\nmode: udp\n'), [4]);
    expect([descriptors.tunShares, kernel.named('shareTun')]).toEqual([null, []]);
  });

  it('leaves the mark alone where none is configured: it needs a privilege', async () => {
    await openClientResources(kernel, client('server: "a:1"\nmode: udp\n'), [4]);
    expect(kernel.named('openUdp')[0][1]).not.toHaveProperty('mark');
  });
});
