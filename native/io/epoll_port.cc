// The port over plain system calls: recvmmsg, sendmmsg, readv, writev, and epoll to wait. For kernels and containers without io_uring.
#include <array>
#include <cerrno>
#include <cmath>
#include <cstring>

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "core/errors.h"
#include "io/port.h"
#include "io/transmit.h"
#include "kernel/descriptor.h"

namespace ringway {
namespace {

constexpr size_t vector_length = 64;  // datagram trains per recvmmsg or sendmmsg
constexpr long retry_nanoseconds = 200'000;  // ENOBUFS: no event says when it is over

class EpollPort final : public Port {
 public:
  EpollPort(napi_env env, const PortOptions& options) : Port{env, options} { max_sends_ = vector_length; }
  ~EpollPort() override { close(); }

  bool open(napi_env env) {
    epoll_ = Descriptor{epoll_create1(EPOLL_CLOEXEC)};
    if (!epoll_.ok()) return throw_errno(env, "epoll_create1", errno);
    timer_ = Descriptor{timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK)};
    if (!timer_.ok()) return throw_errno(env, "timerfd_create", errno);
    const int handover = options_.handover ? options_.handover->eventfd(options_.shard) : -1;
    const std::pair<int, uint32_t> watched[]{
      {options_.udp, ready::udp}, {options_.tun, ready::tun}, {handover, ready::handover}, {timer_.get(), ready::unblocked}};
    for (const auto& [descriptor, bit] : watched) {
      if (descriptor >= 0 && !watch(EPOLL_CTL_ADD, descriptor, EPOLLIN, bit)) return throw_errno(env, "epoll_ctl", errno);
    }
    if (!doors_.open(options_.doors)) return throw_errno(env, "mmap", errno);
    for (uint32_t door = 0; door < doors_.count(); door++) {
      if (!watch(EPOLL_CTL_ADD, doors_.socket(door), EPOLLONESHOT, ready::udp << ready::door_shift << door)) return throw_errno(env, "epoll_ctl", errno);
    }
    if (options_.tun >= 0 && !make_nonblocking()) return throw_errno(env, "fcntl(F_SETFL)", errno);
    open_ = true;
    return start_waker(epoll_.get());
  }

  void close() override {
    if (!open_ && !waker_) return;
    let_go();
    if (restore_flags_ >= 0) (void)fcntl(options_.tun, F_SETFL, restore_flags_);  // the descriptor is the keeper's, maybe closed by now
    restore_flags_ = -1;
    epoll_.reset(-1);
    timer_.reset(-1);
  }

  uint32_t receive_trains(uint32_t limit) override {
    limit = std::min(limit, was_told(ready::udp) ? 1 : udp_portion_.blocks());
    Batch& batch = *options_.udp_receive;
    uint32_t received = 0;
    while (received < limit && !batch.full()) {
      const uint32_t wanted = std::min({limit - received, batch.capacity - batch.count(), static_cast<uint32_t>(vector_length)});
      const uint32_t count = lend_blocks(batch, wanted);
      if (count == 0) break;
      int got = recvmmsg(options_.udp, messages_.data(), count, MSG_DONTWAIT, nullptr);
      counters_.system_calls++;
      counters_.udp_receive_calls++;
      if (got < 0) {
        if (errno != EAGAIN && errno != EINTR) counters_.receive_errors++;  // a pending error of the socket: told once
        got = 0;
        ready_ &= ~ready::udp;
      }
      for (uint32_t i = count; i > static_cast<uint32_t>(got); i--) batch.arena->give_back(blocks_[i - 1]);  // so that they are lent in the same order again
      for (uint32_t i = 0; i < static_cast<uint32_t>(got); i++) {
        udp_portion_.took(messages_[i].msg_len);
        const msghdr& header = messages_[i].msg_hdr;
        batch.arena->filled(blocks_[i]);
        add_train(blocks_[i], messages_[i].msg_len, header.msg_namelen, header.msg_controllen, header.msg_flags & (MSG_TRUNC | MSG_CTRUNC));
      }
      received += static_cast<uint32_t>(got);
      if (static_cast<uint32_t>(got) < count) {
        ready_ &= ~ready::udp;  // epoll is level-triggered: it tells again if more came meanwhile
        break;
      }
    }
    return received;
  }

