// GHASH works on blocks with their bytes reversed. With P(i) = H^i * x (NIST SP 800-38D, section 6.3, in that bit order), multiply(X, P(i)) is
// X * H^i, and a sum of products is reduced once, those of four packets together. A packet is laid over vectors of four blocks, one or two (`lead`)
// of them for its AAD:
//
//   block        0 ... lead - 1                     lead ... lead + m - 1    lead + m
//   AES          the last one: counter 1 (tag)      counter 2 ...
//   GHASH        AAD                                ciphertext               lengths
//
// Where the last two blocks of the AES are alone in their vector, two packets share it.
#include "aead/short_gcm.h"

#include "packet/bytes.h"

#if defined(__x86_64__)
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wuninitialized"  // GCC 12 on its own _mm512_undefined (bug 105593)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <immintrin.h>

#define RINGWAY_VAES gnu::target("avx512f,avx512bw,avx512vl,avx512dq,aes,vaes,pclmul,vpclmulqdq,bmi2")

namespace ringway::short_gcm {
namespace {

constexpr size_t most_vectors = 4;
constexpr uint64_t polynomial = 0xc200000000000000;  // x^128 + x^127 + x^126 + x^121 + 1, reversed

struct Product {
  __m512i low, middle, high;
};

[[RINGWAY_VAES]] inline __m512i reversed(__m512i blocks) {
  return _mm512_shuffle_epi8(blocks, _mm512_broadcast_i32x4(_mm_set_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)));
}

[[RINGWAY_VAES]] inline void add_product(Product& sum, __m512i blocks, __m512i powers) {
  sum.low = _mm512_xor_si512(sum.low, _mm512_clmulepi64_epi128(blocks, powers, 0x00));
  sum.high = _mm512_xor_si512(sum.high, _mm512_clmulepi64_epi128(blocks, powers, 0x11));
  sum.middle = _mm512_ternarylogic_epi64(sum.middle, _mm512_clmulepi64_epi128(blocks, powers, 0x01), _mm512_clmulepi64_epi128(blocks, powers, 0x10), 0x96);
}

// In each block the sum of the four of a vector.
[[RINGWAY_VAES]] inline __m512i folded(__m512i a, __m512i b, __m512i c, __m512i d) {
  const __m512i ab = _mm512_xor_si512(_mm512_shuffle_i64x2(a, b, 0x44), _mm512_shuffle_i64x2(a, b, 0xee));
  const __m512i cd = _mm512_xor_si512(_mm512_shuffle_i64x2(c, d, 0x44), _mm512_shuffle_i64x2(c, d, 0xee));
  return _mm512_xor_si512(_mm512_shuffle_i64x2(ab, cd, 0x88), _mm512_shuffle_i64x2(ab, cd, 0xdd));
}

// Of each block: low + x^64 middle + x^128 high, modulo the polynomial.
[[RINGWAY_VAES]] inline __m512i reduced(const Product& sum) {
  const __m512i by = _mm512_broadcast_i32x4(_mm_set_epi64x(static_cast<int64_t>(polynomial), 1));
  const auto swapped = [](__m512i blocks) __attribute__((target("avx512f"))) { return _mm512_shuffle_epi32(blocks, _MM_PERM_BADC); };
  const __m512i middle = _mm512_ternarylogic_epi64(sum.middle, _mm512_clmulepi64_epi128(by, sum.low, 0x01), swapped(sum.low), 0x96);
  return _mm512_ternarylogic_epi64(sum.high, _mm512_clmulepi64_epi128(by, middle, 0x01), swapped(middle), 0x96);
}

[[RINGWAY_VAES]] inline __m512i round_key(const uint8_t* round_keys, int round) {
  return _mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(round_keys + 16 * round)));
}

struct Layout {
  size_t lead, end;  // blocks; where the ciphertext begins and ends

  explicit Layout(const Sealed& packet) : lead{packet.aad_length > 16 ? 2u : 1u}, end{lead + (packet.length + 15) / 16} {}
};

// Bytes of ciphertext in vector `j`.
[[RINGWAY_VAES]] inline uint64_t mask_of(const Layout& layout, size_t length, size_t j) {
  const size_t end = 16 * layout.lead + length, from = 64 * j;
  const uint64_t all = end <= from ? 0 : _bzhi_u64(~uint64_t{0}, static_cast<uint32_t>(end - from < 64 ? end - from : 64));
  return j == 0 ? all & (~uint64_t{0} << (16 * layout.lead)) : all;
}

