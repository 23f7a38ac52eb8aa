import type { Aead, Gro } from '../config/types.ts';
import { RingwayError } from '../errors.ts';
import type { Addon } from '../native/index.ts';
import type { CoalesceMode } from './nodes.ts';

/** TUN_F_USO4 | TUN_F_USO6 (linux/if_tun.h, Linux 6.2): without them the device takes no UDP superpackets. */
const USO = 0x60;

/** What may be written to the device: superpackets need the virtio-net header, those of UDP a kernel that knows them. */
export function chooseGro(wanted: Gro, tun: { readonly vnetHeader: boolean; readonly offloads: number }): CoalesceMode {
  if (wanted === 'off' || !tun.vnetHeader) return 'off';
  return (tun.offloads & USO) === USO ? 'inline' : 'tcp';
}

/** Datagrams of one UDP_SEGMENT send (UDP_MAX_SEGMENTS of linux/udp.h): since Linux 6.9, and before. */
export const MOST_SEGMENTS = 128;
const SEGMENTS_BEFORE = 64;

/** What this kernel takes: tried, as distributions carry changes back. What cannot be tried is not relied on. */
export function longestTrain(kernel: Pick<Addon, 'tryTrain'>): number {
  return kernel.tryTrain(MOST_SEGMENTS) === 0 ? MOST_SEGMENTS : SEGMENTS_BEFORE;
}

/** @param wanted 0: as many as the kernel takes @returns `note`: why it is fewer */
export function chooseTrain(
  kernel: Pick<Addon, 'tryTrain'>,
  wanted: number,
): { segments: number; note: string | undefined } {
  if (wanted > 0 && wanted <= SEGMENTS_BEFORE) return { segments: wanted, note: undefined };
  const segments = Math.min(wanted || MOST_SEGMENTS, longestTrain(kernel));
  if (segments >= wanted) return { segments, note: undefined };
  return {
    segments,
    note: `this kernel sends ${segments} datagrams at once, not ${wanted}: Linux takes more from 6.9 on`,
  };
}

/** AEADs of the native nodes. */
export type NativeAead = 'ipsec-mb' | 'openssl';
/** `noble`: the reference nodes, in plain TypeScript (docs/decisions/0002). */
export type ShardAead = NativeAead | 'noble';

/** @throws RingwayError AEAD_MISSING when the one asked for is not in this build, or not for this CPU */
export function chooseAead(addon: Addon, wanted: 'auto'): NativeAead;
export function chooseAead(addon: Addon, wanted: Aead): ShardAead;
export function chooseAead(addon: Addon, wanted: Aead): ShardAead {
  const present = addon.about().aead;
  if (wanted === 'auto') return present[0];
  if (wanted === 'noble' || present.includes(wanted)) return wanted;
  throw new RingwayError('AEAD_MISSING', `there is no ${wanted} here, but ${present.join(' and ')}`, 'use --aead auto');
}
