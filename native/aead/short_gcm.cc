// GHASH works on blocks with their bytes reversed. With P(i) = H^i * x (NIST SP 800-38D, section 6.3, in that bit order), multiply(X, P(i)) is
// X * H^i, and a sum of products is reduced once. A packet is laid over vectors of four blocks, one in front of its ciphertext:
//
//   block        0                 1 ... m         then apart: the first block of a long AAD, and the lengths
//   AES          counter 1 (tag)   counter 2 ...
//   GHASH        end of the AAD    ciphertext
#include "aead/short_gcm.h"

#include "packet/bytes.h"

#if defined(__x86_64__)
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wuninitialized"  // GCC 12 on its own _mm512_undefined (bug 105593)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <immintrin.h>

#define RINGWAY_VAES gnu::target("avx512f,avx512bw,avx512vl,avx512dq,aes,vaes,pclmul,vpclmulqdq")

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

[[RINGWAY_VAES]] inline __m128i folded(__m512i four) {
  const __m256i two = _mm256_xor_si256(_mm512_castsi512_si256(four), _mm512_extracti64x4_epi64(four, 1));
  return _mm_xor_si128(_mm256_castsi256_si128(two), _mm256_extracti128_si256(two, 1));
}

// low + x^64 middle + x^128 high, modulo the polynomial.
[[RINGWAY_VAES]] inline __m128i reduced(const Product& sum) {
  const __m128i by = _mm_set_epi64x(static_cast<int64_t>(polynomial), 1);
  const __m128i low = folded(sum.low), high = folded(sum.high);
  __m128i middle = folded(sum.middle);
  middle = _mm_ternarylogic_epi64(middle, _mm_clmulepi64_si128(by, low, 0x01), _mm_shuffle_epi32(low, 0x4e), 0x96);
  return _mm_ternarylogic_epi64(high, _mm_clmulepi64_si128(by, middle, 0x01), _mm_shuffle_epi32(middle, 0x4e), 0x96);
}

[[RINGWAY_VAES]] inline __m512i round_key(const uint8_t* round_keys, int round) {
  return _mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(round_keys + 16 * round)));
}

// Of the vector that begins `from` bytes into the packet's layout, in which the ciphertext stands at 16.
inline uint64_t mask_of(size_t length, size_t from) {
  const size_t end = 16 + length;
  if (end <= from) return 0;
  const uint64_t all = end - from >= 64 ? ~uint64_t{0} : (uint64_t{1} << (end - from)) - 1;
  return from == 0 ? all & ~uint64_t{0xffff} : all;
}

// The first `count` packets are worked on; the others are the last one again.
template <bool sealing, size_t vectors>
[[RINGWAY_VAES]] inline void run(const HashPowers& hash, const uint8_t* round_keys, int rounds, const Sealed* const* packets, size_t count, __m128i* tags) {
  __m512i stream[side_by_side][vectors];
  const __m512i first = round_key(round_keys, 0);
#pragma GCC unroll 4
  for (size_t i = 0; i < side_by_side; i++) {
    const __m512i nonce = _mm512_broadcast_i32x4(_mm_maskz_loadu_epi8(0x0fff, packets[i]->nonce));
#pragma GCC unroll 4
    for (size_t j = 0; j < vectors; j++) {
      const int from = static_cast<int>(4 * j);  // the counter is the last word, big-endian, and stays below 256
      const __m512i counters = _mm512_set_epi32((from + 4) << 24, 0, 0, 0, (from + 3) << 24, 0, 0, 0, (from + 2) << 24, 0, 0, 0, (from + 1) << 24, 0, 0, 0);
      stream[i][j] = _mm512_ternarylogic_epi64(nonce, counters, first, 0x96);
    }
  }
  for (int round = 1; round < rounds; round++) {
    const __m512i now = round_key(round_keys, round);
#pragma GCC unroll 4
    for (size_t i = 0; i < side_by_side; i++) {
#pragma GCC unroll 4
      for (size_t j = 0; j < vectors; j++) stream[i][j] = _mm512_aesenc_epi128(stream[i][j], now);
    }
  }
  const __m512i last = round_key(round_keys, rounds);
#pragma GCC unroll 4
  for (size_t i = 0; i < side_by_side; i++) {
    if (i >= count) break;
    const Sealed& packet = *packets[i];
    const size_t blocks = (packet.length + 15) / 16, aad_blocks = (packet.aad_length + 15) / 16;
    const uint8_t* power = hash.bytes + 16 * (powers - blocks - 2);  // of the block in front of the ciphertext
    // what stands apart: the first AAD block where there are two, and the lengths in bits
    const size_t whole = aad_blocks == 2 ? 16 : 0;
    const auto aad_mask = [](size_t length) { return static_cast<__mmask16>((uint32_t{1} << length) - 1); };
    const auto text_bits = static_cast<int64_t>(__builtin_bswap64(uint64_t{packet.length} * 8));
    const auto aad_bits = static_cast<int64_t>(__builtin_bswap64(uint64_t{packet.aad_length} * 8));
    const __m128i lengths = _mm_set_epi64x(text_bits, aad_bits);
    const __m512i apart = _mm512_inserti32x4(_mm512_castsi128_si512(lengths), _mm_maskz_loadu_epi8(aad_mask(whole), packet.aad), 1);
    const __m128i aad_end = _mm_maskz_loadu_epi8(aad_mask(packet.aad_length - whole), packet.aad + whole);
    const __m512i apart_powers = _mm512_inserti32x4(_mm512_castsi128_si512(_mm_loadu_si128(reinterpret_cast<const __m128i*>(hash.bytes + 16 * (powers - 1)))),
                                                    _mm_loadu_si128(reinterpret_cast<const __m128i*>(power - (whole > 0 ? 16 : 0))), 1);
    Product sum{_mm512_setzero_si512(), _mm512_setzero_si512(), _mm512_setzero_si512()};
    add_product(sum, reversed(_mm512_maskz_mov_epi64(0x0f, apart)), _mm512_maskz_mov_epi64(0x0f, apart_powers));
    const __m512i tag_mask = _mm512_aesenclast_epi128(stream[i][0], last);
#pragma GCC unroll 4
    for (size_t j = 0; j < vectors; j++) {
      const __mmask64 mask = mask_of(packet.length, 64 * j);
      if (j > 0 && mask == 0) break;  // one of the others is longer
      uint8_t* at = packet.bytes + 64 * j - 16;
      const __m512i in = _mm512_maskz_loadu_epi8(mask, at);
      const __m512i out = _mm512_maskz_mov_epi8(mask, _mm512_xor_si512(in, j == 0 ? tag_mask : _mm512_aesenclast_epi128(stream[i][j], last)));
      _mm512_mask_storeu_epi8(at, mask, out);
      __m512i hashed = sealing ? out : in;
      if (j == 0) hashed = _mm512_inserti32x4(hashed, aad_end, 0);
      add_product(sum, reversed(hashed), _mm512_loadu_si512(power + 64 * j));
    }
    tags[i] = _mm_xor_si128(_mm512_castsi512_si128(reversed(_mm512_castsi128_si512(reduced(sum)))), _mm512_castsi512_si128(tag_mask));
  }
}

