// What the kernel writes beside the bytes, and what it wants to read: socket addresses, control messages, virtio-net headers.
// Plain functions over bytes, no N-API: native/fuzz links them alone. Sources: linux/udp.h, linux/in.h, linux/virtio_net.h.
#pragma once

#include <cstdint>
#include <span>

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/uio.h>

namespace ringway {

inline constexpr size_t max_name = sizeof(sockaddr_in6);

// Socket address to an `address` element (src/datapath/batch.ts): remote part only, the rest zeroed. IPv4 in IPv6 becomes family 4.
void read_name(std::span<const uint8_t> name, uint8_t* element);

struct Control {
  uint32_t segment_size = 0;  // UDP_GRO: bytes of every datagram but the last; 0 = a single one
  uint32_t drops = 0;         // SO_RXQ_OVFL: buffers this socket has dropped so far, a datagram or a train each
  bool has_drops = false;
  double arrived = 0;  // SO_TIMESTAMPNS: when the kernel took it in, seconds of CLOCK_REALTIME; 0 = not told
};
// Received control messages; the local address goes into `element`. Stops at the first one that does not fit its buffer.
Control read_control(std::span<const uint8_t> control, uint8_t* element);

// One sendmsg: everything it points at lies in here, except the bytes.
struct Message {
  msghdr header;
  iovec bytes;
  union {
    sockaddr_in v4;
    sockaddr_in6 v6;
  } name;
  alignas(cmsghdr) uint8_t control[CMSG_SPACE(sizeof(uint16_t)) + CMSG_SPACE(sizeof(in6_pktinfo))];
};
// `segment` > 0 adds UDP_SEGMENT; a local address adds IP_PKTINFO or IPV6_PKTINFO. `ipv6_socket`: IPv4 peers are written as ::ffff:a.b.c.d.
void write_message(Message& message, const uint8_t* bytes, uint32_t length, uint16_t segment, const uint8_t* element, bool ipv6_socket);

inline constexpr size_t vnet_header_bytes = 10;

// virtio_net_hdr, in the machine's byte order.
struct VnetHeader {
  uint8_t flags = 0;  // 1 NEEDS_CSUM, 2 DATA_VALID
  uint8_t gso_type = 0;
  uint16_t header_length = 0;
  uint16_t gso_size = 0;
  uint16_t checksum_start = 0;
  uint16_t checksum_offset = 0;
};
static_assert(sizeof(VnetHeader) == vnet_header_bytes);
inline constexpr uint8_t vnet_needs_checksum = 1, vnet_data_valid = 2, vnet_gso_ecn = 0x80;

// What a read of the TUN gave, as columns of an entry. header_length is not taken from the kernel (docs/linux-facts.md §2).
struct Packet {
  uint8_t gso = 0;  // gso::none, tcp4, tcp6, udp
  bool needs_checksum = false;
  uint32_t segment_size = 0;
  uint16_t checksum_start = 0;
  uint16_t checksum_offset = 0;
};
// false: the header contradicts itself or the packet's length; the packet is dropped as badGso.
bool read_vnet(const uint8_t* header, uint32_t packet_length, Packet& out);

}  // namespace ringway
