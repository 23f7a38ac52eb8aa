// eBPF as steering uses it, with raw bpf(2): instructions, the one map of one value that both sides see, and programs over packets.
#pragma once

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <span>

#include <linux/bpf.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "kernel/descriptor.h"

namespace ringway::ebpf {

constexpr bpf_insn instruction(uint8_t code, uint8_t to, uint8_t from, int16_t offset, int32_t value) { return {code, to, from, offset, value}; }
constexpr bpf_insn move(uint8_t to, uint8_t from) { return instruction(BPF_ALU64 | BPF_MOV | BPF_X, to, from, 0, 0); }
constexpr bpf_insn jump(uint8_t condition, uint8_t what, int32_t value, int16_t offset) { return instruction(BPF_JMP | condition | BPF_K, what, 0, offset, value); }
constexpr bpf_insn leave() { return instruction(BPF_JMP | BPF_EXIT, 0, 0, 0, 0); }

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
