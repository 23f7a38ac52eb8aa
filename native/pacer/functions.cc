// The pacer as JavaScript calls it.
#include <cerrno>

#include "core/args.h"
#include "core/errors.h"
#include "core/functions.h"
#include "core/values.h"
#include "pacer/pacer.h"

namespace ringway {
namespace {

constexpr double max_now = 1e18;  // microseconds: 30,000 years
constexpr uint32_t min_block = 65'600;  // a superpacket of IPv6 is 65,575 bytes long

// createPacer(lanes, released, trainSegments) -> { handle, state }
napi_value create_pacer(napi_env env, napi_callback_info info) {
  Args args{env, info, "createPacer"};
  auto lanes = std::static_pointer_cast<Lanes>(args.shared<Shards>(0, "lanes"));
  auto released = args.shared<Batch>(1, "released");
  const auto train_segments = static_cast<uint32_t>(args.integer(2, "trainSegments", 1, 128));
  if (!args.ok()) return nullptr;
  if (released->arena->block_size() < min_block) return args.refuse_range("released", "must have blocks of 65,600 bytes or more");
  if (released->arena->is_lent()) return args.refuse_range("released", "must have an arena that no port receives into");
  auto pacer = Pacer::create(std::move(lanes), std::move(released), train_segments);
  if (!pacer) return throw_errno(env, "mmap", errno);
  auto state = pacer->state();
  napi_value handle = make_handle(env, std::move(pacer));
  napi_value buffer = to_array_buffer(env, std::move(state), pacer_state::words * sizeof(double));
  if (!handle || !buffer) return nullptr;
  napi_value result = new_object(env);
  set(env, result, "handle", handle);
  set(env, result, "state", buffer);
  return result;
}

// pacerRelease(pacer, superpackets, fresh, now, budget) -> superpackets released so far
napi_value pacer_release(napi_env env, napi_callback_info info) {
  Args args{env, info, "pacerRelease"};
  auto* pacer = args.handle<Pacer>(0, "pacer");
  auto* superpackets = args.handle<Batch>(1, "superpackets");
  const bool fresh = args.boolean(2, "fresh");
  const double now = args.number(3, "now", 0, max_now);
  const auto budget = static_cast<uint32_t>(args.integer(4, "budget", 0, pace::no_limit));
  if (!args.ok()) return nullptr;
  if (superpackets->arena == pacer->released().arena) return args.refuse_range("superpackets", "must have another arena than the released ones");
  pacer->release(*superpackets, fresh, now, budget);
  return to_js(env, pacer->released().count());
}

// pacerForget(pacer, slot, superseded) -> packets dropped
napi_value pacer_forget(napi_env env, napi_callback_info info) {
  Args args{env, info, "pacerForget"};
  auto* pacer = args.handle<Pacer>(0, "pacer");
  const auto slot = args.integer(1, "slot", 0, pacer ? pacer->slots() - 1 : 0);
  const bool superseded = args.boolean(2, "superseded");
  if (!args.ok()) return nullptr;
  return to_js(env, pacer->forget(static_cast<uint32_t>(slot), superseded ? verdict::superseded : verdict::not_online));
}

const Functions functions{{"createPacer", create_pacer}, {"pacerRelease", pacer_release}, {"pacerForget", pacer_forget}};

}  // namespace
}  // namespace ringway
