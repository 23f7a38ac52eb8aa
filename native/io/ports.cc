// The port functions of the addon's contract.
#include <cerrno>
#include <string>

#include "core/args.h"
#include "core/errors.h"
#include "core/functions.h"
#include "core/shards.h"
#include "core/values.h"
#include "io/port.h"
#include "io/transmit.h"

namespace ringway {
namespace {

constexpr int64_t max_shards = 256;
constexpr double longest_wait = 60e6;
constexpr int64_t max_limit = 65'536;
constexpr size_t max_probe = 65'507;  // of one UDP datagram
constexpr uint32_t min_tun_block = 65'536 + 64, min_udp_block = 65'536 + 512;  // the largest superpacket or train, and what lies before it
constexpr int64_t max_ring_bytes = 1 << 28;

// An open port, or nullptr after having thrown.
Port* open_port_of(Args& args) {
  auto* port = args.handle<Port>(0, "port");
  if (port && !port->is_open()) {
    args.refuse_type("port", "must be open, got a closed one");
    return nullptr;
  }
  return args.ok() ? port : nullptr;
}

bool check_receive(Args& args, const Batch* batch, int descriptor, const char* name, uint32_t min_block) {
  if (descriptor >= 0 && !batch) return args.refuse_type(name, "must be a batch handle where the descriptor is given") != nullptr;
  if (batch && batch->arena->block_size() < min_block) {
    return args.refuse_range(name, min_block == min_tun_block ? "must have blocks of 65,600 bytes or more" : "must have blocks of 66,048 bytes or more");
  }
  if (batch && batch->arena->is_lent()) return args.refuse_range(name, "must have an arena that no other port receives into") != nullptr;
  return true;
}

// options.doors: descriptors, or none.
std::vector<int> doors_of(Args& args, Options& options) {
  std::vector<int> doors;
  if (!options.present("doors")) return doors;
  uint32_t length = 0;
  napi_value array = args.array_of(options.get("doors"), "options.doors", Doors::most, &length);
  for (uint32_t i = 0; i < length && args.ok(); i++) {
    napi_value element = nullptr;
    if (napi_get_element(args.env(), array, i, &element) != napi_ok) return {};
    doors.push_back(static_cast<int>(args.integer_of(element, "options.doors", 0, INT32_MAX)));
  }
  return doors;
}

// openPort(options) -> port
napi_value open_port(napi_env env, napi_callback_info info) {
  Args args{env, info, "openPort"};
  Options options = args.options(0, "options");
  const bool epoll = options.choice("io", {"io_uring", "epoll"}) == 1;
  PortOptions wanted;
  wanted.tun = static_cast<int>(options.integer("tun", -1, INT32_MAX));
  wanted.vnet_header = options.boolean("vnetHeader");
  wanted.udp = static_cast<int>(options.integer("udp", -1, INT32_MAX));
  wanted.doors = doors_of(args, options);
  wanted.tun_receive = options.shared_if_any<Batch>("tunReceive");
  wanted.udp_receive = options.shared_if_any<Batch>("udpReceive");
  wanted.handover = options.shared_if_any<Handover>("handover");
  wanted.shard = static_cast<uint32_t>(options.integer_or("shard", 0, max_shards - 1, 0));
  wanted.sqpoll = options.boolean_or("sqpoll", false);
  wanted.zero_copy = options.boolean_or("zeroCopy", false);
  wanted.multishot_read = options.boolean_or("multishotRead", true);
  wanted.entries = static_cast<uint32_t>(options.integer_or("entries", 16, 4096, 256));
  if (!args.ok()) return nullptr;
  if (!check_receive(args, wanted.tun_receive.get(), wanted.tun, "options.tunReceive", min_tun_block)) return nullptr;
  if (!check_receive(args, wanted.udp_receive.get(), wanted.udp, "options.udpReceive", min_udp_block)) return nullptr;
  if (wanted.tun_receive && wanted.udp_receive && wanted.tun_receive->arena == wanted.udp_receive->arena) {
    return args.refuse_range("options.udpReceive", "must have another arena than tunReceive");
  }
  if (wanted.handover && wanted.shard >= wanted.handover->shards()) return args.refuse_range("options.shard", "must be one of the handover's shards");

  auto port = epoll ? Port::open_epoll(env, wanted) : Port::open_uring(env, wanted);
  return port ? make_handle(env, std::move(port)) : nullptr;
}

// closePort(port)
napi_value close_port(napi_env env, napi_callback_info info) {
  Args args{env, info, "closePort"};
  auto* port = args.handle<Port>(0, "port");
  if (!args.ok()) return nullptr;
  port->close();
  return undefined(env);
}

// wait(port, waitUs) -> ready bits
napi_value wait(napi_env env, napi_callback_info info) {
  Args args{env, info, "wait"};
  auto* port = open_port_of(args);
  const double wait_us = args.number(1, "waitUs", 0, longest_wait);
  if (!args.ok()) return nullptr;
  return to_js(env, port->wait(wait_us));
}

// arm(port, callback) -> is work there already?
napi_value arm(napi_env env, napi_callback_info info) {
  Args args{env, info, "arm"};
  auto* port = open_port_of(args);
  napi_value callback = args.function(1, "callback");
  if (!args.ok()) return nullptr;
  return to_js(env, port->arm(callback));
}

// goOn(port, callback)
napi_value go_on(napi_env env, napi_callback_info info) {
  Args args{env, info, "goOn"};
  auto* port = open_port_of(args);
  napi_value callback = args.function(1, "callback");
  if (!args.ok()) return nullptr;
  if (!port->has_sleeper()) return args.refuse_type("port", "must have a pass");
  port->go_on(callback);
  return undefined(env);
}

// disarm(port)
napi_value disarm(napi_env env, napi_callback_info info) {
  Args args{env, info, "disarm"};
  auto* port = open_port_of(args);
  if (!args.ok()) return nullptr;
  port->disarm();
  return undefined(env);
}

napi_value receive(napi_env env, napi_callback_info info, const char* name, bool udp) {
  Args args{env, info, name};
  auto* port = open_port_of(args);
  const auto limit = static_cast<uint32_t>(args.integer(1, "limit", 0, max_limit));
  if (!args.ok()) return nullptr;
  if ((udp ? port->options().udp : port->options().tun) < 0) return args.refuse_type("port", udp ? "must have a UDP socket" : "must have a TUN queue");
  return to_js(env, udp ? port->udp_receive(limit) : port->tun_receive(limit));
}

// udpReceive(port, limit), tunReceive(port, limit) -> entries
napi_value udp_receive(napi_env env, napi_callback_info info) { return receive(env, info, "udpReceive", true); }
napi_value tun_receive(napi_env env, napi_callback_info info) { return receive(env, info, "tunReceive", false); }

// watchDoors(port, doors): wait() and arm() tell of these doors from now on, and of no other
napi_value watch_doors(napi_env env, napi_callback_info info) {
  Args args{env, info, "watchDoors"};
  auto* port = open_port_of(args);
  const auto doors = static_cast<uint32_t>(args.integer(1, "doors", 0, port ? (1 << port->doors().count()) - 1 : 0));
  if (!args.ok()) return nullptr;
  port->doors().watch(doors);
  return undefined(env);
}

// stampArrivals(port, on): from now on arrivalDelay can tell
napi_value stamp_arrivals(napi_env env, napi_callback_info info) {
  Args args{env, info, "stampArrivals"};
  auto* port = open_port_of(args);
  const bool on = args.boolean(1, "on");
  if (!args.ok()) return nullptr;
  const int error = port->stamp_arrivals(on);
  return error == 0 ? undefined(env) : throw_errno(env, "setsockopt(SO_TIMESTAMPNS)", error);
}

// arrivalDelay(port) -> microseconds, or -1
napi_value arrival_delay(napi_env env, napi_callback_info info) {
  Args args{env, info, "arrivalDelay"};
  auto* port = open_port_of(args);
  return args.ok() ? to_js(env, port->arrival_delay()) : nullptr;
}

// doorReceive(port, door, limit) -> entries
napi_value door_receive(napi_env env, napi_callback_info info) {
  Args args{env, info, "doorReceive"};
  auto* port = open_port_of(args);
  const auto door = static_cast<uint32_t>(args.integer(1, "door", 0, Doors::most - 1));
  const auto limit = static_cast<uint32_t>(args.integer(2, "limit", 0, max_limit));
  if (!args.ok()) return nullptr;
  if (door >= port->doors().count()) return args.refuse_range("door", "must be one of the port's doors");
  return to_js(env, port->door_receive(door, limit));
}

napi_value transmit(napi_env env, napi_callback_info info, const char* name, const char* batch_name, bool udp) {
  Args args{env, info, name};
  auto* port = open_port_of(args);
  auto* batch = args.handle<Batch>(1, batch_name);
  if (!args.ok()) return nullptr;
  if ((udp ? port->options().udp : port->options().tun) < 0) return args.refuse_type("port", udp ? "must have a UDP socket" : "must have a TUN queue");
  return to_js(env, uint64_t{udp ? port->udp_transmit(*batch) : port->tun_transmit(*batch)});
}

// udpTransmit(port, trains), tunTransmit(port, superpackets) -> entries still queued
napi_value udp_transmit(napi_env env, napi_callback_info info) { return transmit(env, info, "udpTransmit", "trains", true); }
napi_value tun_transmit(napi_env env, napi_callback_info info) { return transmit(env, info, "tunTransmit", "superpackets", false); }

// sendProbe(port, address, bytes) -> errno
napi_value send_probe(napi_env env, napi_callback_info info) {
  Args args{env, info, "sendProbe"};
  auto* port = open_port_of(args);
  const auto peer = args.bytes(1, "address", address::size, address::size);
  const auto bytes = args.bytes(2, "bytes", 1, max_probe);
  if (!args.ok()) return nullptr;
  if (port->options().udp < 0) return args.refuse_type("port", "must have a UDP socket");
  return to_js(env, int32_t{port->send_probe(bytes, peer.data())});
}

// portCounters(port) -> counts by name
napi_value port_counters(napi_env env, napi_callback_info info) {
  Args args{env, info, "portCounters"};
  auto* port = args.handle<Port>(0, "port");
  if (!args.ok()) return nullptr;
  const PortCounters& counters = port->counters();
  napi_value result = new_object(env);
#define RINGWAY_REPORT(field, name) set(env, result, name, to_js(env, counters.field));
  RINGWAY_PORT_COUNTERS(RINGWAY_REPORT)
#undef RINGWAY_REPORT
  for (uint32_t i = 0; i < PortCounters::length_buckets; i++) {
    const std::string shortest = std::to_string(1U << i);
    set(env, result, ("trainsIn" + shortest).c_str(), to_js(env, counters.trains_in[i]));
    set(env, result, ("trainsOut" + shortest).c_str(), to_js(env, counters.trains_out[i]));
  }
  return result;
}

// injectErrors(port, where, errnos)
napi_value inject_errors(napi_env env, napi_callback_info info) {
  Args args{env, info, "injectErrors"};
  auto* port = open_port_of(args);
  const bool udp = args.choice(1, "where", {"udp", "tun"}) == 0;
  uint32_t length = 0;
  napi_value errnos = args.array(2, "errnos", 4096, &length);
  std::deque<int> errors;
  for (uint32_t i = 0; i < length && args.ok(); i++) {
    napi_value element = nullptr;
    if (napi_get_element(env, errnos, i, &element) != napi_ok) return nullptr;
    errors.push_back(static_cast<int>(args.integer_of(element, "errnos", -int64_t{transmit::max_packet}, 4095)));
  }
  if (!args.ok()) return nullptr;
  port->inject(udp, std::move(errors));
  return undefined(env);
}

// createHandover(shards, bytesPerRing) -> { handle, id }
napi_value create_handover(napi_env env, napi_callback_info info) {
  Args args{env, info, "createHandover"};
  const auto shards = static_cast<uint32_t>(args.integer(0, "shards", 1, max_shards));
  const auto bytes = static_cast<uint32_t>(args.integer(1, "bytesPerRing", 4096, max_ring_bytes));
  if (!args.ok()) return nullptr;
  if (bytes % 8 != 0) return args.refuse_range("bytesPerRing", "must be a multiple of 8");
  auto handover = Handover::create(shards, bytes);
  if (!handover) return throw_errno(env, "mmap", errno);
  const uint32_t id = handover->id();
  napi_value handle = make_handle(env, std::move(handover));
  if (!handle) return nullptr;
  napi_value result = new_object(env);
  set(env, result, "handle", handle);
  set(env, result, "id", to_js(env, id));
  return result;
}

// attachHandover(id) -> handle
napi_value attach_handover(napi_env env, napi_callback_info info) {
  Args args{env, info, "attachHandover"};
  const auto id = static_cast<uint32_t>(args.integer(0, "id", 1, UINT32_MAX));
  if (!args.ok()) return nullptr;
  auto handover = Handover::attach(id);
  if (!handover) return args.refuse_range("id", "must be the id of handover rings that are still held by somebody");
  return make_handle(env, std::move(handover));
}

HandoverKind handover_kind(Args& args, size_t index) {
  return args.choice(index, "kind", {"udp", "tun"}) == 0 ? HandoverKind::udp : HandoverKind::tun;
}

// handOver(handover, lanes, batch, kind) -> entries handed over
napi_value hand_over(napi_env env, napi_callback_info info) {
  Args args{env, info, "handOver"};
  auto* handover = args.handle<Handover>(0, "handover");
  const auto* shards = args.handle<Shards>(1, "lanes");
  auto* batch = args.handle<Batch>(2, "batch");
  const HandoverKind kind = handover_kind(args, 3);
  if (!args.ok()) return nullptr;

  uint32_t handed = 0;
  bool told[max_shards]{};
  const uint32_t count = batch->count();
  for (uint32_t i = 0; i < count; i++) {
    if (batch->verdict[i] != verdict::elsewhere) continue;
    const int32_t shard = shards->shard_of(batch->slot[i]);
    const bool exists = shard >= 0 && static_cast<uint32_t>(shard) < handover->shards();
    if (exists && handover->put(static_cast<uint32_t>(shard), kind, *batch, i)) {
      batch->verdict[i] = verdict::handed_over;
      told[shard] = true;
      handed++;
    } else {
      batch->verdict[i] = verdict::handover_full;
    }
  }
  for (uint32_t shard = 0; shard < handover->shards(); shard++) {
    if (told[shard]) handover->notify(shard);
  }
  return to_js(env, handed);
}

// takeOver(handover, port, kind, limit) -> entries appended. The rings are those the port was opened with.
napi_value take_over(napi_env env, napi_callback_info info) {
  Args args{env, info, "takeOver"};
  auto* handover = args.handle<Handover>(0, "handover");
  auto* port = args.handle<Port>(1, "port");
  const HandoverKind kind = handover_kind(args, 2);
  const auto limit = static_cast<uint32_t>(args.integer(3, "limit", 0, max_limit));
  if (!args.ok()) return nullptr;
  if (!port->is_open()) return args.refuse_type("port", "must be open, got a closed one");
  if (port->options().handover.get() != handover) return args.refuse_range("handover", "must be the one the port was opened with");
  return to_js(env, port->take_over(kind, limit));
}

const Functions functions{
  {"openPort", open_port}, {"closePort", close_port}, {"wait", wait}, {"arm", arm}, {"goOn", go_on}, {"disarm", disarm}, {"udpReceive", udp_receive},
  {"tunReceive", tun_receive}, {"udpTransmit", udp_transmit}, {"tunTransmit", tun_transmit}, {"portCounters", port_counters},
  {"injectErrors", inject_errors}, {"createHandover", create_handover}, {"attachHandover", attach_handover}, {"handOver", hand_over},
  {"takeOver", take_over}, {"sendProbe", send_probe}, {"watchDoors", watch_doors}, {"doorReceive", door_receive},
  {"stampArrivals", stamp_arrivals}, {"arrivalDelay", arrival_delay},
};

}  // namespace
}  // namespace ringway
