// What each stage of a shard did. The memory is src/datapath/stages.ts's too, which has the same layout and counts the steps that JavaScript takes.
#pragma once

#include <cstdint>
#include <memory>
#include <utility>

#include "core/clock.h"
#include "core/columns.h"
#include "core/mapping.h"

namespace ringway {

// Uplink, then downlink, as src/datapath/pipeline.ts lists them.
namespace stage {
enum : uint32_t { udp_receive, open, control, admit, coalesce, tun_transmit, tun_receive, lookup, release, seal, udp_transmit, count };
}

class Stages {
 public:
  static constexpr uint32_t verdicts = static_cast<uint32_t>(verdict::names.size());
  // f64: vectors, entries, timed entries, timed microseconds, drops by verdict, of each stage; u32: low words of the counters seen last, their sum
  static constexpr size_t bytes = stage::count * (4 + verdicts) * sizeof(double) + (verdicts + 1) * sizeof(uint32_t);

  Stages(std::shared_ptr<Mapping> memory, const uint64_t* counters) : memory_{std::move(memory)}, counters_{counters} {
    auto* numbers = reinterpret_cast<double*>(memory_->data());
    vectors_ = numbers;
    entries_ = vectors_ + stage::count;
    timed_entries_ = entries_ + stage::count;
    timed_micros_ = timed_entries_ + stage::count;
    drops_ = timed_micros_ + stage::count;
    seen_ = reinterpret_cast<uint32_t*>(drops_ + size_t{stage::count} * verdicts);
    sum_ = seen_ + verdicts;
  }

  // A pass begins: is it one of those that are timed? Then what goes by between two calls of `count` is the second one's.
  void begin() {
    timing_ = until_timed_ == 0;
    if (timing_) since_ = monotonic_micros();
  }
  // It had something to work on.
  void begun() { until_timed_ = timing_ ? timed_every - 1 : until_timed_ - 1; }

  // A stage has worked on a vector: what was dropped since the last call is its own.
  void count(uint32_t stage, uint32_t entries) {
    vectors_[stage] += entries > 0;
    entries_[stage] += entries;
    if (timing_) time(stage, entries);
    uint32_t sum = 0;  // it wraps: only whether it changes matters
    for (uint32_t i = verdict::first_drop; i < verdicts; i++) sum += static_cast<uint32_t>(counters_[i]);
    if (sum != *sum_) attribute(stage, sum);
  }

  const std::shared_ptr<Mapping>& memory() const { return memory_; }

 private:
  // As TIMED_EVERY of src/datapath/stages.ts. Odd, so that both directions come by where they take turns.
  static constexpr uint32_t timed_every = 61;

  void time(uint32_t stage, uint32_t entries) {
    const double now = monotonic_micros();
    if (entries > 0) {
      timed_entries_[stage] += entries;
      timed_micros_[stage] += now - since_;
    }
    since_ = now;
  }

  void attribute(uint32_t stage, uint32_t sum) {
    *sum_ = sum;
    for (uint32_t i = verdict::first_drop; i < verdicts; i++) {
      const auto low = static_cast<uint32_t>(counters_[i]);
      drops_[stage * verdicts + i] += low - seen_[i];
      seen_[i] = low;
    }
  }

  std::shared_ptr<Mapping> memory_;
  const uint64_t* counters_;
  double *vectors_, *entries_, *timed_entries_, *timed_micros_, *drops_;
  uint32_t *seen_, *sum_;
  bool timing_ = false;
  uint32_t until_timed_ = timed_every - 1;
  double since_ = 0;
};

}  // namespace ringway
