#include "io/handover.h"

#include <cerrno>
#include <cstring>
#include <map>

#include <sys/eventfd.h>
#include <unistd.h>

#include "io/transmit.h"

namespace ringway {
namespace {

struct Registry {
  std::mutex lock;
  uint32_t last_id = 0;
  std::map<uint32_t, std::weak_ptr<Handover>> by_id;
};

Registry& registry() {
  static auto* the_one = new Registry;  // outlives every worker
  return *the_one;
}

// An entry in a ring: this, then its bytes, padded to 8.
struct Record {
  uint64_t counter;
  uint32_t length, segment_size, train;
  int32_t slot;
  uint16_t epoch, header_length, checksum_start, checksum_offset, flags;
  uint8_t kind, unused;
  uint8_t address[address::size];
};
static_assert(sizeof(Record) % 8 == 0);

constexpr uint32_t headroom = 64;  // in front of what is taken

uint64_t padded(uint32_t length) { return sizeof(Record) + (uint64_t{length} + 7) / 8 * 8; }

}  // namespace

std::shared_ptr<Handover> Handover::create(uint32_t shards, uint32_t bytes_per_ring) {
  std::shared_ptr<Handover> made{new Handover};
  made->mapping_ = Mapping::anonymous(size_t{shards} * 2 * bytes_per_ring);
  if (!made->mapping_) return nullptr;
  uint8_t* next = made->mapping_->data();
  for (uint32_t i = 0; i < shards; i++) {
    auto target = std::make_unique<Target>();
    for (Ring& ring : target->rings) {
      ring.bytes = next;
      ring.size = bytes_per_ring;
      next += bytes_per_ring;
    }
    target->eventfd = Descriptor{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
    if (!target->eventfd.ok()) return nullptr;
    made->targets_.push_back(std::move(target));
  }
  Registry& all = registry();
  const std::lock_guard guard{all.lock};
  made->id_ = ++all.last_id;
  all.by_id[made->id_] = made;
  return made;
}

std::shared_ptr<Handover> Handover::attach(uint32_t id) {
  Registry& all = registry();
  const std::lock_guard guard{all.lock};
  const auto found = all.by_id.find(id);
  return found == all.by_id.end() ? nullptr : found->second.lock();
}

Handover::~Handover() {
  Registry& all = registry();
  const std::lock_guard guard{all.lock};
  all.by_id.erase(id_);
}

bool Handover::put(uint32_t shard, HandoverKind kind, const Batch& batch, uint32_t i) {
  Ring& ring = targets_[shard]->rings[static_cast<size_t>(kind)];
  const auto bytes = batch.span(i);
  if (bytes.size() + headroom > batch.arena->block_size()) return false;  // columns that lie: the owner would never find room
  Record record{};
  record.counter = batch.counter[i];
  record.length = static_cast<uint32_t>(bytes.size());
  record.segment_size = batch.segment_size[i];
  record.train = batch.train[i];
  record.slot = batch.slot[i];
  record.epoch = batch.epoch[i];
  record.header_length = batch.header_length[i];
  record.checksum_start = batch.checksum_start[i];
  record.checksum_offset = batch.checksum_offset[i];
  record.flags = batch.flags[i];
  record.kind = batch.kind[i];
  memcpy(record.address, batch.address_of(i), address::size);

  const std::lock_guard guard{ring.put_lock};
  const uint64_t at = ring.put.load(std::memory_order_relaxed);
  const uint64_t used = at - ring.taken.load(std::memory_order_acquire);
  if (padded(record.length) > ring.size - used) return false;
  copy_in(ring, at, &record, sizeof record);
  copy_in(ring, at + sizeof record, bytes.data(), bytes.size());
  ring.put.store(at + padded(record.length), std::memory_order_release);
  return true;
}

void Handover::notify(uint32_t shard) {
  const uint64_t one = 1;
  // EAGAIN: the counter is full, so the shard is awake already
  while (::write(eventfd(shard), &one, sizeof one) < 0 && errno == EINTR) {
  }
}

uint32_t Handover::take(uint32_t shard, HandoverKind kind, Batch& batch, uint32_t limit, uint64_t& unfit) {
  Ring& ring = targets_[shard]->rings[static_cast<size_t>(kind)];
  uint64_t at = ring.taken.load(std::memory_order_relaxed);
  const uint64_t end = ring.put.load(std::memory_order_acquire);
  uint32_t taken = 0;
  while (at < end && taken < limit && !batch.full()) {
    Record record;
    copy_out(ring, at, &record, sizeof record);
    if (padded(record.length) > end - at) {  // written over: nothing behind it can be found
      unfit++;
      ring.taken.store(end, std::memory_order_release);
      break;
    }
    if (uint64_t{record.length} + headroom > batch.arena->block_size()) {
      unfit += kind == HandoverKind::udp ? transmit::datagrams_in(record.length, record.segment_size) : 1;
      at += padded(record.length);
      ring.taken.store(at, std::memory_order_release);
      continue;
    }
    uint8_t* to = batch.reserve(record.length, headroom);
    if (!to) break;
    copy_out(ring, at + sizeof record, to, record.length);
    const uint32_t i = batch.commit(record.length);
    batch.counter[i] = record.counter;
    batch.segment_size[i] = record.segment_size;
    batch.train[i] = record.train;
    batch.slot[i] = record.slot;
    batch.epoch[i] = record.epoch;
    batch.header_length[i] = record.header_length;
    batch.checksum_start[i] = record.checksum_start;
    batch.checksum_offset[i] = record.checksum_offset;
    batch.flags[i] = record.flags;
    batch.kind[i] = record.kind;
    memcpy(batch.address_of(i), record.address, address::size);
    at += padded(record.length);
    taken++;
    ring.taken.store(at, std::memory_order_release);
  }
  return taken;
}

void Handover::drain_eventfd(uint32_t shard) {
  uint64_t count;
  while (::read(eventfd(shard), &count, sizeof count) < 0 && errno == EINTR) {
  }
}

bool Handover::waits(uint32_t shard) const {
  for (const Ring& ring : targets_[shard]->rings) {
    if (ring.put.load(std::memory_order_acquire) != ring.taken.load(std::memory_order_relaxed)) return true;
  }
  return false;
}

void Handover::copy_in(Ring& ring, uint64_t at, const void* from, size_t bytes) {
  if (bytes == 0) return;
  const size_t start = at % ring.size;
  const size_t first = std::min<size_t>(bytes, ring.size - start);
  memcpy(ring.bytes + start, from, first);
  memcpy(ring.bytes, static_cast<const uint8_t*>(from) + first, bytes - first);
}

void Handover::copy_out(const Ring& ring, uint64_t at, void* to, size_t bytes) {
  if (bytes == 0) return;
  const size_t start = at % ring.size;
  const size_t first = std::min<size_t>(bytes, ring.size - start);
  memcpy(to, ring.bytes + start, first);
  memcpy(static_cast<uint8_t*>(to) + first, ring.bytes, bytes - first);
}

}  // namespace ringway
