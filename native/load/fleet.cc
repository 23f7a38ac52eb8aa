#include "load/fleet.h"

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstring>

#include <netinet/in.h>
#include <netinet/udp.h>

#include "io/message.h"

#ifndef IP_BIND_ADDRESS_NO_PORT
#define IP_BIND_ADDRESS_NO_PORT 24
#endif
#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#ifndef UDP_GRO
#define UDP_GRO 104
#endif

namespace ringway::load {
namespace {

constexpr uint32_t headroom = 64;
constexpr size_t max_events = 512;
constexpr uint32_t long_train = 32'768;  // where one so long was, there may be more
constexpr int max_reads = 8;             // of one socket, before the others have their turn

bool set_option(int socket, int level, int name, int value) { return setsockopt(socket, level, name, &value, sizeof value) == 0; }

}  // namespace

Fleet::Fleet(Descriptor epoll, const sockaddr_storage& server, socklen_t server_bytes, uint32_t slots, int buffer_bytes)
    : epoll_{std::move(epoll)}, server_{server}, server_bytes_{server_bytes}, buffer_bytes_{buffer_bytes}, sockets_(slots), events_(max_events) {
  read_name({reinterpret_cast<const uint8_t*>(&server_), server_bytes_}, address_);
}

uint16_t Fleet::open(uint32_t slot, const sockaddr_storage& from, socklen_t from_bytes, const char*& failed) {
  close(slot);
  failed = "socket";
  Descriptor socket{::socket(server_.ss_family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
  if (!socket.ok()) return 0;
  if (buffer_bytes_ > 0) {
    for (const auto& [force, plain] : {std::pair{SO_RCVBUFFORCE, SO_RCVBUF}, std::pair{SO_SNDBUFFORCE, SO_SNDBUF}}) {
      if (!set_option(socket.get(), SOL_SOCKET, force, buffer_bytes_)) (void)set_option(socket.get(), SOL_SOCKET, plain, buffer_bytes_);
    }
  }
  (void)set_option(socket.get(), IPPROTO_UDP, UDP_GRO, 1);  // before 5.0: single datagrams
  failed = "setsockopt(SO_RXQ_OVFL)";
  if (!set_option(socket.get(), SOL_SOCKET, SO_RXQ_OVFL, 1)) return 0;
  if (from_bytes > 0) {
    // the port is chosen when the server is known: each address then has all ports for each server
    (void)set_option(socket.get(), SOL_IP, IP_BIND_ADDRESS_NO_PORT, 1);
    failed = "bind";
    if (bind(socket.get(), reinterpret_cast<const sockaddr*>(&from), from_bytes) != 0) return 0;
  }
  failed = "connect";
  if (connect(socket.get(), reinterpret_cast<const sockaddr*>(&server_), server_bytes_) != 0) return 0;
  failed = "getsockname";
  sockaddr_storage own{};
  socklen_t bytes = sizeof own;
  if (getsockname(socket.get(), reinterpret_cast<sockaddr*>(&own), &bytes) != 0) return 0;
  failed = "epoll_ctl";
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.u32 = slot;
  if (epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, socket.get(), &event) != 0) return 0;
  sockets_[slot].descriptor = std::move(socket);
  return ntohs(own.ss_family == AF_INET6 ? reinterpret_cast<sockaddr_in6&>(own).sin6_port : reinterpret_cast<sockaddr_in&>(own).sin_port);
}

void Fleet::close(uint32_t slot) {
  sockets_[slot].descriptor.reset(-1);  // epoll lets go of a descriptor that is closed
  sockets_[slot].drops = 0;
}

void Fleet::close_all() {
  for (uint32_t slot = 0; slot < slots(); slot++) close(slot);
  epoll_.reset(-1);
  ready_ = taken_ = 0;
}

uint32_t Fleet::wait(double wait_us) {
  if (taken_ < ready_) return ready_ - taken_;
  taken_ = ready_ = 0;
  if (!epoll_.ok()) return 0;
  const double whole = std::floor(wait_us / 1e6);
  const timespec time{static_cast<time_t>(whole), static_cast<long>((wait_us - whole * 1e6) * 1'000)};
  int found = epoll_pwait2(epoll_.get(), events_.data(), static_cast<int>(events_.size()), &time, nullptr);
  if (found < 0 && errno == ENOSYS) {  // before 5.11: whole milliseconds
    found = epoll_wait(epoll_.get(), events_.data(), static_cast<int>(events_.size()), static_cast<int>(std::ceil(wait_us / 1'000)));
  }
  counters_.system_calls++;
  ready_ = found > 0 ? static_cast<uint32_t>(found) : 0;
  return ready_;
}

uint32_t Fleet::receive(Batch& batch, uint32_t limit) {
  uint32_t received = 0;
  for (; taken_ < ready_ && received < limit && !batch.full(); taken_++) {
    const uint32_t slot = events_[taken_].data.u32;
    for (int i = 0; i < max_reads && received < limit && !batch.full(); i++) {
      bool more = false;
      if (receive_one(batch, slot, more)) received++;
      if (!more) break;
    }
  }
  return received;
}

bool Fleet::receive_one(Batch& batch, uint32_t slot, bool& more) {
  Socket& socket = sockets_[slot];
  if (!socket.descriptor.ok()) return false;
  const uint16_t block = batch.arena->acquire();
  if (block == no_block) {
    counters_.no_blocks++;
    return false;
  }
  iovec part{batch.arena->start(block) + headroom, batch.arena->block_size() - headroom};
  alignas(cmsghdr) uint8_t control[128];
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  const ssize_t bytes = recvmsg(socket.descriptor.get(), &message, MSG_DONTWAIT);
  counters_.system_calls++;
  if (bytes <= 0) {
    batch.arena->release(block);
    if (bytes < 0 && errno != EAGAIN && errno != EINTR) counters_.receive_errors++;
    return false;
  }
  const uint32_t entry = batch.append(batch.arena->offset(block) + headroom, static_cast<uint32_t>(bytes), block);
  batch.slot[entry] = static_cast<int32_t>(slot);
  memcpy(batch.address_of(entry), address_, address::size);
  const Control told = read_control({control, message.msg_controllen}, batch.address_of(entry));
  const bool is_train = told.segment_size > 0 && told.segment_size < static_cast<uint32_t>(bytes);
  batch.segment_size[entry] = is_train ? told.segment_size : 0;
  if (told.has_drops) {
    counters_.socket_drops += told.drops - socket.drops;
    socket.drops = told.drops;
  }
  counters_.trains_in++;
  counters_.datagrams_in += is_train ? (static_cast<uint32_t>(bytes) + told.segment_size - 1) / told.segment_size : 1;
  counters_.bytes_in += static_cast<uint64_t>(bytes);
  more = bytes >= long_train;
  return true;
}

uint32_t Fleet::transmit(Batch& batch) {
  uint32_t i = batch.header->consumed;
  for (; i < batch.count(); i++) {
    if (batch.verdict[i] != verdict::pass || batch.kind[i] != kind::datagrams) continue;
    const auto slot = static_cast<uint32_t>(batch.slot[i]);
    const std::span<const uint8_t> bytes = batch.span(i);
    const uint32_t segment = batch.segment_size[i];
    const auto length = static_cast<uint32_t>(bytes.size());
    const bool is_train = segment > 0 && length > segment;
    const int socket = slot < slots() ? sockets_[slot].descriptor.get() : -1;
    int error = socket < 0 ? ENOTCONN : send(socket, bytes.data(), length, is_train ? segment : 0);
    if (error == ECONNREFUSED) error = send(socket, bytes.data(), length, is_train ? segment : 0);  // that was of an earlier one
    if (is_train && (error == EIO || error == EINVAL || error == EMSGSIZE)) {
      counters_.gso_refused++;
      error = send_singly(socket, bytes.data(), length, segment);
    }
    if (error == EAGAIN || error == ENOBUFS) {
      counters_.blocked++;
      break;
    }
    const uint32_t datagrams = is_train ? (length + segment - 1) / segment : 1;
    if (error != 0) {
      batch.verdict[i] = verdict::send_failed;
      batch.error[i] = error;
      counters_.send_errors += datagrams;
      continue;
    }
    counters_.trains_out++;
    counters_.datagrams_out += datagrams;
    counters_.bytes_out += length;
  }
  batch.header->consumed = i;
  return batch.count() - i;
}

int Fleet::send(int socket, const uint8_t* bytes, uint32_t length, uint32_t segment) {
  iovec part{const_cast<uint8_t*>(bytes), length};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  alignas(cmsghdr) uint8_t control[CMSG_SPACE(sizeof(uint16_t))]{};
  if (segment > 0) {
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = IPPROTO_UDP;
    header->cmsg_type = UDP_SEGMENT;
    header->cmsg_len = CMSG_LEN(sizeof(uint16_t));
    const auto size = static_cast<uint16_t>(segment);
    memcpy(CMSG_DATA(header), &size, sizeof size);
  }
  counters_.system_calls++;
  return sendmsg(socket, &message, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 ? errno : 0;
}

int Fleet::send_singly(int socket, const uint8_t* bytes, uint32_t length, uint32_t segment) {
  int first = 0;
  for (uint32_t at = 0; at < length; at += segment) {
    const int error = send(socket, bytes + at, std::min(segment, length - at), 0);
    if (error != 0 && first == 0) first = error == EAGAIN || error == ENOBUFS ? ECANCELED : error;  // half a train is not sent again
  }
  return first;
}

}  // namespace ringway::load
