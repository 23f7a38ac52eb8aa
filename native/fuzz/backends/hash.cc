// Hashes that hash nothing, but read all they are given: OpenSSL is Node's, and not linked.
#include <cstring>

#include "secret/hkdf.h"

namespace ringway {
namespace {

void fill(size_t length, std::span<const Bytes> chunks, uint8_t* out) {
  uint8_t sum = 0;
  for (const Bytes chunk : chunks) for (const uint8_t byte : chunk) sum = static_cast<uint8_t>(sum * 31 + byte);
  std::memset(out, sum, length);
}

}  // namespace

Hash hash_of_suite(uint16_t suite) { return suite == 0x1302 ? Hash::sha384 : Hash::sha256; }
bool digest(Hash hash, std::span<const Bytes> chunks, uint8_t* out) { return fill(hash_bytes(hash), chunks, out), true; }
bool hmac(Hash hash, Bytes, std::initializer_list<Bytes> message, uint8_t* out) { return fill(hash_bytes(hash), {message.begin(), message.size()}, out), true; }

}  // namespace ringway
