// What every backend does alike: what comes becomes entries. When a port waits is in waking.cc, the ways out are in udp_transmit.cc and tun_transmit.cc.
#include "io/port.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "core/clock.h"
#include "io/transmit.h"
#include "packet/bytes.h"

namespace ringway {

Port::Port(napi_env env, const PortOptions& options) : Closing{Environment::of(env)}, options_{options}, environment_{Environment::of(env)} {
  segment_.resize(transmit::max_packet);
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
  describe_train(i, {start + train_block::name, std::min(name_bytes, train_block::name_bytes)},
                 {start + train_block::control, std::min(control_bytes, train_block::control_bytes)}, truncated);
  if (udp_shares_.attached() && batch.segment_size[i] == 0) take_share(batch.span(i));
  return !batch.full();
}

uint32_t Port::udp_receive(uint32_t limit) {
  const uint32_t received = receive_trains(limit);
  udp_shares_.flush();
  if (received > 0 && udp_shares_.attached()) look_for_drops();
  return received;
}

// Trains are not counted, and may have filled the socket: what the kernel has dropped then may have been counted.
void Port::look_for_drops() {
  constexpr double every_us = 8e3;
  const double now = micros_of(CLOCK_MONOTONIC_COARSE);
  if (now < drops_due_) return;
  drops_due_ = now + every_us;
  const uint32_t drops = socket_drops();
  if (drops != std::exchange(seen_drops_, drops)) udp_shares_.open();
}

uint32_t Port::tun_receive(uint32_t limit) {
  const uint32_t received = receive_packets(limit);
  tun_shares_.flush();
  return received;
}

// What is told beside the bytes: columns and counters.
void Port::describe_train(uint32_t i, std::span<const uint8_t> name, std::span<const uint8_t> control, bool truncated) {
  Batch& batch = *options_.udp_receive;
  uint8_t* element = batch.address_of(i);
  read_name(name, element);
  const Control read = read_control(control, element);
  if (read.segment_size > 0 && read.segment_size < batch.length[i]) batch.segment_size[i] = read.segment_size;
  const uint32_t datagrams = transmit::datagrams_in(batch.length[i], batch.segment_size[i]);
  counters_.train_in(datagrams);
  counters_.udp_bytes_in += batch.length[i];
  if (read.arrived > 0 && delay_ < 0) delay_ = std::max(0.0, micros_of(CLOCK_REALTIME) - read.arrived * 1e6);
  if (truncated) {
    batch.verdict[i] = verdict::truncated;
    counters_.truncated += datagrams;
  }
}

// What the kernel has dropped so far: asked for when somebody wants to know, as a control message with every train would cost each of them.
void Port::count_drops() {
  doors_.count_drops(counters_);
  counters_.udp_beyond_share = udp_shares_.beyond();
  counters_.tun_beyond_share = tun_shares_.beyond();
  if (options_.udp < 0) return;
  const uint32_t now = socket_drops();
  if (static_cast<int32_t>(now - last_drops_) <= 0) return;
  counters_.socket_drops += now - last_drops_;  // the kernel counts in 32 bits
  last_drops_ = now;
}

// Without those of the filter.
uint32_t Port::socket_drops() const {
  const uint32_t drops = Doors::drops_of(options_.udp, filters_ ? &filters_->filtered : nullptr);
  return filters_ ? drops - static_cast<uint32_t>(filters_->beyond.load(std::memory_order_acquire)) : drops;
}

void Port::share_socket(std::shared_ptr<Mapping> memory, ShareHead* head, ShareEntry* entries, uint32_t mask) {
  udp_shares_.attach(std::move(memory), head, entries);
  filters_ = head;
  shares_mask_ = mask;
  if (options_.udp >= 0) last_drops_ = seen_drops_ = socket_drops();
  doors_.without(&head->garbage);
}

// As the kernel's program has counted it (steering/filters.cc).
void Port::take_share(std::span<const uint8_t> datagram) {
  if (datagram.size() < share::looked_at || load_native<uint16_t>(datagram.data()) != share::magic) return;
  const auto id = load_native<uint64_t>(datagram.data() + share::id);
  ShareEntry& entry = udp_shares_.entry((id >> share::index_shift) & shares_mask_);
  const uint64_t word = entry.words[1].load(std::memory_order_relaxed);  // the tag: an id that was taken back still stands there
  if (entry.words[0].load(std::memory_order_relaxed) == id && word >> share::tag_shift == id >> share::tag_shift) udp_shares_.take(entry);
}

// As steering/tun_shares.cc has it.
void Port::take_share_of_device(std::span<const uint8_t> packet) {
  const size_t at = packet.empty() ? 0 : packet[0] >> 4 == 4 ? share::ipv4_destination : packet[0] >> 4 == 6 ? share::ipv6_destination : 0;
  if (at == 0 || packet.size() < at + 4) return;
  tun_shares_.take(tun_shares_.entry(share::place_of(load_native<uint32_t>(packet.data() + at))));
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
      doors_.drops(counters_, door) += doors_.datagrams(number);
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
  if (tun_shares_.attached()) take_share_of_device(batch.span(i));
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

// ---- transmitting: what both directions share ----------------------------------------------------------------------------

Port::Injected Port::injection(const std::deque<int>& injected, size_t count) {
  const size_t known = std::min(count, injected.size());
  for (size_t i = 0; i < known; i++) {
    if (injected[i] > 0) return {i, injected[i], 0};
    if (injected[i] < 0) return {i + 1, 0, static_cast<uint32_t>(-injected[i])};
  }
  return {count, 0, 0};
}

void Port::taken(std::deque<int>& injected, size_t count) {
  injected.erase(injected.begin(), injected.begin() + static_cast<ptrdiff_t>(std::min(count, injected.size())));
}

// Does the entry describe bytes of its arena, in a block somebody holds?
bool Port::is_held(const Batch& batch, uint32_t i) {
  return batch.arena->contains(batch.offset[i], batch.length[i]) && batch.arena->is_referenced(batch.block[i]);
}

void Port::let_go() {
  if (open_) count_drops();
  udp_shares_.open();
  tun_shares_.open();
  unqueue_trains(queued_trains_.size());
  unqueue_packets(queued_packets_.size());
  if (waker_) waker_->close();
  waker_ = nullptr;
  open_ = false;
}

}  // namespace ringway
