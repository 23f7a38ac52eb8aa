// The 16 bytes in front of every datagram (protocol §1.2): `48 65 major minor aggressive expresslane 0 0 id`.
#pragma once

#include <cstdint>
#include <span>

#include "core/batch.h"
#include "packet/bytes.h"
#include "table/layout.h"

namespace ringway::lightway {

inline constexpr size_t header_bytes = 16;
inline constexpr size_t major = 2, minor = 3, expresslane = 5, id = 8;
inline constexpr uint64_t empty_id = 0, rejected_id = ~uint64_t{0};

// pass, or why a datagram is no Lightway datagram.
inline uint8_t check(std::span<const uint8_t> datagram) {
  if (datagram.size() < header_bytes) return verdict::too_short;
  if (datagram[0] != 0x48 || datagram[1] != 0x65) return verdict::bad_magic;
  if (datagram[major] != 1 || datagram[minor] < 1 || datagram[minor] > 3) return verdict::bad_version;
  if (load_native<uint64_t>(&datagram[id]) == rejected_id) return verdict::rejected_id;
  return verdict::pass;
}

inline void write(uint8_t* to, const PublicSlot& slot, bool over_expresslane) {
  const uint8_t head[8] = {0x48, 0x65, slot.version_major, slot.version_minor, 0, over_expresslane, 0, 0};
  std::memcpy(to, head, sizeof head);
  std::memcpy(to + id, slot.send_id, 8);
}

}  // namespace ringway::lightway

// Expresslane data packets (protocol §6.5): `counter u64 | IV 12 | tag 16 | length u16 | flags u16 | ciphertext`.
namespace ringway::lane {

inline constexpr size_t counter = 0, iv = 8, tag = 20, length = 36, flags = 38, header_bytes = 40;
inline constexpr uint16_t encoded = 0x8000;
inline constexpr size_t max_aad = 18;

// Session id as in the datagram's own header, counter, and with version 2 the flags. @returns its length
inline size_t make_aad(const uint8_t* session_id, const uint8_t* frame, bool with_flags, uint8_t* aad) {
  std::memcpy(aad, session_id, 8);
  std::memcpy(aad + 8, frame + counter, 8);
  std::memcpy(aad + 16, frame + flags, 2);
  return with_flags ? 18 : 16;
}

}  // namespace ringway::lane
