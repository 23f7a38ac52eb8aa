/** The port of a shard: over io_uring, or where that is not to be had, over epoll. */
import type { Addon, HandoverHandle, PortHandle } from '../native/index.ts';
import type { Batches } from './batches.ts';
import type { ShardOptions } from './shard.ts';

/** @returns `note`: why it is not the backend that was asked for first */
export function openPort(
  addon: Addon,
  options: ShardOptions,
  batches: Batches,
  handover: HandoverHandle | undefined,
): { port: PortHandle; io: 'io_uring' | 'epoll'; note: string | undefined } {
  const open = (io: 'io_uring' | 'epoll') =>
    addon.openPort({
      io,
      tun: options.tun,
      vnetHeader: options.vnetHeader,
      udp: options.udp,
      doors: options.doors,
      tunReceive: batches.superpacketsIn.native as never,
      udpReceive: batches.trainsIn.native as never,
      shard: options.shard,
      sqpoll: options.sqpoll,
      zeroCopy: options.zeroCopy,
      ...(handover === undefined ? {} : { handover }),
    });
  if (options.io === 'epoll') return { port: open('epoll'), io: 'epoll', note: undefined };
  try {
    return { port: open('io_uring'), io: 'io_uring', note: undefined };
  } catch (error) {
    if (options.io === 'io_uring') throw error;
    const note = `io_uring is not to be had here (${(error as Error).message}): epoll instead`;
    return { port: open('epoll'), io: 'epoll', note };
  }
}
