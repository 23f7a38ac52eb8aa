/**
 * What gathered writes to the TUN are worth, the kernel's part included: the uplink from sealed trains to a TUN device that throws away what it
 * gets, with superpackets copied into blocks of their own and with payloads left where they were opened. Nanoseconds a packet, both in
 * turns; once with trains that stay in a core's cache, and once with more than it holds.
 */
import { execFileSync } from 'node:child_process';
import type { BatchHandle } from '../src/native/index.ts';
import { loadAddon } from '../src/native/index.ts';
import { createBatch, createPipeline } from './nodes.ts';
import { interleave, show } from './rounds.ts';

const SPACE = 'bench-gather';
const DEVICE = 'gather0';
/** Superpackets a pass: half a megabyte of trains, and two and a half. */
const PASSES = [8, 40];

export async function bench(quick: boolean): Promise<void> {
  const rounds = quick ? 1 : 15;
  const repeats = quick ? 2 : 60;
  const addon = loadAddon();
  const tun = addon.openTun({ name: DEVICE, queues: 1, vnetHeader: true });
  addon.tunOffload(tun.descriptors[0], true);
  const ip = (...parameters: string[]) => execFileSync('ip', parameters);
  ip('netns', 'add', SPACE);
  ip('link', 'set', DEVICE, 'netns', SPACE);
  ip('-n', SPACE, 'address', 'add', '10.125.0.1/24', 'dev', DEVICE);
  ip('-n', SPACE, 'link', 'set', DEVICE, 'up');
  ip('-n', SPACE, 'route', 'add', 'blackhole', '10.125.0.2/32'); // where the packets want to go
  const received = createBatch(addon, 8, undefined, 8).batch;
  for (const io of ['io_uring', 'epoll'] as const) {
    const port = addon.openPort({
      io,
      tun: tun.descriptors[0],
      vnetHeader: true,
      udp: -1,
      tunReceive: received.native as BatchHandle,
    });
    for (const superpackets of PASSES)
      for (const packetBytes of [1400, 64]) {
        const contender = (copies: boolean) => {
          const write = (batch: { native: unknown }) => void addon.tunTransmit(port, batch.native as BatchHandle);
          const [aead] = addon.about().aead;
          const pipeline = createPipeline(addon, aead, 'expresslane', packetBytes, { copies, superpackets, write });
          return () => {
            const each = Array.from({ length: repeats }, () => pipeline.uplink() / pipeline.packets);
            return each.sort((a, b) => a - b)[repeats >> 2];
          };
        };
        const contenders = [
          { name: 'copied', run: contender(true) },
          { name: 'gathered', run: contender(false) },
        ];
        const title = `uplink and write over ${io}, ${packetBytes}-byte packets, ${superpackets} superpackets`;
        show(title, 'ns a packet, less is better', await interleave(contenders, rounds), rounds);
      }
    if (addon.portCounters(port).tunErrors > 0) throw new Error('the device refused packets');
    addon.closePort(port);
  }
  addon.closeDescriptor(tun.descriptors[0]);
}
