// Floors: below which Expresslane numbers of a session its window refuses whatever comes, and far above which hardly one is its peer's; told to the
// kernel, which drops such datagrams at the socket (steering/filters.cc). Beside them, who is a suspect (steering/suspects.h), of whom it lets nothing
// through that it has not judged by its number: records too (steering/numbers.h). A table of one map for all shards, each of which writes its own part.
//
//     heads of shard 0, 1 …      ShareHead of io/shares.h: what filters have dropped: replays and forgeries of sessions, garbage of strangers, what was
//                                beyond a session's share; until when ids that name nobody are suspect
//     entries of shard 0, 1 …    ShareEntry, found by bits of the session id; its words are the id, one of tag and floor, until when it is suspect, and
//                                which block knows its record numbers, from 1 on
//     blocks of shard 0, 1 …     steering/numbers.h
//     tables                     for all shards
//     ids that there are         two bitmaps for all shards, of one engine and of the one before it; one bit an id, by bits of it
//
// An entry drops what has its id, and a number below its floor, or (most of it) far above. Id and word are written one after the other, and read
// so by other CPUs, while a session takes the place of another: the word names 16 more bits of its id, so that neither's floor is taken for the
// other's. No floor is 0. Times are nanoseconds of CLOCK_MONOTONIC: nobody has to take them back.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cstdint>
#include <memory>

#include "core/batch.h"
#include "core/mapping.h"
#include "io/shares.h"
#include "steering/numbers.h"
#include "steering/suspects.h"
#include "table/layout.h"

namespace ringway {

class Lanes;

namespace floors {
inline constexpr uint32_t head_bytes = sizeof(ShareHead), entry_bytes = sizeof(ShareEntry);
inline constexpr uint32_t counters = 3;  // that a head begins with, u64
inline constexpr int16_t word_at = 8, until_at = 16, block_at = 24;
inline constexpr uint32_t max_shards = 256, min_entries = 16, max_entries = 1 << 20;
inline constexpr uint32_t tag_shift = share::tag_shift;
// So far above the floor no number is the next one, unless as many datagrams were lost in a row: then one in so many goes on, by chance, and the first that is
// authentic raises the floor.
inline constexpr int32_t far_ahead = 1 << 22, one_in = 256;
// Of a suspect: more than what may wait in front of a datagram, and what the window leaves open.
inline constexpr int32_t near_ahead = 1 << 16;
inline constexpr uint64_t most = (uint64_t{1} << tag_shift) - 1;  // a higher floor is told as this one

constexpr size_t counter_at(uint32_t shard) { return size_t{shard} * head_bytes; }
constexpr size_t entries_at(uint32_t shard, uint32_t shards, uint32_t entries) { return size_t{shards} * head_bytes + size_t{shard} * entries * entry_bytes; }
constexpr size_t blocks_at(uint32_t shard, uint32_t shards, uint32_t entries) {
  return entries_at(shards, shards, entries) + size_t{shard} * numbers::blocks * numbers::block_bytes;
}
constexpr size_t tables_at(uint32_t shards, uint32_t entries) { return blocks_at(shards, shards, entries); }
// Enough bits that of ids made up at random few find one set, and no more than 1 MB.
constexpr uint32_t id_bits(uint32_t shards, uint32_t entries) {
  return static_cast<uint32_t>(std::bit_ceil(std::clamp(uint64_t{shards} * entries * 32, uint64_t{1} << 12, uint64_t{1} << 23)));
}
constexpr size_t ids_at(uint32_t half, uint32_t shards, uint32_t entries) {
  return tables_at(shards, entries) + numbers::tables_bytes + size_t{half} * id_bits(shards, entries) / 8;
}
constexpr size_t bytes(uint32_t shards, uint32_t entries) { return ids_at(2, shards, entries); }
}  // namespace floors

class Floors {
 public:
  struct Place {
    uint32_t shard, shards, entries;  // entries: of each shard, a power of two
  };
  // nullptr when memory is short. Empties the part of the shard: what a predecessor has told may be of sessions that are no more.
  static std::shared_ptr<Floors> create(std::shared_ptr<Mapping> map, const Place& place, uint32_t slots);

  // Of all sessions whose trains have been opened: what is below their windows now.
  void publish(const Lanes& lanes, const Batch& trains);
  // What the filters of the shard have dropped.
  ShareHead* head() const { return reinterpret_cast<ShareHead*>(map_->data() + floors::counter_at(place_.shard)); }
  ShareEntry* entries() const { return reinterpret_cast<ShareEntry*>(map_->data() + floors::entries_at(place_.shard, place_.shards, place_.entries)); }
  uint32_t mask() const { return place_.entries - 1; }
  const std::shared_ptr<Mapping>& map() const { return map_; }
  // The slot has been cleared: none of the ids it went by is told of any more.
  void forget(uint32_t slot);
  // Another key opens records of the slot's session from now on, or one does no more. Its peer may write by it before anything else of it is opened.
  void keys_changed(const Lanes& lanes, uint32_t slot);
  // Is the id one that the slot was told of by?
  bool has_told(int32_t slot, uint64_t id) const;
  // A lone datagram was refused that bears the id of the slot's session; -1: an id that names nobody.
  void refused(const Lanes& lanes, int32_t slot);

 private:
  struct Entry {
    std::atomic<uint64_t> id, word, until, block;  // ShareEntry::words
    uint8_t counts[96];
  };
  static_assert(sizeof(Entry) == floors::entry_bytes);
  // The ids a slot was told of by: its own, and those before it, which replays may still bear.
  static constexpr uint32_t ids_kept = 4;
  struct Told {
    uint64_t ids[ids_kept];
  };

  Floors(std::shared_ptr<Mapping> map, std::shared_ptr<Mapping> told, const Place& place, uint32_t slots)
      : map_{std::move(map)}, told_memory_{std::move(told)}, place_{place}, slots_{slots} {}

  void publish(uint32_t number, const PublicSlot& slot);
  bool watches(uint32_t slot) const;
  void suspect(uint32_t number, uint64_t id, uint64_t until);
  void tell_numbers(const Lanes& lanes, uint32_t number);
  void acquit(uint32_t which);
  void acquit_some();
  numbers::Block& block_of(uint32_t which) const;
  void remember(uint32_t number, uint64_t id);
  uint64_t last_told(uint32_t number) const;
  void erase(uint64_t id);
  static void clear(Entry& entry);
  Entry& entry_of(uint64_t id) const;

  std::shared_ptr<Mapping> map_, told_memory_;
  Place place_;
  uint32_t slots_;
  Suspects suspects_;
  struct Watched {
    int32_t slot = Suspects::nobody;
    uint64_t until = 0;
  };
  std::array<Watched, Suspects::cases> watched_{};  // whose numbers the kernel knows now
  uint32_t watching_ = 0;
  double next_acquittal_ = 0;
};

// The lowest number that the window might take, at least `from`, which is 0 or what this said before of the same window.
uint64_t lane_floor(const PublicSlot& slot, uint64_t from);

// Behind every nodes::open: nothing, where the lanes have no floors.
void publish_floors(const Lanes& lanes, const Batch& trains);

}  // namespace ringway
