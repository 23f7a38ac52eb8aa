// Rings between the shards of one process: what landed on the wrong shard is copied here, in order per sender, and its owner takes it out.
//
// One pair of bounded byte rings (udp, tun) and one eventfd per shard. Many shards put in (one lock per ring: handing over is the exception),
// one takes out. A ring that is full refuses; the caller counts it.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "core/batch.h"
#include "core/mapping.h"
#include "kernel/descriptor.h"

namespace ringway {

enum class HandoverKind : uint8_t { udp, tun };

class Handover {
 public:
  static constexpr const char* type_name = "handover";
  static constexpr napi_type_tag type_tag{0x52696e6777617931, 0x9a1f0c6be0d34a04};

  // nullptr and errno on failure. Registered under id() until the last handle goes.
  static std::shared_ptr<Handover> create(uint32_t shards, uint32_t bytes_per_ring);
  static std::shared_ptr<Handover> attach(uint32_t id);
  ~Handover();

  uint32_t id() const { return id_; }
  uint32_t shards() const { return static_cast<uint32_t>(targets_.size()); }
  int eventfd(uint32_t shard) const { return targets_[shard]->eventfd.get(); }

  // Any thread. false = full, or longer than any block.
  bool put(uint32_t shard, HandoverKind kind, const Batch& batch, uint32_t entry);
  void notify(uint32_t shard);
  // The shard's own thread. Appends up to `limit` entries; stops when the batch or its blocks run out. What can never be taken, since no block holds
  // it or its length is not what was put in, is passed over: `unfit` counts it, and with a wrong length the ring is emptied.
  uint32_t take(uint32_t shard, HandoverKind kind, Batch& batch, uint32_t limit, uint64_t& unfit);
  void drain_eventfd(uint32_t shard);
  bool waits(uint32_t shard) const;

 private:
  struct Ring {
    std::mutex put_lock;
    uint8_t* bytes = nullptr;
    uint32_t size = 0;
    alignas(64) std::atomic<uint64_t> put = 0;   // bytes ever put in, raised after the copy
    alignas(64) std::atomic<uint64_t> taken = 0;  // bytes ever taken out
  };
  struct Target {
    Ring rings[2];
    Descriptor eventfd;
  };

  static void copy_in(Ring& ring, uint64_t at, const void* from, size_t bytes);
  static void copy_out(const Ring& ring, uint64_t at, void* to, size_t bytes);

  uint32_t id_ = 0;
  std::shared_ptr<Mapping> mapping_;
  std::vector<std::unique_ptr<Target>> targets_;
};

}  // namespace ringway
