// Whether a packet's headers are those of one in front of it in the same superpacket: what docs/contracts.md (coalesce) wants to be equal.
#pragma once

#include <cstdint>
#include <cstring>

#include "packet/ip.h"

namespace ringway {

// What the next packet of a superpacket has in its headers that the first one has not.
struct Expected {
  uint32_t sequence;        // TCP
  uint16_t identification;  // where DF is clear
};

// IPv4 without options, `length` bytes, its headers the first `header_length` of them, as those of `first`, which is fit. All is compared but checksums, and PSH.
inline bool follows(const uint8_t* ip, uint32_t length, const uint8_t* first, uint32_t header_length, const Expected& expected) {
  constexpr uint64_t all_but_length_and_identification = 0xffff'0000'0000'ffff;
  if (((load_native<uint64_t>(ip) ^ load_native<uint64_t>(first)) & all_but_length_and_identification) != 0) return false;
  if (load16(ip + ip4::total_length) != length) return false;
  if (load_native<uint16_t>(ip + ip4::ttl) != load_native<uint16_t>(first + ip4::ttl)) return false;  // and the protocol
  if (load_native<uint64_t>(ip + ip4::source) != load_native<uint64_t>(first + ip4::source)) return false;
  if ((ip[ip4::fragment] & 0x40) == 0 && load16(ip + ip4::identification) != expected.identification) return false;
  const uint8_t *transport = ip + ip4::min_header, *before = first + ip4::min_header;
  if (load_native<uint32_t>(transport) != load_native<uint32_t>(before)) return false;  // ports
  if (first[ip4::proto] == protocol::udp) {
    return load16(transport + udp::length) == length - ip4::min_header && load_native<uint16_t>(transport + udp::checksum) != 0;
  }
  constexpr uint64_t all_but_push = ~(uint64_t{tcp::psh} << 40);  // acknowledgement, data offset, flags, window
  return load32(transport + tcp::sequence) == expected.sequence &&
         ((load_native<uint64_t>(transport + tcp::acknowledgement) ^ load_native<uint64_t>(before + tcp::acknowledgement)) & all_but_push) == 0 &&
         load_native<uint16_t>(transport + tcp::urgent) == load_native<uint16_t>(before + tcp::urgent) &&
         (header_length == ip4::min_header + tcp::min_header ||
          std::memcmp(transport + tcp::min_header, before + tcp::min_header, header_length - ip4::min_header - tcp::min_header) == 0);
}

inline bool pushes(const uint8_t* ip) { return ip[ip4::proto] == protocol::tcp && (ip[ip4::min_header + tcp::flags] & tcp::psh) != 0; }

}  // namespace ringway
