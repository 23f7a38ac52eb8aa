// steerTun, attachSteering: which TUN queue, and so which shard, a packet for an inside address goes to.
//
// An eBPF program of a dozen instructions, loaded with raw bpf(2), looks the destination up in one byte per address of the pool. The
// bytes are the single value of an array map, mapped into the engine (BPF_F_MMAPABLE): a lease moves with one store.
#include <array>
#include <cerrno>

#include <linux/if_tun.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "core/args.h"
#include "core/errors.h"
#include "core/functions.h"
#include "core/mapping.h"
#include "core/values.h"
#include "steering/ebpf.h"

namespace ringway {
namespace {

using namespace ebpf;

constexpr int64_t max_queues = 256;  // a queue is one byte
constexpr int64_t max_pool = 1 << 24;
constexpr int32_t golden = static_cast<int32_t>(0x9e3779b1);
constexpr int32_t ipv4_source = 12, ipv4_destination = 16, ipv6_source = 20, ipv6_destination = 36;  // last word of each address

// r0 = packet bytes in host order; leaves r6 to r9; ends the program with 0 when the packet is shorter
constexpr bpf_insn load_packet(uint8_t size, int32_t offset) { return instruction(BPF_LD | size | BPF_ABS, 0, 0, 0, offset); }
constexpr bpf_insn alu32(uint8_t operation, uint8_t to, int32_t value) { return instruction(BPF_ALU | operation | BPF_K, to, 0, 0, value); }

enum Label : size_t { ipv6, outside, found, spread };

// Returns a queue number; the kernel takes it mod the queues in use. r6 packet, r7 hash, r8 index in the pool.
Code program(int map, uint32_t pool_base, uint32_t pool_size) {
  Code code;
  code.add(move(6, 1));
  code.add(load_packet(BPF_B, 0));
  code.add(alu32(BPF_RSH, 0, 4));
  code.jump_if(BPF_JNE, 0, 4, ipv6);
  code.add(load_packet(BPF_W, ipv4_destination));
  code.add(move(7, 0));
  code.add(move(8, 0));
  code.add(alu32(BPF_SUB, 8, static_cast<int32_t>(pool_base)));
  code.jump_if(BPF_JGE, 8, static_cast<int32_t>(pool_size), outside);
  code.add(instruction(BPF_ST | BPF_W | BPF_MEM, 10, 0, -4, 0));  // the map's only key: 0
  code.add(move(2, 10));
  code.add(alu(BPF_ADD, 2, -4));
  code.add(instruction(BPF_LD | BPF_DW | BPF_IMM, 1, BPF_PSEUDO_MAP_FD, 0, map));
  code.add(instruction(0, 0, 0, 0, 0));  // its second half
  code.add(call_helper(BPF_FUNC_map_lookup_elem));
  code.jump_if(BPF_JNE, 0, 0, found);
  code.add(leave());  // cannot be (r0 is 0), but the verifier wants to see it
  code.at(found);
  code.add(alu_by(BPF_ADD, 0, 8));
  code.add(load(BPF_B, 0, 0, 0));
  code.add(leave());
  code.at(outside);
  code.add(load_packet(BPF_W, ipv4_source));
  code.jump(spread);
  code.at(ipv6);
  code.add(load_packet(BPF_W, ipv6_destination));
  code.add(move(7, 0));
  code.add(load_packet(BPF_W, ipv6_source));
  code.at(spread);
  code.add(instruction(BPF_ALU | BPF_XOR | BPF_X, 7, 0, 0, 0));
  code.add(alu32(BPF_MUL, 7, golden));
  code.add(alu32(BPF_RSH, 7, 16));
  code.add(move(0, 7));
  code.add(leave());
  return code;
}

// steerTun(tunDescriptor, { poolBase, poolSize, queues }) -> { map }
napi_value steer_tun(napi_env env, napi_callback_info info) {
  Args args{env, info, "steerTun"};
  const auto tun = static_cast<int>(args.integer(0, "tunDescriptor", 0, INT32_MAX));
  Options options = args.options(1, "options");
  const auto pool_base = static_cast<uint32_t>(options.integer("poolBase", 0, UINT32_MAX));
  const auto pool_size = static_cast<uint32_t>(options.integer("poolSize", 1, max_pool));
  options.integer("queues", 1, max_queues);  // the map starts with queue 0 for everybody; leases fill it in
  if (!args.ok()) return nullptr;

  Descriptor map = create_map(pool_size);
  if (!map.ok()) return throw_errno(env, "bpf(BPF_MAP_CREATE)", errno);
  const Descriptor loaded = load_program(program(map.get(), pool_base, pool_size).finish());
  if (!loaded.ok()) return throw_errno(env, "bpf(BPF_PROG_LOAD)", errno);
  int descriptor = loaded.get();
  if (ioctl(tun, TUNSETSTEERINGEBPF, &descriptor) != 0) return throw_errno(env, "ioctl(TUNSETSTEERINGEBPF)", errno);
  napi_value result = new_object(env);
  set(env, result, "map", to_js(env, int32_t{map.release()}));
  return result;
}

// The mapping lives as long as the handle or the buffer.
struct Steering {
  static constexpr const char* type_name = "steering";
  static constexpr napi_type_tag type_tag{0x52696e6777617931, 0x9a1f0c6be0d34a07};
  std::shared_ptr<Mapping> mapping;
};

// attachSteering(map, poolSize) -> { handle, buffer }
napi_value attach_steering(napi_env env, napi_callback_info info) {
  Args args{env, info, "attachSteering"};
  const auto map = static_cast<int>(args.integer(0, "map", 0, INT32_MAX));
  const auto pool_size = static_cast<size_t>(args.integer(1, "poolSize", 1, max_pool));
  if (!args.ok()) return nullptr;

  auto mapping = Mapping::of_descriptor(map, pool_size);
  if (!mapping) return throw_errno(env, "mmap", errno);
  napi_value buffer = to_array_buffer(env, mapping, pool_size);
  napi_value handle = make_handle(env, std::make_shared<Steering>(std::move(mapping)));
  if (!buffer || !handle) return nullptr;
  napi_value result = new_object(env);
  set(env, result, "handle", handle);
  set(env, result, "buffer", buffer);
  return result;
}

const Functions functions{{"steerTun", steer_tun}, {"attachSteering", attach_steering}};

}  // namespace
}  // namespace ringway
