// The nodes as JavaScript calls them.
#include "core/args.h"
#include "core/functions.h"
#include "core/values.h"
#include "nodes/nodes.h"
#include "steering/floors.h"

namespace ringway {
namespace {

constexpr double max_now = 1e18;  // microseconds: 30,000 years

napi_value locate(napi_env env, napi_callback_info info) {
  Args args{env, info, "locate"};
  Lanes* lanes = lanes_of(args, 0);
  auto* trains = args.handle<Batch>(1, "trains");
  if (!args.ok()) return nullptr;
  return to_js(env, nodes::locate(*lanes, *trains));
}

napi_value open(napi_env env, napi_callback_info info) {
  Args args{env, info, "open"};
  Lanes* lanes = lanes_of(args, 0);
  auto* trains = args.handle<Batch>(1, "trains");
  auto* packets = args.handle<Batch>(2, "packets");
  const double now = args.number(3, "now", 0, max_now);
  const auto joining = static_cast<nodes::Joining>(args.choice(4, "mode", {"inline", "tcp", "off", "udp"}));
  if (!args.ok()) return nullptr;
  if (packets->arena != trains->arena || packets == trains) return args.refuse_range("packets", "must be another batch of the arena of trains");
  if (packets->capacity < nodes::max_records) return args.refuse_range("packets", "must have a capacity of at least 32: a datagram may hold as many records");
  const uint32_t diverted = nodes::open(*lanes, *trains, *packets, now, joining);
  publish_floors(*lanes, *trains);
  return to_js(env, diverted);
}

napi_value admit(napi_env env, napi_callback_info info) {
  Args args{env, info, "admit"};
  Lanes* lanes = lanes_of(args, 0);
  auto* packets = args.handle<Batch>(1, "packets");
  const double now = args.number(2, "now", 0, max_now);
  if (!args.ok()) return nullptr;
  return to_js(env, nodes::admit(*lanes, *packets, now));
}

napi_value coalesce(napi_env env, napi_callback_info info) {
  Args args{env, info, "coalesce"};
  Lanes* lanes = lanes_of(args, 0);
  auto* packets = args.handle<Batch>(1, "packets");
  auto* superpackets = args.handle<Batch>(2, "superpackets");
  const auto joining = static_cast<nodes::Joining>(args.choice(3, "mode", {"inline", "tcp", "off", "udp"}));
  if (!args.ok()) return nullptr;
  if (packets == superpackets) return args.refuse_range("superpackets", "must be another batch than packets");
  return to_js(env, nodes::coalesce(*lanes, *packets, *superpackets, joining));
}

// uplinkNodes(lanes, trains, packets, superpackets, mode, now): what a pass runs between the socket and the device
napi_value uplink_nodes(napi_env env, napi_callback_info info) {
  Args args{env, info, "uplinkNodes"};
  Lanes* lanes = lanes_of(args, 0);
  auto* trains = args.handle<Batch>(1, "trains");
  auto* packets = args.handle<Batch>(2, "packets");
  auto* superpackets = args.handle<Batch>(3, "superpackets");
  const auto joining = static_cast<nodes::Joining>(args.choice(4, "mode", {"inline", "tcp", "off", "udp"}));
  const double now = args.number(5, "now", 0, max_now);
  if (!args.ok()) return nullptr;
  if (packets->arena != trains->arena || packets == trains) return args.refuse_range("packets", "must be another batch of the arena of trains");
  if (packets->capacity < nodes::max_records) return args.refuse_range("packets", "must have a capacity of at least 32: a datagram may hold as many records");
  if (superpackets == packets || superpackets == trains) return args.refuse_range("superpackets", "must be another batch than packets and trains");
  nodes::locate(*lanes, *trains);
  for (const uint32_t count = trains->count(); trains->header->consumed < count;) {
    packets->clear();
    nodes::open(*lanes, *trains, *packets, now, joining);
    nodes::admit(*lanes, *packets, now);
    superpackets->clear();
    nodes::coalesce(*lanes, *packets, *superpackets, joining);
  }
  return undefined(env);
}

napi_value lookup(napi_env env, napi_callback_info info) {
  Args args{env, info, "lookup"};
  Lanes* lanes = lanes_of(args, 0);
  auto* superpackets = args.handle<Batch>(1, "superpackets");
  if (!args.ok()) return nullptr;
  return to_js(env, nodes::lookup(*lanes, *superpackets));
}

napi_value seal(napi_env env, napi_callback_info info) {
  Args args{env, info, "seal"};
  Lanes* lanes = lanes_of(args, 0);
  auto* superpackets = args.handle<Batch>(1, "superpackets");
  auto* trains = args.handle<Batch>(2, "trains");
  const auto max_segments = static_cast<uint32_t>(args.integer(3, "maxSegments", 1, 128));
  const double now = args.number(4, "now", 0, max_now);
  if (!args.ok()) return nullptr;
  if (superpackets->arena == trains->arena) return args.refuse_range("trains", "must have an arena of its own");
  return to_js(env, nodes::seal(*lanes, *superpackets, *trains, max_segments, now));
}

const Functions functions{{"locate", locate}, {"open", open}, {"admit", admit}, {"coalesce", coalesce}, {"uplinkNodes", uplink_nodes}, {"lookup", lookup}, {"seal", seal}};

}  // namespace
}  // namespace ringway
