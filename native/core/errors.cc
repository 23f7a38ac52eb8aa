#include "core/errors.h"

#include <cstring>
#include <string>

#include "core/values.h"

namespace ringway {

napi_value throw_errno(napi_env env, const char* syscall, int error) {
  const char* code = strerrorname_np(error);
  const char* reason = strerrordesc_np(error);
  const std::string message = std::string{syscall} + ": " + (code ? code : "unknown errno " + std::to_string(error)) +
                              (reason ? std::string{", "} + reason : "");
  napi_value text = to_js(env, std::string_view{message});
  napi_value name = to_js(env, std::string_view{code ? code : "UNKNOWN"});
  napi_value thrown = nullptr;
  if (napi_create_error(env, name, text, &thrown) != napi_ok) return nullptr;  // the environment is ending
  set(env, thrown, "errno", to_js(env, int32_t{error}));
  set(env, thrown, "syscall", to_js(env, std::string_view{syscall}));
  napi_throw(env, thrown);
  return nullptr;
}

napi_value throw_type(napi_env env, const char* message) {
  napi_throw_type_error(env, "ERR_INVALID_ARG_TYPE", message);
  return nullptr;
}

napi_value throw_range(napi_env env, const char* message) {
  napi_throw_range_error(env, "ERR_OUT_OF_RANGE", message);
  return nullptr;
}

}  // namespace ringway
