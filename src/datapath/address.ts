import net from 'node:net';
import { ADDRESS } from './batch.ts';

/** An outside address as ADDRESS lays it out. @param local address it came to, or empty. @returns zeros for what is no IP address */
export function encodeAddress(remote: string, portNumber: number, local: string): Uint8Array {
  const bytes = new Uint8Array(ADDRESS.size);
  const family = write(bytes, ADDRESS.remote, remote);
  if (family === 0) return bytes;
  bytes[ADDRESS.family] = family;
  bytes[ADDRESS.portNumber] = portNumber >> 8;
  bytes[ADDRESS.portNumber + 1] = portNumber & 0xff;
  write(bytes, ADDRESS.local, local);
  return bytes;
}

function write(bytes: Uint8Array, at: number, text: string): 0 | 4 | 6 {
  const plain = text.startsWith('::ffff:') && net.isIPv4(text.slice(7)) ? text.slice(7) : text;
  if (net.isIPv4(plain)) {
    bytes.set(plain.split('.').map(Number), at);
    return 4;
  }
  if (!net.isIPv6(plain)) return 0;
  const [head, tail] = plain.split('%')[0].split('::');
  const groups = (part: string | undefined) => (part ? part.split(':').map((group) => Number.parseInt(group, 16)) : []);
  const first = groups(head);
  const last = groups(tail);
  const all = tail === undefined ? first : [...first, ...new Array(8 - first.length - last.length).fill(0), ...last];
  all.forEach((group, i) => {
    bytes[at + 2 * i] = group >> 8;
    bytes[at + 2 * i + 1] = group & 0xff;
  });
  return 6;
}

/** The address at `from` of 40 bytes laid out as ADDRESS, as text; empty when there is none. */
export function formatAddress(address: Uint8Array, from: number): string {
  const bytes = address.subarray(from, from + 16);
  if (address[ADDRESS.family] === 4) return bytes.subarray(0, 4).join('.');
  if (address[ADDRESS.family] !== 6) return '';
  const groups: string[] = [];
  for (let i = 0; i < 16; i += 2) groups.push(((bytes[i] << 8) | bytes[i + 1]).toString(16));
  return groups.join(':');
}

/** An IPv4 address as the index has it: 4 bytes, big-endian. */
export function ipv4Key(address: number): Uint8Array {
  return Uint8Array.of(address >>> 24, (address >>> 16) & 0xff, (address >>> 8) & 0xff, address & 0xff);
}

/** 10.0.0.1 → 0x0a000001. */
export function parseIpv4(text: string): number {
  const parts = text.split('.').map(Number);
  return ((parts[0] << 24) | (parts[1] << 16) | (parts[2] << 8) | parts[3]) >>> 0;
}
