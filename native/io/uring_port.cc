// The port over io_uring: multishot receives into provided buffer rings (the arenas' blocks), fixed files, sends and writes as linked chains.
//
// Order of sends: requests of one submission run in order only while none must wait, and one that waits can be overtaken. So each send says
// MSG_DONTWAIT and all of a call are linked: the first that cannot leave ends the chain, what comes after it is cancelled and comes
// back to the port's queue. Nothing is left in the kernel when send() returns, except notifications of zero-copy sends.
#include <array>
#include <cerrno>
#include <cstring>

#include <liburing.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "core/errors.h"
#include "io/port.h"
#include "kernel/descriptor.h"

namespace ringway {
namespace {

// Kernel ABI that liburing 2.3 (Debian 12) has no names for; numbers from linux/io_uring.h.
constexpr uint8_t op_send_zc = 47;         // 6.0: stands for multishot RECVMSG, which came with it
constexpr uint8_t op_sendmsg_zc = 48;      // 6.1
constexpr uint8_t op_read_multishot = 49;  // 6.7
constexpr uint32_t feature_min_timeout = 1u << 15;  // 6.12: getevents_arg.pad is min_wait_usec

constexpr uint32_t wanted_events = 8, min_wait_us = 20;  // docs/linux-facts.md §4: 88 to 92 Gbit/s at 0.06 calls a train
constexpr long retry_nanoseconds = 200'000;              // ENOBUFS: no event says when it is over
constexpr uint32_t chained_reads = 16;                   // without READ_MULTISHOT
constexpr int hopeless = 16;                             // receives that failed in a row: the descriptor is gone
constexpr uint32_t cancel_rounds = 200;                  // of 5 ms at most: how long close() waits for the kernel to let go
constexpr unsigned tun_group = 0, udp_group = 1;

enum class Kind : uint8_t { send = 1, write, tun_read, udp_receive, handover, timer, udp_writable, tun_writable, cancel };
constexpr uint64_t tagged(Kind kind, uint32_t index = 0, uint16_t hold = 0) {
  return static_cast<uint64_t>(kind) | uint64_t{index} << 8 | uint64_t{hold} << 40;
}

struct Completed {
  uint16_t block;
  int32_t result;
};

// A ring of provided buffers over the blocks of an arena. An eighth of the blocks stays back for what handover and put() bring.
class Lending final : public Lender {
 public:
  bool open(io_uring& ring, std::shared_ptr<Arena> arena, unsigned group, size_t skip) {
    arena_ = std::move(arena);
    skip_ = skip;
    reserve_ = std::max<size_t>(1, arena_->block_count() / 8);
    while (entries_ < arena_->block_count()) entries_ *= 2;
    memory_ = Mapping::anonymous(entries_ * sizeof(io_uring_buf));
    if (!memory_) return false;
    buffers_ = reinterpret_cast<io_uring_buf_ring*>(memory_->data());
    io_uring_buf_reg registration{};
    registration.ring_addr = reinterpret_cast<uint64_t>(buffers_);
    registration.ring_entries = entries_;
    registration.bgid = static_cast<uint16_t>(group);
    const int error = io_uring_register_buf_ring(&ring, &registration, 0);
    if (error < 0) {
      errno = -error;
      return false;
    }
    io_uring_buf_ring_init(buffers_);
    completed_.resize(entries_);
    is_lent_.assign(arena_->block_count(), false);
    while (arena_->free_count() > reserve_) lend(arena_->lend());
    arena_->set_lender(this);
    return true;
  }

  bool take_back(uint16_t block) override {
    if (arena_->free_count() < reserve_) return false;
    lend(block);
    return true;
  }

  // The kernel has let go of the ring: its blocks are the arena's again.
  void close() {
    if (!arena_) return;
    arena_->set_lender(nullptr);
    while (pending()) arena_->release(pop().block);
    for (uint32_t block = 0; block < is_lent_.size(); block++) {
      if (is_lent_[block]) arena_->give_back(static_cast<uint16_t>(block));
    }
    is_lent_.clear();
    arena_ = nullptr;
    memory_ = nullptr;
  }
  void quarantine() {
    if (!arena_) return;
    Mapping::quarantine(arena_->mapping());
    Mapping::quarantine(memory_);
    arena_->set_lender(nullptr);
    arena_ = nullptr;
  }

