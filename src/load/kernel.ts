/** What the kernel of this machine counts about a process, its threads and its network namespace. Whatever cannot be read is left out. */
import { readdirSync, readFileSync } from 'node:fs';
import os from 'node:os';
import { processTree } from '../lab/programs.ts';

const TICKS_PER_SECOND = 100; // USER_HZ, which /proc has used since Linux 2.6

function read(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return ''; // ended meanwhile, or not ours to see
  }
}

/** Busy and total ticks of every core. */
export function coreTicks(): { busy: number; total: number }[] {
  return read('/proc/stat')
    .split('\n')
    .filter((line) => /^cpu\d/.test(line))
    .map((line) => {
      const ticks = line.split(/\s+/).slice(1, 9).map(Number); // guest time is in user already
      const total = ticks.reduce((sum, each) => sum + each, 0);
      return { total, busy: total - ticks[3] - ticks[4] }; // idle, iowait
    });
}

export function coreShares(before: ReturnType<typeof coreTicks>, now: ReturnType<typeof coreTicks>): number[] {
  return now.map(({ busy, total }, core) => {
    const past = before[core] ?? { busy: 0, total: 0 };
    return total === past.total ? 0 : (busy - past.busy) / (total - past.total);
  });
}

/** CPU seconds of every thread of a process and of all below it, by thread id. */
export function threadSeconds(pid: number): Map<number, number> {
  const seconds = new Map<number, number>();
  for (const member of processTree(pid)) {
    let threads: string[] = [];
    try {
      threads = readdirSync(`/proc/${member}/task`);
    } catch {
      continue; // ended meanwhile
    }
    for (const thread of threads) {
      const stat = read(`/proc/${member}/task/${thread}/stat`);
      const fields = stat
        .slice(stat.lastIndexOf(')') + 2)
        .split(' ')
        .map(Number);
      if (fields.length > 12) seconds.set(Number(thread), (fields[11] + fields[12]) / TICKS_PER_SECOND);
    }
  }
  return seconds;
}

/** Share of the busiest thread between two looks. */
export function busiest(
  before: ReadonlyMap<number, number>,
  now: ReadonlyMap<number, number>,
  seconds: number,
): number {
  let most = 0;
  for (const [thread, spent] of now) most = Math.max(most, spent - (before.get(thread) ?? spent));
  return seconds > 0 ? most / seconds : 0;
}

export interface NetworkDrops {
  /** Of UDP sockets, by local port number: what SO_RXQ_OVFL would tell their owner. Trains count once. */
  readonly sockets: ReadonlyMap<number, number>;
  /** `DEVICE rx`, `DEVICE tx`: dropped packets; superpackets count once. */
  readonly devices: ReadonlyMap<string, number>;
}

/** Of the network namespace a process is in. */
export function networkDrops(pid: number | 'self'): NetworkDrops {
  const sockets = new Map<number, number>();
  for (const family of ['udp', 'udp6']) {
    for (const line of read(`/proc/${pid}/net/${family}`).split('\n').slice(1)) {
      const fields = line.trim().split(/\s+/);
      const portNumber = Number.parseInt(fields[1]?.split(':')[1] ?? '', 16);
      const drops = Number(fields[12] ?? 0);
      if (portNumber > 0) sockets.set(portNumber, (sockets.get(portNumber) ?? 0) + drops);
    }
  }
  const devices = new Map<string, number>();
  for (const line of read(`/proc/${pid}/net/dev`).split('\n').slice(2)) {
    const [name, counters] = line.split(':');
    const fields = counters?.trim().split(/\s+/).map(Number);
    if (!fields) continue;
    devices.set(`${name.trim()} rx`, fields[3]);
    devices.set(`${name.trim()} tx`, fields[11]);
  }
  return { sockets, devices };
}

export function machine(): Record<string, string> {
  const cpus = os.cpus();
  return {
    CPU: `${cpus[0]?.model.trim() ?? os.arch()}, ${cpus.length} cores`,
    memory: `${(os.totalmem() / 2 ** 30).toFixed(1)} GiB`,
    kernel: `${os.type()} ${os.release()}`,
    node: process.version,
  };
}
