// Arenas and batches, as JavaScript makes and fills them: createArena, createBatch, put, clear, freeBlocks.
#include <cerrno>
#include <cstring>

#include "core/args.h"
#include "core/batch.h"
#include "core/errors.h"
#include "core/functions.h"
#include "core/values.h"

namespace ringway {
namespace {

constexpr int64_t min_block = 64, max_block = 1 << 20;
constexpr int64_t max_blocks = 32'768;
constexpr int64_t max_capacity = 65'536;
constexpr int64_t max_arena = INT64_C(0xffffffff);  // `offset` is a u32
constexpr int64_t max_slot = 1 << 24;
constexpr uint32_t put_headroom = 64;  // what comes before an entry stays free for a header

napi_value pair(napi_env env, napi_value handle, napi_value buffer) {
  if (!handle || !buffer) return nullptr;
  napi_value result = new_object(env);
  set(env, result, "handle", handle);
  set(env, result, "buffer", buffer);
  return result;
}

// createArena(blockSize, blockCount) -> { handle, buffer }
napi_value create_arena(napi_env env, napi_callback_info info) {
  Args args{env, info, "createArena"};
  const auto block_size = args.integer(0, "blockSize", min_block, max_block);
  const auto block_count = args.integer(1, "blockCount", 1, max_blocks);
  if (!args.ok()) return nullptr;
  if (block_size % 64 != 0) return args.refuse_range("blockSize", "must be a multiple of 64");
  if (block_size * block_count > max_arena) return args.refuse_range("blockCount", "times blockSize must be less than 4 GiB");

  const auto bytes = static_cast<size_t>(block_size * block_count);
  auto mapping = Mapping::anonymous(bytes);
  if (!mapping) return throw_errno(env, "mmap", errno);
  auto arena = std::make_shared<Arena>(mapping, static_cast<uint32_t>(block_size), static_cast<uint32_t>(block_count));
  return pair(env, make_handle(env, std::move(arena)), to_array_buffer(env, std::move(mapping), bytes));
}

// createBatch(arena, capacity) -> { handle, buffer }
napi_value create_batch(napi_env env, napi_callback_info info) {
  Args args{env, info, "createBatch"};
  auto arena = args.shared<Arena>(0, "arena");
  const auto capacity = static_cast<uint32_t>(args.integer(1, "capacity", 1, max_capacity));
  if (!args.ok()) return nullptr;

  const size_t bytes = batch_layout(capacity).bytes;
  auto mapping = Mapping::anonymous(bytes);
  if (!mapping) return throw_errno(env, "mmap", errno);
  auto batch = std::make_shared<Batch>(std::move(arena), mapping, capacity);
  return pair(env, make_handle(env, std::move(batch)), to_array_buffer(env, std::move(mapping), bytes));
}

// put(batch, slot, kind, address, bytes) -> was there room?
napi_value put(napi_env env, napi_callback_info info) {
  Args args{env, info, "put"};
  auto* batch = args.handle<Batch>(0, "batch");
  const auto slot = args.integer(1, "slot", -1, max_slot);
  const auto kind = args.integer(2, "kind", 0, 255);
  const auto peer = args.bytes_if_any(3, "address", address::size, address::size);
  const auto max_bytes = batch ? batch->arena->block_size() - put_headroom : 0;
  const auto bytes = args.bytes(4, "bytes", 0, max_bytes);
  if (!args.ok()) return nullptr;

  if (batch->full()) return to_js(env, false);
  uint8_t* to = batch->reserve(static_cast<uint32_t>(bytes.size()), put_headroom);
  if (!to) return to_js(env, false);
  memcpy(to, bytes.data(), bytes.size());
  const uint32_t entry = batch->commit(static_cast<uint32_t>(bytes.size()));
  batch->slot[entry] = static_cast<int32_t>(slot);
  batch->kind[entry] = static_cast<uint8_t>(kind);
  if (peer.data()) memcpy(batch->address_of(entry), peer.data(), address::size);
  return to_js(env, true);
}

// clear(batch)
napi_value clear(napi_env env, napi_callback_info info) {
  Args args{env, info, "clear"};
  auto* batch = args.handle<Batch>(0, "batch");
  if (!args.ok()) return nullptr;
  batch->clear();
  return undefined(env);
}

// freeBlocks(arena) -> blocks nobody refers to, those lent to the kernel included
napi_value free_blocks(napi_env env, napi_callback_info info) {
  Args args{env, info, "freeBlocks"};
  const auto* arena = args.handle<Arena>(0, "arena");
  if (!args.ok()) return nullptr;
  return to_js(env, arena->unreferenced());
}

const Functions functions{
  {"createArena", create_arena}, {"createBatch", create_batch}, {"put", put}, {"clear", clear}, {"freeBlocks", free_blocks},
};

}  // namespace
}  // namespace ringway
