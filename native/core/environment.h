// What one Node environment (the main thread or a worker) owns beyond memory: things that must be closed before its event loop ends.
#pragma once

#include <memory>

#include <node_api.h>
#include <uv.h>

namespace ringway {

class Environment {
 public:
  // An object with a life of its own (a port). Links itself in; the clean-up hook calls close() on what is left, newest first.
  class Closing {
   public:
    explicit Closing(Environment& environment);
    Closing(const Closing&) = delete;
    Closing& operator=(const Closing&) = delete;
    virtual ~Closing();
    virtual void close() = 0;  // idempotent, on the environment's thread, no JavaScript

   private:
    friend class Environment;
    std::shared_ptr<Environment> environment_;
    Closing* next_;
    Closing** link_;
  };

  static Environment* create(napi_env env);  // nullptr with an exception pending
  static Environment& of(napi_env env);

  napi_env env() const { return env_; }
  uv_loop_t* loop() const { return loop_; }

  // A uv handle whose uv_close callback is still to come; the environment waits for it.
  void began_closing() { closing_handles_++; }
  void ended_closing();

 private:
  static void clean_up(napi_async_cleanup_hook_handle handle, void* self);

  napi_env env_ = nullptr;
  uv_loop_t* loop_ = nullptr;
  Closing* objects_ = nullptr;
  int closing_handles_ = 0;
  napi_async_cleanup_hook_handle hook_ = nullptr;
  bool ending_ = false;
  std::shared_ptr<Environment> self_;
};

}  // namespace ringway
