/**
 * Values as people write them: spans of time, sizes, addresses. Each reader returns the value, or a sentence that says what
 * would be right; which key and which place is said by the caller.
 */

import { isIP, isIPv4, isIPv6 } from 'node:net';
import { GROUPS } from '../crypto/groups.ts';
import type { Micros } from '../wire/time.ts';
import type { Cidr, Endpoint } from './types.ts';

/** What a reader answers instead of a value. */
export class Wrong {
  readonly expected: string;

  constructor(expected: string) {
    this.expected = expected;
  }
}

// The stock programs' spellings of units. A month is 30.44 days and a year 365.25, as there.
const UNITS: readonly (readonly [micros: number, ...names: string[]])[] = [
  [1e-3, 'ns', 'nsec'],
  [1, 'us', 'usec', 'µs'],
  [1e3, 'ms', 'msec'],
  [1e6, 's', 'sec', 'second', 'seconds'],
  [60e6, 'm', 'min', 'minute', 'minutes'],
  [3_600e6, 'h', 'hr', 'hour', 'hours'],
  [86_400e6, 'd', 'day', 'days'],
  [604_800e6, 'w', 'week', 'weeks'],
  [2_630_016e6, 'M', 'month', 'months'],
  [31_557_600e6, 'y', 'year', 'years'],
];
const DURATION = 'a duration with units, such as 100ms, 15m or "1h 30m"';
const LONGEST_DURATION = 31_557_600e6 * 100;

/** `1h 30m`, `100ms`. A bare number is refused, as it is by the stock programs: nobody can tell its unit. */
export function readDuration(text: string): Micros | Wrong {
  const written = text.trim();
  if (!/^(?:\d+\s*[a-zµ]+\s*)+$/i.test(written)) return new Wrong(DURATION);
  let total = 0;
  for (const [, digits, unit] of written.matchAll(/(\d+)\s*([a-zµ]+)/gi)) {
    const scale = UNITS.find(([, ...names]) => names.includes(unit as string));
    if (!scale) return new Wrong(`${DURATION}; "${unit}" is no unit of time`);
    total += Number(digits) * scale[0];
  }
  return total <= LONGEST_DURATION ? total : new Wrong('a duration of at most 100 years');
}

const SIZE_UNITS: Readonly<Record<string, number>> = {
  '': 1,
  b: 1,
  k: 1e3,
  kb: 1e3,
  m: 1e6,
  mb: 1e6,
  g: 1e9,
  gb: 1e9,
  ki: 2 ** 10,
  kib: 2 ** 10,
  mi: 2 ** 20,
  mib: 2 ** 20,
  gi: 2 ** 30,
  gib: 2 ** 30,
};

/** `15 MiB`, `1.5MB`, `65536`: bytes, rounded down, at most 2³¹−1 (what the kernel takes for a socket buffer). */
export function readByteSize(text: string): number | Wrong {
  const parts = /^(\d+(?:\.\d+)?)\s*([a-z]*)$/i.exec(text.trim());
  const scale = parts && SIZE_UNITS[parts[2].toLowerCase()];
  if (!parts || !scale) return new Wrong('a size in bytes, such as "15 MiB", 8MB or 65536');
  const bytes = Math.floor(Number(parts[1]) * scale);
  return bytes < 2 ** 31 ? bytes : new Wrong('a size below 2 GiB');
}

const RATE_UNITS: Readonly<Record<string, number>> = { k: 1, m: 1e3, g: 1e6 };
const LEAST_RATE = 64;
const MOST_RATE = 400e6;
export const RATE = 'a rate in bits a second from 64k to 400G, such as 200M, or off';

/** `200M`, `1.5G`, `500 kbit/s`: bits a second. @returns kilobits a second; 0 for `off` */
export function readBitRate(text: string): number | Wrong {
  const written = text.trim().toLowerCase();
  if (written === 'off') return 0;
  const parts = /^(\d+(?:\.\d+)?)\s*([kmg])(?:bit(?:\/s)?|bps)?$/.exec(written);
  const kilobits = parts ? Math.round(Number(parts[1]) * RATE_UNITS[parts[2]]) : 0;
  if (kilobits >= LEAST_RATE && kilobits <= MOST_RATE) return kilobits;
  return new Wrong(RATE);
}

export const NAMES_OF_GROUPS = `groups in order of preference, each once, of ${[...GROUPS.values()].map(({ name }) => name).join(', ')}`;

/** `X25519MLKEM768, x25519`: key-exchange groups by name, in order of preference. @returns their codes */
export function readGroups(text: string): readonly number[] | Wrong {
  const known = new Map([...GROUPS.values()].map(({ name, code }) => [name.toLowerCase(), code]));
  const codes = text.split(',').map((name) => known.get(name.trim().toLowerCase()));
  const all = codes.filter((code) => code !== undefined);
  if (all.length === codes.length && new Set(all).size === all.length) return all;
  return new Wrong(NAMES_OF_GROUPS);
}

