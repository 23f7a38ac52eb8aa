// Rings between shards: entries of any columns put in and taken out in any order; and rings that somebody has written over. Whatever lies there, no byte
// outside of ring and arena is touched, and what can never be taken out does not stand in the way of what comes behind it. Where nobody wrote over
// them, what is taken is what was put, in order, every column.
// link: native/io/handover.cc native/core/arena.cc native/core/batch.cc
#include "io/handover.h"

#include <deque>

#include "fuzz/world.h"

using namespace ringway;
using namespace ringway::fuzz;

namespace {

std::vector<std::weak_ptr<Mapping>> mappings;  // in the order in which they were made
}  // namespace

std::shared_ptr<Mapping> Mapping::anonymous(size_t bytes) {
  std::shared_ptr<Mapping> made{new Mapping{static_cast<uint8_t*>(std::calloc(1, bytes)), bytes}};
  mappings.push_back(made);
  return made;
}
Mapping::~Mapping() { free(data_); }

namespace {

constexpr uint32_t shards = 2, block = 4'096, ring_bytes = 16'384;

std::shared_ptr<Batch> make_batch(uint32_t blocks, uint32_t capacity) {
  auto arena = std::make_shared<Arena>(Mapping::anonymous(size_t{block} * blocks), block, blocks);
  return std::make_shared<Batch>(std::move(arena), Mapping::anonymous(batch_layout(capacity).bytes), capacity);
}

// An entry's columns and bytes, as they were when it was put in.
struct Copy {
  Octets bytes, address;
  uint64_t counter;
  std::array<uint32_t, 9> columns;
  bool operator==(const Copy&) const = default;
};

Copy copy(const Batch& batch, uint32_t i) {
  const auto bytes = batch.span(i);
  const uint8_t* address = batch.address_of(i);
  return {{bytes.begin(), bytes.end()}, {address, address + address::size}, batch.counter[i],
    {batch.segment_size[i], batch.train[i], static_cast<uint32_t>(batch.slot[i]), batch.epoch[i], batch.header_length[i], batch.checksum_start[i],
      batch.checksum_offset[i], batch.flags[i], batch.kind[i]}};
}

struct Rings {
  std::shared_ptr<Handover> handover = Handover::create(shards, ring_bytes);
  std::shared_ptr<Mapping> memory = mappings.back().lock();
  std::shared_ptr<Batch> from = make_batch(8, 32), to = make_batch(4, 8);
  std::deque<Copy> inside[shards][2];
  bool written_over = false;

  void put(Input& input);
  void take(uint32_t shard, uint32_t kind, uint32_t limit);
  void write_over(Input& input);
  void empty();
};

void Rings::put(Input& input) {
  const auto length = input.one_of<uint32_t>({0, 1, 40, 1'400, block - 64, block - 63, block});
  if (from->full()) from->clear();
  uint8_t* bytes = from->reserve(length);
  if (!bytes) return from->clear();
  const uint8_t first = input.take<uint8_t>();
  for (uint32_t i = 0; i < length; i++) bytes[i] = static_cast<uint8_t>(first + i);
  const uint32_t entry = from->commit(length);
  if (input.one_in(3)) {  // columns are JavaScript's to write
    from->offset[entry] = input.take<uint32_t>() % static_cast<uint32_t>(from->arena->size() + 100);
    from->length[entry] = input.take<uint16_t>();
  }
  from->counter[entry] = input.take<uint64_t>();
  from->train[entry] = input.take<uint32_t>();
  from->flags[entry] = input.take<uint16_t>();
  const uint32_t shard = input.below(shards), kind = input.below(2);
  const Copy wanted = copy(*from, entry);
  if (handover->put(shard, static_cast<HandoverKind>(kind), *from, entry)) inside[shard][kind].push_back(wanted);
}

void Rings::take(uint32_t shard, uint32_t kind, uint32_t limit) {
  to->clear();
  uint64_t unfit = 0;
  const uint32_t taken = handover->take(shard, static_cast<HandoverKind>(kind), *to, limit, unfit);
  must(taken <= limit && taken == to->count());
  for (uint32_t i = 0; i < taken; i++) must(to->arena->contains(to->offset[i], to->length[i]));
  if (written_over) return;
  must(unfit == 0 && taken <= inside[shard][kind].size());
  for (uint32_t i = 0; i < taken; i++, inside[shard][kind].pop_front()) must(copy(*to, i) == inside[shard][kind].front());
}

void Rings::write_over(Input& input) {
  const uint32_t at = input.take<uint16_t>() % (shards * 2 * ring_bytes - 8) & ~uint32_t{7};
  if (input.one_in(2)) {
    const auto raw = input.bytes(8);
    std::memcpy(memory->data() + at, raw.data(), raw.size());
  } else {
    const auto length = input.one_of<uint32_t>({0, block, ring_bytes, ring_bytes + 1, UINT32_MAX, UINT32_MAX - 7, INT32_MAX, 65'536});
    std::memcpy(memory->data() + at, &length, sizeof length);
  }
  written_over = true;
}

// Everything comes out, or is known never to.
void Rings::empty() {
  for (uint32_t shard = 0; shard < shards; shard++) {
    for (uint32_t left = ring_bytes; left > 0 && handover->waits(shard); left--) {
      for (uint32_t kind = 0; kind < 2; kind++) take(shard, kind, 8);
    }
    must(!handover->waits(shard));
    if (!written_over) must(inside[shard][0].empty() && inside[shard][1].empty());
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  mappings.clear();
  Input input{data, size};
  Rings rings;
  for (uint32_t steps = 0; steps < 256 && !input.empty(); steps++) {
    const auto step = input.below(8);
    if (step < 5) rings.put(input);
    else if (step < 7) rings.take(input.below(shards), input.below(2), 1 + input.below(8));
    else rings.write_over(input);
  }
  rings.empty();
  return 0;
}
