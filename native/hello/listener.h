// Answers the first ClientHellos of a vector where they lie, without remembering anybody: what floods ask for costs no object of JavaScript.
#pragma once

#include <array>
#include <cstdint>
#include <memory>

#include "core/batch.h"
#include "hello/parse.h"
#include "hello/retry.h"
#include "table/lanes.h"

namespace ringway {

class Listener {
 public:
  static constexpr const char* type_name = "listener";
  static constexpr napi_type_tag type_tag{0x52696e6777617934, 0x5e2c91d07b3fa601};

  Listener(std::shared_ptr<Lanes> lanes, const hello::Terms& terms, std::unique_ptr<hello::Cookies> cookies);

  // Judges the raw entries of `packets` that are nobody's and came in the trains from `first` to before `end`; answers go to `answers`, behind what
  // is there. What is judged gets the verdict answered. Left for JavaScript: cookies, datagrams from a session's address, and whatever finds no room.
  // @returns entries judged
  uint32_t answer(Batch& packets, const Batch& trains, Batch& answers, double now, uint32_t first, uint32_t end);

  const std::array<uint64_t, hello::judgements>& counters() const { return counters_; }

 private:
  bool answer_one(const Batch& packets, uint32_t entry, const uint8_t* address, Batch& answers, double now);

  std::shared_ptr<Lanes> lanes_;
  hello::Terms terms_;
  std::unique_ptr<hello::Cookies> cookies_;
  hello::Steering steering_;
  std::array<uint64_t, hello::judgements> counters_{};
};

}  // namespace ringway
