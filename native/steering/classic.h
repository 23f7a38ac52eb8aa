// How datagrams are sorted (steering/udp.cc), as classic BPF.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include <linux/filter.h>

namespace ringway::classic {

// Where a jump goes. The next instruction, or a place further on.
enum Label : uint8_t { next, low_is_zero, low_is_ones, session, found, empty, stranger, spread, ipv4, port_number, labels };

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
  size_t place(Label label) const { return places_[label]; }

 private:
  std::vector<sock_filter> code_;
  std::array<size_t, labels> places_{};
};

// Of the group's program; `found` is where it leaves with the shard of who names a session.
Program sort(uint32_t shards, bool doors);

}  // namespace ringway::classic
