// What a packet of the load lab carries: src/load/payload.ts is the reference and says what the fields mean. No N-API here.
#pragma once

#include <cstdint>
#include <span>

#include "packet/bytes.h"

namespace ringway::load {

inline constexpr uint32_t payload_bytes = 36, magic = 0x52574c44;
inline constexpr uint8_t payload_version = 1;

enum Type : uint8_t { hello, data, ack, echo };
inline constexpr uint8_t measured = 1, wants_echo = 2, wants_ack = 4;

struct Payload {
  uint8_t type, flags;
  uint32_t run, client;
  uint64_t sequence, time_ns;
  uint32_t count;
};

inline void write_payload(uint8_t* to, const Payload& payload) {
  store32(to, magic);
  to[4] = payload_version;
  to[5] = payload.type;
  to[6] = payload.flags;
  to[7] = 0;
  store32(to + 8, payload.run);
  store32(to + 12, payload.client);
  store64(to + 16, payload.sequence);
  store64(to + 24, payload.time_ns);
  store32(to + 32, payload.count);
}

// false: not of the load lab
inline bool read_payload(std::span<const uint8_t> from, Payload& out) {
  if (from.size() < payload_bytes || load32(from.data()) != magic || from[4] != payload_version) return false;
  const uint8_t* at = from.data();
  out = {at[5], at[6], load32(at + 8), load32(at + 12), load64(at + 16), load64(at + 24), load32(at + 32)};
  return true;
}

}  // namespace ringway::load
