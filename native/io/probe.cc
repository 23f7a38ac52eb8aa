// Datagrams that no router may fragment: probes of the path MTU (RFC 8899, docs/protocol.md §8.4).
#include <cerrno>

#include "io/port.h"

namespace ringway {
namespace {

// A socket option for as long as this lives.
class ForNow {
 public:
  ForNow(int socket, int level, int name, int value) : socket_{socket}, level_{level}, name_{name} {
    socklen_t bytes = sizeof before_;
    known_ = getsockopt(socket, level, name, &before_, &bytes) == 0 && setsockopt(socket, level, name, &value, sizeof value) == 0;
  }
  ~ForNow() {
    if (known_) setsockopt(socket_, level_, name_, &before_, sizeof before_);
  }
  ForNow(const ForNow&) = delete;
  ForNow& operator=(const ForNow&) = delete;

 private:
  int socket_, level_, name_, before_ = 0;
  bool known_ = false;
};

}  // namespace

int Port::send_probe(std::span<const uint8_t> bytes, const uint8_t* element) {
  // a dual-stack socket obeys IP_MTU_DISCOVER for its IPv4 peers
  const ForNow v4{options_.udp, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_PROBE};
  const ForNow v6{ipv6_socket_ ? options_.udp : -1, IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_PROBE};
  Message message;
  write_message(message, bytes.data(), static_cast<uint32_t>(bytes.size()), 0, element, ipv6_socket_);
  counters_.system_calls++;
  const ssize_t sent = sendmsg(options_.udp, &message.header, MSG_DONTWAIT | MSG_NOSIGNAL);
  if (sent < 0) return errno;
  if (static_cast<size_t>(sent) != bytes.size()) {
    counters_.send_errors++;
    return EIO;
  }
  counters_.train_out(1);
  counters_.udp_bytes_out += bytes.size();
  return 0;
}

}  // namespace ringway
