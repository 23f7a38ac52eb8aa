// Doors: sockets of a shard beside its own, for datagrams whose header names no session (native/steering/udp.cc). Whoever floods the port fills
// these. They are small, nothing watches them while there is no time for strangers, and they are read a few datagrams at a time; what they
// cannot hold the kernel drops for the price of a drop, and counts.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include <sys/socket.h>
#include <sys/uio.h>

#include "core/mapping.h"
#include "io/counters.h"

namespace ringway {

class Doors {
 public:
  static constexpr size_t most = 2;

  // False and errno when there is no memory.
  bool open(std::span<const int> sockets);
  size_t count() const { return sockets_.size(); }
  int socket(uint32_t door) const { return sockets_[door]; }

  // Bits of the doors from which something may be taken now; of the others nothing is told.
  void watch(uint32_t doors) { watched_ = doors; }
  uint32_t ready() const { return waiting_ & watched_; }
  // Bits of the doors that the backend is to watch, once each: something_came() ends it.
  uint32_t to_arm() const { return watched_ & ~waiting_ & ~armed_; }
  void armed(uint32_t door) { armed_ |= 1u << door; }
  uint32_t armed() const { return armed_; }
  void something_came(uint32_t door) {
    armed_ &= ~(1u << door);
    waiting_ |= 1u << door;
  }

  // Takes up to `limit` trains. They lie in blocks of this object's own (train_block of io/port.h) until the next call.
  std::span<const mmsghdr> receive(uint32_t door, uint32_t limit, PortCounters& counters);
  const uint8_t* block(size_t message) const { return scratch_->data() + message * block_bytes; }
  // What the kernel has dropped by now goes into the counters.
  void count_drops(PortCounters& counters);
  // Datagrams the kernel has dropped at a socket in all its life, modulo 2^32.
  static uint32_t drops_of(int socket);

 private:
  static constexpr size_t vector_length = 16, block_bytes = 65'536 + 512;

  std::vector<int> sockets_;
  std::array<uint32_t, most> counted_drops_{};
  uint32_t watched_ = 0, waiting_ = 0, armed_ = 0;
  std::shared_ptr<Mapping> scratch_;  // of each block only the pages that datagrams were long enough for are ever touched
  std::array<mmsghdr, vector_length> messages_{};
  std::array<iovec, vector_length> parts_{};
};

}  // namespace ringway
