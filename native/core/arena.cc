#include "core/arena.h"

#include <algorithm>

namespace ringway {

Arena::Arena(std::shared_ptr<Mapping> mapping, uint32_t block_size, uint32_t block_count)
    : mapping_{std::move(mapping)}, bytes_{mapping_->data()}, size_{size_t{block_size} * block_count}, block_size_{block_size}, block_count_{block_count} {
  free_.reserve(block_count);
  for (uint32_t i = block_count; i > 0; i--) free_.push_back(static_cast<uint16_t>(i - 1));
  references_.assign(block_count, 0);
}

uint16_t Arena::acquire() {
  const uint16_t block = lend();
  if (block != no_block) filled(block);
  return block;
}

void Arena::release(uint16_t block, uint32_t times) {
  if (block >= block_count_ || references_[block] == 0) return;
  references_[block] -= std::min(times, references_[block]);
  if (references_[block] > 0) return;
  used_--;
  if (!lender_ || !lender_->take_back(block)) free_.push_back(block);
}

uint16_t Arena::lend() {
  if (free_.empty()) return no_block;
  const uint16_t block = free_.back();
  free_.pop_back();
  return block;
}

void Arena::filled(uint16_t block) {
  references_[block] = 1;
  used_++;
}

}  // namespace ringway
