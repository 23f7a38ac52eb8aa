/** The oracle for inner headers: RFC 1071 the slow way. */

function sum(bytes: Uint8Array): number {
  let total = 0;
  for (let i = 0; i < bytes.length; i += 2) total += (bytes[i] << 8) | (bytes[i + 1] ?? 0);
  while (total > 0xffff) total = (total & 0xffff) + (total >>> 16);
  return total;
}

/** An IPv4/UDP packet whose UDP checksum is still the pseudo-header's sum: both that and the IP header's must be right. */
export function verifyTransportChecksum(packet: Uint8Array): boolean {
  const view = new DataView(packet.buffer, packet.byteOffset, packet.length);
  const udpLength = view.getUint16(24);
  const pseudo = new Uint8Array(12);
  pseudo.set(packet.subarray(12, 20));
  pseudo.set([0, 17, udpLength >> 8, udpLength & 0xff], 8);
  const lengths = view.getUint16(2) === packet.length && udpLength === packet.length - 20;
  return lengths && sum(packet.subarray(0, 20)) === 0xffff && view.getUint16(26) === sum(pseudo);
}
