// steerUdp: brings a datagram to the shard that owns its session, by classic BPF on the SO_REUSEPORT group (works without privileges).
#include <array>
#include <cerrno>

#include <linux/filter.h>
#include <sys/socket.h>

#include "core/args.h"
#include "core/errors.h"
#include "core/functions.h"
#include "core/values.h"

namespace ringway {
namespace {

constexpr int64_t max_shards = 256;
// Lightway header (docs/protocol.md): session id in bytes 8..15. Offset 0 of a reuseport program is the UDP payload.
constexpr uint32_t id_high = 8, id_low = 12, header_bytes = 16;
// SKF_NET_OFF reaches the IP header: version nibble, IPv4 source at 12, the IPv6 source's low half at 16 and 20
constexpr uint32_t ip_version = static_cast<uint32_t>(SKF_NET_OFF), ipv4_source = static_cast<uint32_t>(SKF_NET_OFF + 12);
constexpr uint32_t ipv6_source_a = static_cast<uint32_t>(SKF_NET_OFF + 16), ipv6_source_b = static_cast<uint32_t>(SKF_NET_OFF + 20);
constexpr uint32_t golden = 0x9e3779b1;  // 2^32 / golden ratio: neighbouring addresses spread over all shards

constexpr sock_filter statement(uint16_t code, uint32_t k) { return {code, 0, 0, k}; }
constexpr sock_filter jump(uint16_t code, uint32_t k, uint8_t yes, uint8_t no) { return {code, yes, no, k}; }

// socket = first byte of the id mod shards. Ids of all zeroes or all ones name no session: a hash of the source address decides.
std::array<sock_filter, 25> program(uint32_t shards) {
  return {{
    /*  0 */ statement(BPF_LD | BPF_W | BPF_LEN, 0),
    /*  1 */ jump(BPF_JMP | BPF_JGE | BPF_K, header_bytes, 0, 8),  // too short for a header: 10
    /*  2 */ statement(BPF_LD | BPF_W | BPF_ABS, id_high),
    /*  3 */ jump(BPF_JMP | BPF_JEQ | BPF_K, 0, 2, 0),             // zeroes so far: 6
    /*  4 */ jump(BPF_JMP | BPF_JEQ | BPF_K, 0xffffffff, 3, 0),    // ones so far: 8
    /*  5 */ statement(BPF_JMP | BPF_JA, 16),                      // 22
    /*  6 */ statement(BPF_LD | BPF_W | BPF_ABS, id_low),
    /*  7 */ jump(BPF_JMP | BPF_JEQ | BPF_K, 0, 2, 14),            // EMPTY: 10, else 22
    /*  8 */ statement(BPF_LD | BPF_W | BPF_ABS, id_low),
    /*  9 */ jump(BPF_JMP | BPF_JEQ | BPF_K, 0xffffffff, 0, 12),   // REJECTED: 10, else 22
    /* 10 */ statement(BPF_LD | BPF_B | BPF_ABS, ip_version),
    /* 11 */ statement(BPF_ALU | BPF_RSH | BPF_K, 4),
    /* 12 */ jump(BPF_JMP | BPF_JEQ | BPF_K, 4, 0, 2),             // IPv4: 13, else 15
    /* 13 */ statement(BPF_LD | BPF_W | BPF_ABS, ipv4_source),
    /* 14 */ statement(BPF_JMP | BPF_JA, 4),                       // 19
    /* 15 */ statement(BPF_LD | BPF_W | BPF_ABS, ipv6_source_a),
    /* 16 */ statement(BPF_MISC | BPF_TAX, 0),
    /* 17 */ statement(BPF_LD | BPF_W | BPF_ABS, ipv6_source_b),
    /* 18 */ statement(BPF_ALU | BPF_XOR | BPF_X, 0),
    /* 19 */ statement(BPF_ALU | BPF_MUL | BPF_K, golden),
    /* 20 */ statement(BPF_ALU | BPF_RSH | BPF_K, 16),
    /* 21 */ statement(BPF_JMP | BPF_JA, 1),                       // 23
    /* 22 */ statement(BPF_LD | BPF_B | BPF_ABS, id_high),
    /* 23 */ statement(BPF_ALU | BPF_MOD | BPF_K, shards),
    /* 24 */ statement(BPF_RET | BPF_A, 0),
  }};
}

// steerUdp(descriptor, shards): for the whole group; sockets are numbered in the order they were bound
napi_value steer_udp(napi_env env, napi_callback_info info) {
  Args args{env, info, "steerUdp"};
  const auto descriptor = static_cast<int>(args.integer(0, "descriptor", 0, INT32_MAX));
  const auto shards = static_cast<uint32_t>(args.integer(1, "shards", 1, max_shards));
  if (!args.ok()) return nullptr;

  auto code = program(shards);
  const sock_fprog filter{static_cast<unsigned short>(code.size()), code.data()};
  if (setsockopt(descriptor, SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, &filter, sizeof filter) != 0) {
    return throw_errno(env, "setsockopt(SO_ATTACH_REUSEPORT_CBPF)", errno);
  }
  return undefined(env);
}

const Functions functions{{"steerUdp", steer_udp}};

}  // namespace
}  // namespace ringway
