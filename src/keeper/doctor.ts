/**
 * What this machine gives a tunnel, tried out rather than looked up: each part is opened for a moment as the product would, and closed
 * again. A device and sockets of its own, named by the kernel; nothing of the host is changed.
 */
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { arch, release } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { longestTrain } from '../datapath/backends.ts';
import { RingwayError } from '../errors.ts';
import { type Addon, launcherPath } from '../native/index.ts';
import { engineProgram } from './engine-process.ts';
import { tunRefused, USO } from './kernel.ts';
import { dropPrivileges, type Privileges, thisMachine } from './privileges.ts';

/** `slow`: everything works, at a price in speed or safety. `bad`: a server or client cannot start. */
export interface Finding {
  readonly state: 'ok' | 'slow' | 'bad';
  readonly subject: string;
  readonly words: string;
  /** What to do, unless all is well. */
  readonly advice?: string;
  /** The code of the error that a start would end with. */
  readonly code?: string | undefined;
}

const BUFFER = 15 * 2 ** 20; // udp_buffer_size of the stock server
const UDP_BLOCK = 66_048;
const FILTER_ENTRIES = 16; // the fewest there may be
const PRIVATE = fileURLToPath(new URL('../../bin/private.sh', import.meta.url));
const SYSTEM_FOLDERS = '/usr/sbin:/usr/bin:/sbin:/bin';

/** What a keeper would do that root starts: what an ordinary user may not look at is closed to the user `nobody`, too. */
function asRoot(): Privileges {
  const needed = [engineProgram('server', []).entry, process.execPath];
  return dropPrivileges('nobody', launcherPath(), needed, { ...thisMachine(), uid: 0 });
}

/** Everything an operator may have to mend, in the order a start would come upon it. */
export function* examine(addon: Addon, privileges: () => Privileges = asRoot): Generator<Finding> {
  yield { state: 'ok', subject: 'kernel', words: `Linux ${release()} ${arch()}` };
  yield aead(addon);
  yield ip();
  yield* tun(addon);
  yield* udp(addon);
  yield engine(privileges);
  yield namespaces();
}

/** Started by root it should become the user `nobody`, who has to get at its code. */
function engine(privileges: () => Privileges): Finding {
  const subject = 'engine of root';
  try {
    const { summary, advice } = privileges();
    return advice === undefined
      ? { state: 'ok', subject, words: summary }
      : { state: 'slow', subject, words: summary, advice, code: 'ENGINE_ROOT' };
  } catch (cause) {
    const advice = 'put the checkout where everybody may go, such as /opt';
    return { state: 'slow', subject, words: `cannot be told: ${(cause as Error).message}`, advice };
  }
}

function aead(addon: Addon): Finding {
  const backends = addon.about().aead;
  const words = `encrypts with ${backends[0]}`;
  if (backends.includes('ipsec-mb') || arch() !== 'x64') return { state: 'ok', subject: 'aead', words };
  const advice = 'apt install libipsec-mb-dev, then npm run setup';
  return { state: 'slow', subject: 'aead', words: `${words}: ipsec-mb is not here, or not for this CPU`, advice };
}

function ip(): Finding {
  const folders = `${process.env.PATH ?? ''}:${SYSTEM_FOLDERS}`.split(':');
  const path = folders.map((folder) => join(folder, 'ip')).find((each) => existsSync(each));
  if (path) return { state: 'ok', subject: 'ip', words: path };
  return { state: 'bad', subject: 'ip', words: 'is not installed', advice: 'apt install iproute2', code: 'IP_MISSING' };
}

/** Two queues and the offloads, then steering by the inner address. */
function* tun(addon: Addon): Generator<Finding> {
  let opened: ReturnType<Addon['openTun']>;
  try {
    opened = addon.openTun({ name: '', queues: 2, vnetHeader: true });
  } catch (cause) {
    const { message, advice, code } = tunRefused('', cause);
    return yield { state: 'bad', subject: 'tun', words: message, advice, code };
  }
  const closing = [...opened.descriptors];
  try {
    const offloads = addon.tunOffload(opened.descriptors[0], true);
    yield (offloads & USO) === USO
      ? { state: 'ok', subject: 'tun', words: 'several queues, superpackets of TCP and UDP' }
      : { state: 'slow', subject: 'tun', words: 'no superpackets of UDP', advice: 'they came with Linux 6.2' };
    yield tried('steering of packets', STEERING, () => {
      const { map } = addon.steerTun(opened.descriptors[0], { poolBase: 0x0a7d_0000, poolSize: 256, queues: 2 });
      closing.push(map);
      return 'to the shard of their session (eBPF)';
    });
    yield tried('device queue', SHARES, () => {
      closing.push(addon.shareTun(opened.descriptors[0], 2).map);
      return 'nobody fills it alone (eBPF)';
    });
  } finally {
    for (const descriptor of closing) addon.closeDescriptor(descriptor);
  }
}

