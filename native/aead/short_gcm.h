// AES-GCM of several short packets at once, for CPUs with VAES and AVX-512. One short packet alone leaves the CPU waiting: its rounds and its
// hash depend on each other from first to last. Four side by side take little longer than one.
#pragma once

#include "aead/aead.h"

namespace ringway::short_gcm {

inline constexpr size_t max_length = 208, max_aad = 32;  // bytes: 13 blocks, 2 blocks
inline constexpr size_t powers = 16;                     // blocks that one tag covers at most: AAD, ciphertext, lengths

// Powers of the hash key, highest first: what GHASH multiplies a block with. Behind the first power 64 zero bytes.
struct alignas(64) HashPowers {
  uint8_t bytes[(powers + 4) * 16];
};

bool available();
inline bool fits(const Sealed& one) { return one.length <= max_length && one.aad_length <= max_aad; }
// `round_keys`: rounds + 1 of 16 bytes, as FIPS 197 has them.
void expand(HashPowers& powers, const uint8_t* round_keys, int rounds);
// Of 1 to 4 packets that fit. Seals in place and writes the tags, or opens in place and sets `authentic`.
inline constexpr size_t side_by_side = 4;
void seal(const HashPowers& powers, const uint8_t* round_keys, int rounds, std::span<const Sealed* const> packets);
void open(const HashPowers& powers, const uint8_t* round_keys, int rounds, std::span<Sealed* const> packets);
// Aead::number_masks of AES.
void first_two(const uint8_t* round_keys, int rounds, std::span<const uint8_t* const> samples, uint16_t* masks);

}  // namespace ringway::short_gcm
