// Superpackets of any shape, cut segment by segment: no read or write outside, nothing lost, no segment above its size.
// link: native/io/segments.cc
#include "io/segments.h"

#include <cstdlib>
#include <cstring>
#include <vector>

#include "core/columns.h"

using namespace ringway;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  constexpr uint8_t kinds[]{gso::none, gso::tcp4, gso::tcp6, gso::udp};
  if (size < 8) return 0;
  Superpacket packet;
  packet.gso = kinds[data[0] & 3];
  packet.needs_checksum = data[0] & 4;
  packet.segment_size = static_cast<uint32_t>(data[1] | data[2] << 8);
  packet.checksum_start = static_cast<uint16_t>(data[3] | data[4] << 8);
  packet.checksum_offset = data[5];
  // a copy of its own, so that AddressSanitizer sees every byte outside
  const std::vector<uint8_t> bytes(data + 8, data + size);
  packet.bytes = bytes;
  std::vector<uint8_t> out(data[6] & 1 ? 65'535 : 1'500);
  const uint32_t count = segment_count(packet);
  size_t payload = 0;
  for (uint32_t i = 0; i < count && i < 64; i++) {
    const size_t length = write_segment(packet, i, out);
    if (length > out.size()) abort();
    payload += length;
  }
  if (count > 0 && packet.gso != gso::none && packet.segment_size > 0 && count != 1 && (size_t{count} - 1) * packet.segment_size >= bytes.size()) abort();
  return payload > size_t{64} * 65'535 ? (abort(), 0) : 0;
}
