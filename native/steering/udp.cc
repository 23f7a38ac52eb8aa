// steerUdp: brings a datagram to the shard that owns its session, by classic BPF on the SO_REUSEPORT group (works without privileges).
// With doors the group has three sockets a shard, and a datagram that names no session comes to one of the other two (io/doors.h):
//
//     0 … shards − 1      names a session: shard = first byte of the id mod shards
//     … 2 · shards − 1    no id, and not a first ClientHello: a handshake goes on
//     … 3 · shards − 1    everything else: first ClientHellos, other ids that name nobody, what is no Lightway
//
// Who has no id is brought to the shard that a hash of address and port number names.
#include <array>
#include <cerrno>
#include <vector>

#include <linux/filter.h>
#include <sys/socket.h>

#include "core/args.h"
#include "core/errors.h"
#include "core/functions.h"
#include "core/values.h"

namespace ringway {
namespace {

constexpr int64_t max_shards = 256;
// Lightway header and DTLS record behind it (docs/protocol.md §1.2, §2.6). Offset 0 of a reuseport program is the UDP payload.
constexpr uint32_t magic = 0x4865, header_bytes = 16, id_high = 8, id_low = 12;
constexpr uint32_t record_type = 16, plaintext_handshake = 22, message_number = 16 + 13 + 4, least_hello = message_number + 2;
// SKF_NET_OFF reaches the IP header: version nibble, IPv4 source at 12, the IPv6 source's low half at 16 and 20
constexpr auto network = static_cast<uint32_t>(SKF_NET_OFF);
constexpr uint32_t ipv4_source = network + 12, ipv6_source_a = network + 16, ipv6_source_b = network + 20, ipv6_header = 40;
constexpr uint32_t golden = 0x9e3779b1;  // 2^32 / golden ratio: neighbouring addresses and ports spread over all shards
constexpr uint32_t first_socket = 0;     // scratch word: the group's first socket of the class

// Where a jump goes. The next instruction, or a place further on.
enum Label : uint8_t { next, low_is_zero, low_is_ones, session, empty, stranger, spread, ipv4, port_number, labels };

// Instructions with jumps by name, which take() turns into distances.
class Program {
 public:
  void at(Label label) { places_[label] = code_.size(); }
  void add(uint16_t code, uint32_t k) { code_.push_back({code, 0, 0, k}); }
  void jump_if(uint16_t test, uint32_t k, Label yes, Label no) { code_.push_back({static_cast<uint16_t>(BPF_JMP | test | BPF_K), yes, no, k}); }
  void jump(Label to) { code_.push_back({BPF_JMP | BPF_JA, to, to, 0}); }

  std::vector<sock_filter>& take() {
    for (size_t i = 0; i < code_.size(); i++) {
      sock_filter& one = code_[i];
      if (BPF_CLASS(one.code) != BPF_JMP) continue;
      const auto distance = [&](uint8_t label) { return label == next ? 0 : places_[label] - i - 1; };
      if (BPF_OP(one.code) == BPF_JA) one.k = static_cast<uint32_t>(distance(one.jt));
      one.jt = BPF_OP(one.code) == BPF_JA ? 0 : static_cast<uint8_t>(distance(one.jt));
      one.jf = BPF_OP(one.code) == BPF_JA ? 0 : static_cast<uint8_t>(distance(one.jf));
    }
    return code_;
  }

