// filterUdp: what is sure to be refused, or next to sure, is dropped by the kernel, before it takes a place in the socket and a receive call.
//
// Two eBPF socket filters, loaded with raw bpf(2). A filter sees a datagram from the UDP header on; its return value is how many bytes of it stay, and 0
// drops it. Lone datagrams only, as of a train it would have to judge every one.
//
//     replays    at the socket of each shard's sessions: Expresslane datagrams that would be counted as replayed, and most of those whose number is so far
//                ahead that somebody has made it up. What it has to know is in a map that the shards write (steering/floors.h)
//     garbage    at the door of each shard's strangers: what would be counted as badMagic
#include <array>
#include <bit>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <span>
#include <vector>

#include <sys/socket.h>

#include "core/args.h"
#include "core/errors.h"
#include "core/functions.h"
#include "core/values.h"
#include "steering/ebpf.h"
#include "steering/floors.h"

#ifndef SO_ATTACH_BPF
#define SO_ATTACH_BPF 50
#endif

namespace ringway {
namespace {

using namespace ebpf;

// What is looked at of a datagram lies on the program's stack: the Lightway header and the number behind it (docs/protocol.md §1.2, §6.5).
constexpr int16_t udp_header = 8, looked_at = 24, stack = -looked_at;
constexpr int16_t magic = stack, expresslane = stack + 5, id = stack + 8, counter = stack + 16;
constexpr int32_t shortest = udp_header + 16 + 40;  // a shorter one is no Expresslane frame: it goes on, and is counted for what it is
constexpr int32_t magic_bytes = std::endian::native == std::endian::little ? 0x6548 : 0x4865;

constexpr bpf_insn load(uint8_t size, uint8_t to, uint8_t from, int16_t offset) { return instruction(BPF_LDX | size | BPF_MEM, to, from, offset, 0); }
constexpr bpf_insn move_value(uint8_t to, int32_t value) { return instruction(BPF_ALU64 | BPF_MOV | BPF_K, to, 0, 0, value); }
constexpr bpf_insn alu(uint8_t operation, uint8_t to, int32_t value) { return instruction(BPF_ALU64 | operation | BPF_K, to, 0, 0, value); }
constexpr bpf_insn add(uint8_t to, uint8_t from) { return instruction(BPF_ALU64 | BPF_ADD | BPF_X, to, from, 0, 0); }
constexpr bpf_insn jump_by(uint8_t condition, uint8_t what, uint8_t by, int16_t offset) { return instruction(BPF_JMP | condition | BPF_X, what, by, offset, 0); }
constexpr bpf_insn call_helper(int32_t helper) { return instruction(BPF_JMP | BPF_CALL, 0, 0, 0, helper); }
// The address of a byte of the map's only value: two instructions.
constexpr bpf_insn map_value(uint8_t to, int map) { return instruction(BPF_LD | BPF_DW | BPF_IMM, to, BPF_PSEUDO_MAP_VALUE, 0, map); }
constexpr bpf_insn at_byte(size_t offset) { return instruction(0, 0, 0, 0, static_cast<int32_t>(offset)); }

// r6 datagram, r7 session id as it lies, r8 number
std::array<bpf_insn, 53> replays(int map, const Floors::Place& place) {
  const size_t entries = floors::entries_at(place.shard, place.shards, place.entries);
  return {{
    /*  0 */ move(6, 1),
    /*  1 */ load(BPF_W, 0, 6, offsetof(__sk_buff, gso_size)),
    /*  2 */ jump(BPF_JNE, 0, 0, 48),  // a train: 51
    /*  3 */ load(BPF_W, 0, 6, offsetof(__sk_buff, len)),
    /*  4 */ jump(BPF_JLT, 0, shortest, 46),
    /*  5 */ move(1, 6),
    /*  6 */ move_value(2, udp_header),
    /*  7 */ move(3, 10),
    /*  8 */ alu(BPF_ADD, 3, stack),
    /*  9 */ move_value(4, looked_at),
    /* 10 */ call_helper(BPF_FUNC_skb_load_bytes),
    /* 11 */ jump(BPF_JNE, 0, 0, 39),
    /* 12 */ load(BPF_H, 0, 10, magic),
    /* 13 */ jump(BPF_JNE, 0, magic_bytes, 37),
    /* 14 */ load(BPF_B, 0, 10, expresslane),
    /* 15 */ jump(BPF_JEQ, 0, 0, 35),
    /* 16 */ load(BPF_DW, 7, 10, id),
    /* 17 */ load(BPF_DW, 8, 10, counter),
    /* 18 */ instruction(BPF_ALU | BPF_END | BPF_TO_BE, 8, 0, 0, 64),
    /* 19 */ move(2, 7),
    /* 20 */ alu(BPF_RSH, 2, floors::index_shift),
    /* 21 */ alu(BPF_AND, 2, static_cast<int32_t>(place.entries - 1)),
    /* 22 */ alu(BPF_MUL, 2, floors::entry_bytes),
    /* 23 */ map_value(1, map),
    /* 24 */ at_byte(entries),
    /* 25 */ add(1, 2),
    /* 26 */ load(BPF_DW, 2, 1, 0),
    /* 27 */ jump_by(BPF_JNE, 2, 7, 23),  // another session's
    /* 28 */ load(BPF_DW, 2, 1, 8),
    /* 29 */ move(3, 2),
    /* 30 */ alu(BPF_RSH, 3, floors::tag_shift),
    /* 31 */ alu(BPF_RSH, 7, floors::tag_shift),
    /* 32 */ jump_by(BPF_JNE, 3, 7, 18),
    /* 33 */ alu(BPF_LSH, 2, 64 - floors::tag_shift),
    /* 34 */ alu(BPF_RSH, 2, 64 - floors::tag_shift),
    /* 35 */ jump(BPF_JEQ, 2, 0, 15),  // nothing is told of it
    /* 36 */ jump_by(BPF_JLT, 8, 2, 8),  // below the floor: 45
    /* 37 */ alu(BPF_ADD, 2, floors::far_ahead),
    /* 38 */ move(3, 2),
    /* 39 */ alu(BPF_RSH, 3, floors::tag_shift),
    /* 40 */ jump(BPF_JNE, 3, 0, 10),  // a floor that cannot be raised any more
    /* 41 */ jump_by(BPF_JLT, 8, 2, 9),  // may be new
    /* 42 */ call_helper(BPF_FUNC_get_prandom_u32),
    /* 43 */ alu(BPF_AND, 0, floors::one_in - 1),
    /* 44 */ jump(BPF_JEQ, 0, 0, 6),
    /* 45 */ map_value(1, map),
    /* 46 */ at_byte(floors::counter_at(place.shard)),
    /* 47 */ move_value(2, 1),
    /* 48 */ instruction(BPF_STX | BPF_DW | BPF_ATOMIC, 1, 2, 0, BPF_ADD),
    /* 49 */ move_value(0, 0),
    /* 50 */ leave(),
    /* 51 */ move_value(0, -1),
    /* 52 */ leave(),
  }};
}

std::array<bpf_insn, 22> garbage(int map, const Floors::Place& place) {
  return {{
    /*  0 */ move(6, 1),
    /*  1 */ load(BPF_W, 0, 6, offsetof(__sk_buff, gso_size)),
    /*  2 */ jump(BPF_JNE, 0, 0, 17),  // a train: 20
    /*  3 */ load(BPF_W, 0, 6, offsetof(__sk_buff, len)),
    /*  4 */ jump(BPF_JLT, 0, udp_header + 16, 15),  // too short, and counted as that
    /*  5 */ move(1, 6),
    /*  6 */ move_value(2, udp_header),
    /*  7 */ move(3, 10),
    /*  8 */ alu(BPF_ADD, 3, stack),
    /*  9 */ move_value(4, 2),
    /* 10 */ call_helper(BPF_FUNC_skb_load_bytes),
    /* 11 */ jump(BPF_JNE, 0, 0, 8),
    /* 12 */ load(BPF_H, 0, 10, magic),
    /* 13 */ jump(BPF_JEQ, 0, magic_bytes, 6),
    /* 14 */ map_value(1, map),
    /* 15 */ at_byte(floors::counter_at(place.shard) + floors::garbage_counter),
    /* 16 */ move_value(2, 1),
    /* 17 */ instruction(BPF_STX | BPF_DW | BPF_ATOMIC, 1, 2, 0, BPF_ADD),
    /* 18 */ move_value(0, 0),
    /* 19 */ leave(),
    /* 20 */ move_value(0, -1),
    /* 21 */ leave(),
  }};
}

bool attach(napi_env env, int socket, std::span<const bpf_insn> code) {
  const Descriptor loaded = load_program(code);
  if (!loaded.ok()) return throw_errno(env, "bpf(BPF_PROG_LOAD)", errno), false;
  const int descriptor = loaded.get();
  if (setsockopt(socket, SOL_SOCKET, SO_ATTACH_BPF, &descriptor, sizeof descriptor) == 0) return true;
  return throw_errno(env, "setsockopt(SO_ATTACH_BPF)", errno), false;
}

void detach(int socket) {
  const int unused = 0;
  (void)setsockopt(socket, SOL_SOCKET, SO_DETACH_BPF, &unused, sizeof unused);
}

std::vector<int> sockets_of(Args& args, size_t argument, const char* name) {
  std::vector<int> sockets;
  uint32_t count = 0;
  const napi_value list = args.array(argument, name, floors::max_shards, &count);
  for (uint32_t i = 0; args.ok() && i < count; i++) {
    napi_value element = nullptr;
    napi_get_element(args.env(), list, i, &element);
    sockets.push_back(static_cast<int>(args.integer_of(element, name, 0, INT32_MAX)));
  }
  return sockets;
}

// filterUdp(sessions, strangers, entries) -> { map }
napi_value filter_udp(napi_env env, napi_callback_info info) {
  Args args{env, info, "filterUdp"};
  const std::vector<int> sessions = sockets_of(args, 0, "sessions"), strangers = sockets_of(args, 1, "strangers");
  const auto entries = static_cast<uint32_t>(args.integer(2, "entries", floors::min_entries, floors::max_entries));
  if (!args.ok()) return nullptr;
  if (sessions.empty()) return args.refuse_range("sessions", "must name a socket");
  if (!strangers.empty() && strangers.size() != sessions.size()) return args.refuse_range("strangers", "must be none, or as many as sessions");
  if (!std::has_single_bit(entries)) return args.refuse_range("entries", "must be a power of two");

  const auto shards = static_cast<uint32_t>(sessions.size());
  Descriptor map = create_map(floors::bytes(shards, entries));
  if (!map.ok()) return throw_errno(env, "bpf(BPF_MAP_CREATE)", errno);
  for (uint32_t shard = 0; shard < shards; shard++) {
    const Floors::Place place{shard, shards, entries};
    const bool attached = attach(env, sessions[shard], replays(map.get(), place)) &&
                          (strangers.empty() || attach(env, strangers[shard], garbage(map.get(), place)));
    if (!attached) {  // all of them or none: what nobody reads the counts of must not drop
      for (const int socket : sessions) detach(socket);
      for (const int socket : strangers) detach(socket);
      return nullptr;
    }
  }
  napi_value result = new_object(env);
  set(env, result, "map", to_js(env, int32_t{map.release()}));
  return result;
}

const Functions functions{{"filterUdp", filter_udp}};

}  // namespace
}  // namespace ringway
