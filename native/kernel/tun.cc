// TUN devices: openTun, tunOffload, tunMtu.
#include <cerrno>
#include <cstring>
#include <string>
#include <vector>

#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "core/args.h"
#include "core/errors.h"
#include "core/functions.h"
#include "core/values.h"
#include "kernel/descriptor.h"

namespace ringway {
namespace {

constexpr int64_t max_queues = 256;  // MAX_TAP_QUEUES (linux/if_tap.h), TUN's own limit
constexpr int vnet_header_bytes = 10;  // virtio_net_hdr without num_buffers
constexpr unsigned tun_f_uso4 = 0x20, tun_f_uso6 = 0x40;  // linux/if_tun.h since 6.2

// One queue, blocking: io_uring polls only a TUN opened without O_NONBLOCK. On failure errno and the call's name.
Descriptor open_queue(ifreq& request, bool vnet_header, const char** failed) {
  *failed = "open(/dev/net/tun)";
  Descriptor queue{open("/dev/net/tun", O_RDWR | O_CLOEXEC)};
  if (!queue.ok()) return Descriptor{};
  *failed = "ioctl(TUNSETIFF)";
  if (ioctl(queue.get(), TUNSETIFF, &request) != 0) return Descriptor{};
  if (!vnet_header) return queue;
  // a device somebody else made may have another header size
  *failed = "ioctl(TUNSETVNETHDRSZ)";
  int bytes = vnet_header_bytes;
  if (ioctl(queue.get(), TUNSETVNETHDRSZ, &bytes) != 0) return Descriptor{};
  return queue;
}

// -1 and errno on failure.
int mtu_of(const char* name) {
  const Descriptor socket{::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)};
  if (!socket.ok()) return -1;
  ifreq request{};
  memcpy(request.ifr_name, name, strnlen(name, IFNAMSIZ - 1));
  return ioctl(socket.get(), SIOCGIFMTU, &request) == 0 ? request.ifr_mtu : -1;
}

// The attribute of a type among those of a message, or nullptr.
const rtattr* attribute(const rtattr* first, int left, unsigned short type) {
  for (const rtattr* each = first; RTA_OK(each, left); each = RTA_NEXT(each, left)) {
    if ((each->rta_type & NLA_TYPE_MASK) == type) return each;
  }
  return nullptr;
}
const rtattr* nested(const rtattr* in, unsigned short type) {
  return in ? attribute(static_cast<const rtattr*>(RTA_DATA(in)), static_cast<int>(RTA_PAYLOAD(in)), type) : nullptr;
}

// Open queues of a TUN device made with several (IFLA_TUN_NUM_QUEUES, since 4.17). 0 of any other device, and where it cannot be asked.
uint32_t open_queues(unsigned index) {
  const Descriptor socket{::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE)};
  struct {
    nlmsghdr header;
    ifinfomsg link;
  } question{};
  question.header.nlmsg_len = sizeof question;
  question.header.nlmsg_type = RTM_GETLINK;
  question.header.nlmsg_flags = NLM_F_REQUEST;
  question.link.ifi_index = static_cast<int>(index);
  if (!socket.ok() || send(socket.get(), &question, sizeof question, 0) < 0) return 0;

