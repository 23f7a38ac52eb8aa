// gro.coalesce: packets of one flow become superpackets for the TUN.
#include <algorithm>
#include <tuple>

#include "nodes/nodes.h"

namespace ringway::nodes {
namespace {

constexpr uint32_t headroom = 64;  // the virtio-net header needs 10 bytes of it
// Payloads from this size on stay where they are: a piece costs the kernel about 25 ns, as much as copying so much here (docs/decisions/0012).
constexpr uint32_t worth_gathering = 700;

uint64_t cost(uint32_t length) { return (uint64_t{length} + 63) / 64 * 64 + headroom; }

// Ascending in the order a session's packets were sealed in: the lane, or the epoch, then the number, which is below 2^64 in a lane and 2^48 in an epoch.
struct Arrival {
  uint32_t key;
  uint64_t counter;
  auto operator<=>(const Arrival&) const = default;
};
Arrival arrival(const Batch& packets, uint32_t entry) {
  return {uint32_t{packets.flags[entry] & uint32_t{flag::expresslane}} << 16 | packets.epoch[entry], packets.counter[entry]};
}

// The passing entries from `first` to `end`, those of each slot in the order of their numbers over the places the slot had.
void put_in_order(Lanes& lanes, const Batch& packets, uint32_t first, uint32_t end) {
  std::vector<uint32_t>& order = lanes.order;
  order.resize(end - first);
  size_t passing = 0;
  bool disorder = false;
  int32_t slot = -1;
  Arrival last{};
  for (uint32_t i = first; i < end; i++) {
    if (packets.verdict[i] != verdict::pass) continue;
    const Arrival next = arrival(packets, i);
    // neighbours of different slots say nothing of each other: then look closer
    if (passing > 0) disorder |= packets.slot[i] != slot || next < last;
    slot = packets.slot[i];
    last = next;
    order[passing++] = i;
  }
  order.resize(passing);
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

// How many packets surely fit: blocks that two neighbours do not share are more than half full. What is gathered needs no block.
uint32_t fitting(const Batch& packets, const Batch& superpackets, uint32_t first) {
  const bool gathers = packets.arena == superpackets.arena;
  const uint32_t count = packets.count(), entries = superpackets.capacity - superpackets.count();
  const uint64_t budget = gathers ? UINT64_MAX : uint64_t{superpackets.arena->free_count()} * superpackets.arena->block_size() / 2;
  uint64_t bytes = 0;
  uint32_t passing = 0, at = first;
  for (; at < count; at++) {
    if (packets.verdict[at] != verdict::pass) continue;
    bytes += cost(packets.length[at]);
    if (++passing > entries || bytes > budget) break;
  }
  return at;
}

// Runs become entries: where both batches are of one arena the bytes stay where they lie, elsewhere they are copied.
class Output {
 public:
  Output(Lanes& lanes, const Batch& packets, Batch& superpackets)
      : lanes_{lanes}, coalescer_{lanes.coalescer}, packets_{packets}, superpackets_{superpackets}, gathers_{packets.arena == superpackets.arena} {}

  void add(const Run& run) {
    if (!gathers_) {
      if (!copy(run)) lanes_.counters[verdict::no_block] += run.packets;  // a packet larger than a block
      return;
    }
    if (is_small(run) && copy(run)) return;
    gather(run);
  }

  // Zeroes the columns of all entries there will be, where no block is short.
  void begin(const std::vector<Run>& runs) {
    uint32_t entries = 0;
    for (const Run& run : runs) entries += gathers_ && !is_small(run) ? run.added : 1;
    clear(entries);
  }

  uint32_t superpackets() const { return count_; }

 private:
  static bool is_small(const Run& run) { return run.added > 1 && run.length / run.added < worth_gathering; }

  void clear(uint32_t entries) {
    superpackets_.clear_columns(superpackets_.count(), entries);
    cleared_ = superpackets_.count() + entries;
  }

  bool copy(const Run& run) {
    uint8_t* to = superpackets_.reserve(run.length, headroom);
    if (!to) return false;
    coalescer_.write(run, to);
    const uint32_t entry = superpackets_.commit(run.length);
    superpackets_.slot[entry] = coalescer_.packet(run.first).slot;
    describe(run, entry);
    return true;
  }

  void gather(const Run& run) {
    if (superpackets_.count() + run.added > cleared_) clear(run.added);
    const uint32_t entry = append(run.first, 0);
    describe(run, entry);
    if (run.added == 1) return;
    coalescer_.write_header(run, superpackets_.span(entry).data());
    for (uint32_t index = coalescer_.next(run.first); index != Coalescer::none; index = coalescer_.next(index)) {
      superpackets_.kind[append(index, run.header_length)] = gso::piece;
    }
  }

  // The packet without its first `skip` bytes.
  uint32_t append(uint32_t index, uint32_t skip) {
    const uint32_t packet = lanes_.order[index];
    return superpackets_.append_cleared(packets_.offset[packet] + skip, packets_.length[packet] - skip, packets_.block[packet], packets_.slot[packet]);
  }

  void describe(const Run& run, uint32_t entry) {
    count_++;
    superpackets_.flags[entry] = coalescer_.packet(run.first).checksum_valid ? flag::checksum_valid : 0;
    if (run.packets == 1) return;
    superpackets_.kind[entry] = run.kind;
    superpackets_.segment_size[entry] = run.segment_size;
    superpackets_.header_length[entry] = run.header_length;
    superpackets_.checksum_start[entry] = run.ip_length;
    superpackets_.checksum_offset[entry] = run.checksum_offset;
    superpackets_.flags[entry] |= flag::needs_checksum;
  }

  Lanes& lanes_;
  const Coalescer& coalescer_;
  const Batch& packets_;
  Batch& superpackets_;
  const bool gathers_;
  uint32_t count_ = 0;
  uint32_t cleared_ = 0;  // up to this entry
};

}  // namespace

uint32_t coalesce(Lanes& lanes, Batch& packets, Batch& superpackets, Joining joining) {
  const uint32_t first = std::min(packets.header->consumed, packets.count()), end = fitting(packets, superpackets, first);
  put_in_order(lanes, packets, first, end);

  Coalescer& coalescer = lanes.coalescer;
  coalescer.reserve(packets.capacity);
  coalescer.begin(joins_tcp(joining), joins_udp(joining));
  for (const uint32_t entry : lanes.order) {
    const auto bytes = packets.span(entry);
    const auto length = static_cast<uint32_t>(bytes.size());
    // what open has assembled has a segment size; that it has bytes of its arena is all that may be relied on
    const uint32_t segment = length == 0 ? 0 : packets.segment_size[entry];
    coalescer.add(bytes.data(), length, packets.slot[entry], (packets.flags[entry] & flag::checksum_valid) != 0, segment);
  }
  Output output{lanes, packets, superpackets};
  output.begin(coalescer.runs());
  for (const Run& run : coalescer.runs()) output.add(run);
  packets.header->consumed = end;
  return output.superpackets();
}

}  // namespace ringway::nodes