template <bool sealing>
[[RINGWAY_VAES]] void run_all(const HashPowers& hash, const uint8_t* round_keys, int rounds, const Sealed* const* packets, size_t count, __m128i* tags) {
  const Sealed* four[side_by_side];
  size_t longest = 0;
  for (size_t i = 0; i < side_by_side; i++) {
    four[i] = packets[i < count ? i : count - 1];
    longest = four[i]->length > longest ? four[i]->length : longest;
  }
  switch ((16 + longest + 63) / 64) {
    case 1:
      return run<sealing, 1>(hash, round_keys, rounds, four, count, tags);
    case 2:
      return run<sealing, 2>(hash, round_keys, rounds, four, count, tags);
    case 3:
      return run<sealing, 3>(hash, round_keys, rounds, four, count, tags);
    default:
      return run<sealing, 4>(hash, round_keys, rounds, four, count, tags);
  }
}

[[RINGWAY_VAES]] __m128i multiply(__m128i block, __m128i power) {
  Product sum{_mm512_setzero_si512(), _mm512_setzero_si512(), _mm512_setzero_si512()};
  add_product(sum, _mm512_zextsi128_si512(block), _mm512_zextsi128_si512(power));
  return reduced(sum);
}

}  // namespace

static_assert(16 + max_length <= 64 * most_vectors && max_aad / 16 + max_length / 16 + 1 <= powers);

bool available() {
  __builtin_cpu_init();
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("vaes") && __builtin_cpu_supports("vpclmulqdq");
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
  __m128i tags[side_by_side];
  run_all<true>(hash, round_keys, rounds, packets.data(), packets.size(), tags);
  for (size_t i = 0; i < packets.size(); i++) _mm_storeu_si128(reinterpret_cast<__m128i*>(packets[i]->tag), tags[i]);
}

[[RINGWAY_VAES]] void open(const HashPowers& hash, const uint8_t* round_keys, int rounds, std::span<Sealed* const> packets) {
  __m128i expected[side_by_side];
  run_all<false>(hash, round_keys, rounds, packets.data(), packets.size(), expected);
  for (size_t i = 0; i < packets.size(); i++) {
    const __m128i difference = _mm_xor_si128(expected[i], _mm_loadu_si128(reinterpret_cast<const __m128i*>(packets[i]->tag)));
    packets[i]->authentic = _mm_testz_si128(difference, difference) != 0;
  }
}

}  // namespace ringway::short_gcm

#else

namespace ringway::short_gcm {
bool available() { return false; }
void expand(HashPowers&, const uint8_t*, int) {}
void seal(const HashPowers&, const uint8_t*, int, std::span<const Sealed* const>) {}
void open(const HashPowers&, const uint8_t*, int, std::span<Sealed* const>) {}
}  // namespace ringway::short_gcm

#endif
