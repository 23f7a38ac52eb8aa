#include "core/mapping.h"

#include <cerrno>
#include <mutex>
#include <vector>

#include <sys/mman.h>

namespace ringway {
namespace {

// Workers come and go; the registry is the process's and is never destroyed before their threads.
struct Registry {
  std::mutex lock;
  uint64_t mappings = 0;
  uint64_t bytes = 0;
  std::vector<std::shared_ptr<Mapping>> quarantined;
};

Registry& registry() {
  static auto* the_one = new Registry;
  return *the_one;
}

constexpr size_t huge_page = size_t{2} << 20;

void let_go(napi_env, void*, void* mapping) { delete static_cast<std::shared_ptr<Mapping>*>(mapping); }

uint8_t* record(void* data, size_t bytes) {
  if (data == MAP_FAILED) return nullptr;
  Registry& all = registry();
  const std::lock_guard guard{all.lock};
  all.mappings++;
  all.bytes += bytes;
  return static_cast<uint8_t*>(data);
}

}  // namespace

std::shared_ptr<Mapping> Mapping::anonymous(size_t bytes) {
  uint8_t* data = record(mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), bytes);
  if (!data) return nullptr;
  // a hint only: without transparent huge pages the arena works, with more TLB misses
  if (bytes >= huge_page) (void)madvise(data, bytes, MADV_HUGEPAGE);
  return std::shared_ptr<Mapping>{new Mapping{data, bytes}};
}

std::shared_ptr<Mapping> Mapping::of_descriptor(int descriptor, size_t bytes, bool secret) {
  uint8_t* data = record(mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0), bytes);
  if (!data) return nullptr;
  std::shared_ptr<Mapping> mapping{new Mapping{data, bytes}};
  if (secret && madvise(data, bytes, MADV_DONTDUMP) != 0) return nullptr;
  return mapping;
}

Mapping::~Mapping() {
  munmap(data_, bytes_);
  Registry& all = registry();
  const std::lock_guard guard{all.lock};
  all.mappings--;
  all.bytes -= bytes_;
}

Mapping::Totals Mapping::totals() {
  Registry& all = registry();
  const std::lock_guard guard{all.lock};
  return {all.mappings, all.bytes, all.quarantined.size()};
}

void Mapping::quarantine(std::shared_ptr<Mapping> mapping) {
  Registry& all = registry();
  const std::lock_guard guard{all.lock};
  all.quarantined.push_back(std::move(mapping));
}

napi_value to_array_buffer(napi_env env, std::shared_ptr<Mapping> mapping, size_t bytes) {
  uint8_t* data = mapping->data();
  auto* keep = new std::shared_ptr<Mapping>{std::move(mapping)};
  napi_value buffer = nullptr;
  if (napi_create_external_arraybuffer(env, data, bytes, let_go, keep, &buffer) != napi_ok) {
    delete keep;
    return nullptr;
  }
  return buffer;
}

}  // namespace ringway
