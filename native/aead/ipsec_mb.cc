// AES-GCM and ChaCha20-Poly1305 of intel-ipsec-mb through its direct calls: no jobs, no queues, one call a packet. On one buffer of
// 1,400 bytes VAES runs at 11.7 GB/s, so there is nothing for the multi-buffer scheduler to win (docs/linux-facts.md, section 5). Short
// packets that come in groups take aead/short_gcm.h instead.
#include <algorithm>
#include <cstring>

#include "aead/aead.h"
#include "aead/short_gcm.h"
#include "core/functions.h"
#include "packet/bytes.h"

#if defined(RINGWAY_IPSEC_MB) && defined(__x86_64__)
#include <immintrin.h>
#include <intel-ipsec-mb.h>

namespace ringway {
namespace {

constexpr uint64_t needed = IMB_FEATURE_AESNI | IMB_FEATURE_PCLMULQDQ | IMB_FEATURE_SSE4_2;

// A block takes as long as 14 dependent instructions, so several go side by side.
[[gnu::target("aes,sse2")]] void encrypt_first_two(const uint8_t* schedule, int rounds, std::span<const uint8_t* const> samples, uint16_t* masks) {
  constexpr size_t side_by_side = 8;
  const __m128i* keys = reinterpret_cast<const __m128i*>(schedule);
  for (size_t first = 0; first < samples.size(); first += side_by_side) {
    __m128i blocks[side_by_side];
    for (size_t i = 0; i < side_by_side; i++) {  // those that are missing: the last one again
      const uint8_t* sample = samples[std::min(first + i, samples.size() - 1)];
      blocks[i] = _mm_xor_si128(_mm_loadu_si128(reinterpret_cast<const __m128i*>(sample)), _mm_loadu_si128(keys));
    }
    for (int round = 1; round < rounds; round++) {
      const __m128i key = _mm_loadu_si128(keys + round);
      for (__m128i& block : blocks) block = _mm_aesenc_si128(block, key);
    }
    const __m128i key = _mm_loadu_si128(keys + rounds);
    for (size_t i = 0; i < side_by_side && first + i < samples.size(); i++) {
      masks[first + i] = swap_bytes(static_cast<uint16_t>(_mm_cvtsi128_si32(_mm_aesenclast_si128(blocks[i], key))));
    }
  }
}

class IpsecMb final : public Aead {
 public:
  explicit IpsecMb(IMB_MGR* manager) : manager_{manager}, leaves_context_{(manager->features & IMB_FEATURE_SAFE_DATA) == 0} {}
  ~IpsecMb() override { free_mb_mgr(manager_); }

  bool expand(Schedule& schedule, uint16_t suite, const uint8_t* key) override {
    static_assert(sizeof(gcm_key_data) <= powers_at && powers_at + sizeof(short_gcm::HashPowers) <= sizeof schedule.bytes);
    if (suite == suite::aes256) {
      IMB_AES256_GCM_PRE(manager_, key, gcm(schedule));
    } else if (suite == suite::aes128) {
      IMB_AES128_GCM_PRE(manager_, key, gcm(schedule));
    } else {
      std::memcpy(schedule.bytes, key, 32);
    }
    if (suite != suite::chacha20 && has_short_) short_gcm::expand(*reinterpret_cast<short_gcm::HashPowers*>(schedule.bytes + powers_at), gcm(schedule)->expanded_keys, rounds_of(suite));
    schedule.suite = suite;
    schedule.live = true;
    return true;
  }

  void release(Schedule& schedule) override { wipe(&schedule, sizeof schedule); }

  void seal(const Schedule& schedule, const uint8_t* nonce, const uint8_t* aad, size_t aad_length, const uint8_t* in, uint8_t* out, size_t length,
            uint8_t* tag) override {
    gcm_context_data context;
    if (schedule.suite == suite::aes256) {
      IMB_AES256_GCM_ENC(manager_, gcm(schedule), &context, out, in, length, nonce, aad, aad_length, tag, tag_bytes);
    } else if (schedule.suite == suite::aes128) {
      IMB_AES128_GCM_ENC(manager_, gcm(schedule), &context, out, in, length, nonce, aad, aad_length, tag, tag_bytes);
    } else {
      chacha20_poly1305_context_data state;
      IMB_CHACHA20_POLY1305_INIT(manager_, schedule.bytes, &state, nonce, aad, aad_length);
      IMB_CHACHA20_POLY1305_ENC_UPDATE(manager_, schedule.bytes, &state, out, in, length);
      IMB_CHACHA20_POLY1305_ENC_FINALIZE(manager_, &state, tag, tag_bytes);
      wipe(&state, sizeof state);
      return;
    }
    if (leaves_context_) wipe(&context, sizeof context);
  }

