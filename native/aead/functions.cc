// Plain AEAD as JavaScript calls it: through the same backends as the nodes, for vectors and benchmarks.
#include <cerrno>
#include <chrono>
#include <vector>

#include "aead/aead.h"
#include "core/args.h"
#include "core/errors.h"
#include "core/functions.h"
#include "core/values.h"
#include "packet/bytes.h"
#include "packet/checksum.h"
#include "secret/memory.h"

namespace ringway {
namespace {

constexpr uint32_t max_group = 64;

Backend backend_argument(Args& args, size_t index) {
  return args.choice(index, "backend", {"ipsec-mb", "openssl"}) == 0 ? Backend::ipsec_mb : Backend::openssl;
}

// A schedule for one call, from its arguments backend, suite and key.
struct OneCall {
  std::unique_ptr<Aead> aead;
  SecretPtr<Schedule> schedule = make_secret<Schedule>();

  ~OneCall() {
    if (aead && schedule) aead->release(*schedule);
  }
  bool expand(Args& args) {
    const Backend backend = backend_argument(args, 0);
    const auto suite = static_cast<uint16_t>(args.integer(1, "suite", suite::aes128, suite::chacha20));
    const size_t key_length = args.ok() ? suite::key_length(suite) : 0;
    const auto key = args.bytes(2, "key", key_length, key_length);
    if (!args.ok()) return false;
    aead = Aead::create(backend);
    if (!aead) {
      args.refuse_range("backend", "must be one that this machine has (about().aead)");
      return false;
    }
    if (schedule && aead->expand(*schedule, suite, key.data())) return true;
    throw_errno(args.env(), "mmap", ENOMEM);
    return false;
  }
};

// ---- one packet -----------------------------------------------------------------------------------------------------------

struct OnePacket : OneCall {
  std::span<uint8_t> nonce, aad, input;

  bool begin(Args& args, const char* input_name) {
    nonce = args.bytes(3, "nonce", nonce_bytes, nonce_bytes);
    aad = args.bytes(4, "aad", 0, UINT32_MAX / 2);
    input = args.bytes(5, input_name, 0, INT32_MAX - 64);
    return expand(args);
  }
};

// aeadSeal(backend, suite, key, nonce, aad, plaintext) -> ciphertext ‖ tag
napi_value aead_seal(napi_env env, napi_callback_info info) {
  Args args{env, info, "aeadSeal"};
  OnePacket call;
  if (!call.begin(args, "plaintext")) return nullptr;
  uint8_t* out = nullptr;
  const size_t length = call.input.size();
  const napi_value result = new_bytes(env, length + tag_bytes, &out);
  if (!result) return nullptr;
  call.aead->seal(*call.schedule, call.nonce.data(), call.aad.data(), call.aad.size(), call.input.data(), out, length, out + length);
  return result;
}

// aeadOpen(backend, suite, key, nonce, aad, sealed) -> plaintext | undefined
napi_value aead_open(napi_env env, napi_callback_info info) {
  Args args{env, info, "aeadOpen"};
  OnePacket call;
  if (!call.begin(args, "sealed")) return nullptr;
  if (call.input.size() < tag_bytes) return undefined(env);
  const size_t length = call.input.size() - tag_bytes;
  uint8_t* out = nullptr;
  const napi_value result = new_bytes(env, length, &out);
  if (!result) return nullptr;
  if (!call.aead->open(*call.schedule, call.nonce.data(), call.aad.data(), call.aad.size(), call.input.data(), out, length, call.input.data() + length)) {
    if (length > 0) wipe(out, length);
    return undefined(env);
  }
  return result;
}

// ---- a group, as the nodes have it ------------------------------------------------------------------------------------------

// Where the parts of one packet lie in the bytes of the call.
struct Place {
  int64_t nonce, aad, aad_length, at, length, tag;
  bool skip;

  bool lies_in(size_t size) const {
    const auto limit = static_cast<int64_t>(size);
    return nonce + static_cast<int64_t>(nonce_bytes) <= limit && aad + aad_length <= limit && at + length <= limit && tag + static_cast<int64_t>(tag_bytes) <= limit;
  }
};

struct Group : OneCall {
  std::vector<Sealed> packets;

