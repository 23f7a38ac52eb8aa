// Native values to JavaScript. A failing N-API call leaves the result null, which JavaScript sees as undefined.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include <node_api.h>

namespace ringway {

napi_value to_js(napi_env env, double value);
napi_value to_js(napi_env env, int32_t value);
napi_value to_js(napi_env env, uint32_t value);
napi_value to_js(napi_env env, int64_t value);
napi_value to_js(napi_env env, uint64_t value);  // as a number: exact up to 2^53
napi_value to_js(napi_env env, bool value);
napi_value to_js(napi_env env, std::string_view value);
napi_value to_js(napi_env env, const char* value) = delete;  // would become a bool: use std::string_view
napi_value undefined(napi_env env);

napi_value new_object(napi_env env);
napi_value new_array(napi_env env);
void set(napi_env env, napi_value object, const char* name, napi_value value);
void push(napi_env env, napi_value array, uint32_t index, napi_value value);

// A Uint8Array of its own memory, `bytes` copied in.
napi_value copy_to_js(napi_env env, std::span<const uint8_t> bytes);
// The same with the memory still to be filled: `*out` points at it.
napi_value new_bytes(napi_env env, size_t length, uint8_t** out);

}  // namespace ringway
