import type { Socket } from 'node:net';
import { IPv4ProxyAddress, V2ProxyProtocol } from 'proxy-protocol-js';

/** The client behind a proxy, or of a direct connection. */
export interface ProxiedPeer {
  readonly address: string;
  readonly portNumber: number;
}

const FIXED = 16; // signature 12, version and command, family, u16 length of the rest
const LONGEST = 536; // what the specification of the PROXY protocol guarantees to fit; longer ones are refused
/** The stock server waits for ever; a connection that says nothing must not. */
const WAIT_MS = 5_000;
const TCP_OVER_IPV4 = 0x11;
const PROXY_V2 = 0x21;

/**
 * Reads the PROXY v2 header that must begin the connection (protocol specification §1.9) and leaves everything behind it unread.
 * @returns undefined for anything else: version 1, LOCAL, IPv6, UNIX, too long, too late
 */
export function readProxyHeader(socket: Socket): Promise<ProxiedPeer | undefined> {
  return new Promise((resolve) => {
    let gathered = Buffer.alloc(0);
    const done = (peer: ProxiedPeer | undefined) => {
      clearTimeout(timer);
      socket.off('readable', read);
      socket.off('close', gone);
      resolve(peer);
    };
    const gone = () => done(undefined);
    const read = () => {
      for (;;) {
        const want = wanted(gathered);
        if (want === undefined) return done(undefined);
        if (gathered.length === want) return done(parse(gathered));
        const more = socket.read(Math.min(want - gathered.length, socket.readableLength)) as Buffer | null;
        if (!more || more.length === 0) return;
        gathered = Buffer.concat([gathered, more]);
      }
    };
    const timer = setTimeout(gone, WAIT_MS);
    socket.on('readable', read);
    socket.on('close', gone);
  });
}

/** Bytes of the header as far as known: 16, then all. @returns undefined when it is not one we take */
function wanted(gathered: Buffer): number | undefined {
  if (gathered.length < FIXED) return FIXED;
  if (gathered[12] !== PROXY_V2 || gathered[13] !== TCP_OVER_IPV4) return undefined;
  const total = FIXED + gathered.readUInt16BE(14);
  return total < FIXED + 12 || total > LONGEST ? undefined : total;
}

function parse(header: Buffer): ProxiedPeer | undefined {
  try {
    const { proxyAddress } = V2ProxyProtocol.parse(new Uint8Array(header));
    if (!(proxyAddress instanceof IPv4ProxyAddress)) return undefined;
    return { address: proxyAddress.sourceAddress.address.join('.'), portNumber: proxyAddress.sourcePort };
  } catch {
    return undefined; // a broken signature or length: the connection is closed and counted
  }
}
