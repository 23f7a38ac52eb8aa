/**
 * What the keeper asks of the machine, as one seam: the addon answers in the product, a script in tests. Refusals of the kernel
 * come back as people's errors, each with the way out.
 */
import { accessSync, constants, readFileSync } from 'node:fs';
import { RingwayError } from '../errors.ts';
import type { Addon } from '../native/index.ts';

/** TUN_F_USO4 | TUN_F_USO6, linux/if_tun.h: of the mask that `tunOffload` gives. */
export const USO = 0x60;
const TSO = 0x06; // TUN_F_TSO4 | TUN_F_TSO6
const CSUM = 0x01;

/** What a device takes in one piece, and whose checksums: `checksums,TCP,UDP`. */
export function offloadsInWords(mask: number): string {
  const all = (bits: number, word: string) => ((mask & bits) === bits ? [word] : []);
  return [...all(CSUM, 'checksums'), ...all(TSO, 'TCP'), ...all(USO, 'UDP')].join() || 'none';
}

export type Kernel = Pick<
  Addon,
  | 'openTun'
  | 'tunOffload'
  | 'openUdp'
  | 'openTcpListener'
  | 'createMemfd'
  | 'closeDescriptor'
  | 'steerUdp'
  | 'steerTun'
  | 'filterUdp'
  | 'shareTun'
  | 'forbidDumps'
  | 'notifySystemd'
>;

type Refusal = NodeJS.ErrnoException;

const AS_ROOT = 'run as root, or give the service CAP_NET_ADMIN (systemd: AmbientCapabilities=CAP_NET_ADMIN)';

const OPEN_TUN = 'run as root, or let users open the driver: chmod 666 /dev/net/tun';

/** Why a TUN device could not be opened. */
export function tunRefused(name: string, cause: unknown): RingwayError {
  const { code = 'an error', message } = cause as Refusal;
  const what = `cannot open the TUN device ${name || '(named by the kernel)'}: the kernel answered ${code}`;
  switch (code) {
    case 'EPERM':
      return new RingwayError('TUN_DENIED', what, AS_ROOT, { cause });
    case 'EACCES':
      return new RingwayError('TUN_DENIED', what, OPEN_TUN, { cause });
    case 'EBUSY':
      return new RingwayError(
        'TUN_IN_USE',
        `${what}: another program has it`,
        `stop it (sudo grep -ls 'iff:.${name}$' /proc/[0-9]*/fdinfo/* finds it), or set another tun_name`,
        { cause },
      );
    case 'ENOENT':
    case 'ENODEV':
    case 'ENXIO':
      return new RingwayError(
        'TUN_MISSING',
        what,
        'load the driver (modprobe tun); in a container, pass /dev/net/tun in',
        { cause },
      );
    case 'EINVAL':
      return new RingwayError(
        'TUN_KIND',
        what,
        `a device of that name exists and is no TUN device: set another tun_name`,
        { cause },
      );
    default:
      return new RingwayError('TUN_REFUSED', `${what} (${message})`, 'run: ringway doctor', { cause });
  }
}

const CAP_NET_ADMIN = 12; // linux/capability.h

/** What opening that device will be refused with, as far as it can be known without an attempt. */
export function tunForbidden(name: string): RingwayError | undefined {
  const because = (code: string) => tunRefused(name, Object.assign(new Error(code), { code }));
  try {
    accessSync('/dev/net/tun', constants.R_OK | constants.W_OK);
    const capabilities = /^CapEff:\s*([0-9a-f]+)$/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1] ?? '';
    const isAdmin = (BigInt(`0x${capabilities}`) >> BigInt(CAP_NET_ADMIN)) & 1n;
    const devices = readFileSync('/proc/self/net/dev', 'utf8').split('\n');
    const exists = devices.some((line) => line.trimStart().startsWith(`${name}:`)); // perhaps made for this user
    return isAdmin || exists ? undefined : because('EPERM');
  } catch (cause) {
    const { code = '' } = cause as NodeJS.ErrnoException;
    return code === 'EACCES' || code === 'ENOENT' ? because(code) : undefined;
  }
}

/** Why an address could not be bound. */
export function bindRefused(address: string, portNumber: number, kind: 'UDP' | 'TCP', cause: unknown): RingwayError {
  const { code = 'an error', message } = cause as Refusal;
  const what = `cannot listen on ${kind} ${address}:${portNumber}: the kernel answered ${code}`;
  switch (code) {
    case 'EADDRINUSE':
      return new RingwayError(
        'PORT_IN_USE',
        `${what}: another program has it`,
        `find it with: ss -lnp '( sport = :${portNumber} )'`,
        { cause },
      );
    case 'EADDRNOTAVAIL':
      return new RingwayError(
        'ADDRESS_ELSEWHERE',
        `${what}: this machine does not have that address`,
        'bind 0.0.0.0, or an address of `ip address`',
        { cause },
      );
    case 'EACCES':
    case 'EPERM':
      return new RingwayError('BIND_DENIED', what, 'use a port above 1023, or give the service CAP_NET_BIND_SERVICE', {
        cause,
      });
    default:
      return new RingwayError('BIND_REFUSED', `${what} (${message})`, 'check bind_address', { cause });
  }
}
