// shareTun: nobody fills the queue of a TUN device alone. A program that the kernel asks for each packet it is about to put there (TUNSETFILTEREBPF), and a
// map in which it counts for whom, by the address within; the shards count what they have taken (io/shares.h).
//
//     heads of queue 0, 1 …    ShareHead
//     entries                  of all queues, share::device_entries of them
#include <cerrno>
#include <cstring>

#include <linux/if_tun.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "core/args.h"
#include "core/errors.h"
#include "core/functions.h"
#include "core/values.h"
#include "io/port.h"
#include "steering/programs.h"

namespace ringway {
namespace {

using namespace ebpf;

constexpr int64_t max_queues = 256;
constexpr int16_t stack = -8;
// Places that the queue has taken back at once (include/linux/ptr_ring.h): until then, what was read takes them still. A shorter queue than two times as many
// takes back each.
constexpr int taken_back_at_once = 16;

constexpr size_t entries_at(uint32_t queues) { return queues * sizeof(ShareHead); }
constexpr size_t bytes_for(uint32_t queues) { return entries_at(queues) + share::device_entries * sizeof(ShareEntry); }

enum Label : size_t { pass, ipv6, address, beyond, labels };

// r6 packet, from the IP header on; r8 head, r9 entry. Returns how many bytes of it stay: all, or 0.
Code program(int map, uint32_t queues, uint32_t places) {
  Code code;
  code.add(move(6, 1));
  code.load_bytes(0, stack, 1, pass);
  code.add(load(BPF_B, 7, 10, stack));
  code.add(alu(BPF_RSH, 7, 4));
  code.jump_if(BPF_JEQ, 7, 6, ipv6);
  code.jump_if(BPF_JNE, 7, 4, pass);
  code.load_bytes(share::ipv4_destination, stack, 4, pass);
  code.jump(address);
  code.at(ipv6);
  code.load_bytes(share::ipv6_destination, stack, 4, pass);
  code.at(address);
  code.add(load(BPF_W, 8, 6, offsetof(__sk_buff, queue_mapping)));
  code.jump_if(BPF_JGE, 8, static_cast<int32_t>(queues), pass);
  code.add(alu(BPF_MUL, 8, sizeof(ShareHead)));
  code.add(load(BPF_W, 7, 10, stack));
  code.add(instruction(BPF_ALU | BPF_MUL | BPF_K, 7, 0, 0, static_cast<int32_t>(share::golden)));
  code.add(instruction(BPF_ALU | BPF_RSH | BPF_K, 7, 0, 0, share::device_shift));
  code.add(alu(BPF_MUL, 7, sizeof(ShareEntry)));
  code.map_value(1, map, 0);
  code.add(alu_by(BPF_ADD, 8, 1));
  code.map_value(9, map, entries_at(queues));
  code.add(alu_by(BPF_ADD, 9, 7));
  programs::take_place(code, places, labels, beyond);
  code.at(pass);
  code.add(move_value(0, -1));
  code.add(leave());
  code.at(beyond);
  code.add(move_value(2, 1));
  code.add(instruction(BPF_STX | BPF_DW | BPF_ATOMIC, 8, 2, offsetof(ShareHead, beyond), BPF_ADD));
  code.add(move_value(0, 0));
  code.add(leave());
  return code;
}

// Packets that a queue of the device is sure to hold; -1 and errno on failure.
int places_of(int tun) {
  ifreq request{};
  if (ioctl(tun, TUNGETIFF, &request) != 0) return -1;
  const Descriptor socket{::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
  if (!socket.ok() || ioctl(socket.get(), SIOCGIFTXQLEN, &request) != 0) return -1;
  return request.ifr_qlen < 2 * taken_back_at_once ? request.ifr_qlen : request.ifr_qlen - (taken_back_at_once - 1);
}

// shareTun(tunDescriptor, queues) -> { map }
napi_value share_tun(napi_env env, napi_callback_info info) {
  Args args{env, info, "shareTun"};
  const auto tun = static_cast<int>(args.integer(0, "tunDescriptor", 0, INT32_MAX));
  const auto queues = static_cast<uint32_t>(args.integer(1, "queues", 1, max_queues));
  if (!args.ok()) return nullptr;

  const int places = places_of(tun);
  if (places < 0) return throw_errno(env, "ioctl(SIOCGIFTXQLEN)", errno);
  Descriptor map = create_map(bytes_for(queues));
  if (!map.ok()) return throw_errno(env, "bpf(BPF_MAP_CREATE)", errno);
  const Descriptor loaded = load_program(program(map.get(), queues, static_cast<uint32_t>(places)).finish());
  if (!loaded.ok()) return throw_errno(env, "bpf(BPF_PROG_LOAD)", errno);
  int descriptor = loaded.get();
  if (ioctl(tun, TUNSETFILTEREBPF, &descriptor) != 0) return throw_errno(env, "ioctl(TUNSETFILTEREBPF)", errno);
  napi_value result = new_object(env);
  set(env, result, "map", to_js(env, int32_t{map.release()}));
  return result;
}

// attachTunShares(port, map, queue, queues)
napi_value attach_tun_shares(napi_env env, napi_callback_info info) {
  Args args{env, info, "attachTunShares"};
  auto* port = args.handle<Port>(0, "port");
  const auto map = static_cast<int>(args.integer(1, "map", 0, INT32_MAX));
  const auto queue = static_cast<uint32_t>(args.integer(2, "queue", 0, max_queues - 1));
  const auto queues = static_cast<uint32_t>(args.integer(3, "queues", 1, max_queues));
  if (!args.ok()) return nullptr;
  if (queue >= queues) return args.refuse_range("queue", "must be one of the queues");

  auto mapping = Mapping::of_descriptor(map, bytes_for(queues));
  if (!mapping) return throw_errno(env, "mmap", errno);
  auto* heads = reinterpret_cast<ShareHead*>(mapping->data());
  port->share_tun(mapping, heads + queue, reinterpret_cast<ShareEntry*>(mapping->data() + entries_at(queues)));
  return undefined(env);
}

const Functions functions{{"shareTun", share_tun}, {"attachTunShares", attach_tun_shares}};

}  // namespace
}  // namespace ringway
