#include "io/uring_port.h"

#include <algorithm>
#include <array>
#include <cerrno>

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "core/errors.h"

namespace ringway {
namespace {

constexpr uint32_t wanted_events = 8, min_wait_us = 20;  // docs/linux-facts.md §4: 88 to 92 Gbit/s at 0.06 calls a train

bool refused(int result) {
  if (result < 0) errno = -result;
  return result < 0;
}

}  // namespace

UringPort::UringPort(napi_env env, const PortOptions& options) : Port{env, options}, messages_(options.entries) {
  max_sends_ = options.entries - 8;  // room for what re-arms
  results_.resize(options.entries);
}

UringPort::~UringPort() { close(); }

bool UringPort::open(napi_env env) {
  const char* failed = set_up();
  if (failed) return throw_errno(env, failed, errno);
  open_ = true;
  return start_waker(event_.get());
}

const char* UringPort::set_up() {
  const char* failed = create_ring();
  if (failed) return failed;
  has_ring_ = true;
  timer_ = Descriptor{timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK)};
  if (!timer_.ok()) return "timerfd_create";
  event_ = Descriptor{eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
  if (!event_.ok()) return "eventfd";
  const int handover = options_.handover ? options_.handover->eventfd(options_.shard) : -1;
  if (!doors_.open(options_.doors)) return "mmap";
  std::vector<int> files{options_.tun, options_.udp, handover, timer_.get()};
  files.insert(files.end(), options_.doors.begin(), options_.doors.end());
  if (refused(io_uring_register_files(&ring_, files.data(), static_cast<unsigned>(files.size())))) return "io_uring_register(FILES)";
  if (refused(io_uring_register_eventfd(&ring_, event_.get()))) return "io_uring_register(EVENTFD)";
  io_uring_cq_eventfd_toggle(&ring_, false);
  if (options_.udp >= 0 && !udp_.open(ring_, options_.udp_receive->arena, udp_group, 0)) return "io_uring_register(PBUF_RING)";
  if (options_.tun >= 0 && !tun_.open(ring_, options_.tun_receive->arena, tun_group, tun_skip())) return "io_uring_register(PBUF_RING)";
  rearm();
  return refused(io_uring_submit(&ring_)) ? "io_uring_enter" : nullptr;
}

const char* UringPort::create_ring() {
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
  const bool has_multishot_receive = probe && io_uring_opcode_supported(probe, uring_abi::op_send_zc);
  const bool has_multishot_read = probe && io_uring_opcode_supported(probe, uring_abi::op_read_multishot);
  read_multishot_ = options_.multishot_read && has_multishot_read;
  io_uring_free_probe(probe);
  if (has_multishot_receive) return nullptr;
  io_uring_queue_exit(&ring_);
  errno = ENOSYS;
  return "io_uring(RECVMSG multishot)";
}

// ---- a turn ----

uint32_t UringPort::look(double wait_us) {
  rearm();
  watch_doors();
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

bool UringPort::begin_idle() {
  io_uring_cq_eventfd_toggle(&ring_, true);
  rearm();
  watch_doors();
  submit_and_look();
  reap();
  if (is_ready() == 0) return true;
  io_uring_cq_eventfd_toggle(&ring_, false);  // should it have been told all the same, the next wake is for nothing
  return false;
}

void UringPort::end_idle() {
  io_uring_cq_eventfd_toggle(&ring_, false);
  uint64_t count;
  (void)!read(event_.get(), &count, sizeof count);
}

// Who sleeps in poll() on socket and device is woken sooner than by a request that is woken, works, and wakes (docs/linux-facts.md §4). But requests that are
// armed would take what comes: they have to end, which is two system calls, and not for a shard that wakes again at once.
bool UringPort::may_be_direct() const { return read_multishot_ && !options_.sqpoll && std::max(udp_failures_, tun_failures_) < hopeless; }

bool UringPort::begin_direct(bool settled) {
  if (!settled) return false;
  io_uring_cq_eventfd_toggle(&ring_, false);  // their ends are nothing to be told of
  for (const Kind kind : {Kind::udp_receive, Kind::tun_read}) {
    io_uring_sqe* sqe = next_sqe();
    io_uring_prep_cancel64(sqe, tagged(kind), 0);
    sqe->user_data = tagged(Kind::cancel);
  }
  submit_and_look();
  io_uring_cq_eventfd_toggle(&ring_, true);
  submit_and_look();
  reap();
  return !udp_armed_ && tun_armed_ == 0;
}

// ---- entering the kernel ----

io_uring_sqe* UringPort::next_sqe() {
  io_uring_sqe* sqe = io_uring_get_sqe(&ring_);
  while (!sqe) {  // full: max_sends_ leaves room, so this is the exception
    counters_.system_calls++;
    io_uring_submit(&ring_);
    sqe = io_uring_get_sqe(&ring_);
  }
  return sqe;
}

void UringPort::submit_and_look() {
  counters_.system_calls++;
  io_uring_submit_and_get_events(&ring_);
}

// Who waits in poll() is woken by the one who sends, on its processor; who waits in the ring is woken by its own request, on the processor it had before. A
// client, woken by who sends through it, does better so, and its server, too; a server by its ring, which gathers (docs/decisions/0014).
//
// Its receives have to be armed, for this thread to run: who else ran them would have taken what poll() tells of.
bool UringPort::may_poll() const {
  const bool is_all = !options_.handover && doors_.count() == 0 && !is_blocked();
  return is_all && udp_armed_ && tun_armed_ > 0 && (ring_.flags & IORING_SETUP_DEFER_TASKRUN) != 0 && !has_task_work();
}

void UringPort::sleep(double wait_us) {
  if (io_uring_sq_ready(&ring_) > 0) {
    counters_.system_calls++;
    io_uring_submit(&ring_);
    if (io_uring_cq_ready(&ring_) > 0) return;  // a receive found something as it was armed
  }
  const auto nanoseconds = static_cast<int64_t>(wait_us * 1e3);
  if (may_poll()) {
    std::array<pollfd, 2> files{{{options_.udp, POLLIN, 0}, {options_.tun, POLLIN, 0}}};
    const timespec limit{nanoseconds / 1'000'000'000, nanoseconds % 1'000'000'000};
    counters_.system_calls++;
    if (ppoll(files.data(), files.size(), &limit, nullptr) > 0) submit_and_look();
    return;
  }
  __kernel_timespec timeout{nanoseconds / 1'000'000'000, nanoseconds % 1'000'000'000};
  uring_abi::GetEvents argument;
  argument.timeout = reinterpret_cast<uint64_t>(&timeout);
  uint32_t events = 1;
  if ((ring_.features & uring_abi::feature_min_timeout) && wait_us > min_wait_us) {
    // gather a vector: eight completions, or what there is after the first 20 µs
    argument.min_wait_us = min_wait_us;
    events = wanted_events;
  }
  counters_.system_calls++;
  // ETIME and EINTR: the caller looks at what has come
  (void)syscall(__NR_io_uring_enter, ring_.ring_fd, 0, events, IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG, &argument, sizeof argument);
}

// ---- completions ----

void UringPort::reap() {
  io_uring_cqe* cqe;
  unsigned head;
  unsigned seen = 0;
  io_uring_for_each_cqe(&ring_, head, cqe) {
    complete(*cqe);
    seen++;
  }
  io_uring_cq_advance(&ring_, seen);
}

void UringPort::complete(const io_uring_cqe& cqe) {
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
    case Kind::door:
      doors_.something_came(index & 0xff);
      return;
    case Kind::cancel:
      return;
  }
}

uint32_t UringPort::is_ready() {
  if (!is_blocked()) udp_unblocked_ = tun_unblocked_ = false;
  return ready_doors() | (udp_.pending() ? ready::udp : 0) | (tun_.pending() ? ready::tun : 0) | (handover_waits() ? ready::handover : 0) |
         (udp_unblocked_ || tun_unblocked_ ? ready::unblocked : 0);
}

std::shared_ptr<Port> Port::open_uring(napi_env env, const PortOptions& options) {
  auto port = std::make_shared<UringPort>(env, options);
  return port->open(env) ? port : nullptr;
}

}  // namespace ringway
