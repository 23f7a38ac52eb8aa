// What the targets that walk trains stand on: input taken piece by piece, a session table of a few slots with keys that everybody knows, and
// batches in arenas of which AddressSanitizer lets nodes touch the entries' bytes and nothing else. Backends: native/fuzz/backends/toy.cc.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <span>
#include <vector>

#include "core/batch.h"
#include "table/lanes.h"

namespace ringway::fuzz {

inline void must(bool holds) {
  if (!holds) std::abort();
}

// The fuzzer's bytes; zeros when they are used up.
class Input {
 public:
  Input(const uint8_t* data, size_t size) : rest_{data, size} {}

  bool empty() const { return rest_.empty(); }
  std::span<const uint8_t> bytes(size_t most) {
    const auto taken = rest_.first(std::min(most, rest_.size()));
    rest_ = rest_.subspan(taken.size());
    return taken;
  }
  template <class T>
  T take() {
    T value{};
    const auto taken = bytes(sizeof value);
    if (!taken.empty()) std::memcpy(&value, taken.data(), taken.size());
    return value;
  }
  uint32_t below(uint32_t limit) { return limit <= 256 ? take<uint8_t>() % limit : take<uint16_t>() % limit; }
  bool one_in(uint32_t n) { return below(n) == n - 1; }  // false at the input's end
  template <class T, size_t n>
  T one_of(const T (&list)[n]) {
    return list[below(n)];
  }

 private:
  std::span<const uint8_t> rest_;
};

using Octets = std::vector<uint8_t>;

// A batch with an arena of its own or of another batch.
struct Pool {
  Pool(uint32_t block_size, uint32_t blocks, uint32_t capacity);
  Pool(const Pool& arena_of, uint32_t capacity);

  // Appends an entry; false when there is no room.
  bool add(std::span<const uint8_t> bytes);
  // Only the bytes of entries may be touched until unlock().
  void lock() const;
  void unlock() const;
  // Clears the batch. What was lost of its arena, or given back twice, shows in the arena's count.
  void clear();
  // Arena and batch as they were made: columns that lied may have cost the arena blocks.
  void renew();
  void renew(const Pool& arena_of);

  std::shared_ptr<Arena> arena;
  std::shared_ptr<Batch> batch;

 private:
  std::shared_ptr<Mapping> columns_;
};

// Overwrites entries of any column, and the header, with whatever the input says.
void spoil(Input& input, Batch& batch);

inline constexpr uint32_t slots = 6, generation = 7;

struct World {
  World();
  // All slots anew; the input chooses states, flags, versions, counters.
  void reset(Input& input);
  // A slot of the peers' table: receives with what `slot` sends with, and is online.
  void mirror(uint32_t slot);

  std::shared_ptr<Table> table, peers;
  std::shared_ptr<Index> index;
  std::shared_ptr<Lanes> lanes;  // of a server: shard 0 of 2
  std::shared_ptr<Lanes> peer;   // of a client: `single` is to be set
};

uint32_t inside_of(uint32_t slot);
void outside_of(uint32_t number, uint8_t* address);  // slots and then strangers
inline constexpr uint16_t epochs[]{4, 5, 6};         // keys of these are installed

// An IPv4 packet of the input's choice, its checksums mostly right.
Octets inner_packet(Input& input, uint32_t source, uint32_t destination);

// Sealed datagrams, with the Lightway header in front.
struct Content {
  uint64_t number;
  Octets packet;
};
Octets seal_lane(const World& world, uint32_t slot, bool with_previous, const Content& content);
struct RecordForm {
  uint16_t epoch;
  bool long_number, with_length;
  uint8_t type, padding;
};
Octets seal_record(const World& world, uint32_t slot, const RecordForm& form, const Content& content);  // a record alone
Octets data_frame(const Octets& packet);
Octets header(const World& world, uint32_t slot, bool expresslane);

}  // namespace ringway::fuzz