// The counters of a vector's blocks, big-endian in their last words, where `first` is that of the first one; they stay below 256.
[[RINGWAY_VAES]] inline __m512i counters_from(int first) {
  return _mm512_set_epi32((first + 3) << 24, 0, 0, 0, (first + 2) << 24, 0, 0, 0, (first + 1) << 24, 0, 0, 0, first << 24, 0, 0, 0);
}

// The first `count` packets are worked on; the others are the last one again. `halves`: half vectors that hold the AES blocks of the longest.
// @returns the four tags
template <bool sealing, size_t halves>
[[RINGWAY_VAES]] inline __m512i run(const HashPowers& hash, const uint8_t* round_keys, int rounds, const Sealed* const* packets, size_t count) {
  constexpr size_t vectors = halves / 2, shared = halves % 2 * side_by_side / 2;
  __m512i stream[side_by_side][vectors];
  __m512i half[side_by_side / 2];  // a packet each in its halves
  __m512i nonces[side_by_side];    // less what the counters begin later
  const __m512i first = round_key(round_keys, 0);
#pragma GCC unroll 4
  for (size_t i = 0; i < side_by_side; i++) {
    const __m128i later = _mm_setr_epi32(0, 0, 0, static_cast<int>((1 - Layout{*packets[i]}.lead) << 24));
    nonces[i] = _mm512_broadcast_i32x4(_mm_or_si128(_mm_maskz_loadu_epi8(0x0fff, packets[i]->nonce), later));
#pragma GCC unroll 4
    for (size_t j = 0; j < vectors; j++)
      stream[i][j] = _mm512_xor_si512(_mm512_add_epi32(nonces[i], counters_from(static_cast<int>(4 * j) + 1)), first);
  }
#pragma GCC unroll 2
  for (size_t i = 0; i < shared; i++) {
    const __m512i both = _mm512_mask_mov_epi64(nonces[2 * i], 0xf0, nonces[2 * i + 1]);
    const __m512i counters = counters_from(static_cast<int>(4 * vectors) + 1);
    half[i] = _mm512_xor_si512(_mm512_add_epi32(both, _mm512_shuffle_i64x2(counters, counters, 0x44)), first);
  }
  for (int round = 1; round < rounds; round++) {
    const __m512i now = round_key(round_keys, round);
#pragma GCC unroll 4
    for (size_t i = 0; i < side_by_side; i++) {
#pragma GCC unroll 4
      for (size_t j = 0; j < vectors; j++) stream[i][j] = _mm512_aesenc_epi128(stream[i][j], now);
    }
#pragma GCC unroll 2
    for (size_t i = 0; i < shared; i++) half[i] = _mm512_aesenc_epi128(half[i], now);
  }
  const __m512i last = round_key(round_keys, rounds);
#pragma GCC unroll 2
  for (size_t i = 0; i < shared; i++) half[i] = _mm512_aesenclast_epi128(half[i], last);
  Product sums[side_by_side];
#pragma GCC unroll 4
  for (size_t i = 0; i < side_by_side; i++) {
    Product& sum = sums[i];
    sum = {_mm512_setzero_si512(), _mm512_setzero_si512(), _mm512_setzero_si512()};
    if (i >= count) continue;
    const Sealed& packet = *packets[i];
    const Layout layout{packet};
    const uint8_t* power = hash.bytes + 16 * (powers - layout.end - 1);  // of block 0
    const __m512i aad = _mm512_zextsi256_si512(_mm256_maskz_loadu_epi8(_bzhi_u32(~0u, packet.aad_length), packet.aad));
    const auto bits = [](uint64_t bytes) { return static_cast<int64_t>(__builtin_bswap64(bytes * 8)); };
    const __m512i lengths = _mm512_broadcast_i32x4(_mm_set_epi64x(bits(packet.length), bits(packet.aad_length)));
    const uint64_t lengths_at = uint64_t{3} << (2 * layout.end);  // 64-bit words
    uint8_t* bytes = packet.bytes - 16 * layout.lead;
#pragma GCC unroll 4
    for (size_t j = 0; j < most_vectors; j++) {
      if (j > vectors || layout.end < 4 * j) break;
      __m512i hashed = _mm512_setzero_si512();
      if (j < vectors) {
        const __m512i key = _mm512_aesenclast_epi128(stream[i][j], last);
        const __mmask64 mask = mask_of(layout, packet.length, j);
        const __m512i in = _mm512_maskz_loadu_epi8(mask, bytes + 64 * j);
        const __m512i out = _mm512_maskz_mov_epi8(mask, _mm512_xor_si512(in, key));
        _mm512_mask_storeu_epi8(bytes + 64 * j, mask, out);
        hashed = sealing ? out : in;
        if (j == 0) {
          hashed = _mm512_or_si512(hashed, aad);
          // the mask of the tag: what is added to any block here is added to the tag
          const __mmask64 tag_block = uint64_t{0xffff} << (16 * (layout.lead - 1));
          sum.high = _mm512_maskz_mov_epi8(tag_block, reversed(key));
        }
      } else if (shared > 0) {
        const __m256i key = i % 2 == 0 ? _mm512_castsi512_si256(half[i / 2]) : _mm512_extracti64x4_epi64(half[i / 2], 1);
        const auto mask = static_cast<__mmask32>(mask_of(layout, packet.length, j));
        const __m256i in = _mm256_maskz_loadu_epi8(mask, bytes + 64 * j);
        const __m256i out = _mm256_maskz_mov_epi8(mask, _mm256_xor_si256(in, key));
        _mm256_mask_storeu_epi8(bytes + 64 * j, mask, out);
        hashed = _mm512_zextsi256_si512(sealing ? out : in);
      }
      hashed = _mm512_mask_mov_epi64(hashed, static_cast<__mmask8>(lengths_at >> (8 * j)), lengths);
      add_product(sum, reversed(hashed), _mm512_loadu_si512(power + 64 * j));
    }
  }
  const auto& [a, b, c, d] = sums;
  const Product all{folded(a.low, b.low, c.low, d.low), folded(a.middle, b.middle, c.middle, d.middle), folded(a.high, b.high, c.high, d.high)};
  return reversed(reduced(all));
}

