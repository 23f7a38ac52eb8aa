// Suspects: slots of whose lone datagrams so many are refused, so fast, that it is a flood. What a refused datagram costs is mostly what the kernel takes to
// deliver it, so the kernel is told to look closer at theirs (steering/floors.h). Trains are delivered at the price of one, and not counted.
#pragma once

#include <array>
#include <cstdint>

namespace ringway {

class Suspects {
 public:
  static constexpr int32_t nobody = -1;  // whose id names no session
  static constexpr uint32_t cases = 64;
  static constexpr uint32_t case_of(int32_t slot) { return slot < 0 ? cases : static_cast<uint32_t>(slot) % cases; }
  static constexpr double for_micros = 2e6;  // so long it is looked at closer, and then seen anew

  // @returns whether it is a suspect from now on
  bool refused(int32_t slot);

 private:
  // So many are looked at together; where they took longer than `hurry` microseconds, at less than 20,000 a second, they cost next to nothing.
  static constexpr uint32_t together = 4'096;
  static constexpr double hurry = 200e3;

  struct Case {
    int32_t slot = nobody;
    uint32_t refused = 0, others = 0;
    double began = 0;
  };
  std::array<Case, cases + 1> cases_{};  // the last is of nobody
};

}  // namespace ringway
