// Sends and writes of the io_uring port.
//
// Order of sends: requests of one submission run in order only while none must wait, and one that waits can be overtaken. So each send says
// MSG_DONTWAIT and all of a call are linked: the first that cannot leave ends the chain, what comes after it is cancelled and comes
// back to the port's queue. So does a send of which the kernel took a part, as MSG_WAITALL asks for, and a write without being asked.
// Nothing is left in the kernel when send() returns, except notifications of zero-copy sends.
#include <cerrno>

#include <poll.h>
#include <sys/timerfd.h>
#include <sys/uio.h>

#include "io/transmit.h"
#include "io/uring_port.h"

namespace ringway {
namespace {

constexpr long retry_nanoseconds = 200'000;  // ENOBUFS: no event says when it is over
constexpr int send_flags = MSG_DONTWAIT | MSG_NOSIGNAL;

}  // namespace

template <class LengthOf>
Progress UringPort::run_chain(size_t count, LengthOf length_of) {
  outstanding_ = count;
  while (outstanding_ > 0) {
    counters_.system_calls++;
    const int entered = io_uring_submit_and_wait(&ring_, static_cast<unsigned>(outstanding_));
    if (entered < 0 && entered != -EINTR && entered != -EAGAIN && entered != -EBUSY && entered != -ETIME) {
      // cannot be: nothing of the chain would ever complete
      return {0, -entered};
    }
    reap();
  }
  for (size_t i = 0; i < count; i++) {
    if (results_[i] < 0) return {i, results_[i] == -ECANCELED ? EINTR : -results_[i]};
    if (static_cast<size_t>(results_[i]) != length_of(i)) return {i, transmit::cut, static_cast<uint32_t>(results_[i])};
  }
  return {count};
}

// A system call of its own: a chain of one costs more than that, most of all after a sleep, when none of its code is in the cache.
template <class Call>
Progress UringPort::run_alone(size_t length, Call call) {
  counters_.system_calls++;
  const ssize_t done = call();
  if (done < 0) return {0, errno};
  if (static_cast<size_t>(done) != length) return {0, transmit::cut, static_cast<uint32_t>(done)};
  return {1};
}

Progress UringPort::send(std::span<const Send> sends) {
  const bool zero_copy = options_.zero_copy;
  if (sends.size() == 1 && !zero_copy) {
    const Send& one = sends[0];
    write_message(messages_[0], one.bytes, one.given, one.segment, one.address, ipv6_socket_);
    return run_alone(one.length, [&] { return sendmsg(options_.udp, &messages_[0].header, send_flags); });
  }
  for (size_t i = 0; i < sends.size(); i++) {
    const Send& one = sends[i];
    write_message(messages_[i], one.bytes, one.given, one.segment, one.address, ipv6_socket_);
    io_uring_sqe* sqe = next_sqe();
    io_uring_prep_sendmsg(sqe, fixed_udp, &messages_[i].header, send_flags | MSG_WAITALL);
    sqe->flags = IOSQE_FIXED_FILE | (i + 1 < sends.size() ? IOSQE_IO_LINK : 0);
    if (zero_copy) sqe->opcode = uring_abi::op_sendmsg_zc;
    sqe->user_data = tagged(Kind::send, static_cast<uint32_t>(i), zero_copy ? hold(one) : uint16_t{0});
  }
  return run_chain(sends.size(), [&](size_t i) { return sends[i].length; });
}

Progress UringPort::write(std::span<const Write> writes) {
  const size_t header_bytes = options_.vnet_header ? vnet_header_bytes : 0;
  if (writes.size() == 1) {
    const auto& parts = writes[0].parts;
    return run_alone(writes[0].length + header_bytes, [&] { return writev(options_.tun, parts.data(), static_cast<int>(parts.size())); });
  }
  for (size_t i = 0; i < writes.size(); i++) {
    const auto& parts = writes[i].parts;
    io_uring_sqe* sqe = next_sqe();
    io_uring_prep_writev(sqe, fixed_tun, parts.data(), static_cast<unsigned>(parts.size()), static_cast<uint64_t>(-1));
    sqe->flags = IOSQE_FIXED_FILE | (i + 1 < writes.size() ? IOSQE_IO_LINK : 0);
    sqe->user_data = tagged(Kind::write, static_cast<uint32_t>(i));
  }
  return run_chain(writes.size(), [&](size_t i) { return writes[i].length + header_bytes; });
}

uint16_t UringPort::hold(const Send& one) {
  one.arena->retain(one.block);
  held_++;
  if (free_holds_.empty()) {
    free_holds_.push_back(static_cast<uint16_t>(holds_.size()));
    holds_.emplace_back();
  }
  const uint16_t id = free_holds_.back();
  free_holds_.pop_back();
  holds_[id] = {one.arena->shared_from_this(), one.block};
  return id;
}

void UringPort::end_hold(uint64_t user_data) {
  const auto id = static_cast<uint16_t>(user_data >> 40);
  holds_[id].first->release(holds_[id].second);
  holds_[id].first = nullptr;
  free_holds_.push_back(id);
  held_--;
}

void UringPort::watch_blocked(bool udp, bool later) {
  (udp ? udp_unblocked_ : tun_unblocked_) = false;
  if (later) {
    const itimerspec once{{0, 0}, {0, retry_nanoseconds}};
    if (timerfd_settime(timer_.get(), 0, &once, nullptr) == 0) poll_once(Kind::timer, fixed_timer, POLLIN, timer_armed_);
    return;
  }
  poll_once(udp ? Kind::udp_writable : Kind::tun_writable, udp ? fixed_udp : fixed_tun, POLLOUT, udp ? udp_out_armed_ : tun_out_armed_);
}

void UringPort::poll_once(Kind kind, int file, unsigned events, bool& armed) {
  if (armed) return;
  io_uring_sqe* sqe = next_sqe();
  io_uring_prep_poll_add(sqe, file, events);
  sqe->flags |= IOSQE_FIXED_FILE;
  sqe->user_data = tagged(kind);
  armed = true;
}

}  // namespace ringway
