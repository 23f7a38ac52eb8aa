// Memory outside the garbage collector: anonymous mappings (arenas, batches, rings), and memfds of the keeper.
//
// A mapping is unmapped when its last shared_ptr goes: JavaScript's ArrayBuffer holds one, every native object that may touch the
// bytes another. What a ring could not confirm to be idle in time is quarantined: mapped until the process ends, and counted.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include <node_api.h>

namespace ringway {

class Mapping {
 public:
  // Zeroed, page-aligned, huge pages advised from 2 MiB on. nullptr and errno on failure.
  static std::shared_ptr<Mapping> anonymous(size_t bytes);
  // MAP_SHARED of a descriptor (memfd, BPF map). `secret`: kept out of core dumps. nullptr and errno on failure.
  static std::shared_ptr<Mapping> of_descriptor(int descriptor, size_t bytes, bool secret = false);

  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;
  ~Mapping();

  uint8_t* data() const { return data_; }
  size_t bytes() const { return bytes_; }

  struct Totals {
    uint64_t mappings, bytes, quarantined;
  };
  static Totals totals();  // of the whole process
  static void quarantine(std::shared_ptr<Mapping> mapping);

 private:
  Mapping(uint8_t* data, size_t bytes) : data_{data}, bytes_{bytes} {}

  uint8_t* data_;
  size_t bytes_;
};

// An ArrayBuffer over the first `bytes` of the mapping, which it keeps alive. nullptr with an exception pending on failure.
napi_value to_array_buffer(napi_env env, std::shared_ptr<Mapping> mapping, size_t bytes);

}  // namespace ringway
