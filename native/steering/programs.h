// What the programs over datagrams have in common: where things lie, and who is a suspect.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>

#include "io/shares.h"
#include "steering/ebpf.h"
#include "steering/floors.h"

namespace ringway::programs {

// A program over datagrams sees them from the UDP header on, or from the payload on; what is looked at of the payload lies at the end of its stack: the
// Lightway header, and 8 bytes behind it: an Expresslane number, or the head of a record (docs/protocol.md §1.2, §2.6, §6.5).
inline constexpr int32_t looked_at = share::looked_at;
inline constexpr int16_t header = -looked_at;
inline constexpr int16_t magic = header, expresslane = header + 5, id = header + 8, counter = header + 16, record = header + 16;
inline constexpr int32_t magic_bytes = share::magic;
// Bytes of payload: of an Expresslane frame, and of a record whose number is hidden by what is there. Shorter ones are none, and counted for what they are.
inline constexpr int32_t shortest_lane = 16 + 40, record_header = 5, sample_bytes = 16, shortest_record = 16 + record_header + sample_bytes;
// The first byte of a record as our peers write them: no connection id, a number of 16 bits, a length; 0 to 3 is its epoch.
inline constexpr int32_t usual_record = 0x2c, epoch_bits = 3;

// r7: an id as it lies. r9: to its entry. Not told of: a jump. `shard` is -1 where r8 is the shard.
inline void find_entry(ebpf::Code& code, int map, const Floors::Place& place, int32_t shard, size_t nobody) {
  using namespace ebpf;
  code.add(move(2, 7));
  code.add(alu(BPF_RSH, 2, share::index_shift));
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

// r9: to an entry, or a head; `at`: where its time is. No suspect: a jump.
inline void is_suspect(ebpf::Code& code, int16_t at, size_t no) {
  using namespace ebpf;
  code.add(load(BPF_DW, 0, 9, at));
  code.jump_if(BPF_JEQ, 0, 0, no);
  code.add(call_helper(BPF_FUNC_ktime_get_ns));
  code.add(load(BPF_DW, 1, 9, at));
  code.jump_if_by(BPF_JGE, 0, 1, no);
}

// For one of what belongs to the entry in r9, in the queue whose head is in r8: counts it as put there, or jumps, where it is beyond its share (io/shares.h).
inline void take_place(ebpf::Code& code, uint32_t places, size_t labels, size_t beyond) {
  using namespace ebpf;
  constexpr int16_t put = offsetof(ShareEntry, put), taken = offsetof(ShareEntry, taken), epoch = offsetof(ShareEntry, epoch);
  constexpr int16_t head_put = offsetof(ShareHead, put), head_taken = offsetof(ShareHead, taken), head_epoch = offsetof(ShareHead, epoch), head_open = offsetof(ShareHead, open);
  const auto difference = [&code](uint8_t to, uint8_t from, int16_t put_at, int16_t taken_at, size_t label) {
    code.add(load(BPF_W, to, from, put_at));
    code.add(load(BPF_W, 0, from, taken_at));
    code.add(instruction(BPF_ALU | BPF_SUB | BPF_X, to, 0, 0, 0));
    code.jump_by(instruction(BPF_JMP32 | BPF_JSGE | BPF_K, to, 0, 0, 0), label);  // taken before it was counted
    code.add(move_value(to, 0));
    code.at(label);
  };
  const size_t same_epoch = labels, mine = labels + 1, all = labels + 2, open = labels + 3;
  code.add(load(BPF_W, 1, 9, epoch));
  code.add(load(BPF_W, 2, 8, head_epoch));
  code.jump_if_by(BPF_JEQ, 1, 2, same_epoch);
  code.add(store(BPF_W, 9, epoch, 2));
  code.add(load(BPF_W, 1, 9, taken));
  code.add(store(BPF_W, 9, put, 1));
  code.at(same_epoch);
  difference(1, 9, put, taken, mine);
  difference(3, 8, head_put, head_taken, all);
  code.add(load(BPF_W, 4, 8, head_open));
  code.jump_if(BPF_JNE, 4, 0, open);
  code.add(move_value(4, static_cast<int32_t>(places)));
  code.add(alu_by(BPF_SUB, 4, 3));
  code.add(alu(BPF_MUL, 4, 4));
  code.jump_if_by(BPF_JSGE, 1, 4, beyond);
  code.at(open);
  code.add(move_value(1, 1));
  code.add(instruction(BPF_STX | BPF_W | BPF_ATOMIC, 9, 1, put, BPF_ADD));
  code.add(instruction(BPF_STX | BPF_W | BPF_ATOMIC, 8, 1, head_put, BPF_ADD));
}

// Dropped, and counted there.
inline void count_and_drop(ebpf::Code& code, int map, size_t counter) {
  using namespace ebpf;
  code.map_value(1, map, counter);
  code.add(move_value(2, 1));
  code.add(instruction(BPF_STX | BPF_DW | BPF_ATOMIC, 1, 2, 0, BPF_ADD));
  code.add(move_value(0, 0));
  code.add(leave());
}

// At the socket of a shard's sessions: what is sure to be refused, or next to sure, and what is beyond a session's share of so many places. `reveals`: the
// numbers of records too, which is a program that the kernel takes from who has CAP_PERFMON (or where it does not mitigate Spectre): it would follow each of
// the 400 looks into a table on a path of its own.
ebpf::Code numbers_filter(int map, const Floors::Place& place, uint32_t places, bool reveals);
// At the door of its strangers: what has no magic.
ebpf::Code garbage_filter(int map, const Floors::Place& place);
// Of the group, of four sockets a shard: sorts as steerUdp does, and puts aside what suspects send and nobody judges by its number.
ebpf::Code sorter(int map, const Floors::Place& place);

// r9: to a struct Epoch, r5 and `sample` bytes of a record on the stack. Leaves the number that its two bytes at `record` + 1 stand for in r1. Uses all others.
void reveal_number(ebpf::Code& code, int map, const Floors::Place& place, int16_t sample, size_t labels);

}  // namespace ringway::programs
