// Passes as JavaScript calls them.
#include <cerrno>

#include "core/args.h"
#include "core/errors.h"
#include "core/functions.h"
#include "core/values.h"
#include "pass/pass.h"

namespace ringway {
namespace {

constexpr double max_now = 1e18;  // microseconds: 30,000 years
constexpr double max_wait_us = 60e6;
constexpr int64_t max_limit = 65'536;
constexpr int64_t max_lone_turns = 1'000, max_long_sleep_us = 60'000'000;

// createPass(options) -> { handle, state, stages }
napi_value create_pass(napi_env env, napi_callback_info info) {
  Args args{env, info, "createPass"};
  Options options = args.options(0, "options");
  Pass::Parts parts;
  parts.port = options.shared<Port>("port");
  parts.lanes = std::static_pointer_cast<Lanes>(options.shared<Shards>("lanes"));
  parts.trains_in = options.shared<Batch>("trainsIn");
  parts.packets = options.shared<Batch>("packets");
  parts.superpackets_out = options.shared<Batch>("superpacketsOut");
  parts.superpackets_in = options.shared<Batch>("superpacketsIn");
  parts.trains_out = options.shared<Batch>("trainsOut");
  parts.joining = static_cast<nodes::Joining>(options.choice("gro", {"inline", "tcp", "off", "udp"}));
  parts.max_segments = static_cast<uint32_t>(options.integer("maxSegments", 1, 128));
  const Pass::Calls calls{static_cast<uint32_t>(options.integer("loneTurns", 0, max_lone_turns)),
                          static_cast<double>(options.integer("longSleepUs", 0, max_long_sleep_us)),
                          static_cast<double>(options.integer("soonUs", 0, max_long_sleep_us)),
                          static_cast<double>(options.integer("lateUs", 0, max_long_sleep_us)),
                          static_cast<double>(options.integer("aloneUs", 0, max_long_sleep_us)),
                          static_cast<double>(options.integer("togetherUs", 0, max_long_sleep_us)),
                          static_cast<uint32_t>(options.integer("full", 1, max_limit)),
                          static_cast<uint32_t>(options.integer("fullBytes", 1, UINT32_MAX))};
  if (!args.ok()) return nullptr;
  const PortOptions& port = parts.port->options();
  if (port.udp < 0 || port.tun < 0) return args.refuse_type("options.port", "must have a UDP socket and a TUN queue");
  if (port.udp_receive != parts.trains_in) return args.refuse_range("options.trainsIn", "must be the batch that the port receives into");
  if (port.tun_receive != parts.superpackets_in) return args.refuse_range("options.superpacketsIn", "must be the batch that the port receives into");
  if (parts.packets->arena != parts.trains_in->arena || parts.packets == parts.trains_in) {
    return args.refuse_range("options.packets", "must be another batch of the arena of trainsIn");
  }
  if (parts.packets->capacity < nodes::max_records) {
    return args.refuse_range("options.packets", "must have a capacity of at least 32: a datagram may hold as many records");
  }
  if (parts.superpackets_out == parts.packets || parts.superpackets_out == parts.trains_in) {
    return args.refuse_range("options.superpacketsOut", "must be another batch than packets and trainsIn");
  }
  if (parts.trains_out->arena == parts.superpackets_in->arena || parts.trains_out->arena == parts.packets->arena) {
    return args.refuse_range("options.trainsOut", "must have an arena of its own");
  }

  auto pass = Pass::create(std::move(parts), calls);
  if (!pass) return throw_errno(env, "mmap", errno);
  auto state = pass->state(), stages = pass->stages();
  napi_value handle = make_handle(env, std::move(pass));
  napi_value words = to_array_buffer(env, std::move(state), Pass::words * sizeof(double));
  napi_value counts = to_array_buffer(env, std::move(stages), Stages::bytes);
  if (!handle || !words || !counts) return nullptr;
  napi_value result = new_object(env);
  set(env, result, "handle", handle);
  set(env, result, "state", words);
  set(env, result, "stages", counts);
  return result;
}

napi_value run(napi_env env, napi_callback_info info, const char* name, Pass::Next (Pass::*direction)(double, uint32_t)) {
  Args args{env, info, name};
  auto* pass = args.handle<Pass>(0, "pass");
  const double now = args.number(1, "now", 0, max_now);
  const auto limit = static_cast<uint32_t>(args.integer(2, "limit", 0, max_limit));
  if (!args.ok()) return nullptr;
  if (!pass->port().is_open()) return args.refuse_type("pass", "must be of an open port, got one of a closed port");
  return to_js(env, static_cast<uint32_t>((pass->*direction)(now, limit)));
}

// passUplink(pass, now, limit), passDownlink(pass, now, limit) -> PASS
napi_value uplink(napi_env env, napi_callback_info info) { return run(env, info, "passUplink", &Pass::uplink); }
napi_value downlink(napi_env env, napi_callback_info info) { return run(env, info, "passDownlink", &Pass::downlink); }

// passTurns(pass, since, waitUs, until, idleUs) -> how many
napi_value turns(napi_env env, napi_callback_info info) {
  Args args{env, info, "passTurns"};
  auto* pass = args.handle<Pass>(0, "pass");
  const double since = args.number(1, "since", 0, max_now);
  const double wait_us = args.number(2, "waitUs", 0, max_wait_us);
  const double until = args.number(3, "until", 0, max_now);
  const double idle_us = args.number(4, "idleUs", 0, max_wait_us);
  if (!args.ok()) return nullptr;
  if (!pass->port().is_open()) return args.refuse_type("pass", "must be of an open port, got one of a closed port");
  return to_js(env, pass->turns(since, wait_us, until, idle_us));
}

const Functions functions{{"passTurns", turns}, {"createPass", create_pass}, {"passUplink", uplink}, {"passDownlink", downlink}};

}  // namespace
}  // namespace ringway
