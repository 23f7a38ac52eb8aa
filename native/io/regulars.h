// Who of those behind the strangers' door has come before. Who means well asks again, from the same address and port, until there is an answer; a
// flood from made-up addresses seldom does. So what a full door cannot answer is worth remembering, at 8 bytes a source.
#pragma once

#include <cstdint>
#include <memory>

#include <netinet/in.h>
#include <sys/socket.h>

#include "core/mapping.h"

namespace ringway {

class Regulars {
 public:
  // A client that has not been answered asks again after 0.1 s, then after twice the last wait (docs/protocol.md §2.9).
  static constexpr uint32_t memory_ms = 8'000;

  // False and errno when there is no memory.
  bool open();
  // Whether the source was seen within memory_ms; it is remembered from now on. @param now in milliseconds, modulo 2^32
  bool see(const sockaddr_storage& source, uint32_t now);

 private:
  static constexpr uint32_t bits = 18;  // sources: at 50,000 a second nine of ten are still known after half a second
  struct Cell {
    uint32_t print, when;
  };

  uint64_t hash(const sockaddr_storage& source) const;

  std::shared_ptr<Mapping> memory_;  // touched only where somebody was seen
  Cell* cells_ = nullptr;
  uint64_t seeds_[2]{};  // nobody outside can tell which sources share a cell
};

}  // namespace ringway
