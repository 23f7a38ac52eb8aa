// Loads and stores at any alignment, in network order unless the name says native.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>

namespace ringway {

static_assert(std::endian::native == std::endian::little, "layouts and checksums below are written for little-endian machines");

template <class T>
inline T load_native(const uint8_t* from) {
  T value;
  std::memcpy(&value, from, sizeof value);
  return value;
}
template <class T>
inline void store_native(uint8_t* to, T value) {
  std::memcpy(to, &value, sizeof value);
}

inline uint16_t swap_bytes(uint16_t value) { return __builtin_bswap16(value); }
inline uint16_t load16(const uint8_t* from) { return __builtin_bswap16(load_native<uint16_t>(from)); }
inline uint32_t load32(const uint8_t* from) { return __builtin_bswap32(load_native<uint32_t>(from)); }
inline uint64_t load64(const uint8_t* from) { return __builtin_bswap64(load_native<uint64_t>(from)); }
inline void store16(uint8_t* to, uint16_t value) { store_native(to, __builtin_bswap16(value)); }
inline void store32(uint8_t* to, uint32_t value) { store_native(to, __builtin_bswap32(value)); }
inline void store64(uint8_t* to, uint64_t value) { store_native(to, __builtin_bswap64(value)); }

}  // namespace ringway