template <bool sealing>
[[RINGWAY_VAES]] __m512i run_all(const HashPowers& hash, const uint8_t* round_keys, int rounds, const Sealed* const* packets, size_t count) {
  const Sealed* four[side_by_side];
  size_t most = 0;
  for (size_t i = 0; i < side_by_side; i++) {
    four[i] = packets[i < count ? i : count - 1];
    const size_t blocks = Layout{*four[i]}.end;
    most = blocks > most ? blocks : most;
  }
  if (most <= 4) return run<sealing, 2>(hash, round_keys, rounds, four, count);
  if (most <= 6) return run<sealing, 3>(hash, round_keys, rounds, four, count);
  if (most <= 8) return run<sealing, 4>(hash, round_keys, rounds, four, count);
  if (most <= 12) return run<sealing, 6>(hash, round_keys, rounds, four, count);
  return run<sealing, 8>(hash, round_keys, rounds, four, count);
}

[[RINGWAY_VAES]] __m128i multiply(__m128i block, __m128i power) {
  Product sum{_mm512_setzero_si512(), _mm512_setzero_si512(), _mm512_setzero_si512()};
  add_product(sum, _mm512_zextsi128_si512(block), _mm512_zextsi128_si512(power));
  return _mm512_castsi512_si128(reduced(sum));
}

}  // namespace

static_assert(max_aad + max_length + 16 <= 64 * most_vectors && max_aad / 16 + max_length / 16 + 1 <= powers && max_aad == 32);

bool available() {
  __builtin_cpu_init();
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("vaes") && __builtin_cpu_supports("vpclmulqdq") && __builtin_cpu_supports("bmi2");
}

