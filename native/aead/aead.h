// Authenticated encryption behind one interface. A key schedule is expanded into a Schedule, a block of fixed size that its owner
// keeps (a cache of the shard, a record key handle) and zeroes through release().
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

namespace ringway {

namespace suite {
inline constexpr uint16_t aes128 = 0x1301, aes256 = 0x1302, chacha20 = 0x1303;
inline bool known(uint16_t suite) { return suite >= aes128 && suite <= chacha20; }
inline size_t key_length(uint16_t suite) { return suite == aes128 ? 16 : 32; }
}  // namespace suite

inline constexpr size_t tag_bytes = 16;
inline constexpr size_t nonce_bytes = 12;
inline constexpr size_t max_samples = 16;  // of number_masks()

enum class Backend { ipsec_mb, openssl };

// An expanded key, whatever the backend makes of it. Trivial: an all-zero one is empty.
struct alignas(64) Schedule {
  uint8_t bytes[1280 + 320];  // gcm_key_data of intel-ipsec-mb 2.0 takes 1,264 (1.3: 1,008); then short_gcm's powers
  uint16_t suite;
  bool live;
};

// The key that hides record numbers (RFC 9147 §4.2.3).
struct alignas(16) NumberKey {
  uint8_t bytes[15 * 16 + 16];
  uint16_t suite;
  bool live;
};

// One packet of a group that is sealed or opened in place. Nothing has a first value: of a lone packet's group only what it needs is touched.
struct Sealed {
  const uint8_t* nonce;
  const uint8_t* aad;
  uint32_t aad_length, length;
  uint8_t* bytes;
  uint8_t* tag;
  bool skip;  // opening: leave it as it is
  bool authentic;
};

// One per thread: a backend may keep state of its own.
class Aead {
 public:
  // nullptr when this build or this CPU has no such backend.
  static std::unique_ptr<Aead> create(Backend backend);
  static bool available(Backend backend);
  virtual ~Aead() = default;

  // `key` has suite::key_length bytes. False when memory is short. What was in the schedule is released.
  virtual bool expand(Schedule& schedule, uint16_t suite, const uint8_t* key) = 0;
  // Zeroes it, and frees what hangs on it.
  virtual void release(Schedule& schedule) = 0;
  // `out` may be `in`. The tag may lie anywhere. Whole bytes only; aad at most 64 bytes.
  virtual void seal(const Schedule& schedule, const uint8_t* nonce, const uint8_t* aad, size_t aad_length, const uint8_t* in, uint8_t* out,
                    size_t length, uint8_t* tag) = 0;
  // False when not authentic: `out` then holds bytes of no meaning, from which restore() makes `in` again when both are the same.
  virtual bool open(const Schedule& schedule, const uint8_t* nonce, const uint8_t* aad, size_t aad_length, const uint8_t* in, uint8_t* out,
                    size_t length, const uint8_t* tag) = 0;
  // Several under one key: short packets are faster so.
  virtual void seal_group(const Schedule& schedule, std::span<const Sealed> group) {
    for (const Sealed& one : group) seal(schedule, one.nonce, one.aad, one.aad_length, one.bytes, one.bytes, one.length, one.tag);
  }
  // Opens several under one key, those with `skip` left alone, and says of each whether it is authentic.
  virtual void open_group(const Schedule& schedule, std::span<Sealed> group) {
    for (Sealed& one : group) {
      one.authentic = !one.skip && open(schedule, one.nonce, one.aad, one.aad_length, one.bytes, one.bytes, one.length, one.tag);
    }
  }
  // All suites are counter modes: sealing what a failed open() left gives the ciphertext back, for a try with another key.
  void restore(const Schedule& schedule, const uint8_t* nonce, uint8_t* bytes, size_t length) {
    uint8_t unused[tag_bytes];
    seal(schedule, nonce, nullptr, 0, bytes, bytes, length, unused);
  }

  virtual bool expand_number(NumberKey& key, uint16_t suite, const uint8_t* bytes) = 0;
  virtual void release_number(NumberKey& key) = 0;
  // For each of at most max_samples records the first two bytes of its mask, as a big-endian value. A sample is the first 16 bytes of a ciphertext.
  virtual void number_masks(const NumberKey& key, std::span<const uint8_t* const> samples, uint16_t* masks) = 0;
  uint16_t number_mask(const NumberKey& key, const uint8_t* sample) {
    uint16_t mask;
    number_masks(key, {&sample, 1}, &mask);
    return mask;
  }
};

// Zeroing that the compiler keeps.
void wipe(void* bytes, size_t length);
// In time that depends on the length only.
bool equal_in_constant_time(const uint8_t* a, const uint8_t* b, size_t length);
// First 4 bytes of a ChaCha20 block (RFC 8439 §2.3).
uint32_t chacha20_first_word(const uint8_t* key, uint32_t counter, const uint8_t* nonce);
// Aead::number_masks of that suite, for a key that holds the plain 32 bytes.
void chacha20_masks(const NumberKey& key, std::span<const uint8_t* const> samples, uint16_t* masks);

namespace backends {
std::unique_ptr<Aead> ipsec_mb();
std::unique_ptr<Aead> openssl();
}  // namespace backends

}  // namespace ringway
