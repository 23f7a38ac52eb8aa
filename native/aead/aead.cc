#include "aead/aead.h"

#include <cstring>

#include "packet/bytes.h"

namespace ringway {

void wipe(void* bytes, size_t length) {
  std::memset(bytes, 0, length);
  asm volatile("" : : "r"(bytes) : "memory");
}

bool equal_in_constant_time(const uint8_t* a, const uint8_t* b, size_t length) {
  uint8_t difference = 0;
  for (size_t i = 0; i < length; i++) difference |= a[i] ^ b[i];
  asm volatile("" : "+r"(difference));
  return difference == 0;
}

uint32_t chacha20_first_word(const uint8_t* key, uint32_t counter, const uint8_t* nonce) {
  uint32_t start[16] = {0x61707865, 0x3320646e, 0x79622d32, 0x6b206574};
  std::memcpy(start + 4, key, 32);
  start[12] = counter;
  std::memcpy(start + 13, nonce, 12);
  uint32_t x[16];
  std::memcpy(x, start, sizeof x);
  const auto turn = [&x](int a, int b, int c, int d) {
    x[a] += x[b], x[d] = std::rotl(x[d] ^ x[a], 16);
    x[c] += x[d], x[b] = std::rotl(x[b] ^ x[c], 12);
    x[a] += x[b], x[d] = std::rotl(x[d] ^ x[a], 8);
    x[c] += x[d], x[b] = std::rotl(x[b] ^ x[c], 7);
  };
  for (int round = 0; round < 10; round++) {
    turn(0, 4, 8, 12), turn(1, 5, 9, 13), turn(2, 6, 10, 14), turn(3, 7, 11, 15);
    turn(0, 5, 10, 15), turn(1, 6, 11, 12), turn(2, 7, 8, 13), turn(3, 4, 9, 14);
  }
  const uint32_t word = x[0] + start[0];
  wipe(x, sizeof x);
  wipe(start, sizeof start);
  return word;
}

void chacha20_masks(const NumberKey& key, std::span<const uint8_t* const> samples, uint16_t* masks) {
  for (size_t i = 0; i < samples.size(); i++) {
    masks[i] = swap_bytes(static_cast<uint16_t>(chacha20_first_word(key.bytes, load_native<uint32_t>(samples[i]), samples[i] + 4)));
  }
}

std::unique_ptr<Aead> Aead::create(Backend backend) {
  return backend == Backend::ipsec_mb ? backends::ipsec_mb() : backends::openssl();
}

bool Aead::available(Backend backend) { return create(backend) != nullptr; }

}  // namespace ringway
