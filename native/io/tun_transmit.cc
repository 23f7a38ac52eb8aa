// tun.transmit: superpackets of a batch, with their pieces, to the device.
#include <algorithm>
#include <cerrno>
#include <utility>

#include "io/port.h"
#include "io/transmit.h"

namespace ringway {

using namespace transmit;

namespace {

constexpr size_t ip6_header = 40;

// Packets in a superpacket of so many bytes, as its header tells the kernel.
uint64_t packets_in(uint64_t length, const VnetHeader& header) {
  if (header.gso_type == gso::none || header.gso_size == 0 || length <= header.header_length) return 1;
  return (length - header.header_length + header.gso_size - 1) / header.gso_size;
}

bool refuses_superpacket(int error) { return error == EINVAL || error == EMSGSIZE || error == EOPNOTSUPP || error == E2BIG; }

}  // namespace

size_t Port::tun_transmit(Batch& batch) {
  Refused refused;
  if (!queued_packets_.empty()) unqueue_packets(run_packets(queued_packets_, nullptr, refused));
  collect_packets(batch);
  const size_t done = queued_packets_.empty() ? run_packets(packets_, &batch, refused) : 0;
  batch.header->refused_tcp = static_cast<uint32_t>(refused.tcp);
  batch.header->refused_udp = static_cast<uint32_t>(refused.udp);
  queue_packets(done, batch);
  counters_.tun_queued = queued_packets_.size();
  return queued_packets_.size();
}

// Of packets_, all from that one on.
void Port::queue_packets(size_t from, const Batch& batch) {
  for (Outgoing& packet : std::span{packets_}.subspan(from)) {
    packet.kept = std::make_unique<Kept>(Kept{batch.arena, {}, {packet.parts.begin(), packet.parts.end()}});
    packet.parts = packet.kept->parts;
    for (uint32_t i = packet.entry; i < packet.entry + packet.entries; i++) {
      batch.arena->retain(batch.block[i]);
      packet.kept->blocks.push_back(batch.block[i]);
    }
    packet.entry = not_in_batch;
    queued_packets_.push_back(std::move(packet));
  }
}

void Port::unqueue_packets(size_t count) {
  for (const Outgoing& packet : std::span{queued_packets_}.first(count)) {
    for (const uint16_t block : packet.kept->blocks) packet.kept->arena->release(block);
  }
  queued_packets_.erase(queued_packets_.begin(), queued_packets_.begin() + static_cast<ptrdiff_t>(count));
}

VnetHeader Port::header_of(const Batch& batch, uint32_t i) const {
  VnetHeader header;
  if (batch.flags[i] & flag::needs_checksum) {
    header.flags = vnet_needs_checksum;
    header.checksum_start = batch.checksum_start[i];
    header.checksum_offset = batch.checksum_offset[i];
  } else if (batch.flags[i] & flag::checksum_valid) {
    header.flags = vnet_data_valid;
  }
  if (batch.kind[i] != gso::none && batch.segment_size[i] > 0) {
    header.gso_type = batch.kind[i];
    header.gso_size = static_cast<uint16_t>(std::min<uint32_t>(batch.segment_size[i], UINT16_MAX));
    header.header_length = batch.header_length[i];
  }
  return header;
}

// An entry and the pieces behind it are one packet.
void Port::collect_packets(Batch& batch) {
  packets_.clear();
  const uint32_t count = batch.count();
  parts_.resize(2 * size_t{count});  // never moves below: packets point into it
  size_t part = 0;
  for (uint32_t i = 0, end; i < count; i = end) {
    for (end = i + 1; end < count && batch.kind[end] == gso::piece;) end++;
    if (batch.verdict[i] != verdict::pass) continue;
    batch.error[i] = 0;
    const std::span<iovec> parts = std::span{parts_}.subspan(part, end - i + 1);
    const uint32_t length = lay_out(batch, i, parts);
    const VnetHeader header = header_of(batch, i);
    if (length == 0) {
      uint64_t told = 0;
      for (uint32_t piece = i; piece < end; piece++) told += batch.length[piece];
      batch.verdict[i] = verdict::tun_refused;
      batch.error[i] = EFAULT;
      counters_.tun_errors += packets_in(std::min<uint64_t>(told, max_packet), header);
      continue;
    }
    part += parts.size();
    const Superpacket packet{batch.span(i), batch.kind[i], batch.segment_size[i], (batch.flags[i] & flag::needs_checksum) != 0,
                             batch.checksum_start[i], batch.checksum_offset[i]};
    // without a vnet header the kernel cannot be told of either
    const bool singly = !options_.vnet_header && (header.gso_type != gso::none || packet.needs_checksum);
    packets_.push_back({nullptr, packet, header, parts, length, i, end - i, 0, singly});
  }
}

// Fills all parts but the first, which is the header's, with the pieces from `entry` on.
// @returns their bytes; 0 when one is not of the arena, or there are more than any IP packet has
uint32_t Port::lay_out(const Batch& batch, uint32_t entry, std::span<iovec> parts) {
  uint64_t length = 0;
  for (size_t i = 1; i < parts.size(); i++, entry++) {
    if (!is_held(batch, entry)) return 0;
    const std::span<uint8_t> bytes = batch.span(entry);
    parts[i] = {bytes.data(), bytes.size()};
    length += bytes.size();
  }
  return length <= max_packet + ip6_header ? static_cast<uint32_t>(length) : 0;
}

size_t Port::run_packets(std::span<Outgoing> packets, Batch* batch, Refused& refused) {
  size_t at = 0;
  while (at < packets.size()) {
    int error = 0;
    if (packets[at].singly) {
      error = run_singly(packets[at], batch);
      if (error == 0) {
        at++;
        continue;
      }
    } else {
      gather_writes(packets, at);
      const auto [allowed, injected, given] = injection(injected_tun_, writes_.size());
      if (given > 0) give_part(writes_[allowed - 1], given);
      const auto [done, failed, _] = allowed == 0 ? Progress{} : write(std::span{writes_}.first(allowed));
      error = done < allowed ? failed : injected;
      taken(injected_tun_, done + (error ? 1 : 0));
      for (const Write& written : std::span{writes_}.first(done)) counters_.tun_bytes_out += written.length;
      counters_.tun_packets_out += done;
      at += done;
      if (error == 0 || error == EINTR) continue;
    }
    if (refused_for_now(error)) {
      counters_.eagain++;
      watch_blocked(false, error != EAGAIN);
      return at;
    }
    Outgoing& packet = packets[at];
    const bool in_batch = batch && packet.entry != not_in_batch;
    if (in_batch && error != cut) batch->error[packet.entry] = error;
    if (packet.header.gso_type != gso::none && refuses_superpacket(error)) {
      counters_.tun_gso_refused++;
      (packet.header.gso_type == gso::udp ? refused.udp : refused.tcp) = error;
      packet.singly = true;
      continue;
    }
    counters_.tun_errors += packets_in(packet.length, packet.header);
    if (in_batch) batch->verdict[packet.entry] = verdict::tun_refused;
    at++;
  }
  return at;
}

void Port::gather_writes(std::span<Outgoing> packets, size_t from) {
  writes_.clear();
  for (size_t i = from; i < packets.size() && !packets[i].singly && writes_.size() < max_sends_; i++) {
    writes_.push_back({with_header(packets[i].parts, packets[i].header), packets[i].length});
  }
}

// For a test: of the packet the kernel gets only the first so many bytes.
void Port::give_part(Write& write, size_t bytes) {
  part_.assign(write.parts.begin(), write.parts.end());
  bytes += options_.vnet_header ? vnet_header_bytes : 0;
  for (iovec& part : part_) {
    part.iov_len = std::min(part.iov_len, bytes);
    bytes -= part.iov_len;
  }
  write.parts = part_;
}

std::span<const iovec> Port::with_header(std::span<iovec> parts, VnetHeader& header) const {
  parts[0] = {&header, vnet_header_bytes};
  return options_.vnet_header ? parts : parts.subspan(1);
}

// The packet as one piece.
Superpacket Port::whole(const Outgoing& outgoing) {
  Superpacket packet = outgoing.packet;
  if (outgoing.parts.size() <= 2) return packet;
  whole_.clear();
  for (const iovec& part : outgoing.parts.subspan(1)) {
    const auto* bytes = static_cast<const uint8_t*>(part.iov_base);
    whole_.insert(whole_.end(), bytes, bytes + part.iov_len);
  }
  packet.bytes = whole_;
  return packet;
}

// Segment by segment. @returns 0 when the packet is over (what was refused alone is counted), or the errno that says: for now
int Port::run_singly(Outgoing& packet, Batch* batch) {
  const Superpacket superpacket = whole(packet);
  const uint32_t segments = segment_count(superpacket);
  bool failed = segments == 0;
  if (failed) counters_.tun_errors += packets_in(packet.length, packet.header);
  while (packet.next_segment < segments) {
    const size_t bytes = write_segment(superpacket, packet.next_segment, segment_);
    VnetHeader header;
    iovec parts[]{{}, {segment_.data(), bytes}};
    Write one{with_header(parts, header), static_cast<uint32_t>(bytes)};
    const auto [allowed, injected, given] = injection(injected_tun_, 1);
    if (given > 0) give_part(one, given);
    const auto [done, error, _] = bytes == 0 || allowed == 0 ? Progress{0, injected} : write({&one, 1});
    taken(injected_tun_, 1);
    if (done == 0 && error == EINTR) continue;
    if (done == 0 && refused_for_now(error)) return error;
    packet.next_segment++;
    counters_.tun_packets_out += done;
    counters_.tun_bytes_out += done ? bytes : 0;
    counters_.tun_errors += done ? 0 : 1;
    failed = failed || done == 0;
  }
  if (failed && batch && packet.entry != not_in_batch) batch->verdict[packet.entry] = verdict::tun_refused;
  return 0;
}

}  // namespace ringway