 private:
  std::vector<sock_filter> code_;
  std::array<size_t, labels> places_{};
};

Program program(uint32_t shards, bool doors) {
  Program p;
  p.add(BPF_LD | BPF_W | BPF_LEN, 0);
  p.jump_if(BPF_JGE, header_bytes, next, stranger);
  p.add(BPF_LD | BPF_H | BPF_ABS, 0);
  p.jump_if(BPF_JEQ, magic, next, stranger);
  p.add(BPF_LD | BPF_W | BPF_ABS, id_high);
  p.jump_if(BPF_JEQ, 0, low_is_zero, next);
  p.jump_if(BPF_JEQ, 0xffffffff, low_is_ones, session);
  p.at(low_is_zero);
  p.add(BPF_LD | BPF_W | BPF_ABS, id_low);
  p.jump_if(BPF_JEQ, 0, empty, session);
  p.at(low_is_ones);
  p.add(BPF_LD | BPF_W | BPF_ABS, id_low);
  p.jump_if(BPF_JEQ, 0xffffffff, stranger, session);

  p.at(session);
  p.add(BPF_LD | BPF_B | BPF_ABS, id_high);
  p.add(BPF_ALU | BPF_MOD | BPF_K, shards);
  p.add(BPF_RET | BPF_A, 0);

  p.at(empty);  // a load beyond the end would end the program with socket 0
  p.add(BPF_LD | BPF_IMM, doors ? shards : 0);
  p.add(BPF_ST, first_socket);
  p.add(BPF_LD | BPF_W | BPF_LEN, 0);
  p.jump_if(BPF_JGT, record_type, next, stranger);
  p.add(BPF_LD | BPF_B | BPF_ABS, record_type);
  p.jump_if(BPF_JEQ, plaintext_handshake, next, spread);
  p.add(BPF_LD | BPF_W | BPF_LEN, 0);
  p.jump_if(BPF_JGE, least_hello, next, stranger);
  p.add(BPF_LD | BPF_H | BPF_ABS, message_number);
  p.jump_if(BPF_JEQ, 0, stranger, spread);

  p.at(stranger);
  p.add(BPF_LD | BPF_IMM, doors ? 2 * shards : 0);
  p.add(BPF_ST, first_socket);
  p.at(spread);
  p.add(BPF_LD | BPF_B | BPF_ABS, network);
  p.add(BPF_ALU | BPF_RSH | BPF_K, 4);
  p.jump_if(BPF_JEQ, 4, ipv4, next);
  p.add(BPF_LD | BPF_W | BPF_ABS, ipv6_source_a);
  p.add(BPF_MISC | BPF_TAX, 0);
  p.add(BPF_LD | BPF_W | BPF_ABS, ipv6_source_b);
  p.add(BPF_ALU | BPF_XOR | BPF_X, 0);
  p.add(BPF_LDX | BPF_W | BPF_IMM, ipv6_header);  // extension headers: whatever stands there, the same for all datagrams of a client
  p.jump(port_number);
  p.at(ipv4);
  p.add(BPF_LD | BPF_W | BPF_ABS, ipv4_source);
  p.add(BPF_LDX | BPF_B | BPF_MSH, network);  // length of the header
  p.at(port_number);
  p.add(BPF_ST, first_socket + 1);
  p.add(BPF_LD | BPF_H | BPF_IND, network);
  p.add(BPF_LDX | BPF_W | BPF_MEM, first_socket + 1);
  p.add(BPF_ALU | BPF_XOR | BPF_X, 0);
  p.add(BPF_ALU | BPF_MUL | BPF_K, golden);
  p.add(BPF_ALU | BPF_RSH | BPF_K, 16);
  p.add(BPF_ALU | BPF_MOD | BPF_K, shards);
  p.add(BPF_LDX | BPF_W | BPF_MEM, first_socket);
  p.add(BPF_ALU | BPF_ADD | BPF_X, 0);
  p.add(BPF_RET | BPF_A, 0);
  return p;
}

// steerUdp(descriptor, shards, doors = false): for the whole group; sockets are numbered in the order they were bound
napi_value steer_udp(napi_env env, napi_callback_info info) {
  Args args{env, info, "steerUdp"};
  const auto descriptor = static_cast<int>(args.integer(0, "descriptor", 0, INT32_MAX));
  const auto shards = static_cast<uint32_t>(args.integer(1, "shards", 1, max_shards));
  const bool doors = args.present(2) && args.boolean(2, "doors");
  if (!args.ok()) return nullptr;

  Program steering = program(shards, doors);
  std::vector<sock_filter>& code = steering.take();
  const sock_fprog filter{static_cast<unsigned short>(code.size()), code.data()};
  if (setsockopt(descriptor, SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, &filter, sizeof filter) != 0) {
    return throw_errno(env, "setsockopt(SO_ATTACH_REUSEPORT_CBPF)", errno);
  }
  return undefined(env);
}

const Functions functions{{"steerUdp", steer_udp}};

}  // namespace
}  // namespace ringway
