// pacer.release with columns that may lie, sessions that come and go, times and budgets of any kind: no byte outside of entries is touched, no
// piece and no block is lost, what waits is bounded, and where columns are right all that was held leaves in the order in which it came.
// link: native/fuzz/backends/world.cc native/fuzz/backends/toy.cc native/pacer/pacer.cc native/table/lanes.cc native/table/index.cc native/core/arena.cc
// link: native/core/batch.cc native/aead/aead.cc native/aead/record.cc native/packet/checksum.cc native/packet/ip.cc native/packet/segment.cc
#include "pacer/pacer.h"

#include <algorithm>
#include <array>

#include "fuzz/world.h"
#include "packet/ip.h"

using namespace ringway;
using namespace ringway::fuzz;

namespace {

constexpr uint32_t block = 65'600;

World& world() {
  static World one;
  return one;
}

struct Pacing {
  Pool superpackets{block, 16, 24}, released{block, 64, 16};
  std::shared_ptr<Pacer> pacer;
  double now = 1e6;
  uint32_t sent = 0;
  std::array<uint32_t, slots> last;  // stamp of what left last

  void add(Input& input);
  void call(Input& input, bool orderly);
  void follow(const Batch& batch, uint32_t entry);
  void take();
  void run(Input& input, bool orderly);
};

// Stamped by their order in the bytes behind the headers, where there is room.
void Pacing::add(Input& input) {
  for (uint32_t left = input.below(16); left > 0; left--) {
    const uint32_t slot = input.below(slots);
    Octets packet(28 + 4 + (input.one_in(2) ? input.below(20'000) : input.below(100)));
    packet[0] = 0x45;
    store16(&packet[ip4::total_length], static_cast<uint16_t>(packet.size()));
    packet[ip4::proto] = protocol::udp;
    store16(&packet[ip4::min_header + udp::length], static_cast<uint16_t>(packet.size() - ip4::min_header));
    store32(&packet[28], ++sent);
    if (!superpackets.add(packet)) return;
    Batch& batch = *superpackets.batch;
    const uint32_t entry = batch.count() - 1;
    batch.slot[entry] = static_cast<int32_t>(slot);
    if (packet.size() < 400 || input.one_in(4)) continue;
    batch.kind[entry] = gso::udp;
    batch.segment_size[entry] = 200 + input.below(1'300);
    batch.flags[entry] = flag::needs_checksum;
    batch.checksum_start[entry] = ip4::min_header;
    batch.checksum_offset[entry] = udp::checksum;
  }
}

// What leaves of each session follows what left before. Of one superpacket there are several pieces: what stands behind the first is no stamp.
void Pacing::follow(const Batch& batch, uint32_t entry) {
  const auto bytes = batch.span(entry);
  must(!bytes.empty() && batch.slot[entry] >= 0 && batch.slot[entry] < static_cast<int32_t>(slots));
  const uint32_t stamp = bytes.size() >= 32 ? load32(&bytes[28]) : 0;
  if (stamp == 0) return;
  uint32_t& before = last[static_cast<size_t>(batch.slot[entry])];
  must(stamp > before && stamp <= sent);
  before = stamp;
}

void Pacing::take() {
  const Batch& batch = *released.batch;
  for (uint32_t i = 0; i < batch.count(); i++) {
    must(batch.verdict[i] == verdict::pass && batch.length[i] <= pace::quantum && batch.arena->is_referenced(batch.block[i]));
    follow(batch, i);
  }
}

void Pacing::call(Input& input, bool orderly) {
  constexpr double steps[]{0, 1, 100, 1'000, 10'000, 1e6};
  constexpr uint32_t budgets[]{pace::no_limit, pace::no_limit, 0, 1, 3'000, 65'536, 1'000'000};
  for (uint32_t i = 0; i < slots; i++) {
    if (input.one_in(8)) world().table->slot(i).pace_rate = input.one_of<uint32_t>({0, 1, 100, 10'000, 1'000'000, UINT32_MAX});
  }
  add(input);
  if (!orderly) spoil(input, *superpackets.batch);
  superpackets.lock();
  now += input.one_of(steps);
  const uint64_t dropped = world().lanes->counters[verdict::pacer_full];
  const bool fresh = !input.one_in(8);
  pacer->release(*superpackets.batch, fresh, now, input.one_of(budgets));
  superpackets.unlock();
  must(world().lanes->counters[verdict::pacer_full] >= dropped);
  const auto* state = reinterpret_cast<const double*>(pacer->state()->data());
  must(state[pacer_state::pieces] >= 0 && state[pacer_state::pieces] <= pace::most_pieces);
  must(state[pacer_state::bytes] <= double{slots} * pace::most_bound + pace::most_pieces * pace::piece_cost);
  const Batch& went = *superpackets.batch;  // without waiting: as nothing of their sessions waited, before what was held
  for (uint32_t i = 0; orderly && fresh && i < went.count(); i++) {
    if (went.verdict[i] == verdict::pass) follow(went, i);
  }
  if (orderly) take();
  released.batch->clear();
  superpackets.batch->clear();
  if (input.one_in(8)) pacer->forget(input.below(slots), verdict::not_online);
}

void Pacing::run(Input& input, bool orderly) {
  world().reset(input);
  last.fill(0);
  sent = 0;
  now = 1e6;
  for (uint32_t i = 0; i < slots; i++) world().table->slot(i).pace_rate = input.one_of<uint32_t>({0, 1'000, 50'000, 1'000'000});
  pacer = Pacer::create(world().lanes, released.batch, 1 + input.below(128));
  while (!input.empty()) call(input, orderly);
  // given time, all that waits leaves
  const auto* state = reinterpret_cast<const double*>(pacer->state()->data());
  for (uint32_t left = 0; state[pacer_state::pieces] > 0; left++) {
    must(left < 200'000);
    now = std::max(now, state[pacer_state::deadline]);
    pacer->release(*superpackets.batch, false, now, pace::no_limit);
    if (orderly) take();
    released.batch->clear();
  }
  pacer.reset();
  must(released.arena->unreferenced() == released.arena->block_count());
  if (!orderly) superpackets.renew();
  must(superpackets.arena->unreferenced() == superpackets.arena->block_count());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static Pacing pacing;
  Input input{data, size};
  pacing.run(input, (input.take<uint8_t>() & 1) != 0);
  return 0;
}
