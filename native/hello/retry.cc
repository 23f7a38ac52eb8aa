#include "hello/retry.h"

#include <cmath>
#include <cstring>

#include "packet/bytes.h"

namespace ringway::hello {
namespace {

constexpr double period_micros = 60e6;
constexpr std::string_view draw_label = "application data";
// SHA-256 of "HelloRetryRequest" (RFC 8446 §4.1.3)
constexpr uint8_t retry_random[32] = {0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8, 0x91,
                                      0xc2, 0xa2, 0x11, 0x16, 0x7a, 0xbb, 0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c};
constexpr uint8_t alert_type = 21, handshake_type = 22, fatal = 2, client_hello = 1, server_hello = 2;
constexpr uint16_t dtls12 = 0xfefd, dtls13 = 0xfefc, supported_versions = 43, cookie_extension = 44, key_share = 51;

class Writer {
 public:
  explicit Writer(uint8_t* to) : start_{to}, at_{to} {}

  Writer& uint(size_t size, uint64_t value) {
    for (size_t i = 0; i < size; i++) at_[i] = static_cast<uint8_t>(value >> 8 * (size - 1 - i));
    at_ += size;
    return *this;
  }
  Writer& add(std::span<const uint8_t> bytes) {
    if (!bytes.empty()) std::memcpy(at_, bytes.data(), bytes.size());
    at_ += bytes.size();
    return *this;
  }
  size_t length() const { return static_cast<size_t>(at_ - start_); }

 private:
  uint8_t *start_, *at_;
};

Writer& record_header(Writer& to, uint8_t type, uint64_t sequence, size_t length) {
  return to.uint(1, type).uint(2, dtls12).uint(2, 0).uint(6, sequence).uint(2, length);
}

}  // namespace

std::unique_ptr<Cookies> Cookies::create(std::span<const uint8_t> seed) {
  auto keys = make_secret<Keys>();
  if (!keys) return nullptr;
  std::memcpy(keys->seed, seed.data(), seed.size());
  return std::unique_ptr<Cookies>{new Cookies{std::move(keys), seed.size()}};
}

bool Cookies::enter(uint32_t period) {
  if (has_period_ && period == period_) return true;
  uint8_t label[4];
  store32(label, period);
  has_period_ = hmac(Hash::sha256, {keys_->seed, seed_bytes_}, {label}, keys_->period);
  period_ = period;
  return has_period_;
}

size_t Cookies::seal(double now, std::span<const uint8_t> address, const Heard& heard, const Steering& steering, uint8_t* cookie) {
  const auto period = static_cast<uint32_t>(static_cast<uint64_t>(std::floor(now / period_micros)));
  if (!enter(period)) return 0;
  const Hash hash = hash_of_suite(heard.suite);
  const size_t hash_length = hash_bytes(hash);
  const auto address_length = static_cast<uint8_t>(address.size());
  const Bytes key{keys_->period, sizeof keys_->period}, length_byte{&address_length, 1};
  uint8_t* const hello_hash = cookie + hash_at;

  uint8_t form[4];
  store32(form, static_cast<uint32_t>(heard.body.size()));
  form[0] = client_hello;  // the form that is hashed: type, 24 bits of length
  const Bytes chunks[] = {form, heard.body};
  uint8_t drawn[max_hash_bytes];
  const Bytes label{reinterpret_cast<const uint8_t*>(draw_label.data()), draw_label.size()};
  if (!digest(hash, chunks, hello_hash) || !hmac(Hash::sha256, key, {length_byte, address, label, {hello_hash, hash_length}}, drawn)) return 0;
  // an id whose first byte names this shard, and that is never all zeros or all ones
  const uint32_t ids = 256u / steering.shards;
  drawn[0] = static_cast<uint8_t>(drawn[0] % ids * steering.shards + steering.shard);
  if (drawn[7] == 0 || drawn[7] == 0xff) drawn[7] ^= 0x55;

  Writer{cookie}.uint(4, period).uint(1, heard.named).uint(2, heard.suite).uint(2, heard.group).add({drawn, application_bytes});
  uint8_t* const mac = hello_hash + hash_length;
  if (!hmac(Hash::sha256, key, {length_byte, address, {cookie, hash_at + hash_length}}, mac)) return 0;
  return hash_at + hash_length + mac_bytes;
}

size_t write_retry(const Heard& heard, std::span<const uint8_t> cookie, uint8_t* to) {
  constexpr size_t fragment_header = 12;
  const size_t share = heard.named ? 6 : 0, extensions = share + 6 + 6 + cookie.size();
  const size_t body = 2 + sizeof retry_random + 1 + heard.session_id.size() + 2 + 1 + 2 + extensions;
  Writer out{to};
  record_header(out, handshake_type, heard.sequence, fragment_header + body);
  out.uint(1, server_hello).uint(3, body).uint(2, 0).uint(3, 0).uint(3, body);
  out.uint(2, dtls12).add(retry_random).uint(1, heard.session_id.size()).add(heard.session_id).uint(2, heard.suite).uint(1, 0).uint(2, extensions);
  if (heard.named) out.uint(2, key_share).uint(2, 2).uint(2, heard.group);
  out.uint(2, supported_versions).uint(2, 2).uint(2, dtls13);
  out.uint(2, cookie_extension).uint(2, cookie.size() + 2).uint(2, cookie.size()).add(cookie);
  return out.length();
}

size_t write_alert(const Heard& heard, uint8_t* to) {
  Writer out{to};
  return record_header(out, alert_type, heard.sequence, 2).uint(1, fatal).uint(1, heard.alert).length();
}

}  // namespace ringway::hello