  void filled(uint16_t block, int32_t result) {
    is_lent_[block] = false;
    lent_--;
    arena_->filled(block);
    completed_[last_++ % entries_] = {block, result};
  }
  void came_back_empty(uint16_t block) {
    lent_--;
    lend(block);
  }
  bool pending() const { return first_ != last_; }
  Completed pop() { return completed_[first_++ % entries_]; }
  uint32_t lent() const { return lent_; }
  Arena& arena() const { return *arena_; }

 private:
  void lend(uint16_t block) {
    is_lent_[block] = true;
    lent_++;
    const auto room = static_cast<unsigned>(arena_->block_size() - skip_);
    io_uring_buf_ring_add(buffers_, arena_->start(block) + skip_, room, block, io_uring_buf_ring_mask(entries_), 0);
    io_uring_buf_ring_advance(buffers_, 1);
  }

  std::shared_ptr<Arena> arena_;
  std::shared_ptr<Mapping> memory_;
  io_uring_buf_ring* buffers_ = nullptr;
  size_t skip_ = 0, reserve_ = 1;
  uint32_t entries_ = 1, lent_ = 0, first_ = 0, last_ = 0;
  std::vector<bool> is_lent_;
  std::vector<Completed> completed_;  // a ring: filled, not yet an entry; never more than there are blocks
};

class UringPort final : public Port {
 public:
  UringPort(napi_env env, const PortOptions& options) : Port{env, options}, messages_(options.entries), parts_(options.entries) {
    max_sends_ = options.entries - 8;  // room for what re-arms
    results_.resize(options.entries);
  }
  ~UringPort() override { close(); }

  bool open(napi_env env) {
    const char* failed = set_up();
    if (failed) return throw_errno(env, failed, errno);
    open_ = true;
    return start_waker(event_.get());
  }

  void close() override {
    if (!has_ring_ && !waker_) return;
    let_go();
    if (!has_ring_) return;
    if (cancel_all()) {
      tun_.close();
      udp_.close();
    } else {
      tun_.quarantine();
      udp_.quarantine();
    }
    for (auto& [arena, block] : holds_) {  // notifications that never came: their blocks stay where they are
      if (arena) Mapping::quarantine(arena->mapping());
    }
    io_uring_unregister_files(&ring_);
    io_uring_queue_exit(&ring_);
    has_ring_ = false;
    event_.reset(-1);
    timer_.reset(-1);
  }

  uint32_t udp_receive(uint32_t limit) override {
    counters_.udp_receive_calls++;
    uint32_t received = 0;
    const Batch& batch = *options_.udp_receive;
    for (; received < limit && udp_.pending() && !batch.full(); received++) {
      const Completed done = udp_.pop();
      const uint8_t* start = udp_.arena().start(done.block);
      io_uring_recvmsg_out out;
      memcpy(&out, start, sizeof out);
      const auto room = static_cast<uint32_t>(udp_.arena().block_size() - train_block::payload);
      const auto behind = static_cast<uint32_t>(std::max(0, done.result - static_cast<int32_t>(train_block::payload)));
      add_train(done.block, std::min({out.payloadlen, behind, room}), out.namelen, out.controllen, out.flags & (MSG_TRUNC | MSG_CTRUNC));
    }
    return received;
  }

  uint32_t tun_receive(uint32_t limit) override {
    uint32_t received = 0;
    const Batch& batch = *options_.tun_receive;
    for (; received < limit && tun_.pending() && !batch.full(); received++) {
      const Completed done = tun_.pop();
      add_packet(done.block, static_cast<uint32_t>(done.result));
    }
    return received;
  }

 protected:
  uint32_t look(double wait_us) override {
    rearm();
    reap();
    const uint32_t known = is_ready();
    if (known || wait_us <= 0) {
      if (io_uring_sq_ready(&ring_) > 0 || has_task_work() || !known) submit_and_look();
    } else {
      sleep(wait_us);
    }
    reap();
    return is_ready();
  }

