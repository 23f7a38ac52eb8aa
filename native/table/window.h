// Replay windows over slot memory. `look` before opening, `take` after: nothing forged moves a window.
#pragma once

#include <cstdint>

#include "table/layout.h"

namespace ringway {

// Expresslane (protocol §6.7): 8,192 numbers up to the highest one; 0 is never valid.
struct LaneWindow {
  PublicSlot& slot;

  bool refuses(uint64_t counter) const {
    if (counter == 0) return true;
    if (counter > slot.lane_highest) return false;
    if (slot.lane_highest - counter >= lane_window_size) return true;
    return (slot.lane_window[(counter >> 6) & 127] >> (counter & 63)) & 1;
  }

  void take(uint64_t counter) {
    if (counter > slot.lane_highest) {
      clear_between(slot.lane_highest, counter);
      slot.lane_highest = counter;
    }
    slot.lane_window[(counter >> 6) & 127] |= uint64_t{1} << (counter & 63);
  }

 private:
  // Forgets the numbers above `before` up to `counter`, a word at a time.
  void clear_between(uint64_t before, uint64_t counter) {
    if (counter - before >= lane_window_size) {
      for (uint64_t& word : slot.lane_window) word = 0;
      return;
    }
    for (uint64_t at = before + 1; at <= counter;) {
      const uint64_t bit = at & 63, last = counter - at < 64 - bit ? bit + (counter - at) : 63;
      slot.lane_window[(at >> 6) & 127] &= ~((~uint64_t{0} >> (63 - (last - bit))) << bit);
      at += last - bit + 1;
      if (at == 0) return;  // the number after the last one there is
    }
  }
};

// DTLS (RFC 9147 §4.5.1): 512 numbers below the next one, per epoch.
struct RecordWindow {
  PublicSlot& slot;
  uint8_t epoch_bits;

  uint64_t next() const { return slot.record_next[epoch_bits]; }

  bool refuses(uint64_t number) const {
    if (number >= next()) return false;
    if (next() - number > record_window_size) return true;
    return (word(number) >> (number & 63)) & 1;
  }

  void take(uint64_t number) {
    if (number >= next()) {
      if (number - next() >= record_window_size) {
        for (int i = 0; i < 8; i++) slot.record_window[epoch_bits * 8 + i] = 0;
      } else {
        for (uint64_t at = next(); at <= number; at++) word(at) &= ~(uint64_t{1} << (at & 63));
      }
      slot.record_next[epoch_bits] = number + 1;
    }
    word(number) |= uint64_t{1} << (number & 63);
  }

 private:
  uint64_t& word(uint64_t number) const { return slot.record_window[epoch_bits * 8u + ((number >> 6) & 7)]; }
};

}  // namespace ringway
