// The group's program where the kernel takes eBPF: the classic one (steering/classic.h), translated, and what suspects send put aside.
#include <cstddef>

#include "steering/classic.h"
#include "steering/programs.h"

namespace ringway::programs {
namespace {

using namespace ebpf;

// Registers of a translated program: the classic A and X; the packet; what is left over for us.
constexpr uint8_t a = 0, packet = 6, x = 7, kept = 8;
constexpr int16_t stack_of(uint32_t word) { return static_cast<int16_t>(header - 8 * (static_cast<int>(word) + 1)); }

// What the kernel makes of a classic instruction (net/core/filter.c, bpf_convert_filter), of those that steering uses. Labels are the numbers of
// classic instructions.
void translate(Code& out, const sock_filter& one, size_t at) {
  const auto k = static_cast<int32_t>(one.k);
  const auto size = static_cast<uint8_t>(BPF_SIZE(one.code)), operation = static_cast<uint8_t>(BPF_OP(one.code));
  const bool by_x = BPF_SRC(one.code) == BPF_X;
  switch (BPF_CLASS(one.code)) {
    case BPF_LD:
      switch (BPF_MODE(one.code)) {
        case BPF_LEN: return out.add(load(BPF_W, a, packet, offsetof(__sk_buff, len)));
        case BPF_IMM: return out.add(instruction(BPF_ALU | BPF_MOV | BPF_K, a, 0, 0, k));
        case BPF_ABS: return out.add(instruction(BPF_LD | BPF_ABS | size, 0, 0, 0, k));
        case BPF_IND: return out.add(instruction(BPF_LD | BPF_IND | size, 0, x, 0, k));
        default: return out.add(load(BPF_DW, a, 10, stack_of(one.k)));
      }
    case BPF_LDX:
      switch (BPF_MODE(one.code)) {
        case BPF_IMM: return out.add(instruction(BPF_ALU | BPF_MOV | BPF_K, x, 0, 0, k));
        case BPF_MEM: return out.add(load(BPF_DW, x, 10, stack_of(one.k)));
        default:  // BPF_MSH: the length of an IPv4 header
          out.add(move(kept, a));
          out.add(instruction(BPF_LD | BPF_ABS | BPF_B, 0, 0, 0, k));
          out.add(alu(BPF_AND, a, 15));
          out.add(alu(BPF_LSH, a, 2));
          out.add(move(x, a));
          return out.add(move(a, kept));
      }
    case BPF_ST: return out.add(store(BPF_DW, 10, stack_of(one.k), a));
    case BPF_ALU: return out.add(instruction(BPF_ALU | operation | BPF_SRC(one.code), a, by_x ? x : 0, 0, by_x ? 0 : k));
    case BPF_MISC: return out.add(move(x, a));  // BPF_TAX
    case BPF_JMP:
      if (operation == BPF_JA) return out.jump(at + 1 + one.k);
      out.jump_by(instruction(BPF_JMP32 | operation | BPF_K, a, 0, 0, k), at + 1 + one.jt);
      if (one.jf != 0) out.jump(at + 1 + one.jf);
      return;
    default: return out.add(leave());  // BPF_RET | BPF_A
  }
}

// r7: an id as it lies. One that there is, or shares its bit with one: a jump.
void is_there(Code& code, int map, const Floors::Place& place, size_t there) {
  code.add(move(1, 7));
  code.add(alu(BPF_RSH, 1, 8));
  code.add(alu(BPF_AND, 1, static_cast<int32_t>(floors::id_bits(place.shards, place.entries) - 1)));
  code.add(move(2, 1));
  code.add(alu(BPF_RSH, 2, 3));
  code.add(alu(BPF_AND, 1, 7));
  for (uint32_t half = 0; half < 2; half++) {
    code.map_value(3, map, floors::ids_at(half, place.shards, place.entries));
    code.add(alu_by(BPF_ADD, 3, 2));
    code.add(load(BPF_B, static_cast<uint8_t>(4 + half), 3, 0));
  }
  code.add(alu_by(BPF_OR, 4, 5));
  code.add(alu_by(BPF_RSH, 4, 1));
  code.add(alu(BPF_AND, 4, 1));
  code.jump_if(BPF_JNE, 4, 0, there);
}

// r9: a suspect's entry. What the filter judges by its number goes on (filters.cc).
void is_judged(Code& code, size_t usual, size_t records, size_t aside) {
  code.load_bytes(0, header, looked_at, aside);
  code.add(load(BPF_W, 1, 6, offsetof(__sk_buff, len)));
  code.add(load(BPF_B, 0, 10, expresslane));
  code.jump_if(BPF_JEQ, 0, 0, records);
  code.jump_if(BPF_JLT, 1, shortest_lane, aside);
  code.add(load(BPF_DW, 0, 9, floors::word_at));
  code.add(alu(BPF_LSH, 0, 64 - floors::tag_shift));
  code.jump_if(BPF_JNE, 0, 0, usual);  // it has a floor
  code.jump(aside);
  code.at(records);
  code.jump_if(BPF_JLT, 1, shortest_record, aside);
  code.add(load(BPF_B, 0, 10, record));
  code.add(alu(BPF_AND, 0, 255 ^ epoch_bits));
  code.jump_if(BPF_JEQ, 0, usual_record, usual);
  code.jump(aside);
}

// r0: the shard of who names a session, and the socket of most of what he sends.
// r6 datagram, r7 id as it lies, r8 shard, r9 entry or head
void put_aside(Code& code, int map, const Floors::Place& place, size_t labels) {
  const size_t usual = labels, nobody = labels + 1, aside = labels + 2, records = labels + 3;
  code.add(move(8, 0));
  code.add(load(BPF_W, 1, 6, offsetof(__sk_buff, gso_size)));
  code.jump_if(BPF_JNE, 1, 0, usual);  // a train
  code.jump_if(BPF_JGE, 8, static_cast<int32_t>(place.shards), usual);  // never; the kernel's verifier wants to see it
  code.load_bytes(share::id, id, 8, usual);
  code.add(load(BPF_DW, 7, 10, id));
  find_entry(code, map, place, -1, nobody);
  is_suspect(code, floors::until_at, usual);
  is_judged(code, usual, records, aside);

  code.at(nobody);
  code.map_value(9, map, 0);
  code.add(move(2, 8));
  code.add(alu(BPF_MUL, 2, sizeof(ShareHead)));
  code.add(alu_by(BPF_ADD, 9, 2));
  is_suspect(code, offsetof(ShareHead, until), usual);
  is_there(code, map, place, usual);
  code.at(aside);
  code.add(alu(BPF_ADD, 8, static_cast<int32_t>(3 * place.shards)));
  code.at(usual);
  code.add(move(0, 8));
  code.add(leave());
}

}  // namespace

Code sorter(int map, const Floors::Place& place) {
  classic::Program program = classic::sort(place.shards, true);
  const size_t found = program.place(classic::found);
  const std::vector<sock_filter>& classic = program.take();
  Code code;
  code.add(move(packet, 1));
  code.add(move_value(a, 0));
  code.add(move_value(x, 0));
  for (size_t at = 0; at < classic.size(); at++) {
    code.at(at);
    if (at == found) put_aside(code, map, place, classic.size());
    else translate(code, classic[at], at);
  }
  return code;
}

}  // namespace ringway::programs
