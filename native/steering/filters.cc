// The socket filters. A filter sees a datagram from the UDP header on; its return value is how many bytes of it stay, and 0 drops it. Lone datagrams only,
// as of a train it would have to judge every one.
#include <cstddef>

#include "steering/programs.h"

namespace ringway::programs {
namespace {

using namespace ebpf;

constexpr int16_t udp_header = 8, sample = header - 24;  // 8 bytes between them are for reveal_number()
constexpr int32_t shortest_lane = udp_header + 16 + 40;  // a shorter one is no Expresslane frame: it goes on, and is counted for what it is
constexpr int32_t record_header = 5, sample_bytes = 16;

enum Label : size_t { pass, drop, seldom, records, far, bounded, reveal };

void leave_with(Code& code, int32_t value) {
  code.add(move_value(0, value));
  code.add(leave());
}

void count_and_drop(Code& code, int map, size_t counter) {
  code.map_value(1, map, counter);
  code.add(move_value(2, 1));
  code.add(instruction(BPF_STX | BPF_DW | BPF_ATOMIC, 1, 2, 0, BPF_ADD));
  leave_with(code, 0);
}

// A number beyond which none is to be expected: one in so many goes on.
void let_few_pass(Code& code) {
  code.add(call_helper(BPF_FUNC_get_prandom_u32));
  code.add(alu(BPF_AND, 0, floors::one_in - 1));
  code.jump_if(BPF_JEQ, 0, 0, pass);
}

// r8: is its session a suspect? r9: its entry
void judge_lane(Code& code) {
  code.add(load(BPF_W, 0, 6, offsetof(__sk_buff, len)));
  code.jump_if(BPF_JLT, 0, shortest_lane, pass);
  code.add(load(BPF_DW, 2, 9, floors::word_at));
  code.add(alu(BPF_LSH, 2, 64 - floors::tag_shift));
  code.add(alu(BPF_RSH, 2, 64 - floors::tag_shift));
  code.jump_if(BPF_JEQ, 2, 0, pass);  // nothing is told of it
  code.add(load(BPF_DW, 1, 10, counter));
  code.add(instruction(BPF_ALU | BPF_END | BPF_TO_BE, 1, 0, 0, 64));
  code.jump_if_by(BPF_JLT, 1, 2, drop);
  code.jump_if(BPF_JEQ, 8, 0, far);
  code.add(alu(BPF_ADD, 2, floors::near_ahead));
  code.jump(bounded);
  code.at(far);
  code.add(alu(BPF_ADD, 2, floors::far_ahead));
  code.at(bounded);
  code.add(move(3, 2));
  code.add(alu(BPF_RSH, 3, floors::tag_shift));
  code.jump_if(BPF_JNE, 3, 0, pass);  // a floor that cannot be raised any more
  code.jump_if_by(BPF_JLT, 1, 2, pass);
  code.jump(seldom);
}

// As judge_lane(); of a suspect alone.
void judge_record(Code& code, int map, const Floors::Place& place) {
  code.jump_if(BPF_JEQ, 8, 0, pass);
  code.add(load(BPF_B, 8, 10, record));
  code.add(move(0, 8));
  code.add(alu(BPF_AND, 0, 255 ^ epoch_bits));
  code.jump_if(BPF_JNE, 0, usual_record, pass);
  code.load_bytes(udp_header + 16 + record_header, sample, sample_bytes, pass);
  code.add(load(BPF_DW, 1, 9, floors::block_at));
  code.jump_if(BPF_JEQ, 1, 0, pass);
  code.jump_if(BPF_JGT, 1, numbers::blocks, pass);
  code.add(alu(BPF_SUB, 1, 1));
  code.add(alu(BPF_MUL, 1, numbers::block_bytes));
  code.add(alu(BPF_AND, 8, epoch_bits));
  code.add(alu(BPF_MUL, 8, sizeof(numbers::Epoch)));
  code.map_value(9, map, floors::blocks_at(place.shard, place.shards, place.entries));
  code.add(alu_by(BPF_ADD, 9, 1));
  code.add(alu_by(BPF_ADD, 9, 8));
  code.add(load(BPF_W, 0, 9, offsetof(numbers::Epoch, rounds)));
  code.jump_if(BPF_JEQ, 0, 0, seldom);
  code.jump_if(BPF_JEQ, 0, numbers::unknown, pass);
  reveal_number(code, map, place, sample, reveal);
  code.add(load(BPF_W, 2, 9, offsetof(numbers::Epoch, low)));
  code.add(load(BPF_W, 3, 9, offsetof(numbers::Epoch, span)));
  code.add(alu_by(BPF_SUB, 1, 2));
  code.add(alu(BPF_AND, 1, 0xffff));
  code.jump_if_by(BPF_JLT, 1, 3, pass);
}

}  // namespace

// r6 datagram, r7 session id as it lies, r8 whether that is a suspect's, r9 its entry
Code numbers_filter(int map, const Floors::Place& place) {
  const size_t trusted = reveal + 2;
  Code code;
  code.add(move(6, 1));
  code.add(load(BPF_W, 0, 6, offsetof(__sk_buff, gso_size)));
  code.jump_if(BPF_JNE, 0, 0, pass);  // a train
  code.load_bytes(udp_header, header, looked_at, pass);
  code.add(load(BPF_H, 0, 10, magic));
  code.jump_if(BPF_JNE, 0, magic_bytes, pass);
  code.add(load(BPF_DW, 7, 10, id));
  find_entry(code, map, place, static_cast<int32_t>(place.shard), pass);
  code.add(move_value(8, 0));
  is_suspect(code, trusted);
  code.add(move_value(8, 1));
  code.at(trusted);
  code.add(load(BPF_B, 0, 10, expresslane));
  code.jump_if(BPF_JEQ, 0, 0, records);
  judge_lane(code);
  code.at(records);
  judge_record(code, map, place);
  code.at(seldom);
  let_few_pass(code);
  code.at(drop);
  count_and_drop(code, map, floors::counter_at(place.shard));
  code.at(pass);
  leave_with(code, -1);
  return code;
}

Code garbage_filter(int map, const Floors::Place& place) {
  Code code;
  code.add(move(6, 1));
  code.add(load(BPF_W, 0, 6, offsetof(__sk_buff, gso_size)));
  code.jump_if(BPF_JNE, 0, 0, pass);  // a train
  code.add(load(BPF_W, 0, 6, offsetof(__sk_buff, len)));
  code.jump_if(BPF_JLT, 0, udp_header + 16, pass);  // too short, and counted as that
  code.load_bytes(udp_header, header, 8, pass);
  code.add(load(BPF_H, 0, 10, magic));
  code.jump_if(BPF_JEQ, 0, magic_bytes, pass);
  count_and_drop(code, map, floors::counter_at(place.shard) + floors::garbage_counter);
  code.at(pass);
  leave_with(code, -1);
  return code;
}

}  // namespace ringway::programs
