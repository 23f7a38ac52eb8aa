// How many blocks the kernel may fill before they are worked on. It copies into them, the AEAD goes over them, the kernel copies out of them: these passes
// cost much less while the bytes are still in the processor's own cache than when they come from memory (docs/decisions/0013).
#pragma once

#include <algorithm>
#include <cstdint>

namespace ringway {

class Portion {
 public:
  // A block came with so many bytes.
  void took(uint32_t bytes) { average_ += (static_cast<int32_t>(bytes) - average_) / 8; }
  // Of such as come at present.
  uint32_t blocks() const { return cached_bytes / static_cast<uint32_t>(std::max(average_, 1)); }

 private:
  // Seven blocks at least, as none holds more than 66,048.
  // A half of what the second level of a current server's core holds; the other half is for what is made of it, and what the kernel does in between.
  static constexpr uint32_t cached_bytes = 512 * 1024;
  int32_t average_ = 0;
};

}  // namespace ringway