  uint32_t receive_packets(uint32_t limit) override {
    limit = std::min(limit, was_told(ready::tun) ? 1 : tun_portion_.blocks());
    Batch& batch = *options_.tun_receive;
    const size_t skip = options_.vnet_header ? packet_block::header : packet_block::packet;
    uint32_t received = 0;
    while (received < limit && !batch.full()) {
      const uint16_t block = lend(*batch.arena);
      if (block == no_block) {
        counters_.no_buffers++;
        break;
      }
      const ssize_t bytes = read(options_.tun, batch.arena->start(block) + skip, batch.arena->block_size() - skip);
      counters_.system_calls++;
      if (bytes <= 0) {
        batch.arena->give_back(block);
        if (bytes < 0 && errno == EINTR) continue;
        if (bytes < 0 && errno != EAGAIN) counters_.receive_errors++;
        ready_ &= ~ready::tun;
        break;
      }
      batch.arena->filled(block);
      tun_portion_.took(static_cast<uint32_t>(bytes));
      add_packet(block, static_cast<uint32_t>(bytes));
      received++;
    }
    return received;
  }

 protected:
  uint32_t look(double wait_us) override {
    direct_ = false;
    watch_doors();
    poll(is_ready() ? 0 : wait_us);
    return is_ready();
  }

  Progress send(std::span<const Send> sends) override {
    const size_t count = std::min(sends.size(), vector_length);
    for (size_t i = 0; i < count; i++) {
      write_message(outgoing_[i], sends[i].bytes, sends[i].given, sends[i].segment, sends[i].address, ipv6_socket_);
      messages_[i].msg_hdr = outgoing_[i].header;
    }
    size_t done = 0;
    while (done < count) {
      // told of an error only when the first message fails: the next call, from there on, brings it out
      const int sent = sendmmsg(options_.udp, messages_.data() + done, static_cast<unsigned>(count - done), MSG_DONTWAIT | MSG_NOSIGNAL);
      counters_.system_calls++;
      if (sent < 0) return {done, errno};
      for (const size_t end = done + static_cast<size_t>(sent); done < end; done++) {  // it ends with a message of which it took a part
        if (messages_[done].msg_len != sends[done].length) return {done, transmit::cut, messages_[done].msg_len};
      }
    }
    return {done};
  }

  Progress write(std::span<const Write> writes) override {
    const size_t header_bytes = options_.vnet_header ? vnet_header_bytes : 0;
    for (size_t i = 0; i < writes.size(); i++) {
      const ssize_t written = writev(options_.tun, writes[i].parts.data(), static_cast<int>(writes[i].parts.size()));
      counters_.system_calls++;
      if (written < 0) return {i, errno};
      if (static_cast<size_t>(written) != writes[i].length + header_bytes) return {i, transmit::cut, static_cast<uint32_t>(written)};
    }
    return {writes.size()};
  }

  void watch_blocked(bool udp, bool later) override {
    ready_ &= ~ready::unblocked;
    if (later) {
      const itimerspec once{{0, 0}, {0, retry_nanoseconds}};
      if (timerfd_settime(timer_.get(), 0, &once, nullptr) != 0) ready_ |= ready::unblocked;  // then try again at once
      return;
    }
    const bool changed = watch(EPOLL_CTL_MOD, udp ? options_.udp : options_.tun, EPOLLIN | EPOLLOUT, udp ? ready::udp : ready::tun);
    if (!changed) ready_ |= ready::unblocked;
  }

  void watch_door(uint32_t door) override {
    const bool watched = watch(EPOLL_CTL_MOD, doors_.socket(door), EPOLLIN | EPOLLONESHOT, ready::udp << ready::door_shift << door);
    if (!watched) doors_.something_came(door);  // then look for ourselves
  }

  bool begin_idle() override {
    watch_doors();
    poll(0);
    return !is_ready();
  }
  void end_idle() override {}
  bool may_be_direct() const override { return true; }
  bool begin_direct(bool) override { return true; }
  uint32_t watched() const override { return ready::udp | ready::tun; }
  uint32_t is_ready() override { return ready_ | ready_doors() | (handover_waits() ? ready::handover : 0); }

