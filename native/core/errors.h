// What the kernel refused, as a JavaScript Error with `code` ('EPERM'), `errno` (1) and `syscall` ('ioctl(TUNSETIFF)').
#pragma once

#include <node_api.h>

namespace ringway {

// Throws and returns nullptr, so that `return throw_errno(...)` ends a native function.
napi_value throw_errno(napi_env env, const char* syscall, int error);
napi_value throw_type(napi_env env, const char* message);
napi_value throw_range(napi_env env, const char* message);

}  // namespace ringway
