#include "table/lanes.h"

#include <sys/mman.h>

#include <cstring>

namespace ringway {

KeyCache::~KeyCache() {
  if (!entries_) return;
  for (uint32_t i = 0; i < sets * ways; i++) {
    if (entries_[i].live) drop(entries_[i]);
  }
}

bool KeyCache::allocate() {
  memory_ = Mapping::anonymous(sizeof(Entries));
  if (!memory_) return false;
  madvise(memory_->data(), memory_->bytes(), MADV_DONTDUMP);
  mlock(memory_->data(), memory_->bytes());  // refused beyond RLIMIT_MEMLOCK: then it may be swapped, which is the host's choice
  entries_ = reinterpret_cast<Entry*>(memory_->data());
  return true;
}

void KeyCache::drop(Entry& entry) {
  aead_.release(entry.expanded.schedule);
  aead_.release_number(entry.expanded.number);
  wipe(entry.key, sizeof entry.key);
  entry.live = false;
}

const RecordKey* KeyCache::find(uint32_t slot, KeyPlace place, uint16_t suite, const uint8_t* key, const uint8_t* number_key) {
  Entry* set = entries_ + size_t{set_of(slot, place)} * ways;
  Entry* oldest = set;
  clock_++;
  for (uint32_t i = 0; i < ways; i++) {
    Entry& entry = set[i];
    if (entry.live && entry.slot == slot && entry.place == place.value) {
      if (entry.expanded.schedule.suite == suite && std::memcmp(entry.key, key, 32) == 0) {
        entry.used = clock_;
        return &entry.expanded;
      }
      oldest = &entry;
      break;
    }
    if (!entry.live || (oldest->live && clock_ - entry.used > clock_ - oldest->used)) oldest = &entry;
  }
  if (oldest->live) drop(*oldest);
  if (!suite::known(suite) || !aead_.expand(oldest->expanded.schedule, suite, key)) return nullptr;
  if (number_key && !aead_.expand_number(oldest->expanded.number, suite, number_key)) {
    aead_.release(oldest->expanded.schedule);
    return nullptr;
  }
  std::memcpy(oldest->key, key, 32);
  oldest->slot = slot;
  oldest->place = place.value;
  oldest->used = clock_;
  oldest->live = true;
  return &oldest->expanded;
}

void KeyCache::forget(uint32_t slot) {
  for (uint8_t place = 0; place < KeyPlace::end; place++) {
    Entry* set = entries_ + size_t{set_of(slot, {place})} * ways;
    for (uint32_t i = 0; i < ways; i++) {
      if (set[i].live && set[i].slot == slot) drop(set[i]);
    }
  }
}

std::shared_ptr<Lanes> Lanes::create(const Options& options) {
  std::shared_ptr<Lanes> lanes{new Lanes};
  lanes->table = options.table;
  lanes->index = options.index;
  lanes->shard = options.shard;
  lanes->shards = options.shards;
  lanes->generation = options.generation;
  lanes->single = options.single;
  lanes->aead = Aead::create(options.backend);
  lanes->counters_memory = Mapping::anonymous(verdict::names.size() * sizeof(uint64_t));
  lanes->limits_memory = Mapping::anonymous(limit::words * sizeof(uint32_t) + lanes->table->count() * sizeof(Arrival));
  if (!lanes->aead || !lanes->counters_memory || !lanes->limits_memory) return nullptr;
  lanes->counters = reinterpret_cast<uint64_t*>(lanes->counters_memory->data());
  lanes->limits = reinterpret_cast<uint32_t*>(lanes->limits_memory->data());
  lanes->limits[limit::strangers] = lanes->limits[limit::rate] = lanes->limits[limit::rejects] = limit::none;
  lanes->arrivals = reinterpret_cast<Arrival*>(lanes->limits + limit::words);
  lanes->tail.resize(lanes->table->count());
  lanes->keys = std::make_unique<KeyCache>(*lanes->aead);
  if (!lanes->keys->allocate()) return nullptr;
  return lanes;
}

}  // namespace ringway
