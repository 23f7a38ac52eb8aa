#include "core/batch.h"

#include <cstring>

namespace ringway {

BatchLayout batch_layout(uint32_t capacity) {
  BatchLayout layout{};
  size_t at = sizeof(BatchHeader);
  for (size_t i = 0; i < columns.size(); i++) {
    layout.offsets[i] = at;
    at += (size_t{capacity} * columns[i].bytes + 63) / 64 * 64;
  }
  layout.bytes = at;
  return layout;
}

Batch::Batch(std::shared_ptr<Arena> arena, std::shared_ptr<Mapping> mapping, uint32_t capacity)
    : arena{std::move(arena)}, capacity{capacity}, mapping_{std::move(mapping)} {
  uint8_t* base = mapping_->data();
  const BatchLayout layout = batch_layout(capacity);
  size_t next = 0;
  const auto take = [&]<class T>(T*& column) { column = reinterpret_cast<T*>(base + layout.offsets[next++]); };
  header = reinterpret_cast<BatchHeader*>(base);
  header->capacity = capacity;
  take(counter);  // from here on in the order of `columns`
  take(offset);
  take(length);
  take(segment_size);
  take(train);
  take(slot);
  take(error);
  take(epoch);
  take(block);
  take(header_length);
  take(checksum_start);
  take(checksum_offset);
  take(flags);
  take(verdict);
  take(kind);
  take(address);
}

uint32_t Batch::append(uint32_t at, uint32_t bytes, uint16_t in_block) {
  const uint32_t i = count();
  header->count = i + 1;
  counter[i] = 0;
  offset[i] = at;
  length[i] = bytes;
  segment_size[i] = 0;
  train[i] = 0;
  slot[i] = -1;
  error[i] = 0;
  epoch[i] = 0;
  block[i] = in_block;
  header_length[i] = 0;
  checksum_start[i] = 0;
  checksum_offset[i] = 0;
  flags[i] = 0;
  verdict[i] = verdict::pass;
  kind[i] = 0;
  memset(address_of(i), 0, address::size);
  return i;
}

void Batch::clear_columns(uint32_t first, uint32_t entries) {
  uint8_t* base = mapping_->data();
  const BatchLayout layout = batch_layout(capacity);
  for (size_t i = 0; i < columns.size(); i++) memset(base + layout.offsets[i] + size_t{first} * columns[i].bytes, 0, size_t{entries} * columns[i].bytes);
}

uint32_t Batch::append_cleared(uint32_t at, uint32_t bytes, uint16_t in_block, int32_t of_slot) {
  const uint32_t i = count();
  header->count = i + 1;
  arena->retain(in_block);
  offset[i] = at;
  length[i] = bytes;
  block[i] = in_block;
  slot[i] = of_slot;
  return i;
}

uint8_t* Batch::reserve(uint32_t bytes, uint32_t headroom) {
  const uint64_t needed = uint64_t{headroom} + bytes;
  if (needed > arena->block_size()) return nullptr;
  if (open_block_ == no_block || open_used_ + needed > arena->block_size()) {
    const uint16_t fresh = arena->acquire();
    if (fresh == no_block) return nullptr;
    arena->release(open_block_);
    open_block_ = fresh;
    open_used_ = 0;
  }
  reserved_ = open_used_ + headroom;
  return arena->start(open_block_) + reserved_;
}

uint32_t Batch::commit(uint32_t bytes) {
  const uint32_t at = arena->offset(open_block_) + reserved_;
  open_used_ = std::min((reserved_ + bytes + 63) / 64 * 64, arena->block_size());
  return append_shared(at, bytes, open_block_);
}

void Batch::clear() {
  const uint32_t entries = count();
  for (uint32_t i = 0; i < entries;) {  // neighbours mostly share a block
    const uint16_t of = block[i];
    const uint32_t first = i;
    while (i < entries && block[i] == of) i++;
    arena->release(of, i - first);
  }
  header->count = 0;
  header->consumed = 0;
  header->wanted = 0;
  header->followed = 0;
  header->refused_tcp = 0;
  header->refused_udp = 0;
  arena->release(open_block_);
  open_block_ = no_block;
}

}  // namespace ringway