  size_t send(std::span<const Send> sends, int& error) override {
    const bool zero_copy = options_.zero_copy;
    for (size_t i = 0; i < sends.size(); i++) {
      const Send& one = sends[i];
      write_message(messages_[i], one.bytes, one.length, one.segment, one.address, ipv6_socket_);
      io_uring_sqe* sqe = next_sqe();
      io_uring_prep_sendmsg(sqe, fixed_udp, &messages_[i].header, MSG_DONTWAIT | MSG_NOSIGNAL);
      sqe->flags = IOSQE_FIXED_FILE | (i + 1 < sends.size() ? IOSQE_IO_LINK : 0);
      if (zero_copy) {
        sqe->opcode = op_sendmsg_zc;
      }
      sqe->user_data = tagged(Kind::send, static_cast<uint32_t>(i), zero_copy ? hold(one) : uint16_t{0});
    }
    return run_chain(sends.size(), error, [&](size_t i) { return sends[i].length; });
  }

  size_t write(std::span<const Write> writes, int& error) override {
    for (size_t i = 0; i < writes.size(); i++) {
      const Write& one = writes[i];
      parts_[i] = {{{const_cast<VnetHeader*>(&one.header), vnet_header_bytes}, {const_cast<uint8_t*>(one.bytes), one.length}}};
      io_uring_sqe* sqe = next_sqe();
      if (options_.vnet_header) {
        io_uring_prep_writev(sqe, fixed_tun, parts_[i].data(), 2, static_cast<uint64_t>(-1));
      } else {
        io_uring_prep_write(sqe, fixed_tun, one.bytes, one.length, static_cast<uint64_t>(-1));
      }
      sqe->flags = IOSQE_FIXED_FILE | (i + 1 < writes.size() ? IOSQE_IO_LINK : 0);
      sqe->user_data = tagged(Kind::write, static_cast<uint32_t>(i));
    }
    const size_t header_bytes = options_.vnet_header ? vnet_header_bytes : 0;
    return run_chain(writes.size(), error, [&](size_t i) { return writes[i].length + header_bytes; });
  }

  void watch_blocked(bool udp, bool later) override {
    (udp ? udp_unblocked_ : tun_unblocked_) = false;
    if (later) {
      const itimerspec once{{0, 0}, {0, retry_nanoseconds}};
      if (timerfd_settime(timer_.get(), 0, &once, nullptr) == 0) poll_once(Kind::timer, fixed_timer, POLLIN, timer_armed_);
      return;
    }
    poll_once(udp ? Kind::udp_writable : Kind::tun_writable, udp ? fixed_udp : fixed_tun, POLLOUT, udp ? udp_out_armed_ : tun_out_armed_);
  }

  bool begin_idle() override {
    io_uring_cq_eventfd_toggle(&ring_, true);
    rearm();
    submit_and_look();
    reap();
    if (is_ready() == 0) return true;
    end_idle();
    return false;
  }

  void end_idle() override {
    io_uring_cq_eventfd_toggle(&ring_, false);
    uint64_t count;
    (void)!read(event_.get(), &count, sizeof count);
  }

 private:
  static constexpr int fixed_tun = 0, fixed_udp = 1, fixed_handover = 2, fixed_timer = 3;

  // The name of what the kernel refused (errno says why), or nullptr.
  const char* set_up() {
    const char* failed = create_ring();
    if (failed) return failed;
    has_ring_ = true;
    timer_ = Descriptor{timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK)};
    if (!timer_.ok()) return "timerfd_create";
    event_ = Descriptor{eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
    if (!event_.ok()) return "eventfd";
    const int handover = options_.handover ? options_.handover->eventfd(options_.shard) : -1;
    const int files[]{options_.tun, options_.udp, handover, timer_.get()};
    if (refused(io_uring_register_files(&ring_, files, 4))) return "io_uring_register(FILES)";
    if (refused(io_uring_register_eventfd(&ring_, event_.get()))) return "io_uring_register(EVENTFD)";
    io_uring_cq_eventfd_toggle(&ring_, false);
    if (options_.udp >= 0 && !udp_.open(ring_, options_.udp_receive->arena, udp_group, 0)) return "io_uring_register(PBUF_RING)";
    const size_t skip = options_.vnet_header ? packet_block::header : packet_block::packet;
    if (options_.tun >= 0 && !tun_.open(ring_, options_.tun_receive->arena, tun_group, skip)) return "io_uring_register(PBUF_RING)";
    rearm();
    return refused(io_uring_submit(&ring_)) ? "io_uring_enter" : nullptr;
  }

