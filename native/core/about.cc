// What this build is: about(), batchLayout(), verdicts(), mappings().
#include <algorithm>
#include <string>
#include <vector>

#include "core/args.h"
#include "core/batch.h"
#include "core/functions.h"
#include "core/mapping.h"
#include "core/values.h"

#ifndef RINGWAY_SANITIZER
#if defined(__SANITIZE_ADDRESS__)
#define RINGWAY_SANITIZER "address,undefined"
#elif defined(__SANITIZE_THREAD__)
#define RINGWAY_SANITIZER "thread"
#else
#define RINGWAY_SANITIZER ""
#endif
#endif

namespace ringway {
namespace {

constexpr std::string_view version = "0.1.0";  // as package.json; test/native/about.test.ts holds both together
constexpr uint32_t max_capacity = 65'536;

napi_value cpu_features(napi_env env) {
  napi_value list = new_array(env);
  uint32_t count = 0;
#if defined(__x86_64__)
  __builtin_cpu_init();
  const auto add = [&](bool has, std::string_view name) {
    if (has) push(env, list, count++, to_js(env, name));
  };
  add(__builtin_cpu_supports("sse4.2"), "sse4.2");
  add(__builtin_cpu_supports("aes"), "aes");
  add(__builtin_cpu_supports("pclmul"), "pclmul");
  add(__builtin_cpu_supports("avx"), "avx");
  add(__builtin_cpu_supports("avx2"), "avx2");
  add(__builtin_cpu_supports("bmi2"), "bmi2");
  add(__builtin_cpu_supports("avx512f"), "avx512f");
  add(__builtin_cpu_supports("avx512bw"), "avx512bw");
  add(__builtin_cpu_supports("avx512vl"), "avx512vl");
  add(__builtin_cpu_supports("vpclmulqdq"), "vpclmulqdq");
#elif defined(__aarch64__)
  push(env, list, count++, to_js(env, std::string_view{"neon"}));
#endif
  return list;
}

napi_value aead_backends(napi_env env) {
  std::vector<const AeadBackend*> backends;
  for (const AeadBackend* backend = AeadBackend::first; backend; backend = backend->next) {
    if (backend->usable()) backends.push_back(backend);
  }
  std::sort(backends.begin(), backends.end(), [](const auto* a, const auto* b) { return a->rank < b->rank; });
  napi_value list = new_array(env);
  for (uint32_t i = 0; i < backends.size(); i++) push(env, list, i, to_js(env, std::string_view{backends[i]->name}));
  return list;
}

// about() -> { version, sanitizer, aead, cpu, liburing }
napi_value about(napi_env env, napi_callback_info) {
  napi_value result = new_object(env);
  set(env, result, "version", to_js(env, version));
  set(env, result, "sanitizer", to_js(env, std::string_view{RINGWAY_SANITIZER}));
  set(env, result, "aead", aead_backends(env));
  set(env, result, "cpu", cpu_features(env));
  set(env, result, "liburing", to_js(env, std::string_view{RINGWAY_LIBURING}));
  return result;
}

// batchLayout(capacity) -> { offsets, bytes }
napi_value layout_of_batch(napi_env env, napi_callback_info info) {
  Args args{env, info, "batchLayout"};
  const auto capacity = args.integer(0, "capacity", 1, max_capacity);
  if (!args.ok()) return nullptr;

  const BatchLayout layout = batch_layout(static_cast<uint32_t>(capacity));
  napi_value offsets = new_object(env);
  for (size_t i = 0; i < columns.size(); i++) set(env, offsets, columns[i].name, to_js(env, uint64_t{layout.offsets[i]}));
  napi_value result = new_object(env);
  set(env, result, "offsets", offsets);
  set(env, result, "bytes", to_js(env, uint64_t{layout.bytes}));
  return result;
}

// verdicts() -> names in the order of their numbers
napi_value verdicts(napi_env env, napi_callback_info) {
  napi_value list = new_array(env);
  for (uint32_t i = 0; i < verdict::names.size(); i++) push(env, list, i, to_js(env, std::string_view{verdict::names[i]}));
  return list;
}

// mappings() -> { count, bytes, quarantined } of the whole process
napi_value mappings(napi_env env, napi_callback_info) {
  const Mapping::Totals totals = Mapping::totals();
  napi_value result = new_object(env);
  set(env, result, "count", to_js(env, totals.mappings));
  set(env, result, "bytes", to_js(env, totals.bytes));
  set(env, result, "quarantined", to_js(env, totals.quarantined));
  return result;
}

const Functions functions{{"about", about}, {"batchLayout", layout_of_batch}, {"verdicts", verdicts}, {"mappings", mappings}};

}  // namespace
}  // namespace ringway
