// Shares: of a queue that the kernel fills, and drops from blindly when it is full, nobody may have more than a part: four times what is free, so that there
// is always room for somebody else (a dynamic threshold, Choudhury and Hahne 1998). A program of the kernel counts what it puts into the queue, by whose it is,
// and drops what is beyond (steering/programs.h, take_place); here is counted what was taken from it. Both are in a map that both see.
#pragma once

#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>

#include "core/mapping.h"

namespace ringway {

// Each in lines of the cache of their own: that of the shard, which the kernel reads, and that of the kernel.
struct ShareEntry {
  std::atomic<uint64_t> words[4];  // of steering/floors.h
  std::atomic<uint32_t> taken;
  alignas(64) std::atomic<uint32_t> put;
  std::atomic<uint32_t> epoch;  // of the queue, when the kernel put something there
};
struct ShareHead {
  std::atomic<uint64_t> filtered, garbage, beyond;  // dropped by programs; the first two are of steering/floors.h
  alignas(64) std::atomic<uint32_t> put;
  alignas(64) std::atomic<uint64_t> until;  // of steering/floors.h
  std::atomic<uint32_t> taken;
  std::atomic<uint32_t> epoch;  // of entries of an older one nothing is in the queue
  std::atomic<uint32_t> open;   // not 0: nothing is beyond anybody's share
};
static_assert(sizeof(ShareEntry) == 128 && sizeof(ShareHead) == 192);

// Whose a datagram or a packet is, as programs see it.
namespace share {
inline constexpr size_t looked_at = 24, id = 8;  // of a datagram's payload (docs/protocol.md §1.2)
inline constexpr uint16_t magic = std::endian::native == std::endian::little ? 0x6548 : 0x4865;
inline constexpr uint32_t index_shift = 8;  // the first byte of an id chooses the shard, and says nothing within it
inline constexpr uint32_t tag_shift = 48;   // of an id, and of an entry's second word: who knows only one of the two belongs to nobody
// Of a packet: the last four bytes of the address it goes to, which many may share.
inline constexpr size_t ipv4_destination = 16, ipv6_destination = 36;
inline constexpr uint32_t golden = 0x9e3779b1, device_entries = 1024, device_shift = 22;
constexpr uint32_t place_of(uint32_t address) { return address * golden >> device_shift; }
}  // namespace share

class Shares {
 public:
  bool attached() const { return head_ != nullptr; }
  void attach(std::shared_ptr<Mapping> memory, ShareHead* head, ShareEntry* entries) {
    memory_ = std::move(memory);
    head_ = head;
    entries_ = entries;
    before_ = head->beyond.load(std::memory_order_relaxed);
    open();  // a predecessor may have left something
  }
  ShareEntry& entry(size_t index) const { return entries_[index]; }

  // One of the entry's.
  void take(ShareEntry& entry) {
    if (&entry != last_) flush_entry();
    last_ = &entry;
    count_++;
  }
  // Behind a vector: the lines of the cache that other processors read are written once for it, and once for each run of an entry's.
  void flush() {
    flush_entry();
    if (all_ == 0) return;
    head_->taken.fetch_add(all_, std::memory_order_relaxed);
    all_ = 0;
    taken_ = true;
  }
  // What was put there may not be in the queue, as it was dropped behind the program: from now on the counts judge nobody, until the queue is found empty. Also for
  // as long as nobody reads it.
  void open() {
    if (head_) head_->open.store(1, std::memory_order_relaxed);
  }
  // Nothing is in the queue: whatever was counted wrong (what the kernel dropped behind the program, who shares an entry) is forgotten. Also where nothing was
  // taken: of whom the kernel has dropped all, nothing would ever come again.
  void drained() {
    if (!head_) return;
    const uint32_t put = head_->put.load(std::memory_order_relaxed);
    if (!taken_ && head_->taken.load(std::memory_order_relaxed) == put && head_->open.load(std::memory_order_relaxed) == 0) return;
    taken_ = false;
    head_->taken.store(put, std::memory_order_relaxed);
    head_->epoch.fetch_add(1, std::memory_order_relaxed);
    head_->open.store(0, std::memory_order_relaxed);
  }
  // What the program has dropped since attach().
  uint64_t beyond() const { return head_ ? head_->beyond.load(std::memory_order_relaxed) - before_ : 0; }

 private:
  void flush_entry() {
    if (count_ == 0) return;
    last_->taken.fetch_add(count_, std::memory_order_relaxed);
    all_ += count_;
    count_ = 0;
  }

  std::shared_ptr<Mapping> memory_;
  ShareHead* head_ = nullptr;
  ShareEntry* entries_ = nullptr;
  ShareEntry* last_ = nullptr;
  uint32_t count_ = 0, all_ = 0;
  bool taken_ = false;
  uint64_t before_ = 0;
};

}  // namespace ringway
