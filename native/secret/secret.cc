// The key schedule on handles (src/crypto/vault.ts).
#include <cstring>
#include <vector>

#include "aead/aead.h"
#include "aead/record.h"
#include "core/args.h"
#include "core/errors.h"
#include "core/functions.h"
#include "core/handle.h"
#include "core/values.h"
#include "packet/bytes.h"
#include "secret/handles.h"
#include "table/lanes.h"

namespace ringway {

std::shared_ptr<Secret> Secret::make(Hash hash, size_t length) {
  auto* bytes = static_cast<uint8_t*>(SecretMemory::take(length));
  return bytes ? std::shared_ptr<Secret>{new Secret{hash, bytes, length}} : nullptr;
}

void Secret::destroy() {
  SecretMemory::give_back(bytes_, length_);
  bytes_ = nullptr;
}

Secret* live_secret(Args& args, size_t index, const char* name) {
  auto* secret = args.handle<Secret>(index, name);
  if (!args.ok()) return nullptr;
  if (!secret->live()) {
    args.refuse_type(name, "must be a secret that was not destroyed");
    return nullptr;
  }
  return secret;
}

namespace {

constexpr int64_t max_suite = suite::chacha20, min_suite = suite::aes128;
constexpr double max_expected = 9007199254740991.0;  // 2^53 - 1

// Records and secrets belong to the thread that made them; so does the AEAD under them.
std::shared_ptr<Aead> thread_aead() {
  thread_local const std::shared_ptr<Aead> own = [] {
    std::unique_ptr<Aead> fastest = Aead::create(Backend::ipsec_mb);
    return std::shared_ptr<Aead>{fastest ? std::move(fastest) : Aead::create(Backend::openssl)};
  }();
  return own;
}

struct RecordKeys {
  static constexpr const char* type_name = "recordKeys";
  static constexpr napi_type_tag type_tag{0x52696e6777617933, 0x1c94ad0f62e70c02};

  struct Held {
    RecordKey key;
    RecordSecret secret;
  };
  std::shared_ptr<Aead> aead = thread_aead();
  SecretPtr<Held> held = make_secret<Held>();

