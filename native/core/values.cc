#include "core/values.h"

#include <cstring>

namespace ringway {

napi_value to_js(napi_env env, double value) {
  napi_value result = nullptr;
  return napi_create_double(env, value, &result) == napi_ok ? result : nullptr;
}

napi_value to_js(napi_env env, int32_t value) {
  napi_value result = nullptr;
  return napi_create_int32(env, value, &result) == napi_ok ? result : nullptr;
}

napi_value to_js(napi_env env, uint32_t value) {
  napi_value result = nullptr;
  return napi_create_uint32(env, value, &result) == napi_ok ? result : nullptr;
}

napi_value to_js(napi_env env, int64_t value) { return to_js(env, static_cast<double>(value)); }
napi_value to_js(napi_env env, uint64_t value) { return to_js(env, static_cast<double>(value)); }

napi_value to_js(napi_env env, bool value) {
  napi_value result = nullptr;
  return napi_get_boolean(env, value, &result) == napi_ok ? result : nullptr;
}

napi_value to_js(napi_env env, std::string_view value) {
  napi_value result = nullptr;
  return napi_create_string_utf8(env, value.data(), value.size(), &result) == napi_ok ? result : nullptr;
}

napi_value undefined(napi_env env) {
  napi_value result = nullptr;
  return napi_get_undefined(env, &result) == napi_ok ? result : nullptr;
}

napi_value new_object(napi_env env) {
  napi_value result = nullptr;
  return napi_create_object(env, &result) == napi_ok ? result : nullptr;
}

napi_value new_array(napi_env env) {
  napi_value result = nullptr;
  return napi_create_array(env, &result) == napi_ok ? result : nullptr;
}

void set(napi_env env, napi_value object, const char* name, napi_value value) {
  if (object && value) napi_set_named_property(env, object, name, value);
}

void push(napi_env env, napi_value array, uint32_t index, napi_value value) {
  if (array && value) napi_set_element(env, array, index, value);
}

napi_value new_bytes(napi_env env, size_t length, uint8_t** out) {
  void* memory = nullptr;
  napi_value buffer = nullptr;
  napi_value array = nullptr;
  if (napi_create_arraybuffer(env, length, &memory, &buffer) != napi_ok) return nullptr;
  if (napi_create_typedarray(env, napi_uint8_array, length, buffer, 0, &array) != napi_ok) return nullptr;
  *out = static_cast<uint8_t*>(memory);
  return array;
}

napi_value copy_to_js(napi_env env, std::span<const uint8_t> bytes) {
  uint8_t* memory = nullptr;
  napi_value array = new_bytes(env, bytes.size(), &memory);
  if (array && !bytes.empty()) memcpy(memory, bytes.data(), bytes.size());
  return array;
}

}  // namespace ringway
