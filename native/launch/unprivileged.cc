// A program of its own, beside the addon: gives up what its keeper may do and becomes the engine. It has one thread, which the engine's
// could not say of itself: Node has seven at the first line of JavaScript, and capabilities belong to threads (docs/decisions/0015).
//
//     unprivileged KEEPER USER PROGRAM [ARGUMENT...]
//
// KEEPER is the parent's process id: the engine ends with it. USER is UID:GID, or `keep`. PROGRAM is a path from the root. Exit code 126 with one
// line on standard error when anything is refused: then nothing was started.
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include <grp.h>
#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace {

constexpr int refused = 126; // as of a shell: found, but cannot be run
constexpr long max_id = INT64_C(0xfffffffe); // 2³² − 1 means "leave it as it is" to setresuid(2)

[[noreturn]] void refuse(const char* what, const char* why) {
  fprintf(stderr, "ringway: the engine was not started: %s: %s\n", what, why);
  _exit(refused);
}

void need(long result, const char* what) {
  if (result != 0) refuse(what, strerror(errno));
}

// A decimal number up to `most` that ends at `end`. Anything else is refused.
long number(const char* text, char end, long most, const char** rest) {
  long value = 0;
  const char* at = text;
  for (; *at >= '0' && *at <= '9' && value <= most; at++) value = value * 10 + (*at - '0');
  if (at == text || *at != end || value > most) refuse(text, "is not KEEPER, or UID:GID");
  *rest = at + 1;
  return value;
}

// Without CAP_SETPCAP it stays as it is. It gives nothing: permitted capabilities are empty, and PR_SET_NO_NEW_PRIVS lets no exec add to them.
void drop_bounding_set() {
  for (unsigned long capability = 0; prctl(PR_CAPBSET_READ, capability, 0, 0, 0) >= 0; capability++) {
    if (prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) == 0) continue;
    if (errno == EPERM) return;
    refuse("prctl(PR_CAPBSET_DROP)", strerror(errno));
  }
}

void become(gid_t group, uid_t user) {
  need(setgroups(0, nullptr), "setgroups");
  need(setresgid(group, group, group), "setresgid");
  need(setresuid(user, user, user), "setresuid");
}

void drop_capabilities() {
  need(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0), "prctl(PR_CAP_AMBIENT_CLEAR_ALL)");
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  const __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3]{};
  need(syscall(SYS_capset, &header, none), "capset");
}

} // namespace

int main(int count, char** arguments) {
  if (count < 4 || arguments[3][0] != '/') refuse("unprivileged", "expected KEEPER UID:GID|keep /PROGRAM [ARGUMENT...]");
  const char* rest = nullptr;
  const long keeper = number(arguments[1], '\0', INT32_MAX, &rest);
  const bool keep = strcmp(arguments[2], "keep") == 0;
  const long user = keep ? 0 : number(arguments[2], ':', max_id, &rest);
  const long group = keep ? 0 : number(rest, '\0', max_id, &rest);

  drop_bounding_set(); // first, as it takes a capability
  if (!keep) become(static_cast<gid_t>(group), static_cast<uid_t>(user));
  drop_capabilities();
  need(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl(PR_SET_NO_NEW_PRIVS)");
  need(prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0), "prctl(PR_SET_PDEATHSIG)"); // last: a change of user takes it back
  if (getppid() != keeper) refuse("unprivileged", "its keeper has ended");
  execv(arguments[3], arguments + 3);
  refuse(arguments[3], strerror(errno));
}