 private:
  bool watch(int operation, int descriptor, uint32_t events, uint32_t bit) {
    epoll_event event{};
    event.events = events;
    event.data.u32 = bit;
    counters_.system_calls++;
    return epoll_ctl(epoll_.get(), operation, descriptor, &event) == 0;
  }

  // O_NONBLOCK belongs to the open file, which io_uring users of a later engine share: put back at close.
  bool make_nonblocking() {
    const int flags = fcntl(options_.tun, F_GETFL);
    if (flags < 0) return false;
    if (flags & O_NONBLOCK) return true;
    if (fcntl(options_.tun, F_SETFL, flags | O_NONBLOCK) != 0) return false;
    restore_flags_ = flags;
    return true;
  }

  void poll(double wait_us) {
    std::array<epoll_event, 8> events;
    const auto seconds = static_cast<time_t>(wait_us / 1e6);
    const timespec timeout{seconds, static_cast<long>((wait_us - static_cast<double>(seconds) * 1e6) * 1e3)};
    int count = epoll_pwait2(epoll_.get(), events.data(), events.size(), &timeout, nullptr);
    if (count < 0 && errno == ENOSYS) {  // before 5.11: whole milliseconds
      count = epoll_wait(epoll_.get(), events.data(), events.size(), static_cast<int>(std::ceil(wait_us / 1e3)));
    }
    counters_.system_calls++;
    for (int i = 0; i < count; i++) {
      const uint32_t bit = events[i].data.u32;
      if (bit >> ready::door_shift) {
        doors_.something_came(bit >> ready::door_shift >> 1);
        continue;
      }
      if (events[i].events & EPOLLOUT) {
        ready_ |= ready::unblocked;
        watch(EPOLL_CTL_MOD, bit == ready::udp ? options_.udp : options_.tun, EPOLLIN, bit);
      }
      if (bit == ready::unblocked) {
        uint64_t expirations;
        (void)!read(timer_.get(), &expirations, sizeof expirations);
      }
      if (bit == ready::handover) options_.handover->drain_eventfd(options_.shard);
      else if (events[i].events & ~EPOLLOUT) ready_ |= bit;
    }
    if (!is_blocked()) ready_ &= ~ready::unblocked;
  }

  // An eighth stays for what comes through doors and from other shards, as with io_uring (Lending).
  static uint16_t lend(Arena& arena) { return arena.free_count() > arena.block_count() / 8 ? arena.lend() : no_block; }

  // Prepares up to `wanted` messages over blocks of the arena. @returns how many
  uint32_t lend_blocks(Batch& batch, uint32_t wanted) {
    uint32_t count = 0;
    const size_t room = batch.arena->block_size() - train_block::payload;
    while (count < wanted) {
      const uint16_t block = lend(*batch.arena);
      if (block == no_block) break;
      uint8_t* start = batch.arena->start(block);
      parts_[count] = {start + train_block::payload, room};
      msghdr& header = messages_[count].msg_hdr;
      header = {};
      header.msg_name = start + train_block::name;
      header.msg_namelen = train_block::name_bytes;
      header.msg_iov = &parts_[count];
      header.msg_iovlen = 1;
      header.msg_control = start + train_block::control;
      header.msg_controllen = train_block::control_bytes;
      blocks_[count++] = block;
    }
    if (count == 0) counters_.no_buffers++;
    return count;
  }

  Descriptor epoll_, timer_;
  uint32_t ready_ = 0;
  int restore_flags_ = -1;
  Portion udp_portion_, tun_portion_;
  std::array<mmsghdr, vector_length> messages_{};
  std::array<iovec, vector_length> parts_{};
  std::array<uint16_t, vector_length> blocks_{};
  std::array<Message, vector_length> outgoing_;
};

}  // namespace

std::shared_ptr<Port> Port::open_epoll(napi_env env, const PortOptions& options) {
  auto port = std::make_shared<EpollPort>(env, options);
  return port->open(env) ? port : nullptr;
}

}  // namespace ringway
