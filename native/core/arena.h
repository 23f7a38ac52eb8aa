// An arena: one mapping cut into blocks of equal size, each with a count of the entries (and queued sends) that refer to it.
// Belongs to one thread. Blocks are lent to a kernel ring by the port that receives into them: a block whose count falls to zero
// goes back to that lender, otherwise to the free list.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "core/mapping.h"

namespace ringway {

inline constexpr uint16_t no_block = 0xffff;

// Who takes blocks that nobody refers to any more (the receive ring of a port).
struct Lender {
  virtual bool take_back(uint16_t block) = 0;  // false = it has enough: to the free list

 protected:
  ~Lender() = default;
};

class Arena : public std::enable_shared_from_this<Arena> {
 public:
  static constexpr const char* type_name = "arena";
  static constexpr napi_type_tag type_tag{0x52696e6777617931, 0x9a1f0c6be0d34a01};

  Arena(std::shared_ptr<Mapping> mapping, uint32_t block_size, uint32_t block_count);

  // A free block with one reference, or no_block.
  uint16_t acquire();
  // Both ignore blocks that do not exist or that nobody refers to: `block` columns are JavaScript's to write, too.
  void retain(uint16_t block, uint32_t times = 1) {
    if (is_referenced(block)) references_[block] += times;
  }
  void release(uint16_t block, uint32_t times = 1);

  // A free block for the lender to hand to the kernel (no reference), or no_block.
  uint16_t lend();
  // A block that came back from the kernel filled: it gets its first reference.
  void filled(uint16_t block);
  void set_lender(Lender* lender) { lender_ = lender; }
  bool is_lent() const { return lender_ != nullptr; }
  // A lent block that came back empty.
  void give_back(uint16_t block) { free_.push_back(block); }

  uint8_t* bytes() const { return bytes_; }
  size_t size() const { return size_; }
  uint32_t block_size() const { return block_size_; }
  uint32_t block_count() const { return block_count_; }
  uint8_t* start(uint16_t block) const { return bytes() + size_t{block} * block_size_; }
  uint32_t offset(uint16_t block) const { return uint32_t{block} * block_size_; }
  // Does nobody but the caller refer to it?
  bool is_only_reference(uint16_t block) const { return block < block_count_ && references_[block] == 1; }
  bool is_referenced(uint16_t block) const { return block < block_count_ && references_[block] > 0; }
  uint32_t unreferenced() const { return block_count_ - used_; }
  size_t free_count() const { return free_.size(); }
  const std::shared_ptr<Mapping>& mapping() const { return mapping_; }
  // Is [offset, offset + length) inside the arena?
  bool contains(uint32_t offset, uint32_t length) const { return uint64_t{offset} + length <= size_; }

 private:
  std::shared_ptr<Mapping> mapping_;
  uint8_t* bytes_;
  size_t size_;
  uint32_t block_size_;
  uint32_t block_count_;
  uint32_t used_ = 0;
  std::vector<uint16_t> free_;
  std::vector<uint32_t> references_;
  Lender* lender_ = nullptr;
};

}  // namespace ringway
