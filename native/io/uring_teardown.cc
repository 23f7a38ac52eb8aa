// The end of an io_uring port, also in the middle of everything (a worker that is terminated): no request may touch a mapping any more.
#include "io/uring_port.h"

namespace ringway {
namespace {

constexpr uint32_t cancel_rounds = 200;  // of 5 ms at most: how long close() waits for the kernel to let go

}  // namespace

void UringPort::close() {
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

bool UringPort::in_flight() const {
  return udp_armed_ || tun_armed_ > 0 || handover_armed_ || timer_armed_ || doors_.armed() != 0 || udp_out_armed_ || tun_out_armed_ || held_ > 0;
}

// Asked again every round: a request that was just running is missed by one cancellation, and the end of a hard-linked read starts the
// next of its chain.
bool UringPort::cancel_all() {
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

}  // namespace ringway