  bool begin(Args& args) {
    if (!expand(args)) return false;
    uint32_t count = 0;
    const napi_value list = args.array(4, "items", max_group, &count);
    std::vector<Place> places;
    for (uint32_t i = 0; i < count && args.ok(); i++) places.push_back(place(args, list, i));
    const auto bytes = args.bytes(3, "bytes");  // last: properties may run JavaScript
    if (!args.ok()) return false;
    for (const Place& one : places) {
      if (!one.lies_in(bytes.size())) {
        args.refuse_range("items", "must lie within bytes");
        return false;
      }
      uint8_t* start = bytes.data();
      const auto aad_length = static_cast<uint32_t>(one.aad_length), length = static_cast<uint32_t>(one.length);
      packets.push_back({start + one.nonce, start + one.aad, aad_length, length, start + one.at, start + one.tag, one.skip, false});
    }
    return true;
  }

 private:
  static Place place(Args& args, napi_value list, uint32_t index) {
    napi_value element = nullptr;
    if (napi_get_element(args.env(), list, index, &element) != napi_ok) element = nullptr;
    Options item = args.options_of(element, "items");
    const auto where = [&item](const char* name) { return item.integer(name, 0, INT32_MAX); };
    return {where("nonce"), where("aad"), where("aadLength"), where("at"), where("length"), where("tag"), item.boolean_or("skip", false)};
  }
};

// aeadSealGroup(backend, suite, key, bytes, items): in place
napi_value aead_seal_group(napi_env env, napi_callback_info info) {
  Args args{env, info, "aeadSealGroup"};
  Group call;
  if (!call.begin(args)) return nullptr;
  call.aead->seal_group(*call.schedule, call.packets);
  return undefined(env);
}

// aeadOpenGroup(backend, suite, key, bytes, items) -> of each: is it authentic?
napi_value aead_open_group(napi_env env, napi_callback_info info) {
  Args args{env, info, "aeadOpenGroup"};
  Group call;
  if (!call.begin(args)) return nullptr;
  call.aead->open_group(*call.schedule, call.packets);
  const napi_value result = new_array(env);
  for (uint32_t i = 0; i < call.packets.size(); i++) push(env, result, i, to_js(env, call.packets[i].authentic));
  return result;
}

// ---- what it costs --------------------------------------------------------------------------------------------------------

// bareCost(backend, open, packetBytes, packets, copies) -> nanoseconds for one pass over as many packets of fixed bytes, each with what no
// implementation can leave out: AEAD in place, and (copies) one copy and one checksum over the same bytes. What benchmarks compare with.
napi_value bare_cost(napi_env env, napi_callback_info info) {
  Args args{env, info, "bareCost"};
  const Backend backend = backend_argument(args, 0);
  const bool opens = args.boolean(1, "open");
  const auto bytes = static_cast<size_t>(args.integer(2, "packetBytes", 1, 65535));
  const auto packets = static_cast<size_t>(args.integer(3, "packets", 1, 65536));
  const bool copies = args.boolean(4, "copies");
  if (!args.ok()) return nullptr;
  const std::unique_ptr<Aead> aead = Aead::create(backend);
  if (!aead) return args.refuse_range("backend", "must be one that this machine has (about().aead)");
  const SecretPtr<Schedule> schedule = make_secret<Schedule>();
  const uint8_t key[32] = {1};
  if (!schedule || !aead->expand(*schedule, suite::aes256, key)) return throw_errno(env, "mmap", ENOMEM);
  const size_t stride = bytes + tag_bytes;
  std::vector<uint8_t> from(packets * bytes, 7), to(packets * stride, 9);
  uint8_t nonce[nonce_bytes] = {}, aad[18] = {};
  uint64_t sums = 0;
  const auto one = [&](size_t i) {
    uint8_t* packet = to.data() + i * stride;
    store64(nonce + 4, i);
    if (opens) {
      sums += aead->open(*schedule, nonce, aad, sizeof aad, packet, packet, bytes, packet + bytes);
      if (copies) sums += copy_and_sum(from.data() + i * bytes, packet, bytes);
    } else {
      if (copies) sums += copy_and_sum(packet, from.data() + i * bytes, bytes);
      aead->seal(*schedule, nonce, aad, sizeof aad, packet, packet, bytes, packet + bytes);
    }
  };
  for (size_t i = 0; i < packets; i++) one(i);  // warm
  const auto began = std::chrono::steady_clock::now();
  for (size_t i = 0; i < packets; i++) one(i);
  const auto took = std::chrono::steady_clock::now() - began;
  asm volatile("" : : "r"(sums));
  aead->release(*schedule);
  return to_js(env, static_cast<double>(std::chrono::duration_cast<std::chrono::nanoseconds>(took).count()));
}

const Functions functions{
  {"aeadSeal", aead_seal},           {"aeadOpen", aead_open},          {"aeadSealGroup", aead_seal_group},
  {"aeadOpenGroup", aead_open_group}, {"bareCost", bare_cost},
};

}  // namespace
}  // namespace ringway
