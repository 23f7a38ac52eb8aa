#include "io/lending.h"

#include <algorithm>
#include <cerrno>

namespace ringway {

bool Lending::open(io_uring& ring, std::shared_ptr<Arena> arena, unsigned group, size_t skip) {
  arena_ = std::move(arena);
  skip_ = skip;
  reserve_ = std::max<size_t>(1, arena_->block_count() / 8);
  while (entries_ < arena_->block_count()) entries_ *= 2;
  memory_ = Mapping::anonymous(entries_ * sizeof(io_uring_buf));
  if (!memory_) return false;
  buffers_ = reinterpret_cast<io_uring_buf_ring*>(memory_->data());
  io_uring_buf_reg registration{};
  registration.ring_addr = reinterpret_cast<uint64_t>(buffers_);
  registration.ring_entries = entries_;
  registration.bgid = static_cast<uint16_t>(group);
  const int error = io_uring_register_buf_ring(&ring, &registration, 0);
  if (error < 0) {
    errno = -error;
    return false;
  }
  io_uring_buf_ring_init(buffers_);
  completed_.resize(entries_);
  is_lent_.assign(arena_->block_count(), false);
  lend_portion();
  arena_->set_lender(this);
  return true;
}

bool Lending::take_back(uint16_t block) {
  if (arena_->free_count() < reserve_ || lent_ >= portion_.blocks()) return false;
  lend(block);
  lend_portion();  // which may be more blocks than before
  return true;
}

// The block that was used last is lent first.
void Lending::lend_portion() {
  while (arena_->free_count() > reserve_ && lent_ < portion_.blocks()) lend(arena_->lend());
}

void Lending::close() {
  if (!arena_) return;
  arena_->set_lender(nullptr);
  while (pending()) arena_->release(pop().block);
  for (uint32_t block = 0; block < is_lent_.size(); block++) {
    if (is_lent_[block]) arena_->give_back(static_cast<uint16_t>(block));
  }
  is_lent_.clear();
  arena_ = nullptr;
  memory_ = nullptr;
}

void Lending::quarantine() {
  if (!arena_) return;
  Mapping::quarantine(arena_->mapping());
  Mapping::quarantine(memory_);
  arena_->set_lender(nullptr);
  arena_ = nullptr;
}

}  // namespace ringway
