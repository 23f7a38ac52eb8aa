#include "secret/memory.h"

#include <sys/mman.h>
#include <sys/random.h>

#include <array>
#include <bit>
#include <cerrno>
#include <cstdlib>
#include <mutex>

#include "aead/aead.h"

namespace ringway {
namespace {

constexpr size_t smallest = 64;
constexpr size_t classes = 12;  // 64 bytes to 128 KB
constexpr size_t chunk = 256 * 1024;

struct Free {
  Free* next;
};

struct Pool {
  std::mutex lock;
  std::array<Free*, classes> free{};
  uint8_t* rest = nullptr;
  size_t left = 0;
};
Pool& pool() {
  static Pool* const one = new Pool;  // outlives every finalizer
  return *one;
}

size_t class_of(size_t bytes) { return bytes <= smallest ? 0 : std::bit_width((bytes - 1) / smallest); }

}  // namespace

void* SecretMemory::take(size_t bytes) {
  const size_t index = class_of(bytes);
  if (index >= classes) return nullptr;
  Pool& from = pool();
  const std::lock_guard guard{from.lock};
  if (Free* cell = from.free[index]) {
    from.free[index] = cell->next;
    cell->next = nullptr;
    return cell;
  }
  const size_t size = smallest << index;
  if (from.left < size) {
    void* pages = mmap(nullptr, chunk, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pages == MAP_FAILED) return nullptr;
    madvise(pages, chunk, MADV_DONTDUMP);
    mlock(pages, chunk);  // refused beyond RLIMIT_MEMLOCK: then it may be swapped, which is the host's choice
    from.rest = static_cast<uint8_t*>(pages);
    from.left = chunk;
  }
  void* cell = from.rest;
  from.rest += size;
  from.left -= size;
  return cell;
}

void SecretMemory::give_back(void* memory, size_t bytes) {
  if (!memory) return;
  wipe(memory, bytes);
  Pool& to = pool();
  const std::lock_guard guard{to.lock};
  Free* cell = static_cast<Free*>(memory);
  cell->next = to.free[class_of(bytes)];
  to.free[class_of(bytes)] = cell;
}

void random_bytes(void* to, size_t length) {
  uint8_t* at = static_cast<uint8_t*>(to);
  while (length > 0) {
    const ssize_t got = getrandom(at, length, 0);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) std::abort();
    at += got;
    length -= static_cast<size_t>(got);
  }
}

}  // namespace ringway
