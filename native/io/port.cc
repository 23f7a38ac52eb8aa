// What every backend does alike. Transmit, for both directions:
//
//   1. what is queued goes first; while any of it is left, new entries queue up behind it
//   2. gather: one send (or write) per entry, as many as the backend takes in one call
//   3. the backend executes them in order and stops at the first the kernel refuses
//   4. refused for now (EAGAIN, ENOBUFS): everything from there on is queued, holding its blocks
//   5. refused as a train or superpacket: that one is replayed piece by piece; refused as a piece: a verdict and a counter
#include "io/port.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "core/clock.h"

namespace ringway {
namespace {

constexpr uint32_t not_in_batch = UINT32_MAX;
constexpr size_t max_packet = 65'535, ip6_header = 40;

bool for_now(int error) { return error == EAGAIN || error == ENOBUFS || error == ENOMEM; }
// docs/linux-facts.md §3: no checksum offload at the egress; a 6.6.44-era kernel and a short tail, or too many segments; a train beyond the path MTU
bool refuses_train(int error) { return error == EIO || error == EINVAL || error == EMSGSIZE; }
bool refuses_superpacket(int error) { return error == EINVAL || error == EMSGSIZE || error == EOPNOTSUPP || error == E2BIG; }

uint32_t datagrams_in(uint32_t length, uint32_t segment_size) {
  return segment_size == 0 || length <= segment_size ? 1 : (length + segment_size - 1) / segment_size;
}

}  // namespace

Port::Port(napi_env env, const PortOptions& options) : Closing{Environment::of(env)}, options_{options}, environment_{Environment::of(env)} {
  segment_.resize(max_packet);
  if (options.udp >= 0) {
    last_drops_ = Doors::drops_of(options.udp);  // a predecessor has counted those
    (void)stamp_arrivals(false);  // and may have wanted them stamped
  }
  sockaddr_storage name{};
  socklen_t bytes = sizeof name;
  if (options.udp >= 0 && getsockname(options.udp, reinterpret_cast<sockaddr*>(&name), &bytes) == 0) ipv6_socket_ = name.ss_family == AF_INET6;
}

// ---- receiving ------------------------------------------------------------------------------------------------------

bool Port::add_train(uint16_t block, uint32_t payload_bytes, size_t name_bytes, size_t control_bytes, bool truncated) {
  Batch& batch = *options_.udp_receive;
  const uint8_t* start = batch.arena->start(block);
  const uint32_t i = batch.append(batch.arena->offset(block) + train_block::payload, payload_bytes, block);
  const Control control = describe_train(i, {start + train_block::name, std::min(name_bytes, train_block::name_bytes)},
                                         {start + train_block::control, std::min(control_bytes, train_block::control_bytes)}, truncated);
  if (control.has_drops) {
    counters_.socket_drops += control.drops - last_drops_;  // the kernel counts in 32 bits
    last_drops_ = control.drops;
  }
  return !batch.full();
}

// What is told beside the bytes: columns and counters.
Control Port::describe_train(uint32_t i, std::span<const uint8_t> name, std::span<const uint8_t> control, bool truncated) {
  Batch& batch = *options_.udp_receive;
  uint8_t* element = batch.address_of(i);
  read_name(name, element);
  const Control read = read_control(control, element);
  if (read.segment_size > 0 && read.segment_size < batch.length[i]) batch.segment_size[i] = read.segment_size;
  counters_.train_in(datagrams_in(batch.length[i], batch.segment_size[i]));
  counters_.udp_bytes_in += batch.length[i];
  if (read.arrived > 0 && delay_ < 0) delay_ = std::max(0.0, micros_of(CLOCK_REALTIME) - read.arrived * 1e6);
  if (truncated) {
    batch.verdict[i] = verdict::truncated;
    counters_.truncated++;
  }
  return read;
}

// Copied, as most are small and share a block: the arena's blocks are for those who have a session.
uint32_t Port::door_receive(uint32_t door, uint32_t limit) {
  Batch& batch = *options_.udp_receive;
  const Doors::Received received = doors_.receive(door, std::min(limit, batch.capacity - batch.count()), counters_);
  for (const uint8_t number : received.chosen) {
    const uint8_t* start = doors_.block(number);
    const msghdr& header = doors_.message(number).msg_hdr;
    const uint32_t bytes = doors_.message(number).msg_len;
    uint8_t* to = batch.reserve(bytes, 64);
    if (!to) {
      (door == 0 ? counters_.handshake_drops : counters_.stranger_drops)++;
      continue;
    }
    memcpy(to, start + train_block::payload, bytes);
    describe_train(batch.commit(bytes), {start + train_block::name, std::min<size_t>(header.msg_namelen, train_block::name_bytes)},
                   {start + train_block::control, std::min<size_t>(header.msg_controllen, train_block::control_bytes)},
                   header.msg_flags & (MSG_TRUNC | MSG_CTRUNC));
  }
  return received.count;
}

void Port::watch_doors() {
  const uint32_t doors = doors_.to_arm();
  for (uint32_t door = 0; door < doors_.count(); door++) {
    if ((doors >> door & 1) == 0) continue;
    doors_.armed(door);
    watch_door(door);
  }
}

// The stamp costs the kernel a look at the clock for every packet of the machine: only while somebody wants to know.
int Port::stamp_arrivals(bool on) {
  const int value = on;
  delay_ = -1;
  return setsockopt(options_.udp, SOL_SOCKET, SO_TIMESTAMPNS, &value, sizeof value) == 0 ? 0 : errno;
}

double Port::arrival_delay() { return std::exchange(delay_, -1); }

bool Port::add_packet(uint16_t block, uint32_t bytes) {
  Batch& batch = *options_.tun_receive;
  const uint8_t* start = batch.arena->start(block);
  const uint32_t header_bytes = options_.vnet_header ? vnet_header_bytes : 0;
  const uint32_t length = bytes > header_bytes ? bytes - header_bytes : 0;
  const uint32_t i = batch.append(batch.arena->offset(block) + packet_block::packet, length, block);
  Packet packet;
  counters_.tun_packets_in++;
  counters_.tun_bytes_in += length;
  if (options_.vnet_header && (length == 0 || !read_vnet(start + packet_block::header, length, packet))) {
    batch.verdict[i] = verdict::bad_gso;
    counters_.bad_vnet++;
    return !batch.full();
  }
  batch.kind[i] = packet.gso;
  batch.segment_size[i] = packet.segment_size;
  batch.checksum_start[i] = packet.checksum_start;
  batch.checksum_offset[i] = packet.checksum_offset;
  if (packet.needs_checksum) batch.flags[i] = flag::needs_checksum;
  return !batch.full();
}

uint32_t Port::take_over(HandoverKind kind, uint32_t limit) {
  if (!options_.handover) return 0;
  Batch* batch = kind == HandoverKind::udp ? options_.udp_receive.get() : options_.tun_receive.get();
  if (!batch) return 0;
  options_.handover->drain_eventfd(options_.shard);
  const uint32_t taken = options_.handover->take(options_.shard, kind, *batch, limit, counters_.truncated);
  counters_.taken_over += taken;
  return taken;
}

// ---- waking ----------------------------------------------------------------------------------------------------------

bool Port::start_waker(int descriptor) {
  waker_ = Waker::create(environment_, descriptor, [this] {
    counters_.wakes++;
    end_idle();
    return !on_wake_ || on_wake_();
  });
  return waker_ != nullptr;
}

uint32_t Port::wait(double wait_us) {
  if (wait_us <= 0) return look(0);
  const double deadline = monotonic_micros() + wait_us;
  for (;;) {
    const uint32_t bits = look(wait_us);
    if (bits) return bits;
    wait_us = deadline - monotonic_micros();
    if (wait_us <= 0) return 0;
  }
}

bool Port::rest() {
  idle_since_ = monotonic_micros();
  return begin_idle();
}

bool Port::arm(napi_value callback) {
  if (!rest()) return true;
  if (!waker_->arm(callback)) end_idle();
  return false;
}

void Port::disarm() {
  waker_->disarm();
  end_idle();
}

// ---- transmitting: what both directions share ----------------------------------------------------------------------------

// How many of `count` may be tried before an injected error; `error` is what the one after fails with.
size_t Port::limit_by_injection(const std::deque<int>& injected, size_t count, int& error) {
  error = 0;
  const size_t known = std::min(count, injected.size());
  for (size_t i = 0; i < known; i++) {
    if (injected[i] == 0) continue;
    error = injected[i];
    return i;
  }
  return count;
}

void Port::taken(std::deque<int>& injected, size_t count) {
  injected.erase(injected.begin(), injected.begin() + static_cast<ptrdiff_t>(std::min(count, injected.size())));
}

// Does the entry describe bytes of its arena, in a block somebody holds?
bool Port::is_held(const Batch& batch, uint32_t i) {
  return batch.arena->contains(batch.offset[i], batch.length[i]) && batch.arena->is_referenced(batch.block[i]);
}

void Port::let_go() {
  unqueue_trains(queued_trains_.size());
  unqueue_packets(queued_packets_.size());
  if (waker_) waker_->close();
  waker_ = nullptr;
  open_ = false;
}

// ---- udp.transmit ---------------------------------------------------------------------------------------------------------

size_t Port::udp_transmit(Batch& batch) {
  if (!queued_trains_.empty()) unqueue_trains(run_trains(queued_trains_, nullptr));
  collect_trains(batch);
  const size_t done = queued_trains_.empty() ? run_trains(trains_, &batch) : 0;
  queue_trains(std::span{trains_}.subspan(done), batch);
  counters_.udp_queued = queued_trains_.size();
  return queued_trains_.size();
}

void Port::queue_trains(std::span<Train> left, const Batch& batch) {
  for (Train& train : left) {
    train.keeps = batch.arena;
    train.entry = not_in_batch;
    train.keeps->retain(train.block);
    queued_trains_.push_back(std::move(train));
  }
}

void Port::unqueue_trains(size_t count) {
  for (Train& train : std::span{queued_trains_}.first(count)) train.keeps->release(train.block);
  queued_trains_.erase(queued_trains_.begin(), queued_trains_.begin() + static_cast<ptrdiff_t>(count));
}

void Port::collect_trains(Batch& batch) {
  trains_.clear();
  const uint32_t count = batch.count();
  for (uint32_t i = 0; i < count; i++) {
    if (batch.verdict[i] != verdict::pass || batch.kind[i] != kind::datagrams) continue;
    batch.error[i] = 0;
    if (!is_held(batch, i)) {
      batch.verdict[i] = verdict::send_failed;
      batch.error[i] = EFAULT;
      counters_.send_errors++;
      continue;
    }
    Train train{nullptr, batch.arena->bytes() + batch.offset[i], batch.length[i], 0, batch.segment_size[i], i,
                batch.block[i], batch.arena.get(), false, {}};
    memcpy(train.address, batch.address_of(i), address::size);
    trains_.push_back(std::move(train));
  }
}

// @returns trains that are done with: sent, or refused and counted. Those after it could not leave for now.
size_t Port::run_trains(std::span<Train> trains, Batch* batch) {
  size_t at = 0;
  while (at < trains.size()) {
    gather_sends(trains, at);
    int error = 0;
    const size_t allowed = limit_by_injection(injected_udp_, sends_.size(), error);
    int refused = 0;
    const size_t done = allowed == 0 ? 0 : send(std::span{sends_}.first(allowed), refused);
    if (done < allowed) error = refused;
    taken(injected_udp_, done + (error ? 1 : 0));
    for (const Send& sent : std::span{sends_}.first(done)) {
      trains[sent.work].sent += sent.length;
      counters_.train_out(datagrams_in(sent.length, sent.segment));
      counters_.udp_bytes_out += sent.length;
    }
    if (done == sends_.size()) {
      at = sends_.back().work;
      if (trains[at].sent >= trains[at].length) at++;
      continue;
    }
    at = sends_[done].work;
    if (error == EINTR) continue;
    if (for_now(error)) {
      counters_.eagain++;
      watch_blocked(true, error != EAGAIN);
      return at;
    }
    train_failed(trains[at], sends_[done], error, batch);
    if (trains[at].sent >= trains[at].length) at++;
  }
  return at;
}

void Port::gather_sends(std::span<const Train> trains, size_t from) {
  sends_.clear();
  for (size_t i = from; i < trains.size() && sends_.size() < max_sends_; i++) {
    const Train& train = trains[i];
    const bool whole = !train.singly && train.segment_size > 0 && train.length > train.segment_size && train.segment_size <= UINT16_MAX;
    const uint32_t step = train.singly ? train.segment_size : train.length;
    uint32_t sent = train.sent;
    do {
      const uint32_t bytes = std::min(step, train.length - sent);
      sends_.push_back({train.bytes + sent, bytes, whole ? static_cast<uint16_t>(train.segment_size) : uint16_t{0}, train.block, train.arena,
                        train.address, i});
      sent += bytes;
    } while (sent < train.length && sends_.size() < max_sends_);
  }
}

void Port::train_failed(Train& train, const Send& failed, int error, Batch* batch) {
  const bool in_batch = batch && train.entry != not_in_batch;
  if (in_batch) batch->error[train.entry] = error;
  if (failed.segment > 0 && refuses_train(error)) {
    counters_.gso_refused++;
    train.singly = true;
    return;
  }
  counters_.send_errors += datagrams_in(failed.length, failed.segment);
  train.sent += std::max(failed.length, 1u);  // an empty datagram is over as well
  if (in_batch) batch->verdict[train.entry] = verdict::send_failed;
}

// ---- tun.transmit ---------------------------------------------------------------------------------------------------------

size_t Port::tun_transmit(Batch& batch) {
  if (!queued_packets_.empty()) unqueue_packets(run_packets(queued_packets_, nullptr));
  collect_packets(batch);
  const size_t done = queued_packets_.empty() ? run_packets(packets_, &batch) : 0;
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
    if (length == 0) {
      batch.verdict[i] = verdict::tun_refused;
      batch.error[i] = EFAULT;
      counters_.tun_errors++;
      continue;
    }
    part += parts.size();
    const Superpacket packet{batch.span(i), batch.kind[i], batch.segment_size[i], (batch.flags[i] & flag::needs_checksum) != 0,
                             batch.checksum_start[i], batch.checksum_offset[i]};
    const VnetHeader header = header_of(batch, i);
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

size_t Port::run_packets(std::span<Outgoing> packets, Batch* batch) {
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
      const size_t allowed = limit_by_injection(injected_tun_, writes_.size(), error);
      int refused = 0;
      const size_t done = allowed == 0 ? 0 : write(std::span{writes_}.first(allowed), refused);
      if (done < allowed) error = refused;
      taken(injected_tun_, done + (error ? 1 : 0));
      for (const Write& written : std::span{writes_}.first(done)) counters_.tun_bytes_out += written.length;
      counters_.tun_packets_out += done;
      at += done;
      if (done == writes_.size() || error == EINTR) continue;
    }
    if (for_now(error)) {
      counters_.eagain++;
      watch_blocked(false, error != EAGAIN);
      return at;
    }
    Outgoing& packet = packets[at];
    const bool in_batch = batch && packet.entry != not_in_batch;
    if (in_batch) batch->error[packet.entry] = error;
    if (packet.header.gso_type != gso::none && refuses_superpacket(error)) {
      counters_.gso_refused++;
      packet.singly = true;
      continue;
    }
    counters_.tun_errors++;
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
  if (failed) counters_.tun_errors++;
  while (packet.next_segment < segments) {
    const size_t bytes = write_segment(superpacket, packet.next_segment, segment_);
    VnetHeader header;
    iovec parts[]{{}, {segment_.data(), bytes}};
    const Write one{with_header(parts, header), static_cast<uint32_t>(bytes)};
    int error = 0;
    const size_t allowed = limit_by_injection(injected_tun_, 1, error);
    const size_t done = bytes == 0 || allowed == 0 ? 0 : write({&one, 1}, error);
    taken(injected_tun_, 1);
    if (done == 0 && error == EINTR) continue;
    if (done == 0 && for_now(error)) return error;
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
