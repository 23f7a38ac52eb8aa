#include "packet/segment.h"

#include <algorithm>
#include <cstring>

#include "core/batch.h"
#include "packet/ip.h"

namespace ringway {

bool Segmenter::begin(std::span<uint8_t> packet, const SuperpacketHints& hints) {
  packet_ = packet.data();
  total_ = static_cast<uint32_t>(packet.size());
  hints_ = hints;
  if (total_ == 0 || total_ > max_ip_bytes + ip6::header) return false;
  if (hints.kind == gso::none) {
    header_length_ = 0;
    segment_size_ = 0;
    segments_ = 1;
    return !hints.needs_checksum || size_t{hints.checksum_start} + hints.checksum_offset + 2 <= total_;
  }

  if (hints.kind != gso::tcp4 && hints.kind != gso::tcp6 && hints.kind != gso::udp) return false;
  if (hints.segment_size == 0) return false;
  const uint8_t version = packet_[0] >> 4;
  tcp_ = hints.kind != gso::udp;
  const uint8_t wanted = tcp_ ? protocol::tcp : protocol::udp;
  if (version == 4 && hints.kind != gso::tcp6) {
    version6_ = false;
    if (ipv4_length(packet) != total_) return false;
    ip_length_ = (packet_[0] & 15u) * 4;
    if (packet_[ip4::proto] != wanted) return false;
    if ((load16(packet_ + ip4::fragment) & (ip4::more_fragments | ip4::offset_mask)) != 0) return false;
  } else if (version == 6 && hints.kind != gso::tcp4) {
    version6_ = true;
    ip_length_ = ip6::header;
    if (total_ < ip6::header || packet_[ip6::next_header] != wanted) return false;
    if (load16(packet_ + ip6::payload_length) != total_ - ip6::header) return false;
  } else {
    return false;
  }

  const uint8_t* transport = packet_ + ip_length_;
  const uint32_t left = total_ - ip_length_;
  uint32_t transport_length = udp::header;
  if (tcp_) {
    if (left < tcp::min_header) return false;
    transport_length = (transport[tcp::data_offset] >> 4) * 4u;
    if (transport_length < tcp::min_header) return false;
  }
  if (left < transport_length) return false;
  header_length_ = ip_length_ + transport_length;
  const uint32_t payload = total_ - header_length_;
  segment_size_ = std::min(hints.segment_size, std::max(payload, 1u));
  segments_ = std::max(1u, (payload + segment_size_ - 1) / segment_size_);

  // Everything that is the same in each segment, summed once.
  if (version6_) {
    transport_sum_ = pseudo_sum6(packet_, wanted, 0);
  } else {
    identification_ = load16(packet_ + ip4::identification);
    ip_sum_ = sum_bytes(packet_, ip_length_) + complement(load_native<uint16_t>(packet_ + ip4::total_length)) +
              complement(load_native<uint16_t>(packet_ + ip4::identification)) + complement(load_native<uint16_t>(packet_ + ip4::checksum));
    transport_sum_ = pseudo_sum4(packet_, wanted, 0);
  }
  if (tcp_) {
    sequence_ = load32(transport + tcp::sequence);
    flags_ = transport[tcp::flags];
    without_checksum_ = false;
    // the word with the flags, less those that are not on every segment
    const uint8_t constant = flags_ & ~(tcp::fin | tcp::psh | tcp::cwr);
    transport_sum_ += load_native<uint32_t>(transport) + uint64_t{load_native<uint32_t>(transport + tcp::acknowledgement)} + transport[tcp::data_offset] +
                      (uint64_t{constant} << 8) + load_native<uint16_t>(transport + tcp::window) + load_native<uint16_t>(transport + tcp::urgent) +
                      sum_bytes(transport + tcp::min_header, transport_length - tcp::min_header);
  } else {
    transport_sum_ += load_native<uint32_t>(transport);
    without_checksum_ = !hints.needs_checksum && load_native<uint16_t>(transport + udp::checksum) == 0;
  }
  return true;
}

void Segmenter::write(uint32_t segment, uint8_t* to) const {
  if (header_length_ == 0) return write_alone(to);
  std::memcpy(to, packet_, header_length_);
  finish(segment, to, copy_and_sum(to + header_length_, packet_ + header_length_ + segment * segment_size_, length(segment) - header_length_));
}

uint64_t Segmenter::sum(uint32_t segment) const {
  if (header_length_ != 0) return sum_bytes(packet_ + header_length_ + segment * segment_size_, length(segment) - header_length_);
  return hints_.needs_checksum ? sum_bytes(packet_ + hints_.checksum_start, total_ - hints_.checksum_start) : 0;
}

void Segmenter::save_header(uint8_t* to) const {
  std::memcpy(to, packet_, header_length_);
}

uint8_t* Segmenter::place(uint32_t segment, const uint8_t* header, uint64_t sum) const {
  if (header_length_ == 0) {
    if (hints_.needs_checksum) finish_alone(packet_, sum);
    return packet_;
  }
  uint8_t* to = packet_ + segment * segment_size_;
  std::memcpy(to, header, header_length_);
  finish(segment, to, sum);
  return to;
}

// What differs between the headers of segments. `sum`: of its payload.
void Segmenter::finish(uint32_t segment, uint8_t* to, uint64_t sum) const {
  const uint32_t bytes = length(segment);
  uint8_t* transport = to + ip_length_;
  const uint16_t transport_bytes = static_cast<uint16_t>(bytes - ip_length_);
  sum += transport_sum_ + swap_bytes(transport_bytes);
  if (version6_) {
    store16(to + ip6::payload_length, transport_bytes);
  } else {
    const uint16_t identification = static_cast<uint16_t>(identification_ + segment);
    store16(to + ip4::total_length, static_cast<uint16_t>(bytes));
    store16(to + ip4::identification, identification);
    store_native(to + ip4::checksum, complement(fold(ip_sum_ + swap_bytes(static_cast<uint16_t>(bytes)) + swap_bytes(identification))));
  }
  if (tcp_) {
    const uint32_t sequence = sequence_ + segment * segment_size_;
    uint8_t flags = flags_;
    if (segment + 1 < segments_) flags &= ~(tcp::fin | tcp::psh);
    if (segment > 0) flags &= ~tcp::cwr;
    store32(transport + tcp::sequence, sequence);
    transport[tcp::flags] = flags;
    sum += __builtin_bswap32(sequence) + (uint64_t{static_cast<uint8_t>(flags & (tcp::fin | tcp::psh | tcp::cwr))} << 8);
    store_native(transport + tcp::checksum, complement(fold(sum)));
  } else {
    store16(transport + udp::length, transport_bytes);
    if (without_checksum_) return;
    const uint16_t checksum = complement(fold(sum + swap_bytes(transport_bytes)));
    store_native<uint16_t>(transport + udp::checksum, checksum == 0 ? 0xffff : checksum);
  }
}

uint32_t Segmenter::slice_length(uint32_t first, uint32_t count) const {
  if (header_length_ == 0) return total_;
  return (count - 1) * segment_size_ + length(first + count - 1);
}

// Checksums are left as they are: of a superpacket they are made anew when it is cut.
void Segmenter::slice(uint32_t first, uint32_t count, uint8_t* to) const {
  const uint32_t bytes = slice_length(first, count);
  std::memcpy(to, packet_, header_length_);
  std::memcpy(to + header_length_, packet_ + header_length_ + size_t{first} * segment_size_, bytes - header_length_);
  if (header_length_ == 0) return;
  if (version6_) {
    store16(to + ip6::payload_length, static_cast<uint16_t>(bytes - ip_length_));
  } else {
    store16(to + ip4::total_length, static_cast<uint16_t>(bytes));
    store16(to + ip4::identification, static_cast<uint16_t>(identification_ + first));
  }
  uint8_t* transport = to + ip_length_;
  if (!tcp_) {
    store16(transport + udp::length, static_cast<uint16_t>(bytes - ip_length_));
    return;
  }
  store32(transport + tcp::sequence, sequence_ + first * segment_size_);
  if (first + count < segments_) transport[tcp::flags] &= static_cast<uint8_t>(~(tcp::fin | tcp::psh));
  if (first > 0) transport[tcp::flags] &= static_cast<uint8_t>(~tcp::cwr);
}

// One packet, as it came; its checksum finished when the kernel left that to us.
void Segmenter::write_alone(uint8_t* to) const {
  if (!hints_.needs_checksum) {
    std::memcpy(to, packet_, total_);
    return;
  }
  const uint32_t start = hints_.checksum_start;
  std::memcpy(to, packet_, start);
  finish_alone(to, copy_and_sum(to + start, packet_ + start, total_ - start));
}

void Segmenter::finish_alone(uint8_t* to, uint64_t sum) const {
  uint16_t checksum = complement(fold(sum));
  const uint8_t version = to[0] >> 4;
  const bool is_udp = version == 4   ? total_ > ip4::proto && to[ip4::proto] == protocol::udp
                      : version == 6 ? total_ > ip6::next_header && to[ip6::next_header] == protocol::udp
                                     : false;
  if (checksum == 0 && is_udp) checksum = 0xffff;
  store_native(to + hints_.checksum_start + hints_.checksum_offset, checksum);
}

}  // namespace ringway
