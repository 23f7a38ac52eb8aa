// The AEADs of the OpenSSL inside Node. Ciphers are fetched once a process; a schedule owns one context per direction, so that a packet
// costs setting the IV and nothing else. (Fetching or making a context per packet costs microseconds.)
#include <openssl/evp.h>

#include <cstring>

#include "aead/aead.h"
#include "core/functions.h"
#include "packet/bytes.h"

namespace ringway {
namespace {

struct Ciphers {
  EVP_CIPHER* aes128 = EVP_CIPHER_fetch(nullptr, "AES-128-GCM", nullptr);
  EVP_CIPHER* aes256 = EVP_CIPHER_fetch(nullptr, "AES-256-GCM", nullptr);
  EVP_CIPHER* chacha20 = EVP_CIPHER_fetch(nullptr, "ChaCha20-Poly1305", nullptr);
  EVP_CIPHER* ecb128 = EVP_CIPHER_fetch(nullptr, "AES-128-ECB", nullptr);
  EVP_CIPHER* ecb256 = EVP_CIPHER_fetch(nullptr, "AES-256-ECB", nullptr);

  const EVP_CIPHER* of(uint16_t suite) const { return suite == suite::aes128 ? aes128 : suite == suite::aes256 ? aes256 : chacha20; }
};
const Ciphers& ciphers() {
  static const Ciphers fetched;
  return fetched;
}

struct Contexts {
  EVP_CIPHER_CTX* seal;
  EVP_CIPHER_CTX* open;
};
Contexts contexts_of(const Schedule& schedule) {
  Contexts contexts;
  std::memcpy(&contexts, schedule.bytes, sizeof contexts);
  return contexts;
}
EVP_CIPHER_CTX* context_of(const NumberKey& key) {
  EVP_CIPHER_CTX* context;
  std::memcpy(&context, key.bytes, sizeof context);
  return context;
}

class OpenSsl final : public Aead {
 public:
  bool expand(Schedule& schedule, uint16_t suite, const uint8_t* key) override {
    release(schedule);
    const EVP_CIPHER* cipher = ciphers().of(suite);
    Contexts contexts{EVP_CIPHER_CTX_new(), EVP_CIPHER_CTX_new()};
    const bool made = cipher && contexts.seal && contexts.open && EVP_EncryptInit_ex2(contexts.seal, cipher, key, nullptr, nullptr) == 1 &&
                      EVP_DecryptInit_ex2(contexts.open, cipher, key, nullptr, nullptr) == 1;
    std::memcpy(schedule.bytes, &contexts, sizeof contexts);
    schedule.suite = suite;
    schedule.live = true;
    if (!made) release(schedule);
    return made;
  }

  void release(Schedule& schedule) override {
    if (schedule.live) {
      const Contexts contexts = contexts_of(schedule);
      EVP_CIPHER_CTX_free(contexts.seal);  // clears what it frees
      EVP_CIPHER_CTX_free(contexts.open);
    }
    wipe(&schedule, sizeof schedule);
  }

  void seal(const Schedule& schedule, const uint8_t* nonce, const uint8_t* aad, size_t aad_length, const uint8_t* in, uint8_t* out, size_t length,
            uint8_t* tag) override {
    EVP_CIPHER_CTX* context = contexts_of(schedule).seal;
    int written = 0;
    EVP_EncryptInit_ex2(context, nullptr, nullptr, nonce, nullptr);
    if (aad_length > 0) EVP_EncryptUpdate(context, nullptr, &written, aad, static_cast<int>(aad_length));
    if (length > 0) EVP_EncryptUpdate(context, out, &written, in, static_cast<int>(length));
    EVP_EncryptFinal_ex(context, out + length, &written);
    EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, tag_bytes, tag);
  }

  bool open(const Schedule& schedule, const uint8_t* nonce, const uint8_t* aad, size_t aad_length, const uint8_t* in, uint8_t* out, size_t length,
            const uint8_t* tag) override {
    EVP_CIPHER_CTX* context = contexts_of(schedule).open;
    int written = 0;
    uint8_t expected[tag_bytes];
    std::memcpy(expected, tag, tag_bytes);
    if (EVP_DecryptInit_ex2(context, nullptr, nullptr, nonce, nullptr) != 1) return false;
    if (EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_TAG, tag_bytes, expected) != 1) return false;
    if (aad_length > 0 && EVP_DecryptUpdate(context, nullptr, &written, aad, static_cast<int>(aad_length)) != 1) return false;
    if (length > 0 && EVP_DecryptUpdate(context, out, &written, in, static_cast<int>(length)) != 1) return false;
    return EVP_DecryptFinal_ex(context, out + length, &written) == 1;
  }

  bool expand_number(NumberKey& key, uint16_t suite, const uint8_t* bytes) override {
    release_number(key);
    key.suite = suite;
    key.live = true;
    if (suite == suite::chacha20) {
      std::memcpy(key.bytes, bytes, 32);
      return true;
    }
    EVP_CIPHER_CTX* context = EVP_CIPHER_CTX_new();
    const EVP_CIPHER* cipher = suite == suite::aes128 ? ciphers().ecb128 : ciphers().ecb256;
    const bool made = context && cipher && EVP_EncryptInit_ex2(context, cipher, bytes, nullptr, nullptr) == 1 && EVP_CIPHER_CTX_set_padding(context, 0) == 1;
    std::memcpy(key.bytes, &context, sizeof context);
    if (!made) release_number(key);
    return made;
  }

  void release_number(NumberKey& key) override {
    if (key.live && key.suite != suite::chacha20) EVP_CIPHER_CTX_free(context_of(key));
    wipe(&key, sizeof key);
  }

  void number_masks(const NumberKey& key, std::span<const uint8_t* const> samples, uint16_t* masks) override {
    if (key.suite == suite::chacha20) return chacha20_masks(key, samples, masks);
    uint8_t blocks[max_samples + 1][16] = {};
    for (size_t i = 0; i < samples.size(); i++) std::memcpy(blocks[i], samples[i], 16);
    int written = 0;
    EVP_EncryptUpdate(context_of(key), blocks[0], &written, blocks[0], static_cast<int>(16 * samples.size()));
    for (size_t i = 0; i < samples.size(); i++) masks[i] = load16(blocks[i]);
  }
};

bool usable() { return true; }
const AeadBackend announced{"openssl", 1, usable};

}  // namespace

std::unique_ptr<Aead> backends::openssl() { return std::make_unique<OpenSsl>(); }

}  // namespace ringway
