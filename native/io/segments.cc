#include "io/segments.h"

#include <algorithm>
#include <cstring>

#include "core/columns.h"

namespace ringway {
namespace {

constexpr uint8_t protocol_tcp = 6, protocol_udp = 17;
constexpr uint8_t fin = 0x01, psh = 0x08, cwr = 0x80;
constexpr size_t ipv6_header = 40, udp_header = 8, min_tcp_header = 20;

uint16_t read_u16(const uint8_t* at) { return static_cast<uint16_t>(at[0] << 8 | at[1]); }
void write_u16(uint8_t* at, uint16_t value) {
  at[0] = static_cast<uint8_t>(value >> 8);
  at[1] = static_cast<uint8_t>(value);
}
uint32_t read_u32(const uint8_t* at) { return uint32_t{read_u16(at)} << 16 | read_u16(at + 2); }
void write_u32(uint8_t* at, uint32_t value) {
  write_u16(at, static_cast<uint16_t>(value >> 16));
  write_u16(at + 2, static_cast<uint16_t>(value));
}

uint64_t add_up(std::span<const uint8_t> bytes, uint64_t sum) {
  for (size_t i = 0; i + 1 < bytes.size(); i += 2) sum += read_u16(bytes.data() + i);
  if (bytes.size() % 2) sum += uint64_t{bytes.back()} << 8;
  return sum;
}

uint16_t fold(uint64_t sum) {
  while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<uint16_t>(~sum);
}

struct Headers {
  size_t transport = 0;  // offset of the TCP or UDP header
  size_t all = 0;        // bytes of IP and transport header
  bool ipv4 = false, tcp = false;
  bool ok = false;
};

Headers read_headers(const Superpacket& packet) {
  const auto bytes = packet.bytes;
  Headers h;
  if (bytes.size() < 20) return h;
  h.ipv4 = bytes[0] >> 4 == 4;
  if (!h.ipv4 && (bytes[0] >> 4 != 6 || bytes.size() < ipv6_header)) return h;
  h.tcp = packet.gso != gso::udp;
  const uint8_t protocol = h.tcp ? protocol_tcp : protocol_udp;
  h.transport = h.ipv4 ? size_t{bytes[0] & 15u} * 4 : ipv6_header;
  if (h.ipv4 && (h.transport < 20 || bytes[9] != protocol)) return h;
  if (!h.ipv4 && bytes[6] != protocol) {  // extension headers: the checksum says where they end
    if (!packet.needs_checksum || packet.checksum_start < ipv6_header) return h;
    h.transport = packet.checksum_start;
  }
  if (bytes.size() < h.transport + (h.tcp ? min_tcp_header : udp_header)) return h;
  const size_t transport_bytes = h.tcp ? static_cast<size_t>(bytes[h.transport + 12] >> 4) * 4 : udp_header;
  h.all = h.transport + transport_bytes;
  h.ok = transport_bytes >= (h.tcp ? min_tcp_header : udp_header) && h.all <= bytes.size();
  return h;
}

void finish_transport(std::span<uint8_t> packet, const Headers& h) {
  const size_t length = packet.size() - h.transport;
  const size_t field = h.transport + (h.tcp ? 16 : 6);
  write_u16(packet.data() + field, 0);
  const auto addresses = h.ipv4 ? packet.subspan(12, 8) : packet.subspan(8, 32);
  uint64_t sum = add_up(addresses, length + (h.tcp ? protocol_tcp : protocol_udp));
  sum = add_up(packet.subspan(h.transport), sum);
  const uint16_t checksum = fold(sum);
  write_u16(packet.data() + field, !h.tcp && checksum == 0 ? 0xffff : checksum);
}

// A packet that is no superpacket: a copy, with the checksum its sender left open completed (virtio_net_hdr csum_start, csum_offset).
size_t write_plain(const Superpacket& packet, std::span<uint8_t> to) {
  const size_t length = packet.bytes.size();
  const size_t field = size_t{packet.checksum_start} + packet.checksum_offset;
  if (length == 0) return 0;
  memcpy(to.data(), packet.bytes.data(), length);
  if (!packet.needs_checksum) return length;
  if (field + 2 > length) return 0;
  const uint16_t checksum = fold(add_up(to.subspan(packet.checksum_start, length - packet.checksum_start), 0));
  write_u16(to.data() + field, checksum == 0 && packet.checksum_offset == 6 ? 0xffff : checksum);
  return length;
}

}  // namespace

uint32_t segment_count(const Superpacket& packet) {
  if (packet.gso == gso::none || packet.segment_size == 0) return 1;
  const Headers h = read_headers(packet);
  if (!h.ok) return 0;
  const size_t payload = packet.bytes.size() - h.all;
  return payload == 0 ? 1 : static_cast<uint32_t>((payload + packet.segment_size - 1) / packet.segment_size);
}

size_t write_segment(const Superpacket& packet, uint32_t index, std::span<uint8_t> to) {
  if (packet.gso == gso::none || packet.segment_size == 0) return to.size() < packet.bytes.size() ? 0 : write_plain(packet, to);
  const Headers h = read_headers(packet);
  if (!h.ok) return 0;
  const size_t payload = packet.bytes.size() - h.all;
  const size_t from = std::min(payload, size_t{index} * packet.segment_size);
  const size_t bytes = std::min<size_t>(packet.segment_size, payload - from);
  const size_t length = h.all + bytes;
  if (to.size() < length || length > 65'535) return 0;
  const bool last = from + bytes == payload;
  uint8_t* out = to.data();
  memcpy(out, packet.bytes.data(), h.all);
  memcpy(out + h.all, packet.bytes.data() + h.all + from, bytes);

  if (h.ipv4) {
    write_u16(out + 2, static_cast<uint16_t>(length));
    write_u16(out + 4, static_cast<uint16_t>(read_u16(out + 4) + index));
    write_u16(out + 10, 0);
    write_u16(out + 10, fold(add_up(to.first(h.transport), 0)));
  } else {
    write_u16(out + 4, static_cast<uint16_t>(length - ipv6_header));
  }
  if (h.tcp) {
    uint8_t& flags = out[h.transport + 13];
    write_u32(out + h.transport + 4, read_u32(out + h.transport + 4) + static_cast<uint32_t>(from));
    if (!last) flags &= static_cast<uint8_t>(~(fin | psh));
    if (index > 0) flags &= static_cast<uint8_t>(~cwr);
  } else {
    write_u16(out + h.transport + 4, static_cast<uint16_t>(udp_header + bytes));
  }
  finish_transport(to.first(length), h);
  return length;
}

}  // namespace ringway
