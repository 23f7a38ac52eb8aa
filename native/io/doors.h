// Doors: sockets of a shard beside its own, for datagrams whose header names no session (native/steering/udp.cc), and for what suspects send that nobody
// can judge by its number (native/steering/sorter.cc). Whoever floods the port fills these. They are small, nothing watches them while there is no time
// for them, and they are read a few datagrams at a time; what they cannot hold the kernel drops for the price of a drop, and counts.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include <sys/socket.h>
#include <sys/uio.h>

#include "core/mapping.h"
#include "io/counters.h"
#include "io/regulars.h"

namespace ringway {

class Doors {
 public:
  static constexpr size_t most = 3;

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

  struct Received {
    uint32_t count;                  // taken from the socket
    std::span<const uint8_t> chosen;  // messages to go on with; the datagrams of the others are counted as dropped there
  };
  // Takes what there is, and chooses up to `limit` trains of it. They lie in blocks of this object's own (train_block of io/port.h) until the next call.
  // Where strangers are more than their socket holds it is read further than that, and those who ask again come first.
  Received receive(uint32_t door, uint32_t limit, PortCounters& counters);
  const mmsghdr& message(size_t number) const { return messages_[number]; }
  const uint8_t* block(size_t number) const { return scratch_->data() + number * block_bytes; }
  // Datagrams in a message: it may be a train.
  uint32_t datagrams(size_t number) const;
  uint64_t& drops(PortCounters& counters, uint32_t door) const {
    return door == suspects ? counters.suspect_drops : door == strangers ? counters.stranger_drops : counters.handshake_drops;
  }
  // What the kernel has dropped by now goes into the counters.
  void count_drops(PortCounters& counters);
  // Buffers the kernel has dropped at a socket in all its life, modulo 2^32: a datagram each, or a train, whose length it does not tell.
  // `filtered`: without those that its filter has dropped and counted there (steering/filters.cc).
  static uint32_t drops_of(int socket, const std::atomic<uint64_t>* filtered = nullptr);
  // From now on what the filter of strangers drops is no drop: it says nothing of a flood.
  void without(const std::atomic<uint64_t>* filtered);

 private:
  static constexpr uint32_t strangers = 1, suspects = 2;
  static constexpr size_t vector_length = 64, usual_length = 16, block_bytes = 65'536 + 512;
  // Of the places there are for answers, those that a flood leaves to who is seen for the first time: the time is better spent on reading on.
  static constexpr uint32_t newcomers = 4;

  static constexpr uint32_t flood_ms = 1'000;

  bool is_flooded(uint32_t now);
  std::span<const uint8_t> choose(size_t count, uint32_t limit, bool pressed, uint32_t now);

  uint32_t drops_at(uint32_t door) const { return drops_of(sockets_[door], door == strangers ? filtered_ : nullptr); }

  std::vector<int> sockets_;
  const std::atomic<uint64_t>* filtered_ = nullptr;
  std::array<uint32_t, most> counted_drops_{};
  uint32_t watched_ = 0, waiting_ = 0, armed_ = 0;
  std::shared_ptr<Mapping> scratch_;  // of each block only the pages that datagrams were long enough for are ever touched
  std::array<mmsghdr, vector_length> messages_{};
  std::array<iovec, vector_length> parts_{};
  std::array<uint8_t, vector_length> chosen_{};
  Regulars regulars_;
  uint32_t turn_ = 0;
  uint32_t flood_drops_ = 0, flooded_at_ = 0;
  bool was_flooded_ = false;
};

}  // namespace ringway
