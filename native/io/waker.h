// Wakes this thread's event loop when a descriptor becomes readable: at most one JavaScript callback per arm().
#pragma once

#include <functional>

#include <node_api.h>

#include "core/environment.h"

namespace ringway {

class Waker {
 public:
  // `on_ready` runs before the callback and drains the descriptor; false: there is nothing for JavaScript to do, the waker stays armed.
  // nullptr and an exception pending on failure.
  static Waker* create(Environment& environment, int descriptor, std::function<bool()> on_ready);

  bool arm(napi_value callback);  // false with an exception pending on failure
  void disarm() { is_armed_ = false; }
  void close();  // deletes itself when libuv has let go

 private:
  explicit Waker(Environment& environment) : environment_{environment} {}
  ~Waker() = default;
  static void polled(uv_poll_t* poll, int status, int events);
  static void closed(uv_handle_t* poll);
  void call_back();
  bool remember(napi_value callback);
  void forget();

  Environment& environment_;
  std::function<bool()> on_ready_;
  uv_poll_t poll_{};
  bool is_armed_ = false;
  bool polling_ = false;  // goes on while nobody is armed: to stop and start it are two system calls a wake
  napi_ref callback_ = nullptr;
  napi_async_context context_ = nullptr;
};

}  // namespace ringway
