// routes.lookup: which session a packet from the inside belongs to.
#include <algorithm>

#include "nodes/nodes.h"
#include "packet/ip.h"

namespace ringway::nodes {
namespace {

constexpr uint32_t tcp_headers = ip4::min_header + tcp::min_header;

// The field that needs a checksum is where the headers say it is.
bool checksum_place_right(const Batch& superpackets, uint32_t entry, std::span<const uint8_t> packet) {
  const size_t start = superpackets.checksum_start[entry], offset = superpackets.checksum_offset[entry];
  const uint8_t proto = packet[ip4::proto];
  const size_t wanted = proto == protocol::tcp ? tcp::checksum : proto == protocol::udp ? udp::checksum : 0;
  return wanted != 0 && offset == wanted && start == (packet[0] & 15u) * 4 && start + offset + 2 <= packet.size();
}

// Bytes of the longest packet that an entry stands for.
uint32_t longest(const Batch& superpackets, uint32_t entry, std::span<const uint8_t> packet) {
  const auto size = static_cast<uint32_t>(packet.size());
  if (superpackets.kind[entry] == gso::none) return size;
  const uint32_t ip = (packet[0] & 15u) * 4;
  uint32_t transport = udp::header;
  if (superpackets.kind[entry] != gso::udp) {
    const uint32_t read = size >= ip + tcp::min_header ? (packet[ip + tcp::data_offset] >> 4) * 4u : 0;
    transport = read >= tcp::min_header && ip + read <= size ? read : 0;
  }
  return static_cast<uint32_t>(std::min<uint64_t>(size, uint64_t{ip} + transport + superpackets.segment_size[entry]));
}

uint8_t look_up(Lanes& lanes, Batch& superpackets, uint32_t entry) {
  std::span<uint8_t> packet = superpackets.span(entry);
  if (packet.size() < ip4::min_header) return verdict::malformed;
  if (packet[0] >> 4 != 4) return verdict::not_ipv4;
  const uint32_t length = ipv4_length(packet);
  if (length == 0) return verdict::malformed;
  packet = packet.first(length);
  superpackets.length[entry] = length;

  superpackets.slot[entry] = -1;
  const int32_t number = lanes.single >= 0 ? lanes.single : lanes.index->inside(load32(&packet[ip4::destination]));
  if (!lanes.exists(number)) return verdict::no_route;
  const PublicSlot& slot = lanes.table->slot(static_cast<uint32_t>(number));
  if (lanes.single < 0 && slot.state == slot_state::free) return verdict::no_route;
  superpackets.slot[entry] = number;
  if (lanes.single < 0 && slot.shard != lanes.shard) return verdict::elsewhere;
  if (lanes.superseded(slot)) return verdict::superseded;
  if (slot.state != slot_state::online) return verdict::not_online;

  const bool partial = (superpackets.flags[entry] & flag::needs_checksum) != 0;
  if (partial && !checksum_place_right(superpackets, entry, packet)) return verdict::bad_gso;
  Translation to{.source = slot.seal_source, .destination = slot.seal_destination};
  if (slot.seal_match != 0 && load32(&packet[ip4::destination]) == slot.seal_match) to.destination = slot.seal_replace;
  translate(packet, to, partial);
  if (slot.mss_clamp == 0) return verdict::pass;
  clamp_mss(packet, slot.mss_clamp, partial);
  return longest(superpackets, entry, packet) > uint32_t{slot.mss_clamp} + tcp_headers ? verdict::divert : verdict::pass;
}

}  // namespace

uint32_t lookup(Lanes& lanes, Batch& superpackets) {
  const uint32_t count = superpackets.count();
  uint32_t passing = 0;
  for (uint32_t i = 0; i < count; i++) {
    if (superpackets.verdict[i] != verdict::pass) continue;
    const uint8_t result = look_up(lanes, superpackets, i);
    if (result != verdict::pass) {
      judge_superpacket(lanes, superpackets, i, result);
    } else {
      passing++;
    }
  }
  return passing;
}

}  // namespace ringway::nodes
