// What the programs over datagrams have in common: where things lie, and who is a suspect.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>

#include "steering/ebpf.h"
#include "steering/floors.h"

namespace ringway::programs {

// A program over datagrams sees them from the UDP header on, or from the payload on; what is looked at of the payload lies at the end of its stack: the
// Lightway header, and 8 bytes behind it: an Expresslane number, or the head of a record (docs/protocol.md §1.2, §2.6, §6.5).
inline constexpr int32_t looked_at = 24;
inline constexpr int16_t header = -looked_at;
inline constexpr int16_t magic = header, expresslane = header + 5, id = header + 8, counter = header + 16, record = header + 16;
inline constexpr int32_t magic_bytes = std::endian::native == std::endian::little ? 0x6548 : 0x4865;
// The first byte of a record as our peers write them: no connection id, a number of 16 bits, a length; 0 to 3 is its epoch.
inline constexpr int32_t usual_record = 0x2c, epoch_bits = 3;

// r7: an id as it lies. r9: to its entry. Not told of: a jump. `shard` is -1 where r8 is the shard.
inline void find_entry(ebpf::Code& code, int map, const Floors::Place& place, int32_t shard, size_t nobody) {
  using namespace ebpf;
  code.add(move(2, 7));
  code.add(alu(BPF_RSH, 2, floors::index_shift));
  code.add(alu(BPF_AND, 2, static_cast<int32_t>(place.entries - 1)));
  code.add(alu(BPF_MUL, 2, floors::entry_bytes));
  code.map_value(9, map, floors::entries_at(shard < 0 ? 0 : static_cast<uint32_t>(shard), place.shards, place.entries));
  code.add(alu_by(BPF_ADD, 9, 2));
  if (shard < 0) {
    code.add(move(2, 8));
    code.add(alu(BPF_MUL, 2, static_cast<int32_t>(place.entries * floors::entry_bytes)));
    code.add(alu_by(BPF_ADD, 9, 2));
  }
  code.add(load(BPF_DW, 2, 9, 0));
  code.jump_if_by(BPF_JNE, 2, 7, nobody);
  code.add(load(BPF_DW, 2, 9, floors::word_at));
  code.add(alu(BPF_RSH, 2, floors::tag_shift));
  code.add(move(3, 7));
  code.add(alu(BPF_RSH, 3, floors::tag_shift));
  code.jump_if_by(BPF_JNE, 2, 3, nobody);
}

// r9: to an entry, or a head. No suspect: a jump.
inline void is_suspect(ebpf::Code& code, size_t no) {
  using namespace ebpf;
  code.add(load(BPF_DW, 0, 9, floors::until_at));
  code.jump_if(BPF_JEQ, 0, 0, no);
  code.add(call_helper(BPF_FUNC_ktime_get_ns));
  code.add(load(BPF_DW, 1, 9, floors::until_at));
  code.jump_if_by(BPF_JGE, 0, 1, no);
}

// At the socket of a shard's sessions: what is sure to be refused, or next to sure (filter.cc).
ebpf::Code numbers_filter(int map, const Floors::Place& place);
// At the door of its strangers: what has no magic.
ebpf::Code garbage_filter(int map, const Floors::Place& place);
// Of the group, of four sockets a shard: sorts as steerUdp does, and puts aside what suspects send and nobody judges by its number.
ebpf::Code sorter(int map, const Floors::Place& place);

// r9: to a struct Epoch, r5 and `sample` bytes of a record on the stack. Leaves the number that its two bytes at `record` + 1 stand for in r1. Uses all others.
void reveal_number(ebpf::Code& code, int map, const Floors::Place& place, int16_t sample, size_t labels);

}  // namespace ringway::programs
