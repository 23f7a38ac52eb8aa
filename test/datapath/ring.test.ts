/** What only io_uring has, through whole shards: submission by a kernel thread, sends without a copy. And a shard that wants io_uring where there is none. */
import { afterEach, describe, expect, it } from 'vitest';
import { createBatches } from '../../src/datapath/batches.ts';
import { openPort } from '../../src/datapath/open-port.ts';
import type { ShardOptions } from '../../src/datapath/shard.ts';
import type { Addon } from '../../src/native/index.ts';
import { parseIpv4 } from '../../src/server/leases.ts';
import { addon, namespaceRefusal, openSocket, uringRefusal } from '../io/rig.ts';
import { build, concat, pattern, TCP, UDP } from '../packet/packets.ts';
import { CLIENT_INSIDE, NET_ADDRESS, numbered, Rig } from './rig.ts';

const refusal = uringRefusal() ?? namespaceRefusal();
if (refusal) console.warn(`skipped: ${refusal}`);

const PACKETS = 40;
const SEGMENT = 1_000;
const SEGMENTS = 60;
const UDP_HEADERS = 28;
const TCP_HEADERS = 40;
/** Rounds until all that is sent has arrived, at most. */
const PATIENCE = 300;

const upTo = (count: number) => Array.from({ length: count }, (_, i) => i);

describe.skipIf(refusal !== undefined).each([
  ['a kernel thread that submits', { sqpoll: true }],
  ['sends without a copy', { zeroCopy: true }],
  ['both', { sqpoll: true, zeroCopy: true }],
])('with %s', (_, wishes) => {
  let rig: Rig | undefined;
  afterEach(() => {
    rig?.close();
    rig = undefined;
    expect(addon.mappings().quarantined).toBe(0);
  });

  it.each([
    ['turn by turn', false],
    ['in turns of the addon', true],
  ])('everything arrives, whole and in order, %s', (_way, runs) => {
    const made = new Rig({ io: 'io_uring', shards: 1, aead: addon.about().aead[0], runs, ...wishes });
    rig = made;
    const { inside } = made;
    // the kernel's thread takes what is submitted when it gets a processor: nobody knows when all is quiet
    const until = (done: () => boolean) => {
      for (let i = 0; i < PATIENCE && !done(); i++) made.settle();
    };
    const clients = [2, 3].map((host) => made.open(host));
    until(() => clients.every(({ session }) => session.state === 'online'));
    const [numbers, payload] = [upTo(PACKETS), pattern(SEGMENT * SEGMENTS)];
    for (const client of clients) {
      const source = parseIpv4(CLIENT_INSIDE);
      const up = (i: number) => build({ ...UDP, source, destination: NET_ADDRESS, payload: numbered(i) });
      client.send(numbers.map((i) => (i % 3 === 0 ? client.record(up(i)) : client.lane(up(i)))));
      client.ping();
      client.flush();
    }
    const came: Uint8Array[] = [];
    const carried = () => {
      came.push(...inside.receive().map((packet) => packet.subarray(UDP_HEADERS)));
      return concat(...came).length >= 2 * PACKETS * numbered(0).length;
    };
    until(carried);
    expect(concat(...came)).toHaveLength(2 * PACKETS * numbered(0).length);
    for (const client of clients) {
      const down = { source: NET_ADDRESS, destination: client.lease };
      const taken: Uint8Array[] = [];
      const has = (packets: number) => () => taken.push(...client.inner()) >= packets;
      inside.send(numbers.map((i) => build({ ...UDP, ...down, payload: numbered(i) })));
      until(has(PACKETS));
      expect(taken.map((bytes) => new DataView(bytes.buffer, bytes.byteOffset).getUint32(28))).toEqual(numbers);
      inside.sendSuperpacket(build({ ...TCP, ...down, payload }), SEGMENT);
      until(has(PACKETS + SEGMENTS));
      expect(concat(...taken.slice(PACKETS).map((bytes) => bytes.subarray(TCP_HEADERS)))).toEqual(payload);
    }
    expect(made.counters()).not.toHaveProperty('sendFailed');
  });
});

describe('a shard with --io auto', () => {
  const asked: string[] = [];
  /** The addon on a kernel that refuses rings. */
  const without = (code: string): Addon =>
    Object.create(addon, {
      openPort: {
        value: (wishes: { io: string }) => {
          asked.push(wishes.io);
          if (wishes.io === 'io_uring') throw Object.assign(new Error(`${code}: io_uring_setup`), { code });
          return addon.openPort(wishes as never);
        },
      },
    });
  /** @returns the outcome, with the port closed again */
  const open = (kernel: Addon, io: ShardOptions['io']) => {
    asked.length = 0;
    const udp = openSocket().descriptor;
    const wishes = { io, tun: -1, vnetHeader: false, udp, doors: [], shard: 0, sqpoll: false, zeroCopy: false };
    try {
      const { port, ...opened } = openPort(kernel, wishes as unknown as ShardOptions, createBatches(addon), undefined);
      addon.closePort(port);
      return opened;
    } finally {
      addon.closeDescriptor(udp);
    }
  };

  it.each(['ENOSYS', 'EPERM', 'ENOMEM'])('has epoll where the kernel answers %s, and says why', (code) => {
    const { io, note } = open(without(code), 'auto');
    expect([asked, io]).toEqual([['io_uring', 'epoll'], 'epoll']);
    expect(note).toContain(`${code}: io_uring_setup): epoll instead`);
  });

  it('has nothing where io_uring was asked for by name, and is not asked for it where epoll was', () => {
    expect(() => open(without('EPERM'), 'io_uring')).toThrow('EPERM: io_uring_setup');
    expect(asked).toEqual(['io_uring']);
    expect(open(without('EPERM'), 'epoll').note).toBeUndefined();
    expect(asked).toEqual(['epoll']);
  });
});
