#include "secret/hkdf.h"

#include <openssl/evp.h>

#include <cstring>

#include "aead/aead.h"

namespace ringway {
namespace {

const EVP_MD* method(Hash hash) {
  static const EVP_MD* const sha256 = EVP_MD_fetch(nullptr, "SHA2-256", nullptr);
  static const EVP_MD* const sha384 = EVP_MD_fetch(nullptr, "SHA2-384", nullptr);
  return hash == Hash::sha256 ? sha256 : sha384;
}

// A context that is cleared when it goes.
struct Hashing {
  EVP_MD_CTX* context = EVP_MD_CTX_new();
  bool good;

  explicit Hashing(Hash hash) : good{context && method(hash) && EVP_DigestInit_ex2(context, method(hash), nullptr) == 1} {}
  ~Hashing() { EVP_MD_CTX_free(context); }
  void add(Bytes bytes) { good = good && EVP_DigestUpdate(context, bytes.data(), bytes.size()) == 1; }
  bool end(uint8_t* out) { return good && EVP_DigestFinal_ex(context, out, nullptr) == 1; }
};

}  // namespace

Hash hash_of_suite(uint16_t suite) { return suite == suite::aes256 ? Hash::sha384 : Hash::sha256; }

bool digest(Hash hash, std::span<const Bytes> chunks, uint8_t* out) {
  Hashing hashing{hash};
  for (const Bytes chunk : chunks) hashing.add(chunk);
  return hashing.end(out);
}

// RFC 2104: H(key ^ opad ‖ H(key ^ ipad ‖ message)).
bool hmac(Hash hash, Bytes key, std::initializer_list<Bytes> message, uint8_t* out) {
  constexpr size_t max_block = 128;
  const size_t block = hash == Hash::sha256 ? 64 : 128;
  uint8_t pad[max_block] = {}, inner[max_hash_bytes];
  bool good = true;
  if (key.size() > block) {
    good = digest(hash, {{key}}, pad);
  } else if (!key.empty()) {
    std::memcpy(pad, key.data(), key.size());
  }
  for (size_t i = 0; i < block; i++) pad[i] ^= 0x36;
  {
    Hashing hashing{hash};
    hashing.add({pad, block});
    for (const Bytes part : message) hashing.add(part);
    good = hashing.end(inner) && good;
  }
  for (size_t i = 0; i < block; i++) pad[i] ^= 0x36 ^ 0x5c;
  {
    Hashing hashing{hash};
    hashing.add({pad, block});
    hashing.add({inner, hash_bytes(hash)});
    good = hashing.end(out) && good;
  }
  wipe(pad, sizeof pad);
  wipe(inner, sizeof inner);
  return good;
}

bool expand_label(Hash hash, Bytes secret, std::string_view label, Bytes context, uint8_t* out, size_t length) {
  constexpr std::string_view prefix = "dtls13";
  uint8_t head[3 + 255];
  head[0] = static_cast<uint8_t>(length >> 8);
  head[1] = static_cast<uint8_t>(length);
  head[2] = static_cast<uint8_t>(prefix.size() + label.size());
  std::memcpy(head + 3, prefix.data(), prefix.size());
  std::memcpy(head + 3 + prefix.size(), label.data(), label.size());
  const uint8_t context_length = static_cast<uint8_t>(context.size());
  const uint8_t one = 1;  // one block is enough: nothing here is longer than the hash
  uint8_t block[max_hash_bytes];
  const bool good = hmac(hash, secret, {{head, 3 + prefix.size() + label.size()}, {&context_length, 1}, context, {&one, 1}}, block);
  std::memcpy(out, block, length);
  wipe(block, sizeof block);
  return good;
}

}  // namespace ringway