[[RINGWAY_VAES]] void expand(HashPowers& hash, const uint8_t* round_keys, int rounds) {
  const __m128i* keys = reinterpret_cast<const __m128i*>(round_keys);
  __m128i block = _mm_loadu_si128(keys);
  for (int round = 1; round < rounds; round++) block = _mm_aesenc_si128(block, _mm_loadu_si128(keys + round));
  alignas(16) uint8_t h[16];
  _mm_store_si128(reinterpret_cast<__m128i*>(h), _mm_aesenclast_si128(block, _mm_loadu_si128(keys + rounds)));
  uint64_t high = load64(h), low = load64(h + 8);
  const uint64_t carry = 0 - (high >> 63);
  high = (high << 1 | low >> 63) ^ (carry & polynomial);
  low = low << 1 ^ (carry & 1);
  const __m128i first = _mm_set_epi64x(static_cast<int64_t>(high), static_cast<int64_t>(low));
  __m128i power = first;
  for (size_t i = powers; i-- > 0;) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(hash.bytes + 16 * i), power);
    power = multiply(power, first);
  }
  std::memset(hash.bytes + 16 * powers, 0, 64);
  wipe(h, sizeof h);
}

[[RINGWAY_VAES]] void seal(const HashPowers& hash, const uint8_t* round_keys, int rounds, std::span<const Sealed* const> packets) {
  const __m512i tags = run_all<true>(hash, round_keys, rounds, packets.data(), packets.size());
  alignas(64) uint8_t each[64];
  _mm512_store_si512(each, tags);
  for (size_t i = 0; i < packets.size(); i++) std::memcpy(packets[i]->tag, each + 16 * i, 16);
}

[[RINGWAY_VAES]] void open(const HashPowers& hash, const uint8_t* round_keys, int rounds, std::span<Sealed* const> packets) {
  const __m512i expected = run_all<false>(hash, round_keys, rounds, packets.data(), packets.size());
  __m512i tags = _mm512_setzero_si512();
  for (size_t i = 0; i < packets.size(); i++) {
    const __m128i tag = _mm_loadu_si128(reinterpret_cast<const __m128i*>(packets[i]->tag));
    tags = _mm512_mask_broadcast_i32x4(tags, static_cast<__mmask16>(0xf << (4 * i)), tag);
  }
  const uint32_t different = _mm512_cmpneq_epi64_mask(expected, tags);
  for (size_t i = 0; i < packets.size(); i++) packets[i]->authentic = (different >> (2 * i) & 3) == 0;
}

[[RINGWAY_VAES]] void first_two(const uint8_t* round_keys, int rounds, std::span<const uint8_t* const> samples, uint16_t* masks) {
  constexpr size_t vectors = max_samples / 4;
  const size_t used = (samples.size() + 3) / 4;
  __m512i blocks[vectors];
  const __m512i first = round_key(round_keys, 0), last = round_key(round_keys, rounds);
#pragma GCC unroll 4
  for (size_t j = 0; j < vectors; j++) {
    blocks[j] = first;
    if (j >= used) continue;
#pragma GCC unroll 4
    for (size_t i = 0; i < 4; i++) {
      const size_t at = 4 * j + i < samples.size() ? 4 * j + i : samples.size() - 1;
      blocks[j] = _mm512_mask_broadcast_i32x4(blocks[j], static_cast<__mmask16>(0xf << (4 * i)), _mm_loadu_si128(reinterpret_cast<const __m128i*>(samples[at])));
    }
    blocks[j] = _mm512_xor_si512(blocks[j], first);
  }
  for (int round = 1; round < rounds; round++) {
    const __m512i now = round_key(round_keys, round);
#pragma GCC unroll 4
    for (size_t j = 0; j < vectors; j++) blocks[j] = _mm512_aesenc_epi128(blocks[j], now);
  }
#pragma GCC unroll 4
  for (size_t j = 0; j < vectors; j++) {
    if (j >= used) break;
    alignas(64) uint8_t each[64];
    _mm512_store_si512(each, _mm512_aesenclast_epi128(blocks[j], last));
    for (size_t i = 0; i < 4 && 4 * j + i < samples.size(); i++) masks[4 * j + i] = load16(each + 16 * i);
  }
}

}  // namespace ringway::short_gcm

#else

namespace ringway::short_gcm {
bool available() { return false; }
void expand(HashPowers&, const uint8_t*, int) {}
void seal(const HashPowers&, const uint8_t*, int, std::span<const Sealed* const>) {}
void open(const HashPowers&, const uint8_t*, int, std::span<Sealed* const>) {}
void first_two(const uint8_t*, int, std::span<const uint8_t* const>, uint16_t*) {}
}  // namespace ringway::short_gcm

#endif
