// Cuts a superpacket that the TUN refused (or cannot be told of, without a vnet header) into packets it takes as they are: the slow,
// obvious way, one segment at a time, every checksum complete. The pipeline's own segmentation is native/packet. No N-API in sight.
#pragma once

#include <cstdint>
#include <span>

namespace ringway {

struct Superpacket {
  std::span<const uint8_t> bytes;
  uint8_t gso = 0;
  uint32_t segment_size = 0;
  bool needs_checksum = false;
  uint16_t checksum_start = 0;
  uint16_t checksum_offset = 0;
};

// Packets it falls into; 1 for a plain packet; 0 when its headers cannot be read.
uint32_t segment_count(const Superpacket& packet);
// Writes packet `index` to `to`; returns its length, 0 when `to` is too small or the headers cannot be read.
size_t write_segment(const Superpacket& packet, uint32_t index, std::span<uint8_t> to);

}  // namespace ringway
