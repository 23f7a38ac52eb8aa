// What a process or thread asks for itself: memory that outlives it, descriptors, no dumps, its CPU, the clock, systemd.
#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <string>

#include <fcntl.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "core/args.h"
#include "core/clock.h"
#include "core/errors.h"
#include "core/functions.h"
#include "core/values.h"
#include "kernel/descriptor.h"

namespace ringway {
namespace {

constexpr int64_t max_memfd = INT64_C(1) << 36;

// createMemfd(name, bytes) -> descriptor. Zeroed, of fixed size: sealed, so that no holder can shrink it under another's mapping.
napi_value create_memfd(napi_env env, napi_callback_info info) {
  Args args{env, info, "createMemfd"};
  const std::string name = args.string(0, "name", 1, 200);
  const auto bytes = args.integer(1, "bytes", 1, max_memfd);
  if (!args.ok()) return nullptr;

  Descriptor memory{memfd_create(name.c_str(), MFD_CLOEXEC | MFD_ALLOW_SEALING)};
  if (!memory.ok()) return throw_errno(env, "memfd_create", errno);
  if (ftruncate(memory.get(), bytes) != 0) return throw_errno(env, "ftruncate", errno);
  if (fcntl(memory.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) return throw_errno(env, "fcntl(F_ADD_SEALS)", errno);
  return to_js(env, int32_t{memory.release()});
}

// closeDescriptor(descriptor)
napi_value close_descriptor(napi_env env, napi_callback_info info) {
  Args args{env, info, "closeDescriptor"};
  const auto descriptor = static_cast<int>(args.integer(0, "descriptor", 3, INT32_MAX));
  if (!args.ok()) return nullptr;
  return close(descriptor) == 0 ? undefined(env) : throw_errno(env, "close", errno);
}

// duplicateDescriptor(descriptor) -> another one for the same open file, closed on exec
napi_value duplicate_descriptor(napi_env env, napi_callback_info info) {
  Args args{env, info, "duplicateDescriptor"};
  const auto descriptor = static_cast<int>(args.integer(0, "descriptor", 0, INT32_MAX));
  if (!args.ok()) return nullptr;
  const int copy = fcntl(descriptor, F_DUPFD_CLOEXEC, 3);
  return copy >= 0 ? to_js(env, int32_t{copy}) : throw_errno(env, "fcntl(F_DUPFD_CLOEXEC)", errno);
}

// setCloseOnExec(descriptor, on)
napi_value set_close_on_exec(napi_env env, napi_callback_info info) {
  Args args{env, info, "setCloseOnExec"};
  const auto descriptor = static_cast<int>(args.integer(0, "descriptor", 0, INT32_MAX));
  const bool on = args.boolean(1, "on");
  if (!args.ok()) return nullptr;
  return fcntl(descriptor, F_SETFD, on ? FD_CLOEXEC : 0) == 0 ? undefined(env) : throw_errno(env, "fcntl(F_SETFD)", errno);
}

// forbidDumps(): no core dumps, not to be traced
napi_value forbid_dumps(napi_env env, napi_callback_info) {
  if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0) return throw_errno(env, "prctl(PR_SET_DUMPABLE)", errno);
  const rlimit none{0, 0};
  if (setrlimit(RLIMIT_CORE, &none) != 0) return throw_errno(env, "setrlimit(RLIMIT_CORE)", errno);
  return undefined(env);
}

// pinThread(cpu): the calling thread, which in a worker is the worker's
napi_value pin_thread(napi_env env, napi_callback_info info) {
  Args args{env, info, "pinThread"};
  const auto cpu = static_cast<size_t>(args.integer(0, "cpu", 0, CPU_SETSIZE - 1));
  if (!args.ok()) return nullptr;
  cpu_set_t cpus;
  CPU_ZERO(&cpus);
  CPU_SET(cpu, &cpus);
  return sched_setaffinity(0, sizeof cpus, &cpus) == 0 ? undefined(env) : throw_errno(env, "sched_setaffinity", errno);
}

// monotonicMicros() -> CLOCK_MONOTONIC
napi_value clock_now(napi_env env, napi_callback_info) { return to_js(env, monotonic_micros()); }

// notifySystemd(state) -> was there anybody to tell? (sd_notify(3): a datagram to $NOTIFY_SOCKET, '@' = abstract)
napi_value notify_systemd(napi_env env, napi_callback_info info) {
  Args args{env, info, "notifySystemd"};
  const std::string state = args.string(0, "state", 1, 4096);
  if (!args.ok()) return nullptr;

  const char* path = getenv("NOTIFY_SOCKET");
  sockaddr_un to{};
  const size_t length = path ? strlen(path) : 0;
  if (length == 0 || length >= sizeof to.sun_path) return to_js(env, false);
  to.sun_family = AF_UNIX;
  memcpy(to.sun_path, path, length);
  if (to.sun_path[0] == '@') to.sun_path[0] = '\0';
  const Descriptor socket{::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
  if (!socket.ok()) return throw_errno(env, "socket", errno);
  const auto bytes = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + length);
  if (sendto(socket.get(), state.data(), state.size(), MSG_NOSIGNAL, reinterpret_cast<sockaddr*>(&to), bytes) < 0) {
    return throw_errno(env, "sendto($NOTIFY_SOCKET)", errno);
  }
  return to_js(env, true);
}

const Functions functions{
  {"createMemfd", create_memfd}, {"closeDescriptor", close_descriptor}, {"duplicateDescriptor", duplicate_descriptor},
  {"setCloseOnExec", set_close_on_exec}, {"forbidDumps", forbid_dumps}, {"pinThread", pin_thread},
  {"monotonicMicros", clock_now}, {"notifySystemd", notify_systemd},
};

}  // namespace
}  // namespace ringway
