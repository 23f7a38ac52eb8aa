// eBPF as steering uses it, with raw bpf(2): instructions, the one map of one value that both sides see, and programs over packets.
#pragma once

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include <linux/bpf.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "kernel/descriptor.h"

namespace ringway::ebpf {

constexpr bpf_insn instruction(uint8_t code, uint8_t to, uint8_t from, int16_t offset, int32_t value) { return {code, to, from, offset, value}; }
constexpr bpf_insn move(uint8_t to, uint8_t from) { return instruction(BPF_ALU64 | BPF_MOV | BPF_X, to, from, 0, 0); }
constexpr bpf_insn move_value(uint8_t to, int32_t value) { return instruction(BPF_ALU64 | BPF_MOV | BPF_K, to, 0, 0, value); }
constexpr bpf_insn load(uint8_t size, uint8_t to, uint8_t from, int16_t offset) { return instruction(BPF_LDX | size | BPF_MEM, to, from, offset, 0); }
constexpr bpf_insn store(uint8_t size, uint8_t to, int16_t offset, uint8_t from) { return instruction(BPF_STX | size | BPF_MEM, to, from, offset, 0); }
constexpr bpf_insn alu(uint8_t operation, uint8_t to, int32_t value) { return instruction(BPF_ALU64 | operation | BPF_K, to, 0, 0, value); }
constexpr bpf_insn alu_by(uint8_t operation, uint8_t to, uint8_t from) { return instruction(BPF_ALU64 | operation | BPF_X, to, from, 0, 0); }
constexpr bpf_insn call_helper(int32_t helper) { return instruction(BPF_JMP | BPF_CALL, 0, 0, 0, helper); }
constexpr bpf_insn leave() { return instruction(BPF_JMP | BPF_EXIT, 0, 0, 0, 0); }

// A program, written from its beginning to its end; jumps go to labels, which are numbers of whoever writes.
class Code {
 public:
  void add(bpf_insn one) { code_.push_back(one); }
  void at(size_t label) {
    if (places_.size() <= label) places_.resize(label + 1);
    places_[label] = code_.size();
  }
  void jump(size_t label) { jump_by(instruction(BPF_JMP | BPF_JA, 0, 0, 0, 0), label); }
  void jump_if(uint8_t condition, uint8_t what, int32_t value, size_t label) { jump_by(instruction(BPF_JMP | condition | BPF_K, what, 0, 0, value), label); }
  void jump_if_by(uint8_t condition, uint8_t what, uint8_t by, size_t label) { jump_by(instruction(BPF_JMP | condition | BPF_X, what, by, 0, 0), label); }
  // With a jump whose distance is filled in.
  void jump_by(bpf_insn one, size_t label) {
    jumps_.push_back({code_.size(), label});
    add(one);
  }
  // The address of a byte of the map's only value.
  void map_value(uint8_t to, int map, size_t byte) {
    add(instruction(BPF_LD | BPF_DW | BPF_IMM, to, BPF_PSEUDO_MAP_VALUE, 0, map));
    add(instruction(0, 0, 0, 0, static_cast<int32_t>(byte)));
  }
  // Bytes of the packet onto the stack; r6 is the packet. Not all of them there: a jump.
  void load_bytes(int32_t from, int16_t stack, int32_t count, size_t too_short) {
    add(move(1, 6));
    add(move_value(2, from));
    add(move(3, 10));
    add(alu(BPF_ADD, 3, stack));
    add(move_value(4, count));
    add(call_helper(BPF_FUNC_skb_load_bytes));
    jump_if(BPF_JNE, 0, 0, too_short);
  }
  std::span<const bpf_insn> finish() {
    for (const auto& [from, to] : jumps_) code_[from].off = static_cast<int16_t>(places_[to] - from - 1);
    return code_;
  }

 private:
  struct Jump {
    size_t from, to;
  };
  std::vector<bpf_insn> code_;
  std::vector<Jump> jumps_;
  std::vector<size_t> places_;
};

inline int call(bpf_cmd command, bpf_attr& attributes) { return static_cast<int>(syscall(SYS_bpf, command, &attributes, sizeof attributes)); }

// An array of one value, which whoever has the descriptor may map. Not ok(): errno says why; so for load_program().
inline Descriptor create_map(size_t bytes) {
  bpf_attr attributes;
  memset(&attributes, 0, sizeof attributes);  // the kernel refuses anything set that it does not know, padding included
  attributes.map_type = BPF_MAP_TYPE_ARRAY;
  attributes.key_size = 4;
  attributes.value_size = static_cast<uint32_t>(bytes);
  attributes.max_entries = 1;
  attributes.map_flags = BPF_F_MMAPABLE;
  return Descriptor{call(BPF_MAP_CREATE, attributes)};
}

inline Descriptor load_program(std::span<const bpf_insn> code) {
  bpf_attr attributes;
  memset(&attributes, 0, sizeof attributes);
  attributes.prog_type = BPF_PROG_TYPE_SOCKET_FILTER;
  attributes.insns = reinterpret_cast<uint64_t>(code.data());
  attributes.insn_cnt = static_cast<uint32_t>(code.size());
  attributes.license = reinterpret_cast<uint64_t>("Apache-2.0");
  // The verifier gives up with EAGAIN when a signal is pending; like libbpf, try again.
  int loaded = -1;
  for (int tries = 0; tries < 5 && loaded < 0; tries++) {
    loaded = call(BPF_PROG_LOAD, attributes);
    if (loaded < 0 && errno != EAGAIN) break;
  }
  return Descriptor{loaded};
}

}  // namespace ringway::ebpf
