// Which slot a datagram or packet belongs to, by session id, outside address or inside address. One index serves all shards of a
// process: reads take no lock (a sequence number tells when a writer was in the way), writes are serialised.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include <node_api.h>

#include "core/mapping.h"

namespace ringway {

class Index {
 public:
  static constexpr const char* type_name = "index";
  static constexpr napi_type_tag type_tag{0x52696e6777617932, 0x4b7d1e5533a80b01};

  enum class Kind : uint8_t { id, outside, inside };
  static constexpr size_t key_bytes(Kind kind) { return kind == Kind::id ? 8 : kind == Kind::outside ? 20 : 4; }

  explicit Index(uint32_t slots);
  uint32_t slots() const { return slots_; }

  // False when the map of this kind is full.
  bool set(Kind kind, const uint8_t* key, int32_t slot);
  // Only if it leads to `slot`.
  void remove(Kind kind, const uint8_t* key, int32_t slot);
  int32_t get(Kind kind, const uint8_t* key) const;  // -1 = unknown
  int32_t inside(uint32_t address) const;            // the same by number

  // From now on the kernel knows which ids there are: a bit for each, by bits of it, which others may share (steering/floors.h). Once: a map is of one index.
  void tell_ids(std::shared_ptr<Mapping> memory, std::atomic<uint8_t>* bits, uint32_t mask);

  // For the other threads of the process.
  static uint32_t publish(std::shared_ptr<Index> index);
  static std::shared_ptr<Index> attach(uint32_t id);

 private:
  struct Key {
    uint64_t words[3];
    bool operator==(const Key&) const = default;
  };
  // Open addressing with linear probing and deletion by shifting back, at most half full: a miss ends soon.
  struct Map {
    struct Cell {
      std::atomic<uint64_t> words[3];
      std::atomic<int32_t> slot;  // -1 = empty
    };
    std::unique_ptr<Cell[]> cells;
    uint64_t mask;
    uint32_t used = 0;
    std::atomic<uint32_t> sequence{0};  // odd while a writer is at work
  };

  static Key widen(Kind kind, const uint8_t* key);
  uint64_t hash(const Key& key) const;
  uint64_t find(const Map& map, const Key& key) const;  // the cell with the key, or the empty one where it would go

  void told(const Key& key, bool there);

  uint32_t slots_;
  std::shared_ptr<Mapping> told_memory_;
  std::atomic<uint8_t>* told_bits_ = nullptr;
  uint32_t told_mask_ = 0;
  std::vector<uint8_t> told_counts_;  // of each bit: how many ids it stands for, or `many`, and then it stays
  uint64_t seeds_[3];
  std::mutex writing_;
  std::array<Map, 3> maps_;
};

}  // namespace ringway
