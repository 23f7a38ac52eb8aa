// The native side of src/datapath/batch.ts: same columns, same order, same offsets (compared at start-up).
//
// The columns lie in memory that JavaScript can write, so a node trusts neither header->count nor an entry's offset and length:
// use count() and span().
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>
#include <span>

#include "core/arena.h"
#include "core/columns.h"

namespace ringway {

struct BatchHeader {
  uint32_t count, capacity, consumed, wanted, followed, refused_tcp, refused_udp, unused[9];
};
static_assert(sizeof(BatchHeader) == 64);

struct Column {
  const char* name;
  uint32_t bytes;  // per entry
};
inline constexpr std::array<Column, 16> columns{{
  {"counter", 8}, {"offset", 4}, {"length", 4}, {"segmentSize", 4}, {"train", 4}, {"slot", 4}, {"error", 4}, {"epoch", 2},
  {"block", 2}, {"headerLength", 2}, {"checksumStart", 2}, {"checksumOffset", 2}, {"flags", 2}, {"verdict", 1}, {"kind", 1},
  {"address", 40},
}};

struct BatchLayout {
  std::array<size_t, columns.size()> offsets;
  size_t bytes;
};
BatchLayout batch_layout(uint32_t capacity);

class Batch {
 public:
  static constexpr const char* type_name = "batch";
  static constexpr napi_type_tag type_tag{0x52696e6777617931, 0x9a1f0c6be0d34a02};

  Batch(std::shared_ptr<Arena> arena, std::shared_ptr<Mapping> mapping, uint32_t capacity);
  ~Batch() { clear(); }
  Batch(const Batch&) = delete;
  Batch& operator=(const Batch&) = delete;

  uint32_t count() const { return std::min(header->count, capacity); }
  bool full() const { return count() >= capacity; }

  // The entry's bytes; empty when its columns point outside the arena.
  std::span<uint8_t> span(uint32_t entry) const {
    if (!arena->contains(offset[entry], length[entry])) return {};
    return {arena->bytes() + offset[entry], length[entry]};
  }
  uint8_t* address_of(uint32_t entry) const { return address + size_t{entry} * address::size; }

  // Appends an entry with every column zero but slot (-1), offset, length and block, whose reference it takes over.
  // The caller has made sure of room (!full()).
  uint32_t append(uint32_t offset, uint32_t length, uint16_t block);
  // Zeroes the columns of `entries` places from `first` on, which lie free: append_cleared() fills them.
  void clear_columns(uint32_t first, uint32_t entries);
  // append_shared() into a place that clear_columns() has zeroed: several times as fast, where entries come by the hundred.
  uint32_t append_cleared(uint32_t offset, uint32_t length, uint16_t block, int32_t slot);
  // Appends an entry that refers to a block some other entry holds already: counts one more.
  uint32_t append_shared(uint32_t offset, uint32_t length, uint16_t block) {
    arena->retain(block);
    return append(offset, length, block);
  }

  // Room for `bytes` (at a 64-byte boundary, after `headroom` unused bytes) behind the entries already written, in a block that small entries share.
  // Returns where to write, or nullptr when no block is free or bytes do not fit one. Nothing is taken until commit().
  uint8_t* reserve(uint32_t bytes, uint32_t headroom = 0);
  // Appends an entry for the first `bytes` of what reserve() gave. Needs !full().
  uint32_t commit(uint32_t bytes);

  // Drops every entry's reference, and the shared block's.
  void clear();

  std::shared_ptr<Arena> arena;
  uint32_t capacity;
  BatchHeader* header;
  uint64_t* counter;
  uint32_t* offset;
  uint32_t* length;
  uint32_t* segment_size;
  uint32_t* train;
  int32_t* slot;
  int32_t* error;
  uint16_t* epoch;
  uint16_t* block;
  uint16_t* header_length;
  uint16_t* checksum_start;
  uint16_t* checksum_offset;
  uint16_t* flags;
  uint8_t* verdict;
  uint8_t* kind;
  uint8_t* address;

 private:
  std::shared_ptr<Mapping> mapping_;
  uint16_t open_block_ = no_block;  // shared by small entries; the batch itself holds one reference
  uint32_t open_used_ = 0;
  uint32_t reserved_ = 0;  // offset in the open block of what reserve() gave
};

}  // namespace ringway
