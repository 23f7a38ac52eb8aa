// When a port waits and who is told: at rest its thread sleeps until something comes, at work it takes turns; both in libuv's place, and without JavaScript as
// long as there is nothing in it for JavaScript (docs/decisions/0014).
#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <utility>

#include <poll.h>

#include "core/clock.h"
#include "io/port.h"

namespace ringway {
namespace {

constexpr int settle_ms = 1;  // a shard that has slept for so long is at rest
// At work: libuv is looked after so often, and what nothing has come to for so long rests. The second is shorter, or the first would cut it.
constexpr double slice_us = 1'000, idle_us = 800;

double due_at(double now, int timeout_ms) { return timeout_ms < 0 ? std::numeric_limits<double>::infinity() : now + timeout_ms * 1e3; }

}  // namespace

uint32_t Port::wait(double wait_us) {
  const double deadline = wait_us > 0 ? monotonic_micros() + wait_us : 0;
  uint32_t bits = look(wait_us);
  while (bits == 0 && wait_us > 0) {
    wait_us = deadline - monotonic_micros();
    if (wait_us > 0) bits = look(wait_us);
  }
  const uint32_t empty = watched() & ~bits;
  if (empty & ready::udp) udp_shares_.drained();
  if (empty & ready::tun) tun_shares_.drained();
  return bits;
}

bool Port::start_waker(int descriptor) {
  waker_ = Waker::create(environment_, descriptor, {.woken = [this] { return woken(); }, .stay = [this] { return stay(); }});
  return waker_ != nullptr;
}

// libuv has seen the waker's descriptor.
bool Port::woken() {
  counters_.wakes++;
  end_idle();
  if (!sleeper_ || !sleeper_->may_wake()) return true;
  do {
    const uint32_t ready = look(0);
    const Woke woke = ready ? sleeper_->wake(ready) : Woke::rest;
    if (woke == Woke::wanted) return true;
    if (woke == Woke::work) {
      begin_work();
      return false;
    }
  } while (!rest());
  return false;
}

// libuv is about to wait.
Waker::Stay Port::stay() {
  return at_work_ ? work() : wait_directly();
}

// Turns. libuv has a pass whenever there is something for it, and when the port begins to rest, whose descriptor it has to know.
Waker::Stay Port::work() {
  uv_loop_t* loop = environment_.loop();
  uv_update_time(loop);
  const int timeout_ms = uv_backend_timeout(loop);
  double now = monotonic_micros();
  const double due = due_at(now, timeout_ms);
  while (sleeper_ && sleeper_->may_wake()) {
    const bool libuv_waits = timeout_ms == 0;
    const Woke woke = sleeper_->work(libuv_waits ? now + slice_us : std::min(now + slice_us, due), libuv_waits ? 0 : idle_us);
    if (woke == Woke::wanted) break;
    if (libuv_waits) return Waker::Stay::looked;
    if (woke == Woke::rest && rest()) {
      at_work_ = false;
      if (waker_->rest()) return Waker::Stay::looked;
      end_idle();
      break;
    }
    now = monotonic_micros();
    pollfd file{uv_backend_fd(loop), POLLIN, 0};
    counters_.system_calls++;
    if (now >= due || poll(&file, 1, 0) != 0) return Waker::Stay::looked;
  }
  at_work_ = false;
  return Waker::Stay::wanted;
}

void Port::begin_work() {
  at_work_ = true;
  waker_->work();
}

// For a lone packet the way through libuv's epoll, and for io_uring that of a request and its completion, is longer than all that is done with it: so the port
// waits in libuv's place, for socket and device themselves, and for what libuv waits for.
Waker::Stay Port::wait_directly() {
  uv_loop_t* loop = environment_.loop();
  uv_update_time(loop);
  const int timeout_ms = uv_backend_timeout(loop);
  if (timeout_ms == 0 || !sleeper_ || !sleeper_->may_wake() || !may_be_direct()) return left();
  if (!direct_ && !begin_direct(false)) {
    pollfd file{uv_backend_fd(loop), POLLIN, 0};
    counters_.system_calls++;
    if ((timeout_ms > 0 && timeout_ms <= settle_ms) || poll(&file, 1, settle_ms) != 0) return Waker::Stay::none;
    direct_ = true;
    if (!begin_direct(true)) return left();
    if (is_ready()) return wanted();
    return Waker::Stay::looked;  // libuv's time has gone on
  }
  direct_ = true;
  idle_since_ = monotonic_micros();
  // no JavaScript runs meanwhile: what libuv waits for stays the same
  const double due = due_at(idle_since_, timeout_ms);
  std::array<pollfd, 3> files{{{options_.udp, POLLIN, 0}, {options_.tun, POLLIN, 0}, {uv_backend_fd(loop), POLLIN, 0}}};
  while (idle_since_ < due) {
    counters_.system_calls++;
    const int rest_ms = timeout_ms < 0 ? -1 : static_cast<int>(std::ceil((due - idle_since_) / 1e3));
    const int told = poll(files.data(), files.size(), rest_ms);
    told_ = told <= 0 ? 0 : (files[0].revents ? ready::udp : 0) | (files[1].revents ? ready::tun : 0);
    if (told_ == 0) return Waker::Stay::looked;  // a signal, or there is something for libuv
    counters_.wakes++;
    const Woke woke = sleeper_->wake(told_);
    told_ = 0;
    if (woke == Woke::wanted) return wanted();
    if (woke == Woke::work) {
      end_idle();
      begin_work();
      return work();
    }
    if (!may_be_direct()) break;
    idle_since_ = monotonic_micros();
  }
  return Waker::Stay::looked;
}

// Without having waited. Nothing watches socket and device for a port that is direct, and waits no longer itself.
Waker::Stay Port::left() {
  if (!direct_) return Waker::Stay::none;
  if (uv_backend_timeout(environment_.loop()) == 0) return Waker::Stay::looked;
  return rest() ? Waker::Stay::none : wanted();
}

Waker::Stay Port::wanted() {
  end_idle();
  return Waker::Stay::wanted;
}

bool Port::was_told(uint32_t bit) {
  const bool told = told_ & bit;
  told_ &= ~bit;
  return told;
}

bool Port::rest() {
  idle_since_ = monotonic_micros();
  direct_ = false;
  return begin_idle();
}

bool Port::arm(napi_value callback) {
  at_work_ = false;
  if (!rest()) return true;
  if (!waker_->arm(callback)) end_idle();
  return false;
}

void Port::go_on(napi_value callback) {
  if (!waker_->arm_at_work(callback)) return;
  at_work_ = true;
  sleeper_->go_on();
}

void Port::disarm() {
  waker_->disarm();
  if (!std::exchange(at_work_, false)) end_idle();
}

}  // namespace ringway
