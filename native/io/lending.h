// A ring of provided buffers over the blocks of an arena (IORING_REGISTER_PBUF_RING): what multishot receives of a UringPort fill.
// An eighth of the blocks stays back for what handover and put() bring.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include <liburing.h>

#include "core/arena.h"
#include "io/portion.h"

namespace ringway {

struct Completed {
  uint16_t block;
  int32_t result;
};

class Lending final : public Lender {
 public:
  // `skip`: bytes of every block that the kernel leaves free. false: refused, errno says why.
  bool open(io_uring& ring, std::shared_ptr<Arena> arena, unsigned group, size_t skip);
  bool take_back(uint16_t block) override;
  // The kernel has let go of the ring: its blocks are the arena's again.
  void close();
  // It has not: neither blocks nor ring are ever unmapped.
  void quarantine();

  void filled(uint16_t block, int32_t result) {
    is_lent_[block] = false;
    lent_--;
    arena_->filled(block);
    portion_.took(static_cast<uint32_t>(result));
    completed_[last_++ % entries_] = {block, result};
  }
  void came_back_empty(uint16_t block) {
    lent_--;
    lend(block);
  }
  bool pending() const { return first_ != last_; }
  Completed pop() { return completed_[first_++ % entries_]; }
  uint32_t lent() const { return lent_; }
  // All that may be lent is: what came found no block because work is behind, not because a portion was full.
  bool is_short() const { return arena_->free_count() <= reserve_; }
  Arena& arena() const { return *arena_; }

 private:
  void lend(uint16_t block) {
    is_lent_[block] = true;
    lent_++;
    const auto room = static_cast<unsigned>(arena_->block_size() - skip_);
    io_uring_buf_ring_add(buffers_, arena_->start(block) + skip_, room, block, io_uring_buf_ring_mask(entries_), 0);
    io_uring_buf_ring_advance(buffers_, 1);
  }

  void lend_portion();

  std::shared_ptr<Arena> arena_;
  std::shared_ptr<Mapping> memory_;
  io_uring_buf_ring* buffers_ = nullptr;
  Portion portion_;
  size_t skip_ = 0, reserve_ = 1;
  uint32_t entries_ = 1, lent_ = 0, first_ = 0, last_ = 0;
  std::vector<bool> is_lent_;
  std::vector<Completed> completed_;  // a ring: filled, not yet an entry; never more than there are blocks
};

}  // namespace ringway
