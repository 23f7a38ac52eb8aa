#include "packet/checksum.h"

#include <cstring>

#include "packet/bytes.h"

#if defined(__x86_64__)
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wuninitialized"  // GCC 12 on its own _mm256_undefined_si256 (bug 105593)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <immintrin.h>
#endif

namespace ringway {
namespace {

// ---- scalar: 32-bit words into 64-bit sums, which cannot overflow below 16 GB --------------------------------------

inline uint64_t tail_sum(const uint8_t* bytes, size_t length) {
  uint64_t sum = 0;
  while (length >= 2) {
    sum += load_native<uint16_t>(bytes);
    bytes += 2;
    length -= 2;
  }
  return length ? sum + *bytes : sum;
}

uint64_t sum_scalar(const uint8_t* bytes, size_t length) {
  uint64_t first = 0, second = 0;
  while (length >= 16) {
    const uint64_t a = load_native<uint64_t>(bytes), b = load_native<uint64_t>(bytes + 8);
    first += (a & 0xffffffff) + (a >> 32);
    second += (b & 0xffffffff) + (b >> 32);
    bytes += 16;
    length -= 16;
  }
  return first + second + tail_sum(bytes, length);
}

uint64_t copy_scalar(uint8_t* to, const uint8_t* from, size_t length) {
  if (length > 0) std::memcpy(to, from, length);
  return sum_scalar(from, length);
}

#if defined(__x86_64__)

// ---- AVX2 ---------------------------------------------------------------------------------------------------------

template <bool copying>
[[gnu::target("avx2")]] inline uint64_t walk_avx2(uint8_t* to, const uint8_t* from, size_t length) {
  const __m256i low = _mm256_set1_epi64x(0xffffffff);
  __m256i first = _mm256_setzero_si256(), second = first;
  while (length >= 64) {
    const __m256i a = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
    const __m256i b = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from + 32));
    if constexpr (copying) {
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), a);
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + 32), b);
      to += 64;
    }
    first = _mm256_add_epi64(first, _mm256_add_epi64(_mm256_and_si256(a, low), _mm256_srli_epi64(a, 32)));
    second = _mm256_add_epi64(second, _mm256_add_epi64(_mm256_and_si256(b, low), _mm256_srli_epi64(b, 32)));
    from += 64;
    length -= 64;
  }
  const __m256i both = _mm256_add_epi64(first, second);
  const __m128i half = _mm_add_epi64(_mm256_castsi256_si128(both), _mm256_extracti128_si256(both, 1));
  const uint64_t sum = static_cast<uint64_t>(_mm_cvtsi128_si64(half)) + static_cast<uint64_t>(_mm_extract_epi64(half, 1));
  if (copying && length > 0) std::memcpy(to, from, length);
  return sum + sum_scalar(from, length);
}

[[gnu::target("avx2")]] uint64_t sum_avx2(const uint8_t* bytes, size_t length) { return walk_avx2<false>(nullptr, bytes, length); }
[[gnu::target("avx2")]] uint64_t copy_avx2(uint8_t* to, const uint8_t* from, size_t length) { return walk_avx2<true>(to, from, length); }

// ---- AVX-512: the tail is one masked load, so that a 20-byte header costs what 64 bytes cost ------------------------

template <bool copying>
[[gnu::target("avx512f,avx512bw")]] inline uint64_t walk_avx512(uint8_t* to, const uint8_t* from, size_t length) {
  const __m512i low = _mm512_set1_epi64(0xffffffff);
  __m512i first = _mm512_setzero_si512(), second = first;
  while (length >= 128) {
    const __m512i a = _mm512_loadu_si512(from), b = _mm512_loadu_si512(from + 64);
    if constexpr (copying) {
      _mm512_storeu_si512(to, a);
      _mm512_storeu_si512(to + 64, b);
      to += 128;
    }
    first = _mm512_add_epi64(first, _mm512_add_epi64(_mm512_and_si512(a, low), _mm512_srli_epi64(a, 32)));
    second = _mm512_add_epi64(second, _mm512_add_epi64(_mm512_and_si512(b, low), _mm512_srli_epi64(b, 32)));
    from += 128;
    length -= 128;
  }
  while (length > 0) {
    const size_t taken = length < 64 ? length : 64;
    const __mmask64 mask = ~uint64_t{0} >> (64 - taken);
    const __m512i a = _mm512_maskz_loadu_epi8(mask, from);
    if constexpr (copying) {
      _mm512_mask_storeu_epi8(to, mask, a);
      to += taken;
    }
    first = _mm512_add_epi64(first, _mm512_add_epi64(_mm512_and_si512(a, low), _mm512_srli_epi64(a, 32)));
    from += taken;
    length -= taken;
  }
  return static_cast<uint64_t>(_mm512_reduce_add_epi64(_mm512_add_epi64(first, second)));
}

