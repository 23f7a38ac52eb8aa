// What handover asks of the session table: which shard a slot belongs to. The lanes of a shard (native/table) are one of these, and
// their handle is made as `make_handle<Shards>(env, lanes)`, so that native/io needs to know nothing else of them.
#pragma once

#include <cstdint>
#include <memory>

#include <node_api.h>

namespace ringway {

class Floors;

class Shards {
 public:
  static constexpr const char* type_name = "lanes";
  static constexpr napi_type_tag type_tag{0x52696e6777617931, 0x9a1f0c6be0d34a05};

  virtual ~Shards() = default;
  virtual int32_t shard_of(int32_t slot) const = 0;  // -1 for a slot that does not exist

  std::shared_ptr<Floors> floors;  // of steering/floors.h, where the kernel filters our sockets
};

}  // namespace ringway
