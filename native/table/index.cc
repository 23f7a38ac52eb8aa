#include "table/index.h"

#include <bit>
#include <cstring>
#include <map>
#include <utility>

#include "packet/bytes.h"
#include "secret/memory.h"

namespace ringway {
namespace {
void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}
}  // namespace

Index::Index(uint32_t slots) : slots_{slots} {
  random_bytes(seeds_, sizeof seeds_);  // strangers choose addresses and ids: they must not choose where these fall
  for (Map& map : maps_) {
    const uint64_t size = std::bit_ceil(uint64_t{slots} * 4);  // two ids a session, half full
    map.cells = std::make_unique<Map::Cell[]>(size);
    map.mask = size - 1;
    for (uint64_t i = 0; i < size; i++) map.cells[i].slot.store(-1, std::memory_order_relaxed);
  }
}

Index::Key Index::widen(Kind kind, const uint8_t* key) {
  Key wide{};
  std::memcpy(wide.words, key, key_bytes(kind));
  return wide;
}

uint64_t Index::hash(const Key& key) const {
  const auto mix = [](uint64_t a, uint64_t b) {
    const unsigned __int128 product = static_cast<unsigned __int128>(a) * b;
    return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
  };
  const uint64_t first = mix(key.words[0] ^ seeds_[0], key.words[1] ^ seeds_[1]);
  return mix(first ^ key.words[2] ^ seeds_[2], 0x9e3779b97f4a7c15u ^ seeds_[0]);
}

uint64_t Index::find(const Map& map, const Key& key) const {
  uint64_t at = hash(key) & map.mask;
  for (uint64_t probes = 0; probes <= map.mask; probes++, at = (at + 1) & map.mask) {  // bounded: a reader may see a map in motion
    const Map::Cell& cell = map.cells[at];
    if (cell.slot.load(std::memory_order_relaxed) < 0) return at;
    bool same = true;
    for (int i = 0; i < 3; i++) same &= cell.words[i].load(std::memory_order_relaxed) == key.words[i];
    if (same) return at;
  }
  return at;
}

bool Index::set(Kind kind, const uint8_t* key, int32_t slot) {
  const Key wide = widen(kind, key);
  const std::lock_guard guard{writing_};
  Map& map = maps_[static_cast<size_t>(kind)];
  Map::Cell& cell = map.cells[find(map, wide)];
  const bool fresh = cell.slot.load(std::memory_order_relaxed) < 0;
  if (fresh && map.used >= (map.mask + 1) / 2) return false;
  map.sequence.fetch_add(1, std::memory_order_acq_rel);
  for (int i = 0; i < 3; i++) cell.words[i].store(wide.words[i], std::memory_order_relaxed);
  cell.slot.store(slot, std::memory_order_relaxed);
  map.used += fresh;
  if (fresh && kind == Kind::id) told(wide, true);
  map.sequence.fetch_add(1, std::memory_order_release);
  return true;
}

void Index::remove(Kind kind, const uint8_t* key, int32_t slot) {
  const Key wide = widen(kind, key);
  const std::lock_guard guard{writing_};
  Map& map = maps_[static_cast<size_t>(kind)];
  uint64_t hole = find(map, wide);
  const int32_t there = map.cells[hole].slot.load(std::memory_order_relaxed);
  if (there < 0 || there != slot) return;
  map.sequence.fetch_add(1, std::memory_order_acq_rel);
  // Whoever probed past the hole moves into it.
  for (uint64_t at = (hole + 1) & map.mask;; at = (at + 1) & map.mask) {
    Map::Cell& cell = map.cells[at];
    const int32_t moving = cell.slot.load(std::memory_order_relaxed);
    if (moving < 0) break;
    Key held;
    for (int i = 0; i < 3; i++) held.words[i] = cell.words[i].load(std::memory_order_relaxed);
    const uint64_t home = hash(held) & map.mask;
    if (((at - home) & map.mask) < ((at - hole) & map.mask)) continue;  // already between its home and here
    for (int i = 0; i < 3; i++) map.cells[hole].words[i].store(held.words[i], std::memory_order_relaxed);
    map.cells[hole].slot.store(moving, std::memory_order_relaxed);
    hole = at;
  }
  map.cells[hole].slot.store(-1, std::memory_order_relaxed);
  map.used--;
  if (kind == Kind::id) told(wide, false);
  map.sequence.fetch_add(1, std::memory_order_release);
}

void Index::tell_ids(std::shared_ptr<Mapping> memory, std::atomic<uint8_t>* bits, uint32_t mask) {
  const std::lock_guard guard{writing_};
  if (told_bits_) return;  // another shard has seen to it
  told_counts_.assign(size_t{mask} + 1, 0);
  told_memory_ = std::move(memory);
  told_bits_ = bits;
  told_mask_ = mask;
  for (uint32_t at = 0; at <= mask / 8; at++) bits[at].store(0, std::memory_order_relaxed);
  const Map& ids = maps_[static_cast<size_t>(Kind::id)];
  for (uint64_t at = 0; at <= ids.mask; at++) {
    if (ids.cells[at].slot.load(std::memory_order_relaxed) >= 0) told({{ids.cells[at].words[0].load(std::memory_order_relaxed), 0, 0}}, true);
  }
}

void Index::told(const Key& key, bool there) {
  constexpr uint8_t many = UINT8_MAX;
  if (!told_bits_) return;
  const auto bit = static_cast<uint32_t>(key.words[0] >> 8) & told_mask_;  // the first byte chooses the shard
  uint8_t& count = told_counts_[bit];
  if (count == many) return;
  there ? count++ : count--;
  std::atomic<uint8_t>& byte = told_bits_[bit / 8];
  const auto mask = static_cast<uint8_t>(1 << bit % 8);
  if (count == 0) byte.fetch_and(static_cast<uint8_t>(~mask), std::memory_order_release);
  else byte.fetch_or(mask, std::memory_order_release);
}

int32_t Index::get(Kind kind, const uint8_t* key) const {
  const Key wide = widen(kind, key);
  const Map& map = maps_[static_cast<size_t>(kind)];
  for (;;) {
    const uint32_t before = map.sequence.load(std::memory_order_acquire);
    if (before & 1) {
      relax();
      continue;
    }
    const Map::Cell& cell = map.cells[find(map, wide)];
    int32_t slot = cell.slot.load(std::memory_order_relaxed);
    for (int i = 0; i < 3; i++) {
      if (cell.words[i].load(std::memory_order_relaxed) != wide.words[i]) slot = -1;
    }
    std::atomic_thread_fence(std::memory_order_acquire);
    if (map.sequence.load(std::memory_order_relaxed) == before) return slot;
  }
}

int32_t Index::inside(uint32_t address) const {
  uint8_t key[4];
  store32(key, address);
  return get(Kind::inside, key);
}

namespace {
struct Published {
  std::mutex lock;
  uint32_t next = 1;
  std::map<uint32_t, std::weak_ptr<Index>> indexes;
};
Published& published() {
  static Published* const one = new Published;
  return *one;
}
}  // namespace

uint32_t Index::publish(std::shared_ptr<Index> index) {
  Published& all = published();
  const std::lock_guard guard{all.lock};
  std::erase_if(all.indexes, [](const auto& entry) { return entry.second.expired(); });
  all.indexes[all.next] = index;
  return all.next++;
}

std::shared_ptr<Index> Index::attach(uint32_t id) {
  Published& all = published();
  const std::lock_guard guard{all.lock};
  const auto found = all.indexes.find(id);
  return found == all.indexes.end() ? nullptr : found->second.lock();
}

}  // namespace ringway