  static bool refused(int result) {
    if (result < 0) errno = -result;
    return result < 0;
  }

  const char* create_ring() {
    uint32_t blocks = 2 * options_.entries;
    if (options_.udp_receive) blocks += options_.udp_receive->arena->block_count();
    if (options_.tun_receive) blocks += options_.tun_receive->arena->block_count();
    io_uring_params params{};
    params.flags = IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP | IORING_SETUP_SUBMIT_ALL;
    params.cq_entries = blocks;
    params.sq_thread_idle = 50;
    const unsigned plain = params.flags | (options_.sqpoll ? IORING_SETUP_SQPOLL : IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG);
    const unsigned deferred = params.flags | IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG;
    params.flags = options_.sqpoll ? plain : deferred;
    int error = io_uring_queue_init_params(options_.entries, &ring_, &params);
    if (error == -EINVAL && !options_.sqpoll) {  // before 6.1
      const uint32_t cq_entries = blocks;
      params = {};
      params.flags = plain;
      params.cq_entries = cq_entries;
      error = io_uring_queue_init_params(options_.entries, &ring_, &params);
    }
    if (refused(error)) return "io_uring_setup";
    io_uring_probe* probe = io_uring_get_probe_ring(&ring_);
    const bool has_multishot_receive = probe && io_uring_opcode_supported(probe, op_send_zc);
    read_multishot_ = options_.multishot_read && probe && probe->last_op >= op_read_multishot && (probe->ops[op_read_multishot].flags & IO_URING_OP_SUPPORTED);
    io_uring_free_probe(probe);
    if (has_multishot_receive) return nullptr;
    io_uring_queue_exit(&ring_);
    errno = ENOSYS;
    return "io_uring(RECVMSG multishot)";
  }

  // ---- requests that stay armed ----

  void rearm() {
    if (options_.udp >= 0 && !udp_armed_ && udp_.lent() > 0 && udp_failures_ < hopeless) {
      io_uring_sqe* sqe = next_sqe();
      io_uring_prep_recvmsg_multishot(sqe, fixed_udp, &receive_header_, 0);
      sqe->flags |= IOSQE_FIXED_FILE | IOSQE_BUFFER_SELECT;
      sqe->buf_group = udp_group;
      sqe->user_data = tagged(Kind::udp_receive);
      udp_armed_ = true;
    }
    if (options_.tun >= 0 && tun_armed_ == 0 && tun_.lent() > 0 && tun_failures_ < hopeless) arm_tun();
    if (options_.handover && !handover_armed_) {
      io_uring_sqe* sqe = next_sqe();
      io_uring_prep_poll_multishot(sqe, fixed_handover, POLLIN);
      sqe->flags |= IOSQE_FIXED_FILE;
      sqe->user_data = tagged(Kind::handover);
      handover_armed_ = true;
    }
  }

  void arm_tun() {
    const uint32_t reads = read_multishot_ ? 1 : std::min(chained_reads, tun_.lent());
    const size_t skip = options_.vnet_header ? packet_block::header : packet_block::packet;
    for (uint32_t i = 0; i < reads; i++) {
      io_uring_sqe* sqe = next_sqe();
      const auto room = read_multishot_ ? 0u : static_cast<unsigned>(tun_.arena().block_size() - skip);
      io_uring_prep_read(sqe, fixed_tun, nullptr, room, static_cast<uint64_t>(-1));
      if (read_multishot_) sqe->opcode = op_read_multishot;
      sqe->flags = IOSQE_FIXED_FILE | IOSQE_BUFFER_SELECT;
      // hard links keep plain reads in order, also after one that was shorter than its buffer
      if (i + 1 < reads) sqe->flags |= IOSQE_IO_HARDLINK;
      sqe->buf_group = tun_group;
      sqe->user_data = tagged(Kind::tun_read);
    }
    tun_armed_ = reads;
  }

  void poll_once(Kind kind, int file, unsigned events, bool& armed) {
    if (armed) return;
    io_uring_sqe* sqe = next_sqe();
    io_uring_prep_poll_add(sqe, file, events);
    sqe->flags |= IOSQE_FIXED_FILE;
    sqe->user_data = tagged(kind);
    armed = true;
  }