/** `vpn.example:27690`, `10.9.0.2:27690`, `[2001:db8::1]:27690`. */
export function readEndpoint(text: string): Endpoint | Wrong {
  const parts = /^(?:\[([^\]]+)\]|([^:[\]\s]+)):(\d{1,5})$/.exec(text.trim());
  const expected = 'HOST:PORT, such as 10.9.0.2:27690, vpn.example:27690 or [2001:db8::1]:27690';
  if (!parts) return new Wrong(expected);
  const [, bracketed, plain, digits] = parts;
  const portNumber = Number(digits);
  if (portNumber > 65_535) return new Wrong(`${expected}; a port is at most 65535`);
  if (bracketed !== undefined && !isIPv6(bracketed))
    return new Wrong(`${expected}; only IPv6 addresses stand in brackets`);
  return { host: (bracketed ?? plain) as string, portNumber };
}

/** Whom a client calls. */
export function readPeer(text: string): Endpoint | Wrong {
  const endpoint = readEndpoint(text);
  if (endpoint instanceof Wrong) return endpoint;
  if (endpoint.portNumber === 0) return new Wrong('HOST:PORT with a port from 1 to 65535');
  const isName = /^[a-z0-9_](?:[a-z0-9_.-]*[a-z0-9_.])?$/i.test(endpoint.host);
  return isName || isIPv6(endpoint.host) ? endpoint : new Wrong('HOST:PORT, where the host is a name or an address');
}

/** Where a server listens: a literal address, as the stock server demands. */
export function readBindAddress(text: string): Endpoint | Wrong {
  const endpoint = readEndpoint(text);
  if (!(endpoint instanceof Wrong) && isIP(endpoint.host) !== 0) return endpoint;
  return new Wrong('IP:PORT, such as 0.0.0.0:27690 or [::]:27690');
}

/** Where metrics may be read: a port alone is one of 127.0.0.1, everything else has to be said. */
export function readListenAddress(text: string): Endpoint | Wrong {
  const written = text.trim();
  const endpoint = readBindAddress(/^\d{1,5}$/.test(written) ? `127.0.0.1:${written}` : written);
  return endpoint instanceof Wrong ? new Wrong('a port of 127.0.0.1, such as 9469, or IP:PORT') : endpoint;
}

const LONGEST_DEVICE_NAME = 15; // IFNAMSIZ of linux/if.h, less its end

export function readDeviceName(text: string): string | Wrong {
  const fits =
    Buffer.byteLength(text) <= LONGEST_DEVICE_NAME && /^[^\s/:]+$/.test(text) && text !== '.' && text !== '..';
  return fits
    ? text
    : new Wrong(`a device name of 1 to ${LONGEST_DEVICE_NAME} bytes without spaces, colons and slashes`);
}

export function readIpv4(text: string): string | Wrong {
  const written = text.trim();
  return isIPv4(written) ? written : new Wrong('an IPv4 address, such as 10.125.0.1');
}

/** An address that one host may have: not 0.x, 127.x, multicast or above. */
export function readHostIpv4(text: string): string | Wrong {
  const address = readIpv4(text);
  return address instanceof Wrong || isHost(address) ? address : new Wrong('the IPv4 address of a host');
}

function isHost(address: string): boolean {
  const first = Number(address.split('.')[0]);
  return first >= 1 && first <= 223 && first !== 127;
}

/** A network of addresses that hosts may have. */
export function readPool(text: string): Cidr | Wrong {
  const pool = readCidr(text);
  if (pool instanceof Wrong || (isHost(pool.address) && pool.prefix >= 8)) return pool;
  return new Wrong('an IPv4 network of hosts, /8 or smaller, such as 10.125.0.0/16');
}

/** `10.125.0.0/16`. Host bits are kept; a bare address is a network of one. */
export function readCidr(text: string): Cidr | Wrong {
  const [address = '', prefix = '32', ...rest] = text.trim().split('/');
  if (rest.length > 0 || !isIPv4(address) || !/^\d{1,2}$/.test(prefix) || Number(prefix) > 32) {
    return new Wrong('an IPv4 network, such as 10.125.0.0/16');
  }
  return { address, prefix: Number(prefix) };
}

/** The candidate that takes the fewest edits, when that is few enough to be a slip of the hand. */
export function nearest(word: string, candidates: Iterable<string>): string | undefined {
  let best: string | undefined;
  let least = Math.max(2, Math.floor(word.length / 3)) + 1;
  for (const candidate of candidates) {
    const edits = distance(word, candidate);
    if (edits < least) [best, least] = [candidate, edits];
  }
  return best;
}

/** Levenshtein's, two rows at a time. */
function distance(a: string, b: string): number {
  let above = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      row[j] = Math.min(above[j] + 1, row[j - 1] + 1, above[j - 1] + (a[i - 1] === b[j - 1] ? 0 : 1));
    }
    above = row;
  }
  return above[b.length];
}
