#include "io/message.h"

#include <cstring>
#include <ctime>

#include <netinet/udp.h>

#include "core/columns.h"

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#ifndef UDP_GRO
#define UDP_GRO 104
#endif

namespace ringway {
namespace {

constexpr uint8_t mapped_prefix[12]{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

bool is_mapped(const uint8_t* ipv6) { return memcmp(ipv6, mapped_prefix, sizeof mapped_prefix) == 0; }

bool is_zero(const uint8_t* bytes, size_t count) {
  for (size_t i = 0; i < count; i++) {
    if (bytes[i]) return false;
  }
  return true;
}

void read_ipv6(const uint8_t* from, uint8_t* to) {
  if (is_mapped(from)) {
    memcpy(to, from + 12, 4);
  } else {
    memcpy(to, from, 16);
  }
}

// Appends a control message to `message`; its buffer has room for all that write_message may add.
void add_control(Message& message, int level, int type, const void* content, size_t bytes) {
  auto* header = reinterpret_cast<cmsghdr*>(message.control + message.header.msg_controllen);
  memset(header, 0, CMSG_SPACE(bytes));
  header->cmsg_level = level;
  header->cmsg_type = type;
  header->cmsg_len = CMSG_LEN(bytes);
  memcpy(CMSG_DATA(header), content, bytes);
  message.header.msg_control = message.control;
  message.header.msg_controllen += CMSG_SPACE(bytes);
}

void write_name(Message& message, const uint8_t* element, bool ipv6_socket) {
  const uint8_t family = element[address::family];
  uint16_t port_number;
  memcpy(&port_number, element + address::port_number, sizeof port_number);  // big-endian in both
  if (family != 4 && family != 6) return;  // no name: the kernel refuses with EDESTADDRREQ
  message.header.msg_name = &message.name;
  if (family == 4 && !ipv6_socket) {
    message.name.v4 = {};
    message.name.v4.sin_family = AF_INET;
    message.name.v4.sin_port = port_number;
    memcpy(&message.name.v4.sin_addr, element + address::remote, 4);
    message.header.msg_namelen = sizeof message.name.v4;
    return;
  }
  message.name.v6 = {};
  message.name.v6.sin6_family = AF_INET6;
  message.name.v6.sin6_port = port_number;
  auto* to = reinterpret_cast<uint8_t*>(&message.name.v6.sin6_addr);
  if (family == 4) {
    memcpy(to, mapped_prefix, sizeof mapped_prefix);
    memcpy(to + 12, element + address::remote, 4);
  } else {
    memcpy(to, element + address::remote, 16);
  }
  message.header.msg_namelen = sizeof message.name.v6;
}

void add_local(Message& message, const uint8_t* element) {
  const uint8_t* local = element + address::local;
  if (element[address::family] == 4) {
    if (is_zero(local, 4)) return;
    in_pktinfo info{};
    memcpy(&info.ipi_spec_dst, local, 4);
    add_control(message, IPPROTO_IP, IP_PKTINFO, &info, sizeof info);
  } else if (element[address::family] == 6) {
    // a link-local address means nothing without its interface, which an address element does not hold
    if (is_zero(local, 16) || (local[0] == 0xfe && (local[1] & 0xc0) == 0x80)) return;
    in6_pktinfo info{};
    memcpy(&info.ipi6_addr, local, 16);
    add_control(message, IPPROTO_IPV6, IPV6_PKTINFO, &info, sizeof info);
  }
}

}  // namespace

void read_name(std::span<const uint8_t> name, uint8_t* element) {
  memset(element, 0, address::size);
  sa_family_t family = AF_UNSPEC;
  if (name.size() >= sizeof family) memcpy(&family, name.data(), sizeof family);
  if (family == AF_INET && name.size() >= sizeof(sockaddr_in)) {
    sockaddr_in v4;
    memcpy(&v4, name.data(), sizeof v4);
    element[address::family] = 4;
    memcpy(element + address::port_number, &v4.sin_port, 2);
    memcpy(element + address::remote, &v4.sin_addr, 4);
  } else if (family == AF_INET6 && name.size() >= sizeof(sockaddr_in6)) {
    sockaddr_in6 v6;
    memcpy(&v6, name.data(), sizeof v6);
    const auto* remote = reinterpret_cast<const uint8_t*>(&v6.sin6_addr);
    element[address::family] = is_mapped(remote) ? 4 : 6;
    memcpy(element + address::port_number, &v6.sin6_port, 2);
    read_ipv6(remote, element + address::remote);
  }
}

Control read_control(std::span<const uint8_t> control, uint8_t* element) {
  Control result;
  size_t at = 0;
  // by hand, not by CMSG_NXTHDR: that macro trusts cmsg_len of the message it leaves
  while (control.size() - at >= sizeof(cmsghdr)) {
    cmsghdr header;
    memcpy(&header, control.data() + at, sizeof header);
    if (header.cmsg_len < CMSG_LEN(0) || header.cmsg_len > control.size() - at) break;
    const size_t bytes = header.cmsg_len - CMSG_LEN(0);
    const uint8_t* content = control.data() + at + CMSG_LEN(0);
    if (header.cmsg_level == IPPROTO_UDP && header.cmsg_type == UDP_GRO && bytes >= sizeof(int)) {
      int segment = 0;
      memcpy(&segment, content, sizeof segment);
      if (segment > 0) result.segment_size = static_cast<uint32_t>(segment);
    } else if (header.cmsg_level == SOL_SOCKET && header.cmsg_type == SO_RXQ_OVFL && bytes >= sizeof(uint32_t)) {
      memcpy(&result.drops, content, sizeof result.drops);
      result.has_drops = true;
    } else if (header.cmsg_level == SOL_SOCKET && header.cmsg_type == SO_TIMESTAMPNS && bytes >= sizeof(timespec)) {
      timespec stamp;
      memcpy(&stamp, content, sizeof stamp);
      result.arrived = static_cast<double>(stamp.tv_sec) + static_cast<double>(stamp.tv_nsec) / 1e9;
    } else if (header.cmsg_level == IPPROTO_IP && header.cmsg_type == IP_PKTINFO && bytes >= sizeof(in_pktinfo)) {
      in_pktinfo info;
      memcpy(&info, content, sizeof info);
      memcpy(element + address::local, &info.ipi_spec_dst, 4);
    } else if (header.cmsg_level == IPPROTO_IPV6 && header.cmsg_type == IPV6_PKTINFO && bytes >= sizeof(in6_pktinfo)) {
      in6_pktinfo info;
      memcpy(&info, content, sizeof info);
      read_ipv6(reinterpret_cast<const uint8_t*>(&info.ipi6_addr), element + address::local);
    }
    const size_t step = CMSG_ALIGN(header.cmsg_len);
    if (step > control.size() - at) break;
    at += step;
  }
  return result;
}

void write_message(Message& message, const uint8_t* bytes, uint32_t length, uint16_t segment, const uint8_t* element, bool ipv6_socket) {
  message.header = {};
  message.bytes = {const_cast<uint8_t*>(bytes), length};
  message.header.msg_iov = &message.bytes;
  message.header.msg_iovlen = 1;
  write_name(message, element, ipv6_socket);
  if (segment > 0) add_control(message, IPPROTO_UDP, UDP_SEGMENT, &segment, sizeof segment);
  add_local(message, element);
}

bool read_vnet(const uint8_t* header, uint32_t packet_length, Packet& out) {
  VnetHeader read;
  memcpy(&read, header, sizeof read);
  out = Packet{};
  out.gso = read.gso_type & static_cast<uint8_t>(~vnet_gso_ecn);
  if (out.gso != gso::none && out.gso != gso::tcp4 && out.gso != gso::tcp6 && out.gso != gso::udp) return false;
  if (out.gso != gso::none) {
    if (read.gso_size == 0) return false;
    out.segment_size = read.gso_size;
  }
  if (read.flags & vnet_needs_checksum) {
    if (uint32_t{read.checksum_start} + read.checksum_offset + 2 > packet_length) return false;
    out.needs_checksum = true;
    out.checksum_start = read.checksum_start;
    out.checksum_offset = read.checksum_offset;
  }
  return out.gso == gso::none || out.needs_checksum;  // a superpacket without a checksum to complete is none the kernel makes
}

}  // namespace ringway
