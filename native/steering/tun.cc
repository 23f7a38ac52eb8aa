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
constexpr bpf_insn load(uint8_t size, int32_t offset) { return instruction(BPF_LD | size | BPF_ABS, 0, 0, 0, offset); }
constexpr bpf_insn alu32(uint8_t operation, uint8_t to, int32_t value) { return instruction(BPF_ALU | operation | BPF_K, to, 0, 0, value); }

// Returns a queue number; the kernel takes it mod the queues in use. r6 packet, r7 hash, r8 index in the pool.
std::array<bpf_insn, 30> program(int map, uint32_t pool_base, uint32_t pool_size) {
  return {{
    /*  0 */ move(6, 1),
    /*  1 */ load(BPF_B, 0),
    /*  2 */ alu32(BPF_RSH, 0, 4),
    /*  3 */ jump(BPF_JNE, 0, 4, 18),  // not IPv4: 22
    /*  4 */ load(BPF_W, ipv4_destination),
    /*  5 */ move(7, 0),
    /*  6 */ move(8, 0),
    /*  7 */ alu32(BPF_SUB, 8, static_cast<int32_t>(pool_base)),
    /*  8 */ jump(BPF_JGE, 8, static_cast<int32_t>(pool_size), 11),  // outside the pool: 20
    /*  9 */ instruction(BPF_ST | BPF_W | BPF_MEM, 10, 0, -4, 0),    // the map's only key: 0
    /* 10 */ move(2, 10),
    /* 11 */ instruction(BPF_ALU64 | BPF_ADD | BPF_K, 2, 0, 0, -4),
    /* 12 */ instruction(BPF_LD | BPF_DW | BPF_IMM, 1, BPF_PSEUDO_MAP_FD, 0, map),
    /* 13 */ instruction(0, 0, 0, 0, 0),  // second half of 12
    /* 14 */ instruction(BPF_JMP | BPF_CALL, 0, 0, 0, BPF_FUNC_map_lookup_elem),
    /* 15 */ jump(BPF_JNE, 0, 0, 1),  // found: 17
    /* 16 */ leave(),                 // cannot be (r0 is 0), but the verifier wants to see it
    /* 17 */ instruction(BPF_ALU64 | BPF_ADD | BPF_X, 0, 8, 0, 0),
    /* 18 */ instruction(BPF_LDX | BPF_B | BPF_MEM, 0, 0, 0, 0),
    /* 19 */ leave(),
    /* 20 */ load(BPF_W, ipv4_source),
    /* 21 */ instruction(BPF_JMP | BPF_JA, 0, 0, 3, 0),  // 25
    /* 22 */ load(BPF_W, ipv6_destination),
    /* 23 */ move(7, 0),
    /* 24 */ load(BPF_W, ipv6_source),
    /* 25 */ instruction(BPF_ALU | BPF_XOR | BPF_X, 7, 0, 0, 0),
    /* 26 */ alu32(BPF_MUL, 7, golden),
    /* 27 */ alu32(BPF_RSH, 7, 16),
    /* 28 */ move(0, 7),
    /* 29 */ leave(),
  }};
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
  const Descriptor loaded = load_program(program(map.get(), pool_base, pool_size));
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
