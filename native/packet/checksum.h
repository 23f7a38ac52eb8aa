// The internet checksum (RFC 1071): sums of 16-bit words in the machine's order. A sum folded to 16 bits is stored as it is (store_native):
// swapping every word swaps the sum, so the bytes come out in network order. Words given as numbers must be swapped (swap_bytes).
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>

namespace ringway {

// Sum of `length` bytes, an odd last one padded with zero. Not folded: add sums freely (each is below 2^48 for 64 KB).
using SumFunction = uint64_t (*)(const uint8_t* bytes, size_t length);
// The same while copying; the areas must not overlap.
using CopySumFunction = uint64_t (*)(uint8_t* to, const uint8_t* from, size_t length);

extern const SumFunction sum_bytes;
extern const CopySumFunction copy_and_sum;
// 'avx512', 'avx2' or 'scalar': which one this CPU runs.
extern const char* const checksum_instructions;

// Every variant this CPU can run, for tests: they must agree.
struct ChecksumVariant {
  const char* name;
  SumFunction sum;
  CopySumFunction copy;
};
const ChecksumVariant* checksum_variants(size_t* count);


// Adding a sum to itself with its halves swapped leaves what the upper half needs there: both halves, and the carry of their addition.
inline uint16_t fold(uint64_t sum) {
  const auto half = static_cast<uint32_t>((sum + std::rotl(sum, 32)) >> 32);
  return static_cast<uint16_t>((half + std::rotl(half, 16)) >> 16);
}

inline uint16_t complement(uint16_t sum) { return static_cast<uint16_t>(~sum); }

}  // namespace ringway
