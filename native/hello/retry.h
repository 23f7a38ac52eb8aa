// What answers a first ClientHello: a HelloRetryRequest with a cookie (src/dtls/cookie.ts, src/dtls/hello.ts), or an alert. The same bytes as from
// TypeScript for the same time, secret and datagram, so that either can open what the other has sealed.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "hello/parse.h"
#include "secret/hkdf.h"
#include "secret/memory.h"

namespace ringway::hello {

// Which ids bring their datagrams to this shard.
struct Steering {
  uint8_t shard;
  uint16_t shards;
};

// Draws and seals with the secret of a period, which comes from one seed. Both are zeroed at the end.
class Cookies {
 public:
  static constexpr size_t max_seed = 64, application_bytes = 8, mac_bytes = 32;
  // period u32 | named u8 | suite u16 | group u16 | application 8 | hash of the ClientHello | HMAC-SHA-256
  static constexpr size_t hash_at = 17, max_bytes = hash_at + max_hash_bytes + mac_bytes;

  // nullptr when memory is short. @param seed at most max_seed bytes, copied
  static std::unique_ptr<Cookies> create(std::span<const uint8_t> seed);

  // @returns the cookie's length, 0 when OpenSSL refuses. Its application data are at 9.
  size_t seal(double now, std::span<const uint8_t> address, const Heard& heard, const Steering& steering, uint8_t* cookie);

 private:
  struct Keys {
    uint8_t seed[max_seed];
    uint8_t period[32];
  };
  explicit Cookies(SecretPtr<Keys> keys, size_t length) : keys_{std::move(keys)}, seed_bytes_{length} {}
  bool enter(uint32_t period);

  SecretPtr<Keys> keys_;
  size_t seed_bytes_;
  uint32_t period_ = 0;
  bool has_period_ = false;
};

inline constexpr size_t application_at = 9;
inline constexpr size_t max_retry = 13 + 12 + 2 + 32 + 1 + 32 + 2 + 1 + 2 + 6 + 6 + 6 + Cookies::max_bytes;
inline constexpr size_t alert_bytes = 13 + 2;

// Each writes DTLS bytes and returns how many.
size_t write_retry(const Heard& heard, std::span<const uint8_t> cookie, uint8_t* to);
size_t write_alert(const Heard& heard, uint8_t* to);

}  // namespace ringway::hello
