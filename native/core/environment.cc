#include "core/environment.h"

namespace ringway {

Environment::Closing::Closing(Environment& environment) : environment_{environment.self_}, next_{environment.objects_}, link_{&environment.objects_} {
  if (next_) next_->link_ = &next_;
  environment.objects_ = this;
}

Environment::Closing::~Closing() {
  *link_ = next_;
  if (next_) next_->link_ = link_;
}

Environment* Environment::create(napi_env env) {
  std::shared_ptr<Environment> made{new Environment};
  made->env_ = env;
  if (napi_get_uv_event_loop(env, &made->loop_) != napi_ok) return nullptr;
  if (napi_set_instance_data(env, made.get(), nullptr, nullptr) != napi_ok) return nullptr;
  if (napi_add_async_cleanup_hook(env, clean_up, made.get(), &made->hook_) != napi_ok) return nullptr;
  made->self_ = made;  // until clean_up is over; objects that outlive it hold it, too
  return made.get();
}

Environment& Environment::of(napi_env env) {
  void* environment = nullptr;
  napi_get_instance_data(env, &environment);
  return *static_cast<Environment*>(environment);
}

void Environment::ended_closing() {
  closing_handles_--;
  if (!ending_ || closing_handles_ > 0) return;
  const std::shared_ptr<Environment> self = std::move(self_);
  if (self) napi_remove_async_cleanup_hook(hook_);
}

// Node waits for this to finish before it tears the environment down, also when a worker is terminated. JavaScript has
// stopped; finalizers of handles run after it.
void Environment::clean_up(napi_async_cleanup_hook_handle, void* self) {
  auto* environment = static_cast<Environment*>(self);
  const std::shared_ptr<Environment> keep = environment->self_;
  environment->ending_ = true;
  environment->began_closing();
  for (Closing* object = environment->objects_; object; object = object->next_) object->close();
  environment->ended_closing();
}

}  // namespace ringway
