// gro.coalesce: packets of one flow become superpackets for the TUN.
#include <algorithm>
#include <tuple>

#include "nodes/nodes.h"

namespace ringway::nodes {
namespace {

constexpr uint32_t headroom = 64;  // the virtio-net header needs 10 bytes of it

uint64_t cost(uint32_t length) { return (uint64_t{length} + 63) / 64 * 64 + headroom; }

auto arrival(const Batch& packets, uint32_t entry) {
  return std::tuple{packets.flags[entry] & flag::expresslane, packets.epoch[entry], packets.counter[entry]};
}

// The passing entries from `first` to `end`, those of each slot in the order of their numbers over the places the slot had.
void put_in_order(Lanes& lanes, const Batch& packets, uint32_t first, uint32_t end) {
  std::vector<uint32_t>& order = lanes.order;
  order.clear();
  bool disorder = false;
  for (uint32_t i = first; i < end; i++) {
    if (packets.verdict[i] != verdict::pass) continue;
    // neighbours of different slots say nothing of each other: then look closer
    if (!order.empty()) disorder = disorder || packets.slot[order.back()] != packets.slot[i] || arrival(packets, i) < arrival(packets, order.back());
    order.push_back(i);
  }
  if (!disorder || order.size() < 2) return;

  std::vector<uint32_t>& places = lanes.next;
  places.resize(order.size());
  for (uint32_t i = 0; i < places.size(); i++) places[i] = i;
  // by slot, in their places; then each slot's entries by number. stable_sort would allocate, so the place breaks ties.
  std::sort(places.begin(), places.end(), [&](uint32_t a, uint32_t b) {
    return std::tuple{packets.slot[order[a]], a} < std::tuple{packets.slot[order[b]], b};
  });
  std::vector<uint32_t>& sorted = lanes.sorted;
  sorted.assign(places.begin(), places.end());
  for (size_t begin = 0; begin < sorted.size();) {
    size_t after = begin + 1;
    while (after < sorted.size() && packets.slot[order[sorted[after]]] == packets.slot[order[sorted[begin]]]) after++;
    std::sort(sorted.begin() + begin, sorted.begin() + after, [&](uint32_t a, uint32_t b) {
      const auto left = arrival(packets, order[a]), right = arrival(packets, order[b]);
      return left < right || (left == right && a < b);
    });
    begin = after;
  }
  for (uint32_t& entry : sorted) entry = order[entry];
  for (size_t i = 0; i < places.size(); i++) order[places[i]] = sorted[i];
}

// How many packets surely fit: blocks that two neighbours do not share are more than half full.
uint32_t fitting(const Batch& packets, const Batch& superpackets, uint32_t first) {
  const uint32_t count = packets.count(), entries = superpackets.capacity - superpackets.count();
  const uint64_t budget = uint64_t{superpackets.arena->free_count()} * superpackets.arena->block_size() / 2;
  uint64_t bytes = 0;
  uint32_t passing = 0, at = first;
  for (; at < count; at++) {
    if (packets.verdict[at] != verdict::pass) continue;
    bytes += cost(packets.length[at]);
    if (++passing > entries || bytes > budget) break;
  }
  return at;
}

}  // namespace

uint32_t coalesce(Lanes& lanes, Batch& packets, Batch& superpackets, Joining joining) {
  const uint32_t first = std::min(packets.header->consumed, packets.count()), end = fitting(packets, superpackets, first);
  put_in_order(lanes, packets, first, end);

  Coalescer& coalescer = lanes.coalescer;
  coalescer.reserve(packets.capacity);
  coalescer.begin(joining != Joining::off, joining == Joining::all);
  for (const uint32_t entry : lanes.order) {
    const auto bytes = packets.span(entry);
    coalescer.add({bytes.data(), static_cast<uint32_t>(bytes.size()), packets.slot[entry], (packets.flags[entry] & flag::checksum_valid) != 0});
  }
  for (const Run& run : coalescer.runs()) {
    uint8_t* to = superpackets.reserve(run.length, headroom);
    if (!to) {
      lanes.counters[verdict::no_block] += run.packets;  // a packet larger than a block
      continue;
    }
    coalescer.write(run, to);
    const uint32_t entry = superpackets.commit(run.length);
    const InnerPacket& packet = coalescer.packet(run.first);
    superpackets.slot[entry] = packet.slot;
    superpackets.flags[entry] = packet.checksum_valid ? flag::checksum_valid : 0;
    if (run.packets == 1) continue;
    superpackets.kind[entry] = run.kind;
    superpackets.segment_size[entry] = run.segment_size;
    superpackets.header_length[entry] = run.header_length;
    superpackets.checksum_start[entry] = run.ip_length;
    superpackets.checksum_offset[entry] = run.checksum_offset;
    superpackets.flags[entry] |= flag::needs_checksum;
  }
  packets.header->consumed = end;
  return superpackets.count();
}

}  // namespace ringway::nodes
