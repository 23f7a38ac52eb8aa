/** A client that may change the host's names: with an /etc of its own, and without the tools that would speak to the machine's own resolver. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { outcomeOf } from '../../src/lab/programs.ts';
import type { EndOptions } from '../../src/lab/tunnel.ts';

export const BEFORE = '# of this machine\nnameserver 192.0.2.53\n';
const FILES = ['passwd', 'group', 'nsswitch.conf', 'hosts', 'ld.so.cache'];
const OWN_ETC =
  'for p in $(command -v resolvectl resolvconf); do mount --bind /dev/null "$p"; done; mount --bind "$0" /etc; exec "$@"';

/** Makes, or makes anew, an /etc with `BEFORE` in resolv.conf. @returns its path */
export async function createEtc(folder: string): Promise<string> {
  const etc = join(folder, 'etc');
  mkdirSync(etc, { recursive: true });
  for (const file of FILES) await outcomeOf(['cp', `/etc/${file}`, etc]);
  writeFileSync(join(etc, 'resolv.conf'), BEFORE);
  return etc;
}

export function inEtc(etc: string, end: EndOptions): EndOptions {
  return { ...end, command: ['sh', '-c', OWN_ETC, etc, ...end.command] };
}
