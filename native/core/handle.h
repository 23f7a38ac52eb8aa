// Native objects in JavaScript hands: an external with a type tag that owns one std::shared_ptr.
//
// A type T that JavaScript may hold declares `static constexpr napi_type_tag type_tag{...}` (any two random words) and
// `static constexpr const char* type_name = "batch"`. Objects that need each other hold shared_ptrs of each other, so garbage
// collection in any order is safe. What must happen before the environment ends (rings, uv handles) is an
// `Environment::Closing` (core/environment.h); a destructor is enough for everything else.
#pragma once

#include <memory>

#include <node_api.h>

namespace ringway {

struct Holder {
  std::shared_ptr<void> object;
};

// nullptr with an exception pending when N-API refuses.
napi_value wrap(napi_env env, std::shared_ptr<void> object, const napi_type_tag& tag);
// The Holder behind `value`, or nullptr when it is not an external with this tag.
Holder* unwrap(napi_env env, napi_value value, const napi_type_tag& tag);

template <class T>
napi_value make_handle(napi_env env, std::shared_ptr<T> object) {
  return wrap(env, std::move(object), T::type_tag);
}

}  // namespace ringway
