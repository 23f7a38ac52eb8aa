// lanes.open, first half: which session each train belongs to.
#include <algorithm>

#include "nodes/header.h"
#include "nodes/nodes.h"
#include "steering/floors.h"

namespace ringway::nodes {
namespace {

// The slot of a key, unless its session has ended.
int32_t living(const Lanes& lanes, Index::Kind kind, const uint8_t* key) {
  const int32_t slot = lanes.index->get(kind, key);
  return lanes.exists(slot) && lanes.table->slot(static_cast<uint32_t>(slot)).state != slot_state::free ? slot : -1;
}

// Whose datagram this is, of a known address: its session's, unless the id names another that lives. Two clients whose NAT swapped their
// mappings would else each be taken for the other for ever.
int32_t named(const Lanes& lanes, int32_t known, std::span<const uint8_t> datagram) {
  if (datagram.size() < lightway::header_bytes) return known;
  const uint8_t* id = datagram.data() + lightway::id;
  const uint64_t value = load_native<uint64_t>(id);
  if (value == lightway::empty_id || value == load_native<uint64_t>(lanes.table->slot(static_cast<uint32_t>(known)).current_id)) return known;
  if (lightway::check(datagram) != verdict::pass) return known;
  const int32_t other = living(lanes, Index::Kind::id, id);
  return other < 0 ? known : other;
}

// Strangers have a limit, as each may cost a cookie, and so have answers to unknown ids.
bool takes(Lanes& lanes, uint32_t which, uint32_t some) {
  uint32_t& left = lanes.limits[which];
  if (left == limit::none) return true;
  if (left < some) return false;
  left -= some;
  return true;
}

// What is refused here already.
void suspect(const Lanes& lanes, int32_t slot, uint32_t datagrams) {
  if (lanes.floors && datagrams == 1) lanes.floors->refused(lanes, slot);
}

// Counts a train for its slot. @returns false when it would overflow the slot's pail
bool is_within_share(Lanes& lanes, int32_t slot, uint32_t bytes) {
  Lanes::Arrival& arrival = lanes.arrivals[slot];
  const uint32_t *limits = lanes.limits, interval = limits[limit::interval], tick = limits[limit::tick], rate = limits[limit::rate];
  if (arrival.interval != interval) arrival.interval = interval, arrival.bytes = 0;
  arrival.bytes += std::min(bytes, UINT32_MAX - arrival.bytes);
  if (rate == limit::none) return true;
  const uint64_t leaked = uint64_t{tick - arrival.tick} * rate;
  arrival.pail -= static_cast<uint32_t>(std::min<uint64_t>(leaked, arrival.pail));
  arrival.tick = tick;
  if (bytes > limit::pail_bytes - std::min(arrival.pail, limit::pail_bytes)) return false;
  arrival.pail += bytes;
  return true;
}

}  // namespace

uint32_t locate(Lanes& lanes, Batch& trains) {
  const uint32_t count = trains.count();
  uint32_t passing = 0;
  for (uint32_t i = 0; i < count; i++) {
    if (trains.verdict[i] != verdict::pass) continue;
    if (lanes.single >= 0) {
      trains.slot[i] = lanes.single;
      passing++;
      continue;
    }
    const auto bytes = trains.span(i);
    const uint32_t size = trains.segment_size[i];
    const uint32_t datagrams = size == 0 || bytes.empty() ? 1 : static_cast<uint32_t>((bytes.size() + size - 1) / size);

    const auto first = bytes.first(size == 0 ? bytes.size() : std::min<size_t>(size, bytes.size()));
    const int32_t known = living(lanes, Index::Kind::outside, trains.address_of(i));
    int32_t slot = -1;
    if (known >= 0) {
      slot = named(lanes, known, first);
      if (slot != known) trains.flags[i] |= flag::floating;
    } else {
      trains.slot[i] = -1;
      if (const uint8_t wrong = lightway::check(first); wrong != verdict::pass) {
        lanes.judge(trains, i, wrong, datagrams);
        suspect(lanes, first.size() < lightway::header_bytes ? -1 : living(lanes, Index::Kind::id, first.data() + lightway::id), datagrams);
        continue;
      }
      const uint8_t* id = first.data() + lightway::id;
      if (load_native<uint64_t>(id) == lightway::empty_id) {
        lanes.judge(trains, i, takes(lanes, limit::strangers, datagrams) ? verdict::divert : verdict::overload, datagrams);
        continue;
      }
      slot = living(lanes, Index::Kind::id, id);
      if (slot < 0) {
        lanes.judge(trains, i, takes(lanes, limit::rejects, 1) ? verdict::reject : verdict::unknown_id, datagrams);
        suspect(lanes, slot, datagrams);
        continue;
      }
      trains.flags[i] |= flag::floating;
    }
    trains.slot[i] = slot;
    if (lanes.table->slot(static_cast<uint32_t>(slot)).shard != lanes.shard) {
      lanes.judge(trains, i, verdict::elsewhere, datagrams);
      continue;
    }
    if (!is_within_share(lanes, slot, trains.length[i])) {
      lanes.judge(trains, i, verdict::overload, datagrams);
      continue;
    }
    passing++;
  }
  return passing;
}

bool leaves_any(const Batch& trains) {
  return std::any_of(trains.verdict, trains.verdict + trains.count(),
                     [](uint8_t each) { return each == verdict::divert || each == verdict::elsewhere || each == verdict::reject; });
}

}  // namespace ringway::nodes
