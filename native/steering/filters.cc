// The socket filters. A filter sees a datagram from the UDP header on; its return value is how many bytes of it stay, and 0 drops it. Lone datagrams only,
// as of a train it would have to judge every one.
#include <cstddef>

#include "steering/programs.h"

namespace ringway::programs {
namespace {

using namespace ebpf;

constexpr int16_t udp_header = 8, sample = header - 24;  // 8 bytes between them are for reveal_number()
constexpr int16_t entry = sample - 8;                     // where r9 is kept

enum Label : size_t { pass, admit, drop, beyond, seldom, records, far, bounded, trusted, reveal, share = reveal + 2 };

void leave_with(Code& code, int32_t value) {
  code.add(move_value(0, value));
  code.add(leave());
}

// A number beyond which none is to be expected: one in so many goes on.
void let_few_pass(Code& code) {
  code.add(call_helper(BPF_FUNC_get_prandom_u32));
  code.add(alu(BPF_AND, 0, floors::one_in - 1));
  code.jump_if(BPF_JEQ, 0, 0, admit);
}

// r8: is its session a suspect? r9: its entry
void judge_lane(Code& code) {
  code.add(load(BPF_W, 0, 6, offsetof(__sk_buff, len)));
  code.jump_if(BPF_JLT, 0, udp_header + shortest_lane, admit);
  code.add(load(BPF_DW, 2, 9, floors::word_at));
  code.add(alu(BPF_LSH, 2, 64 - floors::tag_shift));
  code.add(alu(BPF_RSH, 2, 64 - floors::tag_shift));
  code.jump_if(BPF_JEQ, 2, 0, admit);  // nothing is told of it
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
  code.jump_if(BPF_JNE, 3, 0, admit);  // a floor that cannot be raised any more
  code.jump_if_by(BPF_JLT, 1, 2, admit);
  code.jump(seldom);
}

// As judge_lane(); of a suspect alone.
void judge_record(Code& code, int map, const Floors::Place& place) {
  code.jump_if(BPF_JEQ, 8, 0, admit);
  code.add(load(BPF_B, 8, 10, record));
  code.add(move(0, 8));
  code.add(alu(BPF_AND, 0, 255 ^ epoch_bits));
  code.jump_if(BPF_JNE, 0, usual_record, admit);
  code.load_bytes(udp_header + 16 + record_header, sample, sample_bytes, admit);
  code.add(load(BPF_DW, 1, 9, floors::block_at));
  code.jump_if(BPF_JEQ, 1, 0, admit);
  code.jump_if(BPF_JGT, 1, numbers::blocks, admit);
  code.add(alu(BPF_SUB, 1, 1));
  code.add(alu(BPF_MUL, 1, numbers::block_bytes));
  code.add(alu(BPF_AND, 8, epoch_bits));
  code.add(alu(BPF_MUL, 8, sizeof(numbers::Epoch)));
  code.map_value(9, map, floors::blocks_at(place.shard, place.shards, place.entries));
  code.add(alu_by(BPF_ADD, 9, 1));
  code.add(alu_by(BPF_ADD, 9, 8));
  code.add(load(BPF_W, 0, 9, offsetof(numbers::Epoch, rounds)));
  code.jump_if(BPF_JEQ, 0, 0, seldom);
  code.jump_if(BPF_JEQ, 0, numbers::unknown, admit);
  reveal_number(code, map, place, sample, reveal);
  code.add(load(BPF_W, 2, 9, offsetof(numbers::Epoch, low)));
  code.add(load(BPF_W, 3, 9, offsetof(numbers::Epoch, span)));
  code.add(alu_by(BPF_SUB, 1, 2));
  code.add(alu(BPF_AND, 1, 0xffff));
  code.jump_if_by(BPF_JLT, 1, 3, admit);
}

}  // namespace

// r6 datagram, r7 session id as it lies, r8 whether that is a suspect's, r9 its entry
Code numbers_filter(int map, const Floors::Place& place, uint32_t places, bool reveals) {
  const size_t head = floors::counter_at(place.shard);
  Code code;
  code.add(move(6, 1));
  code.add(load(BPF_W, 0, 6, offsetof(__sk_buff, gso_size)));
  code.jump_if(BPF_JNE, 0, 0, pass);  // a train
  code.load_bytes(udp_header, header, looked_at, pass);
  code.add(load(BPF_H, 0, 10, magic));
  code.jump_if(BPF_JNE, 0, magic_bytes, pass);
  code.add(load(BPF_DW, 7, 10, id));
  find_entry(code, map, place, static_cast<int32_t>(place.shard), pass);
  code.add(store(BPF_DW, 10, entry, 9));
  code.add(move_value(8, 0));
  is_suspect(code, floors::until_at, trusted);
  code.add(move_value(8, 1));
  code.at(trusted);
  code.add(load(BPF_B, 0, 10, expresslane));
  code.jump_if(BPF_JEQ, 0, 0, records);
  judge_lane(code);
  code.at(records);
  if (reveals) judge_record(code, map, place);
  else code.jump(admit);
  code.at(seldom);
  let_few_pass(code);
  code.at(drop);
  count_and_drop(code, map, head + offsetof(ShareHead, filtered));
  code.at(admit);
  code.add(load(BPF_DW, 9, 10, entry));
  code.map_value(8, map, head);
  take_place(code, places, share, beyond);
  code.at(pass);
  leave_with(code, -1);
  code.at(beyond);
  count_and_drop(code, map, head + offsetof(ShareHead, beyond));
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
  count_and_drop(code, map, floors::counter_at(place.shard) + offsetof(ShareHead, garbage));
  code.at(pass);
  leave_with(code, -1);
  return code;
}

}  // namespace ringway::programs
