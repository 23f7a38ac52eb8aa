// The session table, and what the nodes of one shard share: the table, the index, key schedules, counters.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include <node_api.h>

#include "aead/aead.h"
#include "aead/record.h"
#include "core/batch.h"
#include "core/mapping.h"
#include "core/shards.h"
#include "packet/coalesce.h"
#include "packet/segment.h"
#include "secret/hkdf.h"
#include "secret/memory.h"
#include "table/index.h"
#include "table/layout.h"

namespace ringway {

class Table {
 public:
  static constexpr const char* type_name = "table";
  static constexpr napi_type_tag type_tag{0x52696e6777617932, 0x4b7d1e5533a80b02};

  Table(std::shared_ptr<Mapping> slots, std::shared_ptr<Mapping> secrets, uint32_t count)
      : slots_{std::move(slots)}, secrets_{std::move(secrets)}, count_{count} {}

  uint32_t count() const { return count_; }
  PublicSlot& slot(uint32_t index) const { return reinterpret_cast<PublicSlot*>(slots_->data())[index]; }
  SecretSlot& secret(uint32_t index) const { return reinterpret_cast<SecretSlot*>(secrets_->data())[index]; }

 private:
  std::shared_ptr<Mapping> slots_, secrets_;
  uint32_t count_;
};

// Which key of a slot a schedule is of.
struct KeyPlace {
  uint8_t value;
  static constexpr KeyPlace lane_send() { return {0}; }
  static constexpr KeyPlace lane_receive() { return {1}; }
  static constexpr KeyPlace lane_previous() { return {2}; }
  static constexpr KeyPlace send_record(uint16_t epoch) { return {static_cast<uint8_t>(4 + (epoch & 3))}; }
  static constexpr KeyPlace receive_record(uint16_t epoch) { return {static_cast<uint8_t>(8 + (epoch & 3))}; }
  static constexpr uint8_t end = 12;
};

// Expanded keys by slot and place, rebuilt on demand (300 ns). An entry remembers the key it was made from, so that one that
// was replaced in the slot, by whomever, is never used.
class KeyCache {
 public:
  explicit KeyCache(Aead& aead) : aead_{aead} {}
  ~KeyCache();
  bool allocate();

  const RecordKey* lane(uint32_t slot, KeyPlace place, const LaneSecret& secret) { return find(slot, place, suite::aes256, secret.key, nullptr); }
  const RecordKey* record(uint32_t slot, KeyPlace place, const RecordSecret& secret) { return find(slot, place, secret.suite, secret.key, secret.sn); }
  void forget(uint32_t slot);

 private:
  static constexpr uint32_t sets = 256, ways = 4;
  struct Entry {
    RecordKey expanded;
    uint8_t key[32];
    uint32_t slot;
    uint32_t used;  // when, by clock_
    uint8_t place;
    bool live;
  };
  struct Entries {
    Entry list[sets * ways];
  };

  static uint32_t set_of(uint32_t slot, KeyPlace place) { return ((slot * 0x9e3779b1u) ^ (place.value * 0x85ebca6bu)) >> 24 & (sets - 1); }
  const RecordKey* find(uint32_t slot, KeyPlace place, uint16_t suite, const uint8_t* key, const uint8_t* number_key);
  void drop(Entry& entry);

  Aead& aead_;
  std::shared_ptr<Mapping> memory_;
  Entry* entries_ = nullptr;
  uint32_t clock_ = 0;
};

// A superpacket that seal has taken, in the chain of its slot.
struct SealJob {
  static constexpr uint32_t last = UINT32_MAX;
  Segmenter segmenter;
  uint32_t slot;
  uint32_t next;
  uint64_t entries, bytes;  // what it may need in the trains' batch and arena
};

// What nodes/assembly.h knows of the packets to come.
struct Guess {
  Guess() = default;
  Guess(const Guess&) = delete;
  Guess& operator=(const Guess&) = delete;
  ~Guess() {
    if (arena) arena->release(block);
  }

