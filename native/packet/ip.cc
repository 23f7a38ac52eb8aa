#include "packet/ip.h"

#include <algorithm>

namespace ringway {
namespace {

bool is_fragment(const uint8_t* ip) { return (load16(ip + ip4::fragment) & (ip4::more_fragments | ip4::offset_mask)) != 0; }

// RFC 1624 equation 3, in the machine's order. `difference` is the sum of ~m + m' over the words that change.
void update(uint8_t* field, uint64_t difference) {
  store_native(field, complement(fold(complement(load_native<uint16_t>(field)) + difference)));
}

// The same for a field that is a plain sum.
void update_partial(uint8_t* field, uint64_t difference) { store_native(field, fold(load_native<uint16_t>(field) + difference)); }

// Offset of the transport checksum from the start of the packet, or 0.
size_t checksum_field(std::span<const uint8_t> packet) {
  const uint8_t* ip = packet.data();
  if ((load16(ip + ip4::fragment) & ip4::offset_mask) != 0) return 0;
  const size_t header = (ip[0] & 15u) * 4;
  const size_t at = ip[ip4::proto] == protocol::tcp   ? header + tcp::checksum
                    : ip[ip4::proto] == protocol::udp ? header + udp::checksum
                                                      : 0;
  return at == 0 || at + 2 > packet.size() ? 0 : at;
}

uint64_t replace_address(uint8_t* field, uint32_t address) {
  const uint32_t before = load_native<uint32_t>(field), after = __builtin_bswap32(address);
  store_native(field, after);
  return uint64_t{complement(static_cast<uint16_t>(before))} + complement(static_cast<uint16_t>(before >> 16)) + (after & 0xffff) + (after >> 16);
}

}  // namespace

bool checksums_right(std::span<const uint8_t> packet) {
  const uint8_t* ip = packet.data();
  const size_t header = (ip[0] & 15u) * 4;
  if (fold(sum_words(ip, header)) != 0xffff || is_fragment(ip)) return false;
  const uint8_t* transport = ip + header;
  const size_t length = packet.size() - header;
  if (ip[ip4::proto] == protocol::tcp) {
    if (length < tcp::min_header) return false;
    const size_t offset = (transport[tcp::data_offset] >> 4) * 4u;
    if (offset < tcp::min_header || offset > length) return false;
  } else if (ip[ip4::proto] == protocol::udp) {
    if (length < udp::header || load16(transport + udp::length) != length) return false;
    if (load_native<uint16_t>(transport + udp::checksum) == 0) return true;
  } else {
    return false;
  }
  return fold(sum_bytes(transport, length) + pseudo_sum4(ip, ip[ip4::proto], static_cast<uint32_t>(length))) == 0xffff;
}

void translate(std::span<uint8_t> packet, Translation to, bool partial) {
  uint8_t* ip = packet.data();
  uint64_t difference = 0;
  if (to.source != 0 && load32(ip + ip4::source) != to.source) difference += replace_address(ip + ip4::source, to.source);
  if (to.destination != 0 && load32(ip + ip4::destination) != to.destination) difference += replace_address(ip + ip4::destination, to.destination);
  if (difference == 0) return;
  update(ip + ip4::checksum, difference);
  const size_t at = checksum_field(packet);
  if (at == 0) return;
  if (partial) return update_partial(ip + at, difference);
  if (ip[ip4::proto] == protocol::udp) {
    if (load_native<uint16_t>(ip + at) == 0) return;
    update(ip + at, difference);
    if (load_native<uint16_t>(ip + at) == 0) store_native<uint16_t>(ip + at, 0xffff);
    return;
  }
  update(ip + at, difference);
}

void clamp_mss(std::span<uint8_t> packet, uint16_t limit, bool partial) {
  uint8_t* ip = packet.data();
  const size_t header = (ip[0] & 15u) * 4;
  if (ip[ip4::proto] != protocol::tcp || is_fragment(ip) || packet.size() < header + tcp::min_header) return;
  uint8_t* transport = ip + header;
  if ((transport[tcp::flags] & tcp::syn) == 0) return;
  const size_t end = std::min<size_t>((transport[tcp::data_offset] >> 4) * 4u, packet.size() - header);
  for (size_t at = tcp::min_header; at < end;) {
    if (transport[at] == 0) return;
    if (transport[at] == 1) {
      at++;
      continue;
    }
    if (at + 1 >= end || transport[at + 1] < 2 || at + transport[at + 1] > end) return;
    if (transport[at] == 2 && transport[at + 1] == 4) {
      uint8_t* value = transport + at + 2;
      const uint16_t before = load16(value);
      if (before <= limit) return;
      store16(value, limit);
      if (partial) return;
      // a word at an odd place counts byte-swapped
      const bool odd = at % 2 != 0;
      const uint16_t was = odd ? before : swap_bytes(before), is = odd ? limit : swap_bytes(limit);
      return update(transport + tcp::checksum, uint64_t{complement(was)} + is);
    }
    at += transport[at + 1];
  }
}

}  // namespace ringway
