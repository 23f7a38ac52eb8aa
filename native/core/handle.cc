#include "core/handle.h"

namespace ringway {
namespace {

void let_go(napi_env, void* holder, void*) { delete static_cast<Holder*>(holder); }

}  // namespace

napi_value wrap(napi_env env, std::shared_ptr<void> object, const napi_type_tag& tag) {
  auto* holder = new Holder{std::move(object)};
  napi_value external = nullptr;
  if (napi_create_external(env, holder, let_go, nullptr, &external) != napi_ok) {
    delete holder;
    return nullptr;
  }
  if (napi_type_tag_object(env, external, &tag) != napi_ok) return nullptr;
  return external;
}

Holder* unwrap(napi_env env, napi_value value, const napi_type_tag& tag) {
  napi_valuetype type = napi_undefined;
  bool tagged = false;
  void* holder = nullptr;
  if (!value || napi_typeof(env, value, &type) != napi_ok || type != napi_external) return nullptr;
  if (napi_check_object_type_tag(env, value, &tag, &tagged) != napi_ok || !tagged) return nullptr;
  if (napi_get_value_external(env, value, &holder) != napi_ok) return nullptr;
  return static_cast<Holder*>(holder);
}

}  // namespace ringway
