// For targets that need a whole shard: a cipher that a harness can follow and libFuzzer cannot guess the tags of, memory whose borders
// AddressSanitizer sees, and random numbers that are the same in every run.
#include <cstdlib>
#include <cstring>

#include "aead/aead.h"
#include "core/mapping.h"
#include "packet/bytes.h"
#include "secret/memory.h"

namespace ringway {
namespace {

uint64_t mix(uint64_t a, uint64_t b) {
  const uint64_t product = (a ^ 0x9e3779b97f4a7c15u) * (b | 1);
  return product ^ product >> 29 ^ b;
}
uint64_t digest(uint64_t seed, const uint8_t* bytes, size_t length) {
  seed = mix(seed, length);
  for (; length >= 8; bytes += 8, length -= 8) seed = mix(seed, load_native<uint64_t>(bytes));
  uint8_t rest[8] = {};
  if (length > 0) std::memcpy(rest, bytes, length);
  return mix(seed, load_native<uint64_t>(rest));
}

// A counter mode with a keyed digest, as all suites are.
class Toy final : public Aead {
 public:
  bool expand(Schedule& schedule, uint16_t suite, const uint8_t* key) override {
    std::memcpy(schedule.bytes, key, suite::key_length(suite));
    schedule.suite = suite;
    schedule.live = true;
    return true;
  }
  void release(Schedule& schedule) override { wipe(&schedule, sizeof schedule); }
  void seal(const Schedule& schedule, const uint8_t* nonce, const uint8_t* aad, size_t aad_length, const uint8_t* in, uint8_t* out, size_t length,
            uint8_t* tag) override {
    apply(schedule, nonce, in, out, length);
    make_tag(schedule, nonce, aad, aad_length, out, length, tag);
  }
  bool open(const Schedule& schedule, const uint8_t* nonce, const uint8_t* aad, size_t aad_length, const uint8_t* in, uint8_t* out, size_t length,
            const uint8_t* tag) override {
    uint8_t expected[tag_bytes];
    make_tag(schedule, nonce, aad, aad_length, in, length, expected);
    const bool same = equal_in_constant_time(expected, tag, tag_bytes);  // no comparison that libFuzzer could learn from
    apply(schedule, nonce, in, out, length);
    return same;
  }
  bool expand_number(NumberKey& key, uint16_t suite, const uint8_t* bytes) override {
    std::memcpy(key.bytes, bytes, 32);
    key.suite = suite;
    key.live = true;
    return true;
  }
  void release_number(NumberKey& key) override { wipe(&key, sizeof key); }
  void number_masks(const NumberKey& key, std::span<const uint8_t* const> samples, uint16_t* masks) override {
    for (size_t i = 0; i < samples.size(); i++) masks[i] = static_cast<uint16_t>(digest(load_native<uint64_t>(key.bytes), samples[i], 16));
  }

 private:
  static uint64_t seed_of(const Schedule& schedule, const uint8_t* nonce) { return digest(digest(1, schedule.bytes, 32), nonce, nonce_bytes); }
  static void apply(const Schedule& schedule, const uint8_t* nonce, const uint8_t* in, uint8_t* out, size_t length) {
    uint64_t stream = seed_of(schedule, nonce);
    for (size_t i = 0; i < length; i++) {
      if (i % 8 == 0) stream = mix(stream, i);
      out[i] = in[i] ^ static_cast<uint8_t>(stream >> 8 * (i % 8));
    }
  }
  static void make_tag(const Schedule& schedule, const uint8_t* nonce, const uint8_t* aad, size_t aad_length, const uint8_t* text, size_t length, uint8_t* tag) {
    const uint64_t seed = digest(digest(seed_of(schedule, nonce), aad, aad_length), text, length);
    store_native(tag, seed);
    store_native(tag + 8, mix(seed, 7));
  }
};

}  // namespace

std::unique_ptr<Aead> backends::ipsec_mb() { return nullptr; }
std::unique_ptr<Aead> backends::openssl() { return std::make_unique<Toy>(); }

std::shared_ptr<Mapping> Mapping::anonymous(size_t bytes) {
  void* data = nullptr;
  if (posix_memalign(&data, 64, bytes) != 0) return nullptr;
  std::memset(data, 0, bytes);
  return std::shared_ptr<Mapping>{new Mapping{static_cast<uint8_t*>(data), bytes}};
}
Mapping::~Mapping() { free(data_); }

void random_bytes(void* to, size_t length) { std::memset(to, 0x5a, length); }

}  // namespace ringway
