// steerUdp: brings a datagram to the shard that owns its session, by classic BPF on the SO_REUSEPORT group (works without privileges).
// With doors the group has four sockets a shard, and a datagram that names no session comes to one of the other two (io/doors.h):
//
//     0 … shards − 1      names a session: shard = first byte of the id mod shards
//     … 2 · shards − 1    no id, and not a first ClientHello: a handshake goes on
//     … 3 · shards − 1    everything else: first ClientHellos, other ids that name nobody, what is no Lightway
//
// Who has no id is brought to the shard that a hash of address and port number names.
#include <cerrno>
#include <vector>

#include <sys/socket.h>

#include "core/args.h"
#include "core/errors.h"
#include "core/functions.h"
#include "core/values.h"
#include "steering/classic.h"

namespace ringway {
namespace {

constexpr int64_t max_shards = 256;

// steerUdp(descriptor, shards, doors = false): for the whole group; sockets are numbered in the order they were bound
napi_value steer_udp(napi_env env, napi_callback_info info) {
  Args args{env, info, "steerUdp"};
  const auto descriptor = static_cast<int>(args.integer(0, "descriptor", 0, INT32_MAX));
  const auto shards = static_cast<uint32_t>(args.integer(1, "shards", 1, max_shards));
  const bool doors = args.present(2) && args.boolean(2, "doors");
  if (!args.ok()) return nullptr;

  classic::Program steering = classic::sort(shards, doors);
  std::vector<sock_filter>& code = steering.take();
  const sock_fprog filter{static_cast<unsigned short>(code.size()), code.data()};
  if (setsockopt(descriptor, SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, &filter, sizeof filter) != 0) {
    return throw_errno(env, "setsockopt(SO_ATTACH_REUSEPORT_CBPF)", errno);
  }
  return undefined(env);
}

const Functions functions{{"steerUdp", steer_udp}};

}  // namespace
}  // namespace ringway