  alignas(nlmsghdr) char answer[16'384];
  const ssize_t received = recv(socket.get(), answer, sizeof answer, 0);
  const auto* header = reinterpret_cast<const nlmsghdr*>(answer);
  if (received < 0 || !NLMSG_OK(header, static_cast<size_t>(received)) || header->nlmsg_type != RTM_NEWLINK) return 0;
  const rtattr* link = attribute(IFLA_RTA(NLMSG_DATA(header)), static_cast<int>(IFLA_PAYLOAD(header)), IFLA_LINKINFO);
  const rtattr* kind = nested(link, IFLA_INFO_KIND);
  if (!kind || strncmp(static_cast<const char*>(RTA_DATA(kind)), "tun", RTA_PAYLOAD(kind)) != 0) return 0;
  uint32_t sum = 0;
  for (const unsigned short type : {IFLA_TUN_NUM_QUEUES, IFLA_TUN_NUM_DISABLED_QUEUES}) {
    uint32_t count = 0;
    const rtattr* each = nested(nested(link, IFLA_INFO_DATA), type);
    if (each && RTA_PAYLOAD(each) >= sizeof count) memcpy(&count, RTA_DATA(each), sizeof count);
    sum += count;
  }
  return sum;
}

napi_value opened(napi_env env, const char* name, std::vector<Descriptor>& queues, bool existed) {
  const int mtu = mtu_of(name);
  if (mtu < 0) return throw_errno(env, "ioctl(SIOCGIFMTU)", errno);
  napi_value descriptors = new_array(env);
  for (uint32_t i = 0; i < queues.size(); i++) push(env, descriptors, i, to_js(env, int32_t{queues[i].release()}));
  napi_value result = new_object(env);
  set(env, result, "name", to_js(env, std::string_view{name}));
  set(env, result, "descriptors", descriptors);
  set(env, result, "existed", to_js(env, existed));
  set(env, result, "mtu", to_js(env, int32_t{mtu}));
  return result;
}

// openTun({ name, queues, vnetHeader, persist }) -> { name, descriptors, existed, mtu }
napi_value open_tun(napi_env env, napi_callback_info info) {
  Args args{env, info, "openTun"};
  Options options = args.options(0, "options");
  const std::string name = options.string("name", 0, IFNAMSIZ - 1);
  const auto queues = static_cast<size_t>(options.integer("queues", 1, max_queues));
  const bool vnet_header = options.boolean("vnetHeader");
  const bool persist = options.boolean_or("persist", false);
  if (!args.ok()) return nullptr;

  const unsigned index = name.empty() ? 0 : if_nametoindex(name.c_str());
  const bool existed = index != 0;
  // the kernel refuses a second user only where the device has one queue
  if (existed && open_queues(index) > 0) return throw_errno(env, "openTun", EBUSY);
  ifreq request{};
  memcpy(request.ifr_name, name.data(), name.size());
  const auto base = static_cast<short>(IFF_TUN | IFF_NO_PI | (vnet_header ? IFF_VNET_HDR : 0));
  const auto multiple = static_cast<short>(base | IFF_MULTI_QUEUE);
  request.ifr_flags = queues > 1 ? multiple : base;

  const char* failed = nullptr;
  std::vector<Descriptor> opened_queues;
  opened_queues.push_back(open_queue(request, vnet_header, &failed));
  size_t wanted = queues;
  if (!opened_queues[0].ok() && errno == EINVAL && existed) {
    // attaching must repeat how the device was made: one queue, or several of which we take one
    request.ifr_flags = queues > 1 ? base : multiple;
    wanted = 1;
    opened_queues[0] = open_queue(request, vnet_header, &failed);
  }
  if (!opened_queues[0].ok()) return throw_errno(env, failed, errno);
  while (opened_queues.size() < wanted) {
    opened_queues.push_back(open_queue(request, vnet_header, &failed));  // the name is known now
    if (!opened_queues.back().ok()) return throw_errno(env, failed, errno);
  }
  if (persist && ioctl(opened_queues[0].get(), TUNSETPERSIST, 1) != 0) return throw_errno(env, "ioctl(TUNSETPERSIST)", errno);
  return opened(env, request.ifr_name, opened_queues, existed);
}

// tunOffload(descriptor, on) -> mask in force
napi_value tun_offload(napi_env env, napi_callback_info info) {
  Args args{env, info, "tunOffload"};
  const auto descriptor = static_cast<int>(args.integer(0, "descriptor", 0, INT32_MAX));
  const bool on = args.boolean(1, "on");
  if (!args.ok()) return nullptr;

  constexpr unsigned tso = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6;
  // the mask belongs to the device and survives its last user: off is said, too
  const unsigned masks[]{on ? tso | tun_f_uso4 | tun_f_uso6 : 0, on ? tso : 0, 0};
  for (const unsigned mask : masks) {
    if (ioctl(descriptor, TUNSETOFFLOAD, static_cast<unsigned long>(mask)) == 0) return to_js(env, uint32_t{mask});
    if (errno != EINVAL) return throw_errno(env, "ioctl(TUNSETOFFLOAD)", errno);
  }
  return to_js(env, uint32_t{0});
}

// tunMtu(name) -> bytes
napi_value tun_mtu(napi_env env, napi_callback_info info) {
  Args args{env, info, "tunMtu"};
  const std::string name = args.string(0, "name", 1, IFNAMSIZ - 1);
  if (!args.ok()) return nullptr;
  const int mtu = mtu_of(name.c_str());
  return mtu < 0 ? throw_errno(env, "ioctl(SIOCGIFMTU)", errno) : to_js(env, int32_t{mtu});
}

const Functions functions{{"openTun", open_tun}, {"tunOffload", tun_offload}, {"tunMtu", tun_mtu}};

}  // namespace
}  // namespace ringway
