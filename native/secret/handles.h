// Secrets and record keys as JavaScript holds them: opaque, zeroed when destroyed or collected.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include <node_api.h>

#include "aead/record.h"
#include "core/args.h"
#include "secret/hkdf.h"
#include "secret/memory.h"

namespace ringway {

class Secret {
 public:
  static constexpr const char* type_name = "secret";
  static constexpr napi_type_tag type_tag{0x52696e6777617933, 0x1c94ad0f62e70c01};
  static constexpr size_t max_bytes = 64 * 1024;

  // Zeroed bytes to be filled; nullptr when memory is short.
  static std::shared_ptr<Secret> make(Hash hash, size_t length);
  ~Secret() { destroy(); }
  Secret(const Secret&) = delete;
  Secret& operator=(const Secret&) = delete;

  Hash hash() const { return hash_; }
  bool live() const { return bytes_ != nullptr; }
  uint8_t* data() { return bytes_; }
  Bytes bytes() const { return {bytes_, length_}; }
  void destroy();

 private:
  Secret(Hash hash, uint8_t* bytes, size_t length) : hash_{hash}, bytes_{bytes}, length_{length} {}

  Hash hash_;
  uint8_t* bytes_;
  size_t length_;
};

// Refuses secrets that were destroyed: nullptr with an exception pending.
Secret* live_secret(Args& args, size_t index, const char* name);

}  // namespace ringway
