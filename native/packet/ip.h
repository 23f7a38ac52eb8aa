// Where things lie in IPv4, IPv6, TCP and UDP headers (RFC 791, 8200, 9293, 768), and what a packet is, judged without trusting a byte of it.
#pragma once

#include <cstdint>
#include <span>

#include "packet/bytes.h"
#include "packet/checksum.h"

namespace ringway {

namespace protocol {
inline constexpr uint8_t tcp = 6, udp = 17;
}
namespace ip4 {
inline constexpr size_t min_header = 20;
inline constexpr size_t tos = 1, total_length = 2, identification = 4, fragment = 6, ttl = 8, proto = 9, checksum = 10, source = 12, destination = 16;
inline constexpr uint16_t dont_fragment = 0x4000, more_fragments = 0x2000, offset_mask = 0x1fff;
}
namespace ip6 {
inline constexpr size_t header = 40;
inline constexpr size_t payload_length = 4, next_header = 6, hop_limit = 7, source = 8, destination = 24;
}
namespace tcp {
inline constexpr size_t min_header = 20;
inline constexpr size_t sequence = 4, acknowledgement = 8, data_offset = 12, flags = 13, window = 14, checksum = 16, urgent = 18;
inline constexpr uint8_t fin = 1, syn = 2, rst = 4, psh = 8, ack = 16, urg = 32, ece = 64, cwr = 128;
}
namespace udp {
inline constexpr size_t header = 8;
inline constexpr size_t length = 4, checksum = 6;
}

inline constexpr uint32_t max_ip_bytes = 65535;

// The IPv4 packet in front of `bytes`: 0 when the shape is wrong (header shorter than 20 or beyond the packet, packet beyond the
// bytes), else its total length. The version is the caller's to check.
inline uint32_t ipv4_length(std::span<const uint8_t> bytes) {
  if (bytes.size() < ip4::min_header) return 0;
  const uint32_t header = (bytes[0] & 15u) * 4, total = load16(&bytes[ip4::total_length]);
  return header < ip4::min_header || total < header || total > bytes.size() ? 0 : total;
}

// Of whole 32-bit words, and few of them: faster than the call of sum_bytes().
inline uint64_t sum_words(const uint8_t* from, size_t bytes) {
  uint64_t sum = 0;
  for (size_t i = 0; i < bytes; i += 4) sum += load_native<uint32_t>(from + i);
  return sum;
}

inline uint64_t pseudo_sum4(const uint8_t* ip, uint8_t proto, uint32_t length) {
  return uint64_t{load_native<uint32_t>(ip + ip4::source)} + load_native<uint32_t>(ip + ip4::destination) + swap_bytes(proto) +
         swap_bytes(static_cast<uint16_t>(length));
}
// The length of an IPv6 pseudo-header has 32 bits; what is above 16 falls into a word of its own.
inline uint64_t pseudo_sum6(const uint8_t* ip, uint8_t proto, uint32_t length) {
  return sum_bytes(ip + ip6::source, 32) + swap_bytes(proto) + swap_bytes(static_cast<uint16_t>(length >> 16)) + swap_bytes(static_cast<uint16_t>(length));
}

// A packet whose IPv4 shape is right: are the header's and the transport's checksums? (contracts.md, admit)
bool checksums_right(std::span<const uint8_t> packet);
// The same of whatever came out of a tunnel.
inline bool is_sound(std::span<const uint8_t> bytes) {
  const uint32_t length = bytes.empty() || bytes[0] >> 4 != 4 ? 0 : ipv4_length(bytes);
  return length != 0 && checksums_right(bytes.first(length));
}

// Changes of addresses in place, with the checksums corrected by difference (RFC 1624). `partial`: the transport checksum holds only
// the pseudo-header's sum. 0 leaves an address alone. The shape of the packet has been checked.
struct Translation {
  uint32_t source = 0;
  uint32_t destination = 0;
};
void translate(std::span<uint8_t> packet, Translation to, bool partial);

// Lowers the MSS option of a TCP SYN to `limit`. `partial` as above.
void clamp_mss(std::span<uint8_t> packet, uint16_t limit, bool partial);

}  // namespace ringway