  io_uring_sqe* next_sqe() {
    io_uring_sqe* sqe = io_uring_get_sqe(&ring_);
    while (!sqe) {  // full: max_sends_ leaves room, so this is the exception
      counters_.system_calls++;
      io_uring_submit(&ring_);
      sqe = io_uring_get_sqe(&ring_);
    }
    return sqe;
  }

  // ---- entering the kernel ----

  bool has_task_work() const { return __atomic_load_n(ring_.sq.kflags, __ATOMIC_RELAXED) & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW); }

  void submit_and_look() {
    counters_.system_calls++;
    io_uring_submit_and_get_events(&ring_);
  }

  void sleep(double wait_us) {
    if (io_uring_sq_ready(&ring_) > 0) {
      counters_.system_calls++;
      io_uring_submit(&ring_);
    }
    const auto nanoseconds = static_cast<int64_t>(wait_us * 1e3);
    __kernel_timespec timeout{nanoseconds / 1'000'000'000, nanoseconds % 1'000'000'000};
    io_uring_getevents_arg argument{};
    argument.ts = reinterpret_cast<uint64_t>(&timeout);
    uint32_t events = 1;
    if ((ring_.features & feature_min_timeout) && wait_us > min_wait_us) {
      // gather a vector: eight completions, or what there is after the first 20 µs
      argument.pad = min_wait_us;
      events = wanted_events;
    }
    counters_.system_calls++;
    // ETIME and EINTR: the caller looks at what has come
    (void)syscall(__NR_io_uring_enter, ring_.ring_fd, 0, events, IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG, &argument, sizeof argument);
  }

  // Runs the chain that was queued. @returns how many of its first requests succeeded; `error` of the one after
  template <class LengthOf>
  size_t run_chain(size_t count, int& error, LengthOf length_of) {
    outstanding_ = count;
    while (outstanding_ > 0) {
      counters_.system_calls++;
      const int entered = io_uring_submit_and_wait(&ring_, static_cast<unsigned>(outstanding_));
      if (entered < 0 && entered != -EINTR && entered != -EAGAIN && entered != -EBUSY && entered != -ETIME) {
        // cannot be: nothing of the chain would ever complete
        error = -entered;
        return 0;
      }
      reap();
    }
    for (size_t i = 0; i < count; i++) {
      if (results_[i] < 0) {
        error = results_[i] == -ECANCELED ? EINTR : -results_[i];
        return i;
      }
      if (static_cast<size_t>(results_[i]) != length_of(i)) {
        // neither socket nor TUN ever takes a part; if one did, the chain ended here and the rest is tried again
        counters_.send_errors++;
        error = EINTR;
        return i + 1;
      }
    }
    return count;
  }