  ~RecordKeys() { destroy(); }
  void destroy() {
    if (!held) return;
    aead->release(held->key.schedule);
    aead->release_number(held->key.number);
    held.reset();
  }
};

Hash hash_argument(Args& args, size_t index) { return args.choice(index, "hash", {"sha256", "sha384"}) == 0 ? Hash::sha256 : Hash::sha384; }

napi_value out_of_memory(napi_env env) { return throw_errno(env, "mmap", 12); }
napi_value crypto_failed(napi_env env) {
  napi_throw_error(env, "CRYPTO_FAILED", "OpenSSL refused an operation on valid arguments");
  return nullptr;
}

// digest(hash, chunks) -> hash_bytes
napi_value digest_chunks(napi_env env, napi_callback_info info) {
  Args args{env, info, "digest"};
  const Hash hash = hash_argument(args, 0);
  uint32_t count = 0;
  const napi_value list = args.array(1, "chunks", 65536, &count);
  if (!args.ok()) return nullptr;
  std::vector<Bytes> chunks;
  chunks.reserve(count);
  for (uint32_t i = 0; i < count; i++) {
    napi_value chunk;
    if (napi_get_element(env, list, i, &chunk) != napi_ok) return nullptr;
    chunks.push_back(args.bytes_of(chunk, "chunks", 0, UINT32_MAX));
    if (!args.ok()) return nullptr;
  }
  uint8_t out[max_hash_bytes];
  if (!digest(hash, chunks, out)) return crypto_failed(env);
  return copy_to_js(env, {out, hash_bytes(hash)});
}

// secretImport(hash, bytes) -> handle
napi_value secret_import(napi_env env, napi_callback_info info) {
  Args args{env, info, "secretImport"};
  const Hash hash = hash_argument(args, 0);
  const auto bytes = args.bytes(1, "bytes", 0, Secret::max_bytes);
  if (!args.ok()) return nullptr;
  auto secret = Secret::make(hash, bytes.size());
  if (!secret) return out_of_memory(env);
  if (!bytes.empty()) std::memcpy(secret->data(), bytes.data(), bytes.size());
  return make_handle(env, std::move(secret));
}

// secretExtract(hash, salt?, ikm?) -> handle; undefined stands for zeros as long as the hash
napi_value secret_extract(napi_env env, napi_callback_info info) {
  Args args{env, info, "secretExtract"};
  const Hash hash = hash_argument(args, 0);
  const Secret* salt = args.present(1) ? live_secret(args, 1, "salt") : nullptr;
  const Secret* ikm = args.ok() && args.present(2) ? live_secret(args, 2, "ikm") : nullptr;
  if (!args.ok()) return nullptr;
  const uint8_t zeros[max_hash_bytes] = {};
  const Bytes absent{zeros, hash_bytes(hash)};
  auto secret = Secret::make(hash, hash_bytes(hash));
  if (!secret) return out_of_memory(env);
  if (!hmac(hash, salt ? salt->bytes() : absent, {ikm ? ikm->bytes() : absent}, secret->data())) return crypto_failed(env);
  return make_handle(env, std::move(secret));
}

// secretExpand(secret, label, context) -> handle, as long as the hash
napi_value secret_expand(napi_env env, napi_callback_info info) {
  Args args{env, info, "secretExpand"};
  const Secret* secret = live_secret(args, 0, "secret");
  const auto label = args.string(1, "label", 1, 200);
  const auto context = args.bytes(2, "context", 0, 255);
  if (!args.ok()) return nullptr;
  auto expanded = Secret::make(secret->hash(), hash_bytes(secret->hash()));
  if (!expanded) return out_of_memory(env);
  if (!expand_label(secret->hash(), secret->bytes(), label, context, expanded->data(), hash_bytes(secret->hash()))) return crypto_failed(env);
  return make_handle(env, std::move(expanded));
}

// secretFinished(secret, transcriptHash) -> verify_data
napi_value secret_finished(napi_env env, napi_callback_info info) {
  Args args{env, info, "secretFinished"};
  const Secret* secret = live_secret(args, 0, "secret");
  const auto transcript = args.bytes(1, "transcriptHash", 0, max_hash_bytes);
  if (!args.ok()) return nullptr;
  const Hash hash = secret->hash();
  uint8_t key[max_hash_bytes], out[max_hash_bytes];
  const bool good = expand_label(hash, secret->bytes(), "finished", {}, key, hash_bytes(hash)) && hmac(hash, {key, hash_bytes(hash)}, {transcript}, out);
  wipe(key, sizeof key);
  return good ? copy_to_js(env, {out, hash_bytes(hash)}) : crypto_failed(env);
}

napi_value secret_destroy(napi_env env, napi_callback_info info) {
  Args args{env, info, "secretDestroy"};
  auto* secret = args.handle<Secret>(0, "secret");
  if (!args.ok()) return nullptr;
  secret->destroy();
  return undefined(env);
}

// recordKeys(suite, secret) -> handle
napi_value record_keys(napi_env env, napi_callback_info info) {
  Args args{env, info, "recordKeys"};
  const auto suite = static_cast<uint16_t>(args.integer(0, "suite", min_suite, max_suite));
  const Secret* secret = live_secret(args, 1, "secret");
  if (!args.ok()) return nullptr;
  if (secret->bytes().size() != hash_bytes(hash_of_suite(suite))) return args.refuse_range("secret", "must be as long as the suite's hash");
  auto keys = std::make_shared<RecordKeys>();
  if (!keys->held) return out_of_memory(env);
  RecordKeys::Held& held = *keys->held;
  const bool good = derive_record_secret(suite, 0, secret->bytes().data(), &held.secret) && keys->aead->expand(held.key.schedule, suite, held.secret.key) &&
                    keys->aead->expand_number(held.key.number, suite, held.secret.sn);
  wipe(held.secret.traffic, sizeof held.secret.traffic);
  return good ? make_handle(env, std::move(keys)) : crypto_failed(env);
}

napi_value record_keys_destroy(napi_env env, napi_callback_info info) {
  Args args{env, info, "recordKeysDestroy"};
  auto* keys = args.handle<RecordKeys>(0, "keys");
  if (!args.ok()) return nullptr;
  keys->destroy();
  return undefined(env);
}

RecordKeys* live_keys(Args& args) {
  auto* keys = args.handle<RecordKeys>(0, "keys");
  if (!args.ok()) return nullptr;
  if (!keys->held) {
    args.refuse_type("keys", "must be record keys that were not destroyed");
    return nullptr;
  }
  return keys;
}

// recordSeal(keys, epoch, sequence, contentType, content) -> record
napi_value record_seal(napi_env env, napi_callback_info info) {
  Args args{env, info, "recordSeal"};
  RecordKeys* keys = live_keys(args);
  const auto epoch = static_cast<uint16_t>(args.integer(1, "epoch", 0, 65535));
  const auto sequence = static_cast<uint64_t>(args.integer(2, "sequence", 0, max_record_number));
  const auto type = static_cast<uint8_t>(args.integer(3, "contentType", 1, 255));
  const auto content = args.bytes(4, "content", 0, max_record_content);
  if (!args.ok()) return nullptr;
  uint8_t* record = nullptr;
  const napi_value result = new_bytes(env, content.size() + record_overhead, &record);
  if (!result) return nullptr;
  if (!content.empty()) std::memcpy(record + record_header, content.data(), content.size());
  seal_record(*keys->aead, keys->held->key, keys->held->secret.iv, epoch, sequence, type, record, static_cast<uint32_t>(content.size()));
  return result;
}

// recordOpen(keys, record, expected) -> { sequence, contentType, content } | undefined
napi_value record_open(napi_env env, napi_callback_info info) {
  Args args{env, info, "recordOpen"};
  RecordKeys* keys = live_keys(args);
  const auto sealed = args.bytes(1, "record", 0, 65535);
  const auto expected = static_cast<uint64_t>(args.number(2, "expected", 0, max_expected));
  if (!args.ok()) return nullptr;
  const RecordShape shape = look_at_record(sealed);
  if (shape.is != RecordShape::Is::sealed || shape.encrypted < tag_bytes || shape.total() != sealed.size()) return undefined(env);
  std::vector<uint8_t> record{sealed.begin(), sealed.end()};
  const uint32_t low = reveal_number(*keys->aead, keys->held->key, record.data(), shape);
  const uint64_t number = reconstruct(expected, low, shape.number_bytes);
  OpenedContent content;
  if (number > max_record_number || !open_record(*keys->aead, keys->held->key, keys->held->secret.iv, record.data(), shape, number, &content)) return undefined(env);
  const napi_value result = new_object(env);
  set(env, result, "sequence", to_js(env, number));
  set(env, result, "contentType", to_js(env, uint32_t{content.type}));
  set(env, result, "content", copy_to_js(env, {record.data() + shape.header, content.length}));
  wipe(record.data(), record.size());
  return result;
}

napi_value constant_time_equal(napi_env env, napi_callback_info info) {
  Args args{env, info, "constantTimeEqual"};
  const auto a = args.bytes(0, "a"), b = args.bytes(1, "b");
  if (!args.ok()) return nullptr;
  return to_js(env, a.size() == b.size() && equal_in_constant_time(a.data(), b.data(), a.size()));
}

napi_value hmac_sha256(napi_env env, napi_callback_info info) {
  Args args{env, info, "hmacSha256"};
  const Secret* key = live_secret(args, 0, "key");
  const auto data = args.bytes(1, "data");
  if (!args.ok()) return nullptr;
  uint8_t out[max_hash_bytes];
  return hmac(Hash::sha256, key->bytes(), {data}, out) ? copy_to_js(env, {out, 32}) : crypto_failed(env);
}

const Functions functions{
  {"digest", digest_chunks},         {"secretImport", secret_import},
  {"secretExtract", secret_extract}, {"secretExpand", secret_expand},
  {"secretFinished", secret_finished}, {"secretDestroy", secret_destroy},
  {"recordKeys", record_keys},       {"recordKeysDestroy", record_keys_destroy},
  {"recordSeal", record_seal},       {"recordOpen", record_open},
  {"constantTimeEqual", constant_time_equal}, {"hmacSha256", hmac_sha256},
};

}  // namespace
}  // namespace ringway
