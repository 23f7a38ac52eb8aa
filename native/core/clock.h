// Clocks in microseconds, as everything here counts time.
#pragma once

#include <ctime>

namespace ringway {

inline double micros_of(clockid_t clock) {
  timespec now{};
  clock_gettime(clock, &now);
  return static_cast<double>(now.tv_sec) * 1e6 + static_cast<double>(now.tv_nsec) / 1e3;
}

inline double monotonic_micros() { return micros_of(CLOCK_MONOTONIC); }

}  // namespace ringway