// ---- VNNI: even and odd bytes are added to sums of their own, 32 bits each, by one instruction instead of two -----------------

// Longer ones go another way: 4,096 steps of at most 510 in each of two sums, the odd ones 256 times, stay below 2^31.
constexpr size_t most_vnni = size_t{1} << 19;

template <bool copying>
[[gnu::target("avx512f,avx512bw,avx512vnni")]] inline uint64_t walk_vnni(uint8_t* to, const uint8_t* from, size_t length) {
  const __m512i even = _mm512_set1_epi16(0x0001), odd = _mm512_set1_epi16(0x0100);
  __m512i low = _mm512_setzero_si512(), high = low, low_b = low, high_b = low;
  while (length >= 128) {
    const __m512i a = _mm512_loadu_si512(from), b = _mm512_loadu_si512(from + 64);
    if constexpr (copying) {
      _mm512_storeu_si512(to, a);
      _mm512_storeu_si512(to + 64, b);
      to += 128;
    }
    low = _mm512_dpbusd_epi32(low, a, even);
    high = _mm512_dpbusd_epi32(high, a, odd);
    low_b = _mm512_dpbusd_epi32(low_b, b, even);
    high_b = _mm512_dpbusd_epi32(high_b, b, odd);
    from += 128;
    length -= 128;
  }
  low = _mm512_add_epi32(low, low_b);
  high = _mm512_add_epi32(high, high_b);
  while (length > 0) {
    const size_t taken = length < 64 ? length : 64;
    const __mmask64 mask = ~uint64_t{0} >> (64 - taken);
    const __m512i a = _mm512_maskz_loadu_epi8(mask, from);
    if constexpr (copying) {
      _mm512_mask_storeu_epi8(to, mask, a);
      to += taken;
    }
    low = _mm512_dpbusd_epi32(low, a, even);
    high = _mm512_dpbusd_epi32(high, a, odd);
    from += taken;
    length -= taken;
  }
  const __m512i words = _mm512_add_epi32(low, _mm512_slli_epi32(high, 8));
  return static_cast<uint64_t>(_mm512_reduce_add_epi64(_mm512_add_epi64(_mm512_and_si512(words, _mm512_set1_epi64(0xffffffff)), _mm512_srli_epi64(words, 32))));
}

[[gnu::target("avx512f,avx512bw,avx512vnni")]] uint64_t sum_vnni(const uint8_t* bytes, size_t length) {
  return length <= most_vnni ? walk_vnni<false>(nullptr, bytes, length) : sum_scalar(bytes, length);
}
[[gnu::target("avx512f,avx512bw,avx512vnni")]] uint64_t copy_vnni(uint8_t* to, const uint8_t* from, size_t length) {
  return length <= most_vnni ? walk_vnni<true>(to, from, length) : copy_scalar(to, from, length);
}

[[gnu::target("avx512f,avx512bw")]] uint64_t sum_avx512(const uint8_t* bytes, size_t length) { return walk_avx512<false>(nullptr, bytes, length); }
[[gnu::target("avx512f,avx512bw")]] uint64_t copy_avx512(uint8_t* to, const uint8_t* from, size_t length) {
  return walk_avx512<true>(to, from, length);
}

#endif

struct Variants {
  ChecksumVariant list[4];
  size_t count = 0;  // the last one is the fastest

  Variants() {
    list[count++] = {"scalar", sum_scalar, copy_scalar};
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2")) list[count++] = {"avx2", sum_avx2, copy_avx2};
    const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw");
    if (avx512) list[count++] = {"avx512", sum_avx512, copy_avx512};
    if (avx512 && __builtin_cpu_supports("avx512vnni")) list[count++] = {"avx512vnni", sum_vnni, copy_vnni};
#endif
  }
};
const Variants variants;

}  // namespace

const SumFunction sum_bytes = variants.list[variants.count - 1].sum;
const CopySumFunction copy_and_sum = variants.list[variants.count - 1].copy;
const char* const checksum_instructions = variants.list[variants.count - 1].name;

const ChecksumVariant* checksum_variants(size_t* count) {
  *count = variants.count;
  return variants.list;
}

}  // namespace ringway
