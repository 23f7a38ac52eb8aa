// Sockets: openUdp, openTcpListener, tryTrain.
#include <cerrno>
#include <cstring>
#include <string>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <sys/socket.h>

#include "core/args.h"
#include "core/errors.h"
#include "core/functions.h"
#include "core/values.h"
#include "kernel/descriptor.h"

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#ifndef UDP_GRO
#define UDP_GRO 104
#endif

namespace ringway {
namespace {

struct SocketAddress {
  sockaddr_storage storage{};
  socklen_t bytes = 0;
  bool is_ipv6() const { return storage.ss_family == AF_INET6; }
};

bool parse_address(const std::string& text, uint16_t port_number, SocketAddress& out) {
  auto* v4 = reinterpret_cast<sockaddr_in*>(&out.storage);
  auto* v6 = reinterpret_cast<sockaddr_in6*>(&out.storage);
  if (inet_pton(AF_INET, text.c_str(), &v4->sin_addr) == 1) {
    v4->sin_family = AF_INET;
    v4->sin_port = htons(port_number);
    out.bytes = sizeof *v4;
    return true;
  }
  if (inet_pton(AF_INET6, text.c_str(), &v6->sin6_addr) != 1) return false;
  v6->sin6_family = AF_INET6;
  v6->sin6_port = htons(port_number);
  out.bytes = sizeof *v6;
  return true;
}

bool set_option(int socket, int level, int name, int value) { return setsockopt(socket, level, name, &value, sizeof value) == 0; }

int get_option(int socket, int level, int name) {
  int value = 0;
  socklen_t bytes = sizeof value;
  return getsockopt(socket, level, name, &value, &bytes) == 0 ? value : 0;
}

// -1 and errno on failure.
int bound_port_number(int socket) {
  SocketAddress bound;
  bound.bytes = sizeof bound.storage;
  if (getsockname(socket, reinterpret_cast<sockaddr*>(&bound.storage), &bound.bytes) != 0) return -1;
  return ntohs(bound.is_ipv6() ? reinterpret_cast<sockaddr_in6*>(&bound.storage)->sin6_port
                               : reinterpret_cast<sockaddr_in*>(&bound.storage)->sin_port);
}

// Asked for port 0 with SO_REUSEPORT, the kernel gives out numbers that others of the same user hold with it, too (udp_lib_lport_inuse): theirs would be a part of
// the group. So one is found without. @returns false and errno when there is none
bool name_free_port(SocketAddress& local, int type) {
  auto* v4 = reinterpret_cast<sockaddr_in*>(&local.storage);
  auto* v6 = reinterpret_cast<sockaddr_in6*>(&local.storage);
  in_port_t& port = local.is_ipv6() ? v6->sin6_port : v4->sin_port;
  if (port != 0) return true;
  const Descriptor finder{::socket(local.storage.ss_family, type | SOCK_CLOEXEC, 0)};
  if (!finder.ok() || (local.is_ipv6() && !set_option(finder.get(), IPPROTO_IPV6, IPV6_V6ONLY, 0))) return false;
  if (bind(finder.get(), reinterpret_cast<sockaddr*>(&local.storage), local.bytes) != 0) return false;
  const int found = bound_port_number(finder.get());
  port = htons(static_cast<uint16_t>(found));
  return found > 0;
}

// The FORCE form passes net.core.[rw]mem_max with CAP_NET_ADMIN; without, the kernel takes what it allows.
bool set_buffer(int socket, int force, int plain, int bytes) {
  return bytes == 0 || set_option(socket, SOL_SOCKET, force, bytes) || set_option(socket, SOL_SOCKET, plain, bytes);
}

struct UdpWishes {
  bool reuse_port, packet_info;
  int buffer_bytes, mark, pmtu;  // pmtu: IP_PMTUDISC_*, -1 = leave alone
};

// The name of the option the kernel refused (errno says why), or nullptr.
const char* set_up(int socket, bool is_ipv6, const UdpWishes& wishes) {
  if (is_ipv6 && !set_option(socket, IPPROTO_IPV6, IPV6_V6ONLY, 0)) return "setsockopt(IPV6_V6ONLY)";
  if (wishes.reuse_port && !set_option(socket, SOL_SOCKET, SO_REUSEPORT, 1)) return "setsockopt(SO_REUSEPORT)";
  if (!set_buffer(socket, SO_RCVBUFFORCE, SO_RCVBUF, wishes.buffer_bytes)) return "setsockopt(SO_RCVBUF)";
  if (!set_buffer(socket, SO_SNDBUFFORCE, SO_SNDBUF, wishes.buffer_bytes)) return "setsockopt(SO_SNDBUF)";
  if (wishes.mark != 0 && !set_option(socket, SOL_SOCKET, SO_MARK, wishes.mark)) return "setsockopt(SO_MARK)";
  if (wishes.packet_info && !is_ipv6 && !set_option(socket, IPPROTO_IP, IP_PKTINFO, 1)) return "setsockopt(IP_PKTINFO)";
  if (wishes.packet_info && is_ipv6 && !set_option(socket, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1)) return "setsockopt(IPV6_RECVPKTINFO)";
  // a dual-stack socket obeys IP_MTU_DISCOVER for its IPv4 peers
  if (wishes.pmtu >= 0 && !set_option(socket, IPPROTO_IP, IP_MTU_DISCOVER, wishes.pmtu)) return "setsockopt(IP_MTU_DISCOVER)";
  if (wishes.pmtu >= 0 && is_ipv6 && !set_option(socket, IPPROTO_IPV6, IPV6_MTU_DISCOVER, wishes.pmtu)) return "setsockopt(IPV6_MTU_DISCOVER)";
  return nullptr;
}

// openUdp(options) -> { descriptor, portNumber, sendBuffer, receiveBuffer, gro }. Blocking: the ports say MSG_DONTWAIT where they must.
napi_value open_udp(napi_env env, napi_callback_info info) {
  Args args{env, info, "openUdp"};
  Options options = args.options(0, "options");
  const std::string address = options.string("address", 2, INET6_ADDRSTRLEN);
  const auto port_number = static_cast<uint16_t>(options.integer("portNumber", 0, 65'535));
  UdpWishes wishes{};
  wishes.reuse_port = options.boolean("reusePort");
  wishes.buffer_bytes = static_cast<int>(options.integer("bufferBytes", 0, 1 << 30));
  const bool gro = options.boolean("gro");
  wishes.packet_info = options.boolean("packetInfo");
  constexpr int pmtu[]{IP_PMTUDISC_OMIT, -1, IP_PMTUDISC_PROBE};
  wishes.pmtu = pmtu[options.choice("pmtu", {"omit", "default", "probe"})];
  wishes.mark = static_cast<int>(options.integer_or("mark", 0, INT32_MAX, 0));
  if (!args.ok()) return nullptr;
  SocketAddress local;
  if (!parse_address(address, port_number, local)) return args.refuse_range("options.address", "must be an IPv4 or IPv6 address");

  Descriptor socket{::socket(local.storage.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
  if (!socket.ok()) return throw_errno(env, "socket", errno);
  const char* refused = set_up(socket.get(), local.is_ipv6(), wishes);
  if (refused) return throw_errno(env, refused, errno);
  if (wishes.reuse_port && !name_free_port(local, SOCK_DGRAM)) return throw_errno(env, "bind", errno);
  const bool has_gro = gro && set_option(socket.get(), IPPROTO_UDP, UDP_GRO, 1);  // missing before 5.0: single datagrams then
  if (bind(socket.get(), reinterpret_cast<sockaddr*>(&local.storage), local.bytes) != 0) return throw_errno(env, "bind", errno);
  const int bound = bound_port_number(socket.get());
  if (bound < 0) return throw_errno(env, "getsockname", errno);

  napi_value result = new_object(env);
  set(env, result, "portNumber", to_js(env, int32_t{bound}));
  set(env, result, "sendBuffer", to_js(env, int32_t{get_option(socket.get(), SOL_SOCKET, SO_SNDBUF)}));
  set(env, result, "receiveBuffer", to_js(env, int32_t{get_option(socket.get(), SOL_SOCKET, SO_RCVBUF)}));
  set(env, result, "gro", to_js(env, has_gro));
  set(env, result, "descriptor", to_js(env, int32_t{socket.release()}));
  return result;
}

// openTcpListener(options) -> { descriptor, portNumber }
napi_value open_tcp_listener(napi_env env, napi_callback_info info) {
  Args args{env, info, "openTcpListener"};
  Options options = args.options(0, "options");
  const std::string address = options.string("address", 2, INET6_ADDRSTRLEN);
  const auto port_number = static_cast<uint16_t>(options.integer("portNumber", 0, 65'535));
  const bool reuse_port = options.boolean("reusePort");
  const auto backlog = static_cast<int>(options.integer("backlog", 1, 65'535));
  if (!args.ok()) return nullptr;
  SocketAddress local;
  if (!parse_address(address, port_number, local)) return args.refuse_range("options.address", "must be an IPv4 or IPv6 address");

  Descriptor socket{::socket(local.storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0)};
  if (!socket.ok()) return throw_errno(env, "socket", errno);
  if (!set_option(socket.get(), SOL_SOCKET, SO_REUSEADDR, 1)) return throw_errno(env, "setsockopt(SO_REUSEADDR)", errno);
  if (reuse_port && !set_option(socket.get(), SOL_SOCKET, SO_REUSEPORT, 1)) return throw_errno(env, "setsockopt(SO_REUSEPORT)", errno);
  if (local.is_ipv6() && !set_option(socket.get(), IPPROTO_IPV6, IPV6_V6ONLY, 0)) return throw_errno(env, "setsockopt(IPV6_V6ONLY)", errno);
  if (reuse_port && !name_free_port(local, SOCK_STREAM)) return throw_errno(env, "bind", errno);
  if (bind(socket.get(), reinterpret_cast<sockaddr*>(&local.storage), local.bytes) != 0) return throw_errno(env, "bind", errno);
  if (listen(socket.get(), backlog) != 0) return throw_errno(env, "listen", errno);
  const int bound = bound_port_number(socket.get());
  if (bound < 0) return throw_errno(env, "getsockname", errno);

  napi_value result = new_object(env);
  set(env, result, "portNumber", to_js(env, int32_t{bound}));
  set(env, result, "descriptor", to_js(env, int32_t{socket.release()}));
  return result;
}

// A socket's datagrams of one byte, to itself over loopback, in one send. 0 or errno.
int send_to_self(uint16_t segments) {
  const Descriptor socket{::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
  sockaddr_in self{.sin_family = AF_INET, .sin_port = 0, .sin_addr = {htonl(INADDR_LOOPBACK)}, .sin_zero = {}};
  socklen_t bytes = sizeof self;
  auto* name = reinterpret_cast<sockaddr*>(&self);
  if (!socket.ok() || bind(socket.get(), name, bytes) != 0 || getsockname(socket.get(), name, &bytes) != 0) return errno;
  if (!set_option(socket.get(), IPPROTO_UDP, UDP_SEGMENT, 1)) return errno;
  const std::string train(segments, '\0');
  return sendto(socket.get(), train.data(), train.size(), MSG_DONTWAIT | MSG_NOSIGNAL, name, bytes) < 0 ? errno : 0;
}

// tryTrain(segments) -> errno
napi_value try_train(napi_env env, napi_callback_info info) {
  Args args{env, info, "tryTrain"};
  const auto segments = static_cast<uint16_t>(args.integer(0, "segments", 2, 1'024));
  if (!args.ok()) return nullptr;
  return to_js(env, int32_t{send_to_self(segments)});
}

const Functions functions{{"openUdp", open_udp}, {"openTcpListener", open_tcp_listener}, {"tryTrain", try_train}};

}  // namespace
}  // namespace ringway
