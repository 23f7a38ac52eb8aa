// Wakes this thread's event loop when a descriptor becomes readable: at most one JavaScript callback per arm(). While it is armed, its owner may wait in the
// event loop's place.
#pragma once

#include <functional>

#include <node_api.h>

#include "core/environment.h"

namespace ringway {

class Waker {
 public:
  enum class Stay {
    none,    // the event loop waits
    looked,  // there is something for the event loop: it looks, without waiting, and asks again
    wanted,  // JavaScript is to be called
  };
  struct Owner {
    // The descriptor is readable: drains it, before the callback. false: there is nothing for JavaScript to do, the waker stays armed.
    std::function<bool()> woken;
    // The event loop is about to wait.
    std::function<Stay()> stay;
  };
  // nullptr and an exception pending on failure.
  static Waker* create(Environment& environment, int descriptor, Owner owner);

  bool arm(napi_value callback);  // false with an exception pending on failure
  // As arm(), for an owner that works in the event loop's place: the descriptor is not watched before rest().
  bool arm_at_work(napi_value callback);
  bool rest();  // false when libuv does not watch the descriptor
  void work();
  void disarm();
  void close();  // deletes itself when libuv has let go

 private:
  explicit Waker(Environment& environment) : environment_{environment} {}
  ~Waker() = default;
  static void polled(uv_poll_t* poll, int status, int events);
  static void prepared(uv_prepare_t* prepare);
  static void closed(uv_handle_t* handle);
  void call_back();
  bool remember(napi_value callback);
  void forget();

  Environment& environment_;
  Owner owner_;
  uv_poll_t poll_{};
  uv_prepare_t prepare_{};
  uv_idle_t idle_{};  // while it is active, the event loop does not wait
  int handles_ = 0;   // that libuv has not let go of
  bool is_armed_ = false;
  bool polling_ = false;  // goes on while nobody is armed: to stop and start it are two system calls a wake
  napi_ref callback_ = nullptr;
  napi_async_context context_ = nullptr;
};

}  // namespace ringway
