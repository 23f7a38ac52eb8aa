// What JavaScript calls of the load lab: createFleet, openOutside ..., createTraffic, sendTraffic ...; rules in native/addon.d.ts.
#include <cerrno>
#include <cstring>
#include <string>

#include <arpa/inet.h>

#include "core/args.h"
#include "core/errors.h"
#include "core/functions.h"
#include "core/values.h"
#include "load/fleet.h"
#include "load/traffic.h"

namespace ringway::load {
namespace {

constexpr double max_time = 1e15;  // Micros: 31 years

// Bytes of the name, or 0 where the text is no address. `port_number` in network order.
socklen_t write_name(const std::string& text, in_port_t port_number, sockaddr_storage& into) {
  auto& v4 = reinterpret_cast<sockaddr_in&>(into);
  auto& v6 = reinterpret_cast<sockaddr_in6&>(into);
  const bool is_v4 = inet_pton(AF_INET, text.c_str(), &v4.sin_addr) == 1;
  if (!is_v4 && inet_pton(AF_INET6, text.c_str(), &v6.sin6_addr) != 1) return 0;
  into.ss_family = is_v4 ? AF_INET : AF_INET6;
  (is_v4 ? v4.sin_port : v6.sin6_port) = port_number;
  return is_v4 ? sizeof v4 : sizeof v6;
}

napi_value create_fleet(napi_env env, napi_callback_info info) {
  Args args{env, info, "createFleet"};
  Options options = args.options(0, "options");
  const auto slots = static_cast<uint32_t>(options.integer("slots", 1, Fleet::max_slots));
  const std::string text = options.string("address", 2, INET6_ADDRSTRLEN);
  const auto port_number = htons(static_cast<uint16_t>(options.integer("portNumber", 1, 65'535)));
  const auto buffer_bytes = static_cast<int>(options.integer("bufferBytes", 0, 1 << 30));
  if (!args.ok()) return nullptr;
  sockaddr_storage server{};
  const socklen_t bytes = write_name(text, port_number, server);
  if (bytes == 0) return args.refuse_range("options.address", "must be an IPv4 or IPv6 address");
  Descriptor epoll{epoll_create1(EPOLL_CLOEXEC)};
  if (!epoll.ok()) return throw_errno(env, "epoll_create1", errno);
  return make_handle(env, std::make_shared<Fleet>(std::move(epoll), server, bytes, slots, buffer_bytes));
}

napi_value open_outside(napi_env env, napi_callback_info info) {
  Args args{env, info, "openOutside"};
  auto* fleet = args.handle<Fleet>(0, "fleet");
  const auto slot = static_cast<uint32_t>(args.integer(1, "slot", 0, fleet ? fleet->slots() - 1 : 0));
  const std::string text = args.present(2) ? args.string(2, "from", 2, INET6_ADDRSTRLEN) : "";
  if (!args.ok()) return nullptr;
  sockaddr_storage from{};
  const socklen_t bytes = text.empty() ? 0 : write_name(text, 0, from);
  if (!text.empty() && (bytes == 0 || from.ss_family != fleet->family())) {
    return args.refuse_range("from", "must be an address of the server's family");
  }
  const char* failed = nullptr;
  const uint16_t port_number = fleet->open(slot, from, bytes, failed);
  return port_number == 0 ? throw_errno(env, failed, errno) : to_js(env, uint32_t{port_number});
}

napi_value close_outside(napi_env env, napi_callback_info info) {
  Args args{env, info, "closeOutside"};
  auto* fleet = args.handle<Fleet>(0, "fleet");
  const auto slot = static_cast<uint32_t>(args.integer(1, "slot", 0, fleet ? fleet->slots() - 1 : 0));
  if (!args.ok()) return nullptr;
  fleet->close(slot);
  return undefined(env);
}

napi_value close_fleet(napi_env env, napi_callback_info info) {
  Args args{env, info, "closeFleet"};
  auto* fleet = args.handle<Fleet>(0, "fleet");
  if (!args.ok()) return nullptr;
  fleet->close_all();
  return undefined(env);
}

napi_value fleet_wait(napi_env env, napi_callback_info info) {
  Args args{env, info, "fleetWait"};
  auto* fleet = args.handle<Fleet>(0, "fleet");
  const double wait_us = args.number(1, "waitUs", 0, 1e6);
  if (!args.ok()) return nullptr;
  return to_js(env, fleet->wait(wait_us));
}

napi_value fleet_receive(napi_env env, napi_callback_info info) {
  Args args{env, info, "fleetReceive"};
  auto* fleet = args.handle<Fleet>(0, "fleet");
  auto* trains = args.handle<Batch>(1, "trains");
  const auto limit = static_cast<uint32_t>(args.integer(2, "limit", 1, 65'536));
  if (!args.ok()) return nullptr;
  return to_js(env, fleet->receive(*trains, limit));
}

napi_value fleet_transmit(napi_env env, napi_callback_info info) {
  Args args{env, info, "fleetTransmit"};
  auto* fleet = args.handle<Fleet>(0, "fleet");
  auto* trains = args.handle<Batch>(1, "trains");
  if (!args.ok()) return nullptr;
  return to_js(env, fleet->transmit(*trains));
}

napi_value fleet_counters(napi_env env, napi_callback_info info) {
  Args args{env, info, "fleetCounters"};
  const auto* fleet = args.handle<Fleet>(0, "fleet");
  if (!args.ok()) return nullptr;
  const FleetCounters& counters = fleet->counters();
  const std::pair<const char*, uint64_t> all[]{
    {"systemCalls", counters.system_calls}, {"trainsOut", counters.trains_out}, {"datagramsOut", counters.datagrams_out},
    {"bytesOut", counters.bytes_out}, {"trainsIn", counters.trains_in}, {"datagramsIn", counters.datagrams_in},
    {"bytesIn", counters.bytes_in}, {"socketDrops", counters.socket_drops}, {"blocked", counters.blocked},
    {"sendErrors", counters.send_errors}, {"receiveErrors", counters.receive_errors}, {"gsoRefused", counters.gso_refused},
    {"noBlocks", counters.no_blocks},
  };
  napi_value result = new_object(env);
  for (const auto& [name, value] : all) set(env, result, name, to_js(env, value));
  return result;
}

bool read_sizes(Args& args, Options& options, std::vector<uint16_t>& sizes) {
  napi_value list = options.get("sizes");
  uint32_t count = 0;
  bool is_array = false;
  if (napi_is_array(args.env(), list, &is_array) != napi_ok || !is_array || napi_get_array_length(args.env(), list, &count) != napi_ok) {
    args.refuse_type("options.sizes", "must be an array");
    return false;
  }
  if (count == 0 || count > max_sizes) {
    args.refuse_range("options.sizes", "must have 1 to 64 elements");
    return false;
  }
  for (uint32_t i = 0; i < count; i++) {
    napi_value each = nullptr;
    if (napi_get_element(args.env(), list, i, &each) != napi_ok) return false;
    sizes.push_back(static_cast<uint16_t>(args.integer_of(each, "options.sizes", inner_header + payload_bytes, 9'000)));
  }
  return args.ok();
}

napi_value create_traffic(napi_env env, napi_callback_info info) {
  Args args{env, info, "createTraffic"};
  Options options = args.options(0, "options");
  Settings settings;
  settings.clients = static_cast<uint32_t>(options.integer("clients", 1, max_clients));
  settings.first = static_cast<uint32_t>(options.integer("first", 0, max_clients));
  settings.run = static_cast<uint32_t>(options.integer("run", 0, UINT32_MAX));
  settings.inside = options.choice("form", {"inside", "outside"}) == 0;
  settings.destination = static_cast<uint32_t>(options.integer("destination", 0, UINT32_MAX));
  settings.port_number = static_cast<uint16_t>(options.integer("portNumber", 0, 65'535));
  settings.flows = static_cast<uint32_t>(options.integer("flows", 1, max_flows));
  settings.burst = static_cast<uint32_t>(options.integer("burst", 1, max_burst));
  settings.window = options.boolean("window");
  settings.echo_every = static_cast<uint32_t>(options.integer("echoEvery", 0, 1'000'000));
  if (!args.ok() || !read_sizes(args, options, settings.sizes)) return nullptr;

  const size_t bytes = Traffic::bytes_for(settings.clients);
  auto mapping = Mapping::anonymous(bytes);
  if (!mapping) return throw_errno(env, "mmap", errno);
  napi_value handle = make_handle(env, std::make_shared<Traffic>(mapping, std::move(settings)));
  napi_value buffer = to_array_buffer(env, std::move(mapping), bytes);
  if (!handle || !buffer) return nullptr;
  napi_value result = new_object(env);
  set(env, result, "handle", handle);
  set(env, result, "buffer", buffer);
  return result;
}

napi_value schedule_traffic(napi_env env, napi_callback_info info) {
  Args args{env, info, "scheduleTraffic"};
  auto* traffic = args.handle<Traffic>(0, "traffic");
  Options options = args.options(1, "schedule");
  Schedule schedule;
  const std::pair<const char*, double*> fields[]{{"start", &schedule.start}, {"spacing", &schedule.spacing},
    {"measureFrom", &schedule.measure_from}, {"measureTo", &schedule.measure_to}, {"stop", &schedule.stop}};
  for (const auto& [name, field] : fields) {
    napi_value value = options.get(name);
    *field = value ? args.number_of(value, name, 0, max_time) : 0;
  }
  if (!args.ok()) return nullptr;
  traffic->schedule(schedule);
  return undefined(env);
}

napi_value send_traffic(napi_env env, napi_callback_info info) {
  Args args{env, info, "sendTraffic"};
  auto* traffic = args.handle<Traffic>(0, "traffic");
  auto* batch = args.handle<Batch>(1, "batch");
  const double now = args.number(2, "now", 0, max_time);
  if (!args.ok()) return nullptr;
  return to_js(env, traffic->send(*batch, now));
}

napi_value greet_traffic(napi_env env, napi_callback_info info) {
  Args args{env, info, "greetTraffic"};
  auto* traffic = args.handle<Traffic>(0, "traffic");
  auto* batch = args.handle<Batch>(1, "batch");
  const double now = args.number(2, "now", 0, max_time);
  if (!args.ok()) return nullptr;
  return to_js(env, traffic->greet(*batch, now));
}

napi_value receive_traffic(napi_env env, napi_callback_info info) {
  Args args{env, info, "receiveTraffic"};
  auto* traffic = args.handle<Traffic>(0, "traffic");
  const auto* batch = args.handle<Batch>(1, "batch");
  auto* replies = args.present(2) ? args.handle<Batch>(2, "replies") : nullptr;
  const double now = args.number(3, "now", 0, max_time);
  if (!args.ok()) return nullptr;
  return to_js(env, traffic->receive(*batch, replies, now));
}

const Functions functions{
  {"createFleet", create_fleet}, {"openOutside", open_outside}, {"closeOutside", close_outside}, {"closeFleet", close_fleet},
  {"fleetWait", fleet_wait}, {"fleetReceive", fleet_receive}, {"fleetTransmit", fleet_transmit}, {"fleetCounters", fleet_counters},
  {"createTraffic", create_traffic}, {"scheduleTraffic", schedule_traffic}, {"sendTraffic", send_traffic},
  {"greetTraffic", greet_traffic}, {"receiveTraffic", receive_traffic},
};

}  // namespace
}  // namespace ringway::load
