#include "io/regulars.h"

#include <cstring>

#include "packet/bytes.h"
#include "secret/memory.h"

namespace ringway {
namespace {

uint64_t mix(uint64_t a, uint64_t b) {
  const auto product = static_cast<unsigned __int128>(a) * b;
  return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
}

}  // namespace

bool Regulars::open() {
  memory_ = Mapping::anonymous(sizeof(Cell) << bits);
  if (!memory_) return false;
  cells_ = reinterpret_cast<Cell*>(memory_->data());
  random_bytes(seeds_, sizeof seeds_);
  return true;
}

uint64_t Regulars::hash(const sockaddr_storage& source) const {
  uint64_t words[3] = {};
  if (source.ss_family == AF_INET6) {
    const auto& address = reinterpret_cast<const sockaddr_in6&>(source);
    std::memcpy(words, &address.sin6_addr, 16);
    words[2] = address.sin6_port;
  } else {
    const auto& address = reinterpret_cast<const sockaddr_in&>(source);
    words[0] = address.sin_addr.s_addr;
    words[2] = address.sin_port;
  }
  return mix(mix(words[0] ^ seeds_[0], words[1] ^ seeds_[1]) ^ words[2] ^ seeds_[1], seeds_[0] | 1);
}

bool Regulars::see(const sockaddr_storage& source, uint32_t now) {
  const uint64_t found = hash(source);
  Cell& cell = cells_[found & ((1u << bits) - 1)];
  const auto print = static_cast<uint32_t>(found >> 32) | 1;  // never that of an empty cell
  const bool known = cell.print == print && now - cell.when < memory_ms;
  cell = {print, now};
  return known;
}

}  // namespace ringway
