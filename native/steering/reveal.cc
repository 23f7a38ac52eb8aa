// AES by tables as eBPF, as much of it as shows the number of a record (RFC 9147 §4.2.3; steering/numbers.h).
#include <array>

#include "steering/programs.h"

namespace ringway::programs {
namespace {

using namespace ebpf;

constexpr int16_t keys = offsetof(numbers::Epoch, keys), rounds = offsetof(numbers::Epoch, rounds);
constexpr int16_t saved = header - 8;  // where r9 is kept
constexpr uint8_t scratch = 0, tables = 5;
using State = std::array<uint8_t, 4>;  // registers of the four columns
constexpr State one{1, 2, 3, 4}, other{6, 7, 8, 9};

constexpr bpf_insn alu32(uint8_t operation, uint8_t to, int32_t value) { return instruction(BPF_ALU | operation | BPF_K, to, 0, 0, value); }
constexpr bpf_insn alu32_by(uint8_t operation, uint8_t to, uint8_t from) { return instruction(BPF_ALU | operation | BPF_X, to, from, 0, 0); }
constexpr int16_t key_at(int round, int column) { return static_cast<int16_t>(keys + 4 * (4 * round + column)); }

// scratch: what a table says of a byte of a column
void look_up(Code& code, uint8_t column, int byte, int table) {
  code.add(alu32_by(BPF_MOV, scratch, column));
  if (byte > 0) code.add(alu32(BPF_RSH, scratch, 8 * byte));
  if (byte < 3) code.add(alu32(BPF_AND, scratch, 255));
  code.add(alu(BPF_LSH, scratch, 2));
  code.add(alu_by(BPF_ADD, scratch, tables));
  code.add(load(BPF_W, scratch, scratch, static_cast<int16_t>(1024 * table)));
}

void round(Code& code, int number, const State& from, const State& to, int columns = 4) {
  for (int column = 0; column < columns; column++) {
    code.add(load(BPF_DW, to[column], 10, saved));
    code.add(load(BPF_W, to[column], to[column], key_at(number, column)));
    for (int byte = 0; byte < 4; byte++) {
      look_up(code, from[(column + byte) % 4], byte, byte);
      code.add(alu32_by(BPF_XOR, to[column], scratch));
    }
  }
}

// The sample, and the first key.
void begin(Code& code, int round, int16_t sample) {
  for (int column = 0; column < 4; column++) {
    code.add(load(BPF_W, one[column], 10, static_cast<int16_t>(sample + 4 * column)));
    code.add(load(BPF_W, scratch, 9, key_at(round, column)));
    code.add(alu32_by(BPF_XOR, one[column], scratch));
  }
}

// `to`: a byte of the last round, which is of the S-box alone: the second byte of the first table's words.
void finish(Code& code, uint8_t to, uint8_t column, int byte) {
  look_up(code, column, byte, 0);
  code.add(alu32(BPF_RSH, scratch, 8));
  code.add(alu32(BPF_AND, scratch, 255));
  code.add(alu32_by(BPF_MOV, to, scratch));
}

}  // namespace

void reveal_number(Code& code, int map, const Floors::Place& place, int16_t sample, size_t labels) {
  const size_t short_key = labels, both = labels + 1;
  code.add(store(BPF_DW, 10, saved, 9));
  code.map_value(tables, map, floors::tables_at(place.shards, place.entries));
  code.add(load(BPF_W, scratch, 9, rounds));
  code.jump_if(BPF_JEQ, scratch, 10, short_key);
  begin(code, 0, sample);
  for (int number = 1; number <= 4; number++) round(code, number, number % 2 ? one : other, number % 2 ? other : one);
  code.jump(both);
  code.at(short_key);
  begin(code, 4, sample);
  code.at(both);
  // of the last but one no more than what the first two bytes come from
  for (int number = 5; number <= 13; number++) round(code, number, number % 2 ? one : other, number % 2 ? other : one, number < 13 ? 4 : 2);
  finish(code, 1, other[0], 0);
  finish(code, 2, other[1], 1);
  code.add(load(BPF_DW, 9, 10, saved));
  code.add(alu32(BPF_LSH, 1, 8));
  code.add(alu32_by(BPF_OR, 1, 2));
  for (int byte = 0; byte < 2; byte++) {  // the key's bytes as they lie, the number's too
    const int shift = 8 * (1 - byte);
    code.add(load(BPF_B, 3, 9, static_cast<int16_t>(key_at(14, 0) + byte)));
    code.add(load(BPF_B, 4, 10, static_cast<int16_t>(record + 1 + byte)));
    code.add(alu32_by(BPF_XOR, 3, 4));
    if (shift > 0) code.add(alu32(BPF_LSH, 3, shift));
    code.add(alu32_by(BPF_XOR, 1, 3));
  }
}

}  // namespace ringway::programs
