#include "packet/coalesce.h"

#include <algorithm>
#include <cstring>

#include "core/batch.h"
#include "packet/headers.h"
#include "packet/ip.h"

namespace ringway {

namespace {

uint32_t packets_in(const InnerPacket& packet, uint32_t payload) { return packet.segment_size == 0 ? 1 : (payload + packet.segment_size - 1) / packet.segment_size; }

// Does its last packet end a run whose packets have so many bytes of payload?
bool ends_short(const InnerPacket& packet, uint32_t payload, uint32_t of_run) {
  return packet.segment_size == 0 ? payload < of_run : payload % packet.segment_size != 0;
}

}  // namespace

void Coalescer::reserve(uint32_t capacity) {
  if (packets_.size() < capacity) packets_.resize(capacity);
  if (next_.size() < capacity) next_.resize(capacity);
  runs_.reserve(capacity);
}

void Coalescer::begin(bool tcp, bool udp) {
  tcp_ = tcp;
  udp_ = udp;
  count_ = 0;
  runs_.clear();
  open_count_ = 0;
}

Coalescer::Shape Coalescer::look(const InnerPacket& packet, bool tcp_too, bool udp_too) {
  Shape shape{};
  const uint8_t* ip = packet.bytes;
  const uint32_t length = packet.length;
  shape.flow.slot = packet.slot;
  bool plain = false;  // a whole IP packet with nothing between IP and transport header
  bool offset = false;
  if (length >= ip4::min_header && (ip[0] >> 4) == 4) {
    const uint16_t fragment = load16(ip + ip4::fragment);
    shape.flow.version = 4;
    shape.flow.proto = ip[ip4::proto];
    shape.flow.addresses[0] = load_native<uint64_t>(ip + ip4::source);
    shape.ip_length = static_cast<uint16_t>((ip[0] & 15u) * 4);
    offset = (fragment & ip4::offset_mask) != 0;
    plain = shape.ip_length == ip4::min_header && (fragment & (ip4::more_fragments | ip4::offset_mask)) == 0 && load16(ip + ip4::total_length) == length;
  } else if (length >= ip6::header && (ip[0] >> 4) == 6) {
    shape.flow.version = 6;
    shape.flow.proto = ip[ip6::next_header];
    std::memcpy(shape.flow.addresses, ip + ip6::source, 32);
    shape.ip_length = ip6::header;
    plain = uint32_t{load16(ip + ip6::payload_length)} + ip6::header == length;
  } else {
    return shape;
  }
  const bool is_tcp = shape.flow.proto == protocol::tcp, is_udp = shape.flow.proto == protocol::udp;
  if ((!is_tcp && !is_udp) || offset || length < uint32_t{shape.ip_length} + 4) return shape;
  const uint8_t* transport = ip + shape.ip_length;
  const uint32_t left = length - shape.ip_length;
  shape.has_ports = true;
  shape.flow.ports = load_native<uint32_t>(transport);
  if (!plain || !packet.checksum_valid) return shape;

  if (is_tcp) {
    if (!tcp_too || left < tcp::min_header) return shape;
    const uint32_t header = (transport[tcp::data_offset] >> 4) * 4u;
    if (header < tcp::min_header || header >= left) return shape;
    if ((transport[tcp::data_offset] & 15) != 0) return shape;
    const uint8_t flags = transport[tcp::flags];
    if ((flags & tcp::ack) == 0 || (flags & ~(tcp::ack | tcp::psh | tcp::ece)) != 0) return shape;
    shape.header_length = static_cast<uint16_t>(shape.ip_length + header);
  } else {
    if (!udp_too || left <= udp::header || load16(transport + udp::length) != left) return shape;
    if (load_native<uint16_t>(transport + udp::checksum) == 0) return shape;
    shape.header_length = static_cast<uint16_t>(shape.ip_length + udp::header);
  }
  shape.payload = length - shape.header_length;
  shape.fit = true;
  return shape;
}

bool Coalescer::continues(const Open& open, const Shape& shape, const InnerPacket& packet) const {
  const Run& run = runs_[open.run];
  const uint8_t* ip = packet.bytes;
  const uint8_t* first = packets_[run.first].bytes;
  if (shape.header_length != run.header_length) return false;
  if (packet.segment_size == 0 ? shape.payload > open.payload : packet.segment_size != open.payload) return false;
  if (shape.flow.version == 4) {
    if (run.length + shape.payload > max_ip_bytes) return false;
    if (ip[ip4::tos] != first[ip4::tos] || ip[ip4::ttl] != first[ip4::ttl]) return false;
    const uint16_t fragment = load16(ip + ip4::fragment);
    if (fragment != load16(first + ip4::fragment)) return false;
    if ((fragment & ip4::dont_fragment) == 0 && load16(ip + ip4::identification) != open.next_identification) return false;
  } else {
    if (run.length + shape.payload > max_ip_bytes + ip6::header) return false;
    if (load_native<uint32_t>(ip) != load_native<uint32_t>(first) || ip[ip6::hop_limit] != first[ip6::hop_limit]) return false;
  }
  if (shape.flow.proto == protocol::udp) return run.packets + packets_in(packet, shape.payload) <= max_udp_packets;
  const uint8_t *transport = ip + shape.ip_length, *before = first + shape.ip_length;
  return load32(transport + tcp::sequence) == open.next_sequence &&
         load_native<uint32_t>(transport + tcp::acknowledgement) == load_native<uint32_t>(before + tcp::acknowledgement) &&
         transport[tcp::data_offset] == before[tcp::data_offset] && ((transport[tcp::flags] ^ before[tcp::flags]) & ~tcp::psh) == 0 &&
         load_native<uint16_t>(transport + tcp::window) == load_native<uint16_t>(before + tcp::window) &&
         load_native<uint16_t>(transport + tcp::urgent) == load_native<uint16_t>(before + tcp::urgent) &&
         std::memcmp(transport + tcp::min_header, before + tcp::min_header, shape.header_length - shape.ip_length - tcp::min_header) == 0;
}

// The common case, told by comparing words with the run's first packet: IPv4, same length, no PSH. False says nothing.
bool Coalescer::plainly_continues(const Open& open, const InnerPacket& packet) const {
  const Run& run = runs_[open.run];
  const InnerPacket& first = packets_[run.first];
  if (run.ip_length != ip4::min_header || packet.length != run.header_length + open.payload || packet.segment_size != 0) return false;
  if (packet.slot != first.slot || !packet.checksum_valid || run.length + open.payload > max_ip_bytes) return false;
  if (open.flow.proto == protocol::udp && run.packets >= max_udp_packets) return false;
  return follows(packet.bytes, packet.length, first.bytes, run.header_length, {open.next_sequence, open.next_identification}) && !pushes(packet.bytes);
}

void Coalescer::extend(Open& open, uint32_t index, uint32_t payload, uint32_t packets, bool push) {
  Run& run = runs_[open.run];
  next_[run.last] = index;
  run.last = index;
  if (run.packets == 1) make_superpacket(run, open.flow, open.payload);
  run.added++;
  run.packets += packets;
  run.length += payload;
  run.push = push;
  open.next_sequence += payload;
  if (open.flow.version == 4) open.next_identification = static_cast<uint16_t>(load16(packets_[index].bytes + ip4::identification) + packets);
}

void Coalescer::make_superpacket(Run& run, const Flow& flow, uint32_t payload) {
  const bool is_tcp = flow.proto == protocol::tcp;
  run.segment_size = payload;
  run.kind = !is_tcp ? gso::udp : flow.version == 4 ? gso::tcp4 : gso::tcp6;
  run.checksum_offset = is_tcp ? tcp::checksum : udp::checksum;
}

void Coalescer::close(size_t open) {
  std::copy(open_.begin() + open + 1, open_.begin() + open_count_, open_.begin() + open);
  open_count_--;
}

uint32_t Coalescer::begin_run(uint32_t index, const Shape* shape) {
  Run run{.first = index, .last = index, .length = packets_[index].length};
  if (shape) {
    run.header_length = shape->header_length;
    run.ip_length = shape->ip_length;
  }
  runs_.push_back(run);
  return static_cast<uint32_t>(runs_.size() - 1);
}

void Coalescer::add(const uint8_t* bytes, uint32_t length, int32_t slot, bool checksum_valid, uint32_t segment_size) {
  const uint32_t index = count_++;
  if (index == packets_.size()) reserve(2 * index + 1);  // who did not say how many there would be
  InnerPacket& packet = packets_[index];
  packet.bytes = bytes;
  packet.length = length;
  packet.slot = slot;
  packet.segment_size = segment_size;
  packet.checksum_valid = checksum_valid;
  next_[index] = none;
  if (!tcp_ && !udp_ && segment_size == 0) {
    begin_run(index, nullptr);
    return;
  }
  for (size_t i = open_count_; i-- > 0;) {
    if (plainly_continues(open_[i], packet)) return extend(open_[i], index, open_[i].payload, 1, false);
  }
  const bool made = segment_size != 0;  // a superpacket stays one, whatever is joined by now
  const Shape shape = look(packet, tcp_ || made, udp_ || made);

  if (!shape.has_ports) {  // cannot be told from the flows between these addresses: none of them may go on past it
    for (size_t i = open_count_; i-- > 0;) {
      Flow flow = open_[i].flow;
      flow.ports = 0;
      if (flow == shape.flow) close(i);
    }
    begin_run(index, nullptr);
    return;
  }

  size_t found = open_count_;
  for (size_t i = open_count_; i-- > 0;) {
    if (open_[i].flow == shape.flow) {
      found = i;
      break;
    }
  }
  if (!shape.fit) {
    if (found < open_count_) close(found);
    begin_run(index, nullptr);
    return;
  }

  const uint8_t* transport = packet.bytes + shape.ip_length;
  const bool is_tcp = shape.flow.proto == protocol::tcp;
  const bool push = is_tcp && (transport[tcp::flags] & tcp::psh) != 0;
  const uint32_t packets = packets_in(packet, shape.payload);
  if (found < open_count_ && continues(open_[found], shape, packet)) {
    Open& open = open_[found];
    extend(open, index, shape.payload, packets, push);
    if (push || ends_short(packet, shape.payload, open.payload)) close(found);
    return;
  }

  if (found < open_count_) close(found);
  const uint32_t run = begin_run(index, &shape);
  const uint32_t payload = segment_size == 0 ? shape.payload : segment_size;
  if (packets > 1) {
    make_superpacket(runs_[run], shape.flow, payload);
    runs_[run].packets = packets;
    runs_[run].push = push;
  }
  if (push || ends_short(packet, shape.payload, payload)) return;  // nothing may follow it
  if (open_count_ == max_open) close(0);
  Open& open = open_[open_count_++];
  open.flow = shape.flow;
  open.run = run;
  open.payload = payload;
  open.next_sequence = is_tcp ? load32(transport + tcp::sequence) + shape.payload : 0;
  open.next_identification = shape.flow.version == 4 ? static_cast<uint16_t>(load16(packet.bytes + ip4::identification) + packets) : uint16_t{0};
}

void Coalescer::write(const Run& run, uint8_t* to) const {
  const InnerPacket& first = packets_[run.first];
  if (first.length > 0) std::memcpy(to, first.bytes, first.length);
  if (run.added == 1) return;

  uint8_t* end = to + first.length;
  for (uint32_t index = next_[run.first]; index != none; index = next_[index]) {
    const InnerPacket& packet = packets_[index];
    const uint32_t payload = packet.length - run.header_length;
    std::memcpy(end, packet.bytes + run.header_length, payload);
    end += payload;
  }
  write_header(run, to);
}

void Coalescer::write_header(const Run& run, uint8_t* to) {
  uint8_t* transport = to + run.ip_length;
  const uint32_t transport_bytes = run.length - run.ip_length;
  const uint8_t proto = run.kind == gso::udp ? protocol::udp : protocol::tcp;
  uint64_t pseudo;
  if ((to[0] >> 4) == 4) {
    store16(to + ip4::total_length, static_cast<uint16_t>(run.length));
    store_native<uint16_t>(to + ip4::checksum, 0);
    store_native(to + ip4::checksum, complement(fold(sum_bytes(to, run.ip_length))));
    pseudo = pseudo_sum4(to, proto, transport_bytes);
  } else {
    store16(to + ip6::payload_length, static_cast<uint16_t>(transport_bytes));
    pseudo = pseudo_sum6(to, proto, transport_bytes);
  }
  if (proto == protocol::tcp) {
    if (run.push) transport[tcp::flags] |= tcp::psh;
  } else {
    store16(transport + udp::length, static_cast<uint16_t>(transport_bytes));
  }
  store_native(transport + run.checksum_offset, fold(pseudo));
}

}  // namespace ringway
