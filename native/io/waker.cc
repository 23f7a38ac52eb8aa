#include "io/waker.h"

#include "core/errors.h"
#include "core/values.h"

namespace ringway {
namespace {

void nothing(uv_idle_t*) {}  // that the handle is active is what keeps libuv from waiting

}  // namespace

Waker* Waker::create(Environment& environment, int descriptor, Owner owner) {
  napi_env env = environment.env();
  auto* waker = new Waker{environment};
  waker->owner_ = std::move(owner);
  waker->poll_.data = waker->prepare_.data = waker->idle_.data = waker;
  const int error = uv_poll_init(environment.loop(), &waker->poll_, descriptor);
  if (error != 0) {
    throw_errno(env, "epoll_ctl", -error);
    delete waker;
    return nullptr;
  }
  uv_idle_init(environment.loop(), &waker->idle_);
  uv_prepare_init(environment.loop(), &waker->prepare_);
  uv_prepare_start(&waker->prepare_, prepared);
  waker->handles_ = 3;
  // what keeps the event loop alive is what it waits for
  uv_unref(reinterpret_cast<uv_handle_t*>(&waker->idle_));
  uv_unref(reinterpret_cast<uv_handle_t*>(&waker->prepare_));
  if (napi_async_init(env, nullptr, to_js(env, std::string_view{"ringway.port"}), &waker->context_) != napi_ok) {
    waker->close();
    return nullptr;
  }
  return waker;
}

bool Waker::arm(napi_value callback) {
  if (!remember(callback)) return false;
  is_armed_ = rest();
  return is_armed_;
}

bool Waker::arm_at_work(napi_value callback) {
  if (!remember(callback)) return false;
  work();
  is_armed_ = true;
  return true;
}

bool Waker::rest() {
  uv_unref(reinterpret_cast<uv_handle_t*>(&prepare_));
  if (polling_) return true;
  const int error = uv_poll_start(&poll_, UV_READABLE, polled);
  polling_ = error == 0;
  if (error != 0) throw_errno(environment_.env(), "uv_poll_start", -error);
  return polling_;
}

// An epoll descriptor would be readable with every packet. The idle handle, because libuv may be about to wait: with nothing to wait for.
void Waker::work() {
  uv_idle_start(&idle_, nothing);
  uv_ref(reinterpret_cast<uv_handle_t*>(&prepare_));  // which is all that keeps the event loop alive now
  if (polling_) uv_poll_stop(&poll_);
  polling_ = false;
}

void Waker::disarm() {
  is_armed_ = false;
  uv_unref(reinterpret_cast<uv_handle_t*>(&prepare_));
}

// A shard arms with one callback all its life, thousands of times a second.
bool Waker::remember(napi_value callback) {
  napi_env env = environment_.env();
  napi_value known = nullptr;
  bool same = false;
  if (callback_ && napi_get_reference_value(env, callback_, &known) == napi_ok && napi_strict_equals(env, known, callback, &same) == napi_ok && same)
    return true;
  forget();
  return napi_create_reference(env, callback, 1, &callback_) == napi_ok;
}

void Waker::forget() {
  if (callback_) napi_delete_reference(environment_.env(), callback_);
  callback_ = nullptr;
}

void Waker::close() {
  is_armed_ = false;
  uv_poll_stop(&poll_);
  forget();
  if (context_) napi_async_destroy(environment_.env(), context_);
  context_ = nullptr;
  environment_.began_closing();
  uv_close(reinterpret_cast<uv_handle_t*>(&poll_), closed);
  uv_close(reinterpret_cast<uv_handle_t*>(&prepare_), closed);
  uv_close(reinterpret_cast<uv_handle_t*>(&idle_), closed);
}

void Waker::closed(uv_handle_t* handle) {
  auto* waker = static_cast<Waker*>(handle->data);
  if (--waker->handles_ > 0) return;
  Environment& environment = waker->environment_;
  delete waker;
  environment.ended_closing();
}

void Waker::polled(uv_poll_t* poll, int status, int) {
  auto* waker = static_cast<Waker*>(poll->data);
  if (status < 0) waker->polling_ = false;  // libuv has let go of the descriptor
  if (!waker->is_armed_) {  // a level-triggered descriptor that nobody waits for now
    uv_poll_stop(poll);
    waker->polling_ = false;
    return;
  }
  const bool wanted = waker->owner_.woken();
  if (wanted || status < 0) waker->call_back();  // last: the callback may close the port, and with it this waker
}

// Just before libuv would wait, not from polled(): what it was told of together with this descriptor would wait until that returns.
void Waker::prepared(uv_prepare_t* prepare) {
  auto* waker = static_cast<Waker*>(prepare->data);
  uv_idle_stop(&waker->idle_);
  if (!waker->is_armed_) return;
  switch (waker->owner_.stay()) {
    case Stay::none:
      return;
    case Stay::looked:
      uv_idle_start(&waker->idle_, nothing);
      return;
    case Stay::wanted:
      uv_update_time(prepare->loop);
      return waker->call_back();  // last, as above
  }
}

void Waker::call_back() {
  napi_env env = environment_.env();
  napi_handle_scope scope = nullptr;
  if (!callback_ || napi_open_handle_scope(env, &scope) != napi_ok) return;
  napi_value callback = nullptr;
  napi_value receiver = nullptr;
  napi_value thrown = nullptr;
  napi_get_reference_value(env, callback_, &callback);
  napi_get_global(env, &receiver);
  napi_async_context context = context_;
  disarm();
  if (callback && napi_make_callback(env, context, receiver, callback, 0, nullptr, nullptr) == napi_pending_exception &&
      napi_get_and_clear_last_exception(env, &thrown) == napi_ok) {
    napi_fatal_exception(env, thrown);  // as an exception in any other callback: 'uncaughtException'
  }
  napi_close_handle_scope(env, scope);
}

}  // namespace ringway
