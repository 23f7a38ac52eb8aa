// Ping and Pong frames (protocol §3.3): `kind u8 | id u16 | length u16 | payload`. src/wire/frames.ts is the same in TypeScript. Knows nothing of N-API.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "packet/bytes.h"

namespace ringway::keepalive {

inline constexpr uint8_t ping_frame = 2, pong_frame = 3;
inline constexpr size_t echo_header = 5;
inline constexpr size_t statistics_bytes = 16;  // Expresslane packets sent and received, u64 each (protocol §6.9)
inline constexpr size_t max_pong = echo_header + statistics_bytes;

// The id of a Ping that is all of a record's content. @returns false for anything else: other frames, several, or a length that lies
inline bool read_ping(std::span<const uint8_t> content, uint16_t* id) {
  if (content.size() < echo_header || content[0] != ping_frame) return false;
  if (load16(&content[3]) != content.size() - echo_header) return false;
  *id = load16(&content[1]);
  return true;
}

struct Statistics {
  uint64_t sent, received;
};

// @param statistics nullptr: none  @param to room for max_pong bytes  @returns bytes written
inline uint32_t write_pong(uint16_t id, const Statistics* statistics, uint8_t* to) {
  to[0] = pong_frame;
  store16(to + 1, id);
  store16(to + 3, statistics ? statistics_bytes : 0);
  if (!statistics) return echo_header;
  store64(to + echo_header, statistics->sent);
  store64(to + echo_header + 8, statistics->received);
  return max_pong;
}

}  // namespace ringway::keepalive