  bool open(const Schedule& schedule, const uint8_t* nonce, const uint8_t* aad, size_t aad_length, const uint8_t* in, uint8_t* out, size_t length,
            const uint8_t* tag) override {
    gcm_context_data context;
    alignas(16) uint8_t expected[tag_bytes];
    if (schedule.suite == suite::aes256) {
      IMB_AES256_GCM_DEC(manager_, gcm(schedule), &context, out, in, length, nonce, aad, aad_length, expected, tag_bytes);
    } else if (schedule.suite == suite::aes128) {
      IMB_AES128_GCM_DEC(manager_, gcm(schedule), &context, out, in, length, nonce, aad, aad_length, expected, tag_bytes);
    } else {
      chacha20_poly1305_context_data state;
      IMB_CHACHA20_POLY1305_INIT(manager_, schedule.bytes, &state, nonce, aad, aad_length);
      IMB_CHACHA20_POLY1305_DEC_UPDATE(manager_, schedule.bytes, &state, out, in, length);
      IMB_CHACHA20_POLY1305_DEC_FINALIZE(manager_, &state, expected, tag_bytes);
      wipe(&state, sizeof state);
    }
    if (leaves_context_) wipe(&context, sizeof context);
    const __m128i difference = _mm_xor_si128(_mm_load_si128(reinterpret_cast<const __m128i*>(expected)), _mm_loadu_si128(reinterpret_cast<const __m128i*>(tag)));
    return _mm_movemask_epi8(_mm_cmpeq_epi8(difference, _mm_setzero_si128())) == 0xffff;
  }

  void seal_group(const Schedule& schedule, std::span<const Sealed> group) override {
    if (!has_short_ || schedule.suite == suite::chacha20) return Aead::seal_group(schedule, group);
    const Sealed* list[short_gcm::side_by_side];
    size_t count = 0;
    const auto run = [&] {
      if (count == 1) Aead::seal_group(schedule, {list[0], 1});
      if (count > 1) short_gcm::seal(hash_powers(schedule), gcm(schedule)->expanded_keys, rounds_of(schedule.suite), {list, count});
      count = 0;
    };
    for (const Sealed& one : group) {
      if (!short_gcm::fits(one)) {
        Aead::seal_group(schedule, {&one, 1});
        continue;
      }
      list[count++] = &one;
      if (count == short_gcm::side_by_side) run();
    }
    run();
  }

  void open_group(const Schedule& schedule, std::span<Sealed> group) override {
    if (!has_short_ || schedule.suite == suite::chacha20) return Aead::open_group(schedule, group);
    Sealed* list[short_gcm::side_by_side];
    size_t count = 0;
    const auto run = [&] {
      if (count == 1) Aead::open_group(schedule, {list[0], 1});
      if (count > 1) short_gcm::open(hash_powers(schedule), gcm(schedule)->expanded_keys, rounds_of(schedule.suite), {list, count});
      count = 0;
    };
    for (Sealed& one : group) {
      if (one.skip || !short_gcm::fits(one)) {
        Aead::open_group(schedule, {&one, 1});
        continue;
      }
      list[count++] = &one;
      if (count == short_gcm::side_by_side) run();
    }
    run();
  }

  bool expand_number(NumberKey& key, uint16_t suite, const uint8_t* bytes) override {
    alignas(16) uint8_t unused[15 * 16];
    if (suite == suite::aes256) {
      IMB_AES_KEYEXP_256(manager_, bytes, key.bytes, unused);
    } else if (suite == suite::aes128) {
      IMB_AES_KEYEXP_128(manager_, bytes, key.bytes, unused);
    } else {
      std::memcpy(key.bytes, bytes, 32);
    }
    wipe(unused, sizeof unused);
    key.suite = suite;
    key.live = true;
    return true;
  }

  void release_number(NumberKey& key) override { wipe(&key, sizeof key); }

  void number_masks(const NumberKey& key, std::span<const uint8_t* const> samples, uint16_t* masks) override {
    if (key.suite == suite::chacha20) return chacha20_masks(key, samples, masks);
    if (has_short_) return short_gcm::first_two(key.bytes, rounds_of(key.suite), samples, masks);
    encrypt_first_two(key.bytes, rounds_of(key.suite), samples, masks);
  }

 private:
  static constexpr size_t powers_at = 1280;  // in a schedule, behind the library's own

  static int rounds_of(uint16_t suite) { return suite == suite::aes256 ? 14 : 10; }
  static const short_gcm::HashPowers& hash_powers(const Schedule& schedule) { return *reinterpret_cast<const short_gcm::HashPowers*>(schedule.bytes + powers_at); }
  static gcm_key_data* gcm(Schedule& schedule) { return reinterpret_cast<gcm_key_data*>(schedule.bytes); }
  static const gcm_key_data* gcm(const Schedule& schedule) { return reinterpret_cast<const gcm_key_data*>(schedule.bytes); }

  IMB_MGR* manager_;
  const bool has_short_ = short_gcm::available();
  // What a GCM context holds of the key stream and of the hash the library clears itself, unless somebody has built it without SAFE_DATA (docs/linux-facts.md, section 5).
  const bool leaves_context_;
};

bool usable() { return backends::ipsec_mb() != nullptr; }
const AeadBackend announced{"ipsec-mb", 0, usable};

}  // namespace

std::unique_ptr<Aead> backends::ipsec_mb() {
  IMB_MGR* manager = alloc_mb_mgr(0);
  if (!manager) return nullptr;
  if ((manager->features & needed) != needed) {
    free_mb_mgr(manager);
    return nullptr;
  }
  IMB_ARCH arch;
  init_mb_mgr_auto(manager, &arch);
  if (imb_get_errno(manager) != 0) {
    free_mb_mgr(manager);
    return nullptr;
  }
  return std::make_unique<IpsecMb>(manager);
}

}  // namespace ringway

#else

namespace ringway {
std::unique_ptr<Aead> backends::ipsec_mb() { return nullptr; }
}  // namespace ringway

#endif
