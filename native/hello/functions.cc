// The listener as JavaScript calls it.
#include <cerrno>

#include "core/args.h"
#include "core/errors.h"
#include "core/functions.h"
#include "core/values.h"
#include "hello/listener.h"
#include "secret/handles.h"

namespace ringway {
namespace {

constexpr double max_now = 1e18;  // microseconds: 30,000 years
constexpr int64_t max_trains = 65'536;
constexpr size_t min_seed = 16;

// options.NAME: numbers of 16 bits, at least one. @returns how many
size_t read_numbers(Args& args, Options& options, const char* name, std::array<uint16_t, hello::Preferences::most>& to) {
  uint32_t length = 0;
  const napi_value array = args.array_of(options.get(name), name, hello::Preferences::most, &length);
  if (args.ok() && length == 0) args.refuse_range(name, "must not be empty");
  for (uint32_t i = 0; i < length && args.ok(); i++) {
    napi_value element = nullptr;
    if (napi_get_element(args.env(), array, i, &element) != napi_ok) return 0;
    to[i] = static_cast<uint16_t>(args.integer_of(element, name, 0, UINT16_MAX));
  }
  return length;
}

// createListener(lanes, seed, options) -> listener
napi_value create_listener(napi_env env, napi_callback_info info) {
  Args args{env, info, "createListener"};
  auto lanes = std::static_pointer_cast<Lanes>(args.shared<Shards>(0, "lanes"));
  const Secret* seed = args.ok() ? live_secret(args, 1, "seed") : nullptr;
  Options options = args.options(2, "options");
  if (!args.ok()) return nullptr;
  hello::Terms terms;
  terms.suites.count = read_numbers(args, options, "suites", terms.suites.list);
  terms.groups.count = read_numbers(args, options, "groups", terms.groups.list);
  terms.schemes.count = read_numbers(args, options, "schemes", terms.schemes.list);
  const size_t lengths = read_numbers(args, options, "shareLengths", terms.share_lengths);
  terms.amplification = static_cast<size_t>(options.integer_or("amplification", 1, 255, 3));
  if (!args.ok()) return nullptr;
  if (lengths != terms.groups.count) return args.refuse_range("shareLengths", "must be as long as groups");
  for (const uint16_t suite : terms.suites.all()) {
    if (suite < suite::aes128 || suite > suite::chacha20) return args.refuse_range("suites", "must be cipher suites of TLS 1.3");
  }
  if (seed->bytes().size() < min_seed || seed->bytes().size() > hello::Cookies::max_seed) return args.refuse_range("seed", "must have 16 to 64 bytes");
  auto cookies = hello::Cookies::create(seed->bytes());
  if (!cookies) return throw_errno(env, "mmap", ENOMEM);
  return make_handle(env, std::make_shared<Listener>(std::move(lanes), terms, std::move(cookies)));
}

// answerHellos(listener, packets, trains, answers, now, first, end) -> entries judged
napi_value answer_hellos(napi_env env, napi_callback_info info) {
  Args args{env, info, "answerHellos"};
  auto* listener = args.handle<Listener>(0, "listener");
  auto* packets = args.handle<Batch>(1, "packets");
  const auto* trains = args.handle<Batch>(2, "trains");
  auto* answers = args.handle<Batch>(3, "answers");
  const double now = args.number(4, "now", 0, max_now);
  const auto first = static_cast<uint32_t>(args.integer(5, "first", 0, max_trains));
  const auto end = static_cast<uint32_t>(args.integer(6, "end", 0, max_trains));
  if (!args.ok()) return nullptr;
  if (answers->arena == packets->arena) return args.refuse_range("answers", "must have an arena of its own");
  return to_js(env, listener->answer(*packets, *trains, *answers, now, first, end));
}

// listenerCounters(listener) -> what became of hellos, by name
napi_value listener_counters(napi_env env, napi_callback_info info) {
  Args args{env, info, "listenerCounters"};
  const auto* listener = args.handle<Listener>(0, "listener");
  if (!args.ok()) return nullptr;
  const napi_value result = new_object(env);
  for (size_t i = 0; i < hello::judgements; i++) set(env, result, hello::judgement_names[i], to_js(env, listener->counters()[i]));
  return result;
}

const Functions functions{{"createListener", create_listener}, {"answerHellos", answer_hellos}, {"listenerCounters", listener_counters}};

}  // namespace
}  // namespace ringway
