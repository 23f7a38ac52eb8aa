// filterUdp: what is sure to be refused, or next to sure, is dropped by the kernel, before it takes a place in the socket and a receive call; and what
// suspects send, and nobody can judge, is put aside. Programs of eBPF, loaded with raw bpf(2) (steering/programs.h); what they have to know is in a map
// that the shards write (steering/floors.h).
#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <utility>
#include <vector>

#include <sys/socket.h>

#include "core/args.h"
#include "core/errors.h"
#include "core/functions.h"
#include "core/values.h"
#include "steering/programs.h"

#ifndef SO_ATTACH_BPF
#define SO_ATTACH_BPF 50
#endif

namespace ringway {
namespace {

using namespace ebpf;

// What a lone datagram of the usual length takes of a socket's buffer, as the kernel counts it: the payload in a block of 2 KB, and its sk_buff. And no more
// of them than a shard opens in some milliseconds: who is not greedy waits behind them.
constexpr int buffer_per_datagram = 2'560, least_places = 16, most_places = 2'048;

uint32_t places_of(int socket) {
  int bytes = 0;
  socklen_t size = sizeof bytes;
  (void)getsockopt(socket, SOL_SOCKET, SO_RCVBUF, &bytes, &size);
  return static_cast<uint32_t>(std::clamp(bytes / buffer_per_datagram, least_places, most_places));
}

// false: errno, and the call that failed.
bool attach(int socket, ebpf::Code code, const char** failed, int option = SO_ATTACH_BPF) {
  *failed = "bpf(BPF_PROG_LOAD)";
  const Descriptor loaded = load_program(code.finish());
  if (!loaded.ok()) return false;
  *failed = option == SO_ATTACH_BPF ? "setsockopt(SO_ATTACH_BPF)" : "setsockopt(SO_ATTACH_REUSEPORT_EBPF)";
  const int descriptor = loaded.get();
  return setsockopt(socket, SOL_SOCKET, option, &descriptor, sizeof descriptor) == 0;
}

void detach(int socket) {
  const int unused = 0;
  (void)setsockopt(socket, SOL_SOCKET, SO_DETACH_BPF, &unused, sizeof unused);
}

std::vector<int> sockets_of(Args& args, size_t argument, const char* name, uint32_t a_shard) {
  std::vector<int> sockets;
  uint32_t count = 0;
  const napi_value list = args.array(argument, name, a_shard * floors::max_shards, &count);
  for (uint32_t i = 0; args.ok() && i < count; i++) {
    napi_value element = nullptr;
    napi_get_element(args.env(), list, i, &element);
    sockets.push_back(static_cast<int>(args.integer_of(element, name, 0, INT32_MAX)));
  }
  return sockets;
}

// filterUdp(sessions, doors, entries) -> { map, reveals }
napi_value filter_udp(napi_env env, napi_callback_info info) {
  Args args{env, info, "filterUdp"};
  const std::vector<int> sessions = sockets_of(args, 0, "sessions", 1), doors = sockets_of(args, 1, "doors", 3);
  const auto entries = static_cast<uint32_t>(args.integer(2, "entries", floors::min_entries, floors::max_entries));
  if (!args.ok()) return nullptr;
  if (sessions.empty()) return args.refuse_range("sessions", "must name a socket");
  if (!doors.empty() && doors.size() != 3 * sessions.size()) return args.refuse_range("doors", "must be none, or three times as many as sessions");
  if (!std::has_single_bit(entries)) return args.refuse_range("entries", "must be a power of two");

  const auto shards = static_cast<uint32_t>(sessions.size());
  Descriptor map = create_map(floors::bytes(shards, entries));
  if (!map.ok()) return throw_errno(env, "bpf(BPF_MAP_CREATE)", errno);
  const auto mapping = Mapping::of_descriptor(map.get(), floors::bytes(shards, entries));
  if (!mapping) return throw_errno(env, "mmap", errno);
  numbers::write_tables(mapping->data() + floors::tables_at(shards, entries));
  const char* failed = nullptr;
  bool attached = true, reveals = true;
  for (uint32_t shard = 0; attached && shard < shards; shard++) {
    const Floors::Place place{shard, shards, entries};
    const uint32_t places = places_of(sessions[shard]);
    const auto filter = [&] { return attach(sessions[shard], programs::numbers_filter(map.get(), place, places, reveals), &failed); };
    attached = filter();
    if (!attached && shard == 0) {
      reveals = false;
      attached = filter();
    }
    attached = attached && (doors.empty() || attach(doors[shards + shard], programs::garbage_filter(map.get(), place), &failed));
  }
  if (attached && !doors.empty()) attached = attach(sessions[0], programs::sorter(map.get(), {0, shards, entries}), &failed, SO_ATTACH_REUSEPORT_EBPF);
  if (!attached) {  // all of them or none: what nobody reads the counts of must not drop
    const int error = errno;
    for (const int socket : sessions) detach(socket);
    for (const int socket : doors) detach(socket);
    return throw_errno(env, failed, error);
  }
  napi_value result = new_object(env);
  set(env, result, "map", to_js(env, int32_t{map.release()}));
  set(env, result, "reveals", to_js(env, reveals));
  return result;
}

const Functions functions{{"filterUdp", filter_udp}};

}  // namespace
}  // namespace ringway
