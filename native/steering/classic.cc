#include "steering/classic.h"

namespace ringway::classic {
namespace {

// Lightway header and DTLS record behind it (docs/protocol.md §1.2, §2.6). Offset 0 of a reuseport program is the UDP payload.
constexpr uint32_t magic = 0x4865, header_bytes = 16, id_high = 8, id_low = 12;
constexpr uint32_t record_type = 16, plaintext_handshake = 22, message_number = 16 + 13 + 4, least_hello = message_number + 2;
// SKF_NET_OFF reaches the IP header: version nibble, IPv4 source at 12, the IPv6 source's low half at 16 and 20
constexpr auto network = static_cast<uint32_t>(SKF_NET_OFF);
constexpr uint32_t ipv4_source = network + 12, ipv6_source_a = network + 16, ipv6_source_b = network + 20, ipv6_header = 40;
constexpr uint32_t golden = 0x9e3779b1;  // 2^32 / golden ratio: neighbouring addresses and ports spread over all shards
constexpr uint32_t first_socket = 0;     // scratch word: the group's first socket of the class

}  // namespace

Program sort(uint32_t shards, bool doors) {
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
  p.at(found);
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

}  // namespace ringway::classic
