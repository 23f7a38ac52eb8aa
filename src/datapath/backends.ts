import type { Aead } from '../config/types.ts';
import { RingwayError } from '../errors.ts';
import type { Addon } from '../native/index.ts';

/** The AEAD of the native nodes. @throws RingwayError AEAD_MISSING when the one asked for is not in this build, or not for this CPU */
export function chooseAead(addon: Addon, wanted: Aead): 'ipsec-mb' | 'openssl' {
  const present = addon.about().aead;
  if (wanted === 'auto') return present[0];
  if (wanted !== 'noble' && present.includes(wanted)) return wanted;
  throw new RingwayError('AEAD_MISSING', `there is no ${wanted} here, but ${present.join(' and ')}`, 'use --aead auto');
}
