// guard.admit: what comes out of the tunnel is sound, and has its own inner source.
#include "nodes/nodes.h"
#include "packet/ip.h"

namespace ringway::nodes {
namespace {

uint8_t admit_one(Batch& packets, uint32_t entry, const PublicSlot& slot) {
  std::span<uint8_t> packet = packets.span(entry);
  if (packet.size() < ip4::min_header) return verdict::malformed;
  if (packet[0] >> 4 != 4) return verdict::not_ipv4;
  const uint32_t length = ipv4_length(packet);
  if (length == 0) return verdict::malformed;
  packet = packet.first(length);
  packets.length[entry] = length;
  // open has looked, while the bytes were in the cache; what came as frames is looked at here
  if ((packets.flags[entry] & flag::checksum_valid) == 0 && checksums_right(packet)) packets.flags[entry] |= flag::checksum_valid;

  Translation to{.source = slot.open_source, .destination = slot.open_destination};
  if (slot.open_match != 0 && load32(&packet[ip4::source]) == slot.open_match) to.source = slot.open_replace;
  const bool partial = (packets.flags[entry] & flag::needs_checksum) != 0;  // it was assembled
  if ((to.source | to.destination) != 0) translate(packet, to, partial);
  if (slot.mss_clamp != 0) clamp_mss(packet, slot.mss_clamp, partial);  // what the inside may send back
  return verdict::pass;
}

}  // namespace

uint32_t admit(Lanes& lanes, Batch& packets, double now) {
  const uint32_t count = packets.count();
  uint32_t passing = 0;
  int32_t number = -1;
  PublicSlot* slot = nullptr;  // of that number, when it is online
  for (uint32_t i = 0; i < count; i++) {
    if (packets.verdict[i] != verdict::pass) continue;
    if (packets.slot[i] != number) {
      number = packets.slot[i];
      slot = lanes.exists(number) ? &lanes.table->slot(static_cast<uint32_t>(number)) : nullptr;
      if (slot && slot->state != slot_state::online) slot = nullptr;
    }
    if (!slot) {
      lanes.judge(packets, i, verdict::not_online, packets_in(packets, i));
      continue;
    }
    if (const uint8_t wrong = admit_one(packets, i, *slot); wrong != verdict::pass) {
      lanes.judge(packets, i, wrong, packets_in(packets, i));
      continue;
    }
    slot->last_inside = now;
    passing++;
  }
  return passing;
}

}  // namespace ringway::nodes