/** A socket with its buffers and GRO, steering by session id, the filter, and a ring. */
function* udp(addon: Addon): Generator<Finding> {
  const options = { address: '127.0.0.1', portNumber: 0, reusePort: true, bufferBytes: BUFFER, packetInfo: false };
  const socket = addon.openUdp({ ...options, gro: true, pmtu: 'omit' });
  const closing = [socket.descriptor];
  try {
    yield socket.gro
      ? { state: 'ok', subject: 'udp', words: `trains in, and out up to ${longestTrain(addon)} (UDP_GRO, UDP_SEGMENT)` }
      : { state: 'slow', subject: 'udp', words: 'datagrams come one by one', advice: 'UDP_GRO came with Linux 5.0' };
    const buffer = `${Math.round(socket.receiveBuffer / 2 ** 20)} MiB`;
    yield socket.receiveBuffer >= BUFFER
      ? { state: 'ok', subject: 'socket buffers', words: buffer }
      : {
          state: 'slow',
          subject: 'socket buffers',
          words: `${buffer} of 15: bursts are dropped`,
          advice: `sudo sysctl -w net.core.rmem_max=${BUFFER} net.core.wmem_max=${BUFFER}, or run as root`,
        };
    yield tried('steering of datagrams', STEERING, () => {
      addon.steerUdp(socket.descriptor, 1);
      return 'to the shard of their session (BPF)';
    });
    let reveals = true;
    const filter = tried('socket filter', FILTER, () => {
      const filtered = addon.filterUdp([socket.descriptor], [], FILTER_ENTRIES);
      closing.push(filtered.map);
      reveals = filtered.reveals;
      return 'what floods send is dropped at the socket, and nobody fills it alone (eBPF)';
    });
    yield reveals
      ? filter
      : { ...filter, state: 'slow', words: `${filter.words}; but no DTLS records`, advice: RECORDS };
    yield tried('io_uring', RING, () => {
      const { handle: arena } = addon.createArena(UDP_BLOCK, 8);
      const udpReceive = addon.createBatch(arena, 8).handle;
      addon.closePort(
        addon.openPort({ io: 'io_uring', tun: -1, vnetHeader: false, udp: socket.descriptor, udpReceive }),
      );
      return 'multishot receives, rings of buffers';
    });
  } finally {
    for (const descriptor of closing) addon.closeDescriptor(descriptor);
  }
}

/** Not for a server or client: for `npm start`, the tests and `ringway load --self`. Ubuntu forbids them to ordinary users by a sysctl. */
function namespaces(): Finding {
  const { status, stderr } = spawnSync('sh', [PRIVATE, 'true'], { encoding: 'utf8' });
  if (status === 0) return { state: 'ok', subject: 'namespaces', words: 'may be made' };
  const [refusal, advice] = stderr.split('\n').map((line) => line.replace(/^private: /, ''));
  const words = `${refusal}: neither demo nor load --self`;
  return { state: 'slow', subject: 'namespaces', words, advice: advice || 'run it as root' };
}

const STEERING = 'packets are handed over between shards instead; give CAP_BPF or run as root';
const SHARES = 'who is sent the most can fill its queue, and others lose by it; give CAP_BPF or run as root';
const FILTER =
  'shards read and refuse what floods send themselves, at 0.7 µs each and more, and a full socket drops whatever comes; give CAP_BPF or run as root';
const RECORDS = 'a flood costs sessions without Expresslane more; give CAP_PERFMON beside CAP_BPF, or run as root';
const RING =
  'epoll is used instead; needs Linux 6.0, sysctl kernel.io_uring_disabled=0, and a container that allows it';

function tried(subject: string, advice: string, attempt: () => string): Finding {
  try {
    return { state: 'ok', subject, words: attempt() };
  } catch (cause) {
    if (cause instanceof RingwayError) throw cause;
    const { code = 'an error', syscall = '' } = cause as NodeJS.ErrnoException;
    return { state: 'slow', subject, words: `the kernel answers ${code} to ${syscall}`, advice };
  }
}