  // The kernel reads a zero-copy send's block until it notifies.
  uint16_t hold(const Send& one) {
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
  void end_hold(uint64_t user_data) {
    const auto id = static_cast<uint16_t>(user_data >> 40);
    holds_[id].first->release(holds_[id].second);
    holds_[id].first = nullptr;
    free_holds_.push_back(id);
    held_--;
  }

  // ---- completions ----

  void reap() {
    io_uring_cqe* cqe;
    unsigned head;
    unsigned seen = 0;
    io_uring_for_each_cqe(&ring_, head, cqe) {
      complete(*cqe);
      seen++;
    }
    io_uring_cq_advance(&ring_, seen);
  }

  void complete(const io_uring_cqe& cqe) {
    const auto kind = static_cast<Kind>(cqe.user_data & 0xff);
    const auto index = static_cast<uint32_t>(cqe.user_data >> 8);
    const bool more = cqe.flags & IORING_CQE_F_MORE;
    switch (kind) {
      case Kind::send:
        if (cqe.flags & IORING_CQE_F_NOTIF) return end_hold(cqe.user_data);
        if (options_.zero_copy && !more) end_hold(cqe.user_data);
        [[fallthrough]];
      case Kind::write:
        results_[index] = cqe.res;
        outstanding_--;
        return;
      case Kind::udp_receive:
        if (!more) udp_armed_ = false;
        return received(udp_, cqe, udp_failures_);
      case Kind::tun_read:
        if (!more) tun_armed_--;
        return received(tun_, cqe, tun_failures_);
      case Kind::handover:
        handover_armed_ = more;
        if (options_.handover) options_.handover->drain_eventfd(options_.shard);
        return;
      case Kind::timer: {
        uint64_t expirations;
        (void)!read(timer_.get(), &expirations, sizeof expirations);
        timer_armed_ = false;
        udp_unblocked_ = tun_unblocked_ = true;
        return;
      }
      case Kind::udp_writable:
        udp_out_armed_ = false;
        udp_unblocked_ = true;
        return;
      case Kind::tun_writable:
        tun_out_armed_ = false;
        tun_unblocked_ = true;
        return;
      case Kind::cancel:
        return;
    }
  }

  void received(Lending& lending, const io_uring_cqe& cqe, int& failures) {
    const bool has_block = cqe.flags & IORING_CQE_F_BUFFER;
    const auto block = static_cast<uint16_t>(cqe.flags >> IORING_CQE_BUFFER_SHIFT);
    if (cqe.res > 0 && has_block) {
      failures = 0;
      lending.filled(block, cqe.res);
      return;
    }
    if (has_block) lending.came_back_empty(block);
    if (cqe.res == -ENOBUFS) {
      counters_.no_buffers++;
    } else if (cqe.res != -ECANCELED && cqe.res != -EINTR && cqe.res != -EAGAIN) {
      counters_.receive_errors++;  // a pending error of the socket, or a device that is gone
      failures++;
    }
  }

  uint32_t is_ready() {
    if (!is_blocked()) udp_unblocked_ = tun_unblocked_ = false;
    return (udp_.pending() ? ready::udp : 0) | (tun_.pending() ? ready::tun : 0) | (handover_waits() ? ready::handover : 0) |
           (udp_unblocked_ || tun_unblocked_ ? ready::unblocked : 0);
  }

  // ---- the end ----

  bool in_flight() const {
    return udp_armed_ || tun_armed_ > 0 || handover_armed_ || timer_armed_ || udp_out_armed_ || tun_out_armed_ || held_ > 0;
  }

  // true: the kernel holds nothing of ours any more. Asked again every round: a request that was just running is missed by one
  // cancellation, and the end of a hard-linked read starts the next of its chain.
  bool cancel_all() {
    for (uint32_t round = 0; round < cancel_rounds && in_flight(); round++) {
      io_uring_sqe* sqe = next_sqe();
      io_uring_prep_cancel64(sqe, 0, IORING_ASYNC_CANCEL_ANY | IORING_ASYNC_CANCEL_ALL);
      sqe->user_data = tagged(Kind::cancel);
      io_uring_submit_and_get_events(&ring_);
      reap();
      if (!in_flight()) break;
      io_uring_cqe* cqe = nullptr;
      __kernel_timespec timeout{0, 5'000'000};
      io_uring_submit_and_wait_timeout(&ring_, &cqe, 1, &timeout, nullptr);
      reap();
    }
    return !in_flight();
  }

  io_uring ring_{};
  bool has_ring_ = false;
  Descriptor event_, timer_;
  Lending tun_, udp_;
  msghdr receive_header_{nullptr, train_block::name_bytes, nullptr, 0, nullptr, train_block::control_bytes, 0};
  bool read_multishot_ = false;
  bool udp_armed_ = false, handover_armed_ = false, timer_armed_ = false, udp_out_armed_ = false, tun_out_armed_ = false, udp_unblocked_ = false,
       tun_unblocked_ = false;
  uint32_t tun_armed_ = 0;
  int udp_failures_ = 0, tun_failures_ = 0;
  size_t outstanding_ = 0;
  std::vector<int32_t> results_;
  std::vector<Message> messages_;
  std::vector<std::array<iovec, 2>> parts_;
  std::vector<std::pair<std::shared_ptr<Arena>, uint16_t>> holds_;
  std::vector<uint16_t> free_holds_;
  size_t held_ = 0;
};

}  // namespace

std::shared_ptr<Port> Port::open_uring(napi_env env, const PortOptions& options) {
  auto port = std::make_shared<UringPort>(env, options);
  return port->open(env) ? port : nullptr;
}

}  // namespace ringway