  uint32_t header = 0;  // bytes of IP and transport header of the last superpacket; 0: there was none
  uint32_t misses = 0;  // groups in a row with a packet that was not where it was thought to be
  uint32_t wait = 0;    // groups for which nothing is guessed
  // The block of the last superpacket, for the next one: it is in the cache.
  std::shared_ptr<Arena> arena;
  uint16_t block = no_block;
};

// The words of Lanes::limits, and the value that means: as many as come.
namespace limit {
inline constexpr uint32_t strangers = 0, interval = 1, tick = 2, rate = 3, rejects = 4, words = 16;
inline constexpr uint32_t pail_bytes = 2 * 65'536;
inline constexpr uint32_t hello_every = 200, hello_burst = 16;  // of an Online session: milliseconds, and how many at once
inline constexpr uint32_t none = UINT32_MAX;
}  // namespace limit

class Lanes final : public Shards {
 public:
  struct Options {
    std::shared_ptr<Table> table;
    std::shared_ptr<Index> index;
    uint32_t shard, shards, generation;
    Backend backend;
    int32_t single;
  };
  // nullptr when the backend is missing here or memory is short.
  static std::shared_ptr<Lanes> create(const Options& options);

  int32_t shard_of(int32_t slot) const override { return exists(slot) ? static_cast<int32_t>(table->slot(slot).shard) : -1; }
  bool exists(int32_t slot) const { return slot >= 0 && static_cast<uint32_t>(slot) < table->count(); }
  bool superseded(const PublicSlot& slot) const { return std::atomic_ref(const_cast<uint32_t&>(slot.generation)).load(std::memory_order_acquire) != generation; }

  // Sets a verdict and counts it.
  void judge(Batch& batch, uint32_t entry, uint8_t verdict, uint32_t pieces = 1) {
    batch.verdict[entry] = verdict;
    counters[verdict] += pieces;
  }
  void count(uint8_t verdict) { counters[verdict]++; }

  // May session.control hear a ClientHello for this slot, whose session is Online?
  bool hears_hello(uint32_t slot, double now) {
    const auto tick = static_cast<uint32_t>(static_cast<uint64_t>(now / 1'000));
    uint32_t& due = arrivals[slot].hello_due;
    uint32_t ahead = due - tick;  // modulo 2^32
    if (ahead > limit::hello_every * limit::hello_burst) ahead = 0;  // it lies in the past
    if (ahead > limit::hello_every * (limit::hello_burst - 1)) return false;
    due = tick + ahead + limit::hello_every;
    return true;
  }

  // Numbers that must never repeat: the first of `count` fresh ones.
  static uint64_t claim_lane(PublicSlot& slot, uint32_t count) { return std::atomic_ref(slot.lane_send_counter).fetch_add(count, std::memory_order_acq_rel) + 1; }
  static uint64_t claim_record(PublicSlot& slot, uint16_t epoch, uint32_t count) {
    return std::atomic_ref(slot.record_send_counter[epoch & 3]).fetch_add(count, std::memory_order_acq_rel);
  }

  std::shared_ptr<Table> table;
  std::shared_ptr<Index> index;
  uint32_t shard, shards, generation;
  int32_t single;
  std::unique_ptr<Aead> aead;
  std::unique_ptr<KeyCache> keys;
  std::shared_ptr<Mapping> counters_memory;
  uint64_t* counters;
  // What locate may let through (src/datapath/limits.ts): JavaScript writes the limits, locate the arrivals.
  std::shared_ptr<Mapping> limits_memory;
  uint32_t* limits;
  struct Arrival {
    uint32_t interval, bytes;  // what came in the interval
    uint32_t tick, pail;       // the pail leaks limit::rate a tick; what would make it overflow is dropped
    uint32_t hello_due;        // when, in ticks, as many hellos were due as have been heard
  };
  Arrival* arrivals;  // per slot
  Coalescer coalescer;
  Guess guess;
  // scratch of the nodes, kept so that a vector allocates nothing
  std::vector<uint32_t> order;
  std::vector<uint32_t> next;
  std::vector<uint32_t> sorted;
  std::vector<SealJob> jobs;
  std::vector<uint32_t> tail;  // per slot: its last job

 private:
  Lanes() = default;
};

// Every native function gets its lanes by this.
class Args;
Lanes* lanes_of(Args& args, size_t argument);

// The record secret of an epoch, from a traffic secret as long as the suite's hash.
bool derive_record_secret(uint16_t suite, uint16_t epoch, const uint8_t* traffic, RecordSecret* out);

}  // namespace ringway
