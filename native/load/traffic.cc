#include "load/traffic.h"

#include <algorithm>
#include <cstring>

#include "packet/checksum.h"

namespace ringway::load {
namespace {

constexpr uint32_t headroom = 64;
constexpr uint32_t max_train = 65'000;  // src/load, native/io: above it the stack segments in software
constexpr uint16_t first_port = 20'000;
constexpr uint8_t protocol_udp = 17;

// A window begins as RFC 6928 says, and waits for the acknowledgement of what is under way at most this long.
constexpr double initial_window = 10, max_window = 2'048, silence = 300'000;

uint64_t to_ns(double micros) { return micros <= 0 ? 0 : static_cast<uint64_t>(micros * 1'000); }

}  // namespace

Traffic::Traffic(std::shared_ptr<Mapping> mapping, Settings settings)
    : mapping_{std::move(mapping)},
      settings_{std::move(settings)},
      totals_{*reinterpret_cast<Totals*>(mapping_->data())},
      columns_{reinterpret_cast<uint64_t*>(mapping_->data()) + 64},
      histograms_{columns_ + size_t{settings_.clients} * column_count},
      seen_(settings_.clients),
      addresses_(settings_.inside ? 0 : settings_.clients),
      windows_(settings_.clients),
      position_(settings_.clients),
      owes_(settings_.clients) {
  for (Window& window : windows_) {
    window.size = initial_window;
    window.threshold = max_window;
  }
}

void Traffic::schedule(const Schedule& schedule) {
  schedule_ = schedule;
  turn_ = 0;
  begun_ = 0;
}

uint32_t Traffic::send(Batch& batch, double now) {
  if (now < schedule_.start || schedule_.stop <= schedule_.start) return 0;
  if (settings_.window) return now < schedule_.stop ? send_windows(batch, now) : 0;
  uint32_t packets = 0;
  uint32_t idle = 0;
  while (idle < settings_.clients) {
    const double due = schedule_.spacing > 0 ? schedule_.start + static_cast<double>(turn_) * schedule_.spacing : now;
    if (due > now || due >= schedule_.stop) break;
    const auto client = static_cast<uint32_t>(turn_ % settings_.clients);
    if (ready(client)) {
      idle = 0;
      const uint32_t wanted = settings_.burst - begun_;
      const uint32_t done = emit(batch, client, wanted, due, now);
      packets += done;
      begun_ += done;
      if (done < wanted) {
        totals_.no_room++;
        break;
      }
      totals_.trains_sent++;
    } else {
      idle++;  // a round without anybody: nobody is online yet
    }
    begun_ = 0;
    turn_++;
    totals_.turns = turn_;
  }
  return packets;
}

uint32_t Traffic::send_windows(Batch& batch, double now) {
  uint32_t packets = 0;
  for (uint32_t looked = 0; looked < settings_.clients && !batch.full(); looked++) {
    const uint32_t client = cursor_;
    cursor_ = cursor_ + 1 < settings_.clients ? cursor_ + 1 : 0;
    if (!ready(client)) continue;
    Window& window = windows_[client];
    if (window.in_flight > 0 && now - window.heard > silence) {
      totals_.timeouts++;
      window.threshold = std::max(2.0, window.size / 2);
      window.size = 2;
      window.in_flight = 0;
      window.heard = now;
    }
    const auto size = static_cast<uint64_t>(window.size);
    if (window.in_flight >= size) continue;
    const auto room = static_cast<uint32_t>(std::min<uint64_t>(size - window.in_flight, settings_.burst));
    if (room * 2 < settings_.burst && window.in_flight > 0) continue;  // a longer train soon is better than a short one now
    if (window.in_flight == 0) window.heard = now;
    const uint32_t done = emit(batch, client, room, now, now);
    window.in_flight += done;
    packets += done;
    if (done > 0) totals_.trains_sent++;
    if (done < room) {
      totals_.no_room++;
      break;
    }
  }
  return packets;
}

uint32_t Traffic::emit(Batch& batch, uint32_t client, uint32_t wanted, double due, double now) {
  uint8_t flags = settings_.window ? wants_ack : 0;
  const bool is_measured = due >= schedule_.measure_from && due < schedule_.measure_to;
  if (is_measured) flags |= measured;
  uint32_t done = 0;
  while (done < wanted) {
    uint32_t& position = position_[client];
    const uint32_t size = settings_.sizes[position];
    uint32_t run = 1;
    const uint32_t most = std::min(wanted - done, (settings_.inside ? 65'535 - inner_header : max_train) / (size - inner_header));
    const auto sizes = static_cast<uint32_t>(settings_.sizes.size());
    while (run < most && settings_.sizes[(position + run) % sizes] == size) run++;
    if (emit_run(batch, client, run, size, due, flags) == 0) break;
    position = (position + run) % sizes;
    done += run;
  }
  if (done > 0 && is_measured) histogram(delay, to_ns(now - due));
  return done;
}

uint32_t Traffic::emit_run(Batch& batch, uint32_t client, uint32_t count, uint32_t size, double due, uint8_t flags) {
  const uint32_t payload = size - inner_header;
  uint8_t* to = begin(batch, client, count, payload);
  if (!to) return 0;
  uint64_t& sequence = column(sent, client);
  for (uint32_t i = 0; i < count; i++) {
    const bool asks = settings_.echo_every > 0 && (totals_.offered + i) % settings_.echo_every == 0;
    const auto all = static_cast<uint8_t>(flags | (asks ? wants_echo : 0));
    write_payload(to + size_t{i} * payload, {data, all, settings_.run, settings_.first + client, sequence + i, to_ns(due), 0});
  }
  sequence += count;
  end(batch, client, count, payload);
  totals_.offered += count;
  totals_.offered_bytes += uint64_t{count} * size;
  if (flags & measured) {
    totals_.measured_offered += count;
    totals_.measured_offered_bytes += uint64_t{count} * size;
  }
  return count;
}

bool Traffic::emit_one(Batch& batch, uint32_t client, const Payload& payload) {
  uint8_t* to = begin(batch, client, 1, payload_bytes);
  if (!to) return false;
  write_payload(to, payload);
  end(batch, client, 1, payload_bytes);
  return true;
}

// Where the payloads go, one behind the other; what fills them beyond the measurement is whatever the arena holds.
uint8_t* Traffic::begin(Batch& batch, uint32_t client, uint32_t count, uint32_t payload) {
  const uint32_t header = settings_.inside ? inner_header : 0;
  if (batch.full()) return nullptr;
  uint8_t* to = batch.reserve(header + count * payload, headroom);
  if (!to) return nullptr;
  if (settings_.inside) write_header(to, client, count, payload);
  return to + header;
}

void Traffic::end(Batch& batch, uint32_t client, uint32_t count, uint32_t payload) {
  const uint32_t header = settings_.inside ? inner_header : 0;
  const uint32_t entry = batch.commit(header + count * payload);
  batch.slot[entry] = settings_.inside ? static_cast<int32_t>(client) : -1;
  if (count > 1) batch.segment_size[entry] = payload;
  if (!settings_.inside) {
    memcpy(batch.address_of(entry), addresses_[client].data(), address::size);
    return;
  }
  batch.kind[entry] = count > 1 ? gso::udp : gso::none;
  batch.header_length[entry] = inner_header;
  batch.checksum_start[entry] = 20;
  batch.checksum_offset[entry] = 6;
  batch.flags[entry] = flag::needs_checksum | flag::checksum_valid;
}

void Traffic::write_header(uint8_t* to, uint32_t client, uint32_t count, uint32_t payload) {
  const uint32_t udp_length = 8 + count * payload;
  const auto source_address = static_cast<uint32_t>(column(source, client));
  memset(to, 0, inner_header);
  to[0] = 0x45;
  store16(to + 2, static_cast<uint16_t>(20 + udp_length));
  store16(to + 6, 0x4000);  // do not fragment: trains may be coalesced whatever their identification
  to[8] = 64;
  to[9] = protocol_udp;
  store32(to + 12, source_address);
  store32(to + 16, settings_.destination);
  store_native(to + 10, complement(fold(sum_bytes(to, 20))));
  const uint64_t flow = settings_.clients == 0 ? 0 : turn_ / settings_.clients % settings_.flows;
  store16(to + 20, static_cast<uint16_t>(first_port + flow));
  store16(to + 22, settings_.port_number);
  store16(to + 24, static_cast<uint16_t>(udp_length));
  const uint64_t pseudo = sum_bytes(to + 12, 8) + swap_bytes(protocol_udp) + swap_bytes(static_cast<uint16_t>(udp_length));
  store_native(to + 26, fold(pseudo));
}

uint32_t Traffic::greet(Batch& batch, double now) {
  uint32_t greeted = 0;
  for (uint32_t client = 0; client < settings_.clients; client++) {
    if (!column(online, client) || column(known, client)) continue;
    if (!emit_one(batch, client, {hello, 0, settings_.run, settings_.first + client, 0, to_ns(now), 0})) break;
    greeted++;
  }
  return greeted;
}

uint32_t Traffic::receive(const Batch& batch, Batch* replies, double now) {
  const uint64_t now_ns = to_ns(now);
  uint32_t ours = 0;
  for (uint32_t i = 0; i < batch.count(); i++) {
    if (batch.verdict[i] != verdict::pass) continue;
    const std::span<const uint8_t> bytes = batch.span(i);
    uint32_t here = 0;
    if (settings_.inside) {
      const bool is_udp = bytes.size() >= inner_header && bytes[0] == 0x45 && bytes[9] == protocol_udp;
      if (is_udp) here += count(bytes.subspan(inner_header), batch.slot[i], nullptr, replies, now_ns);
      if (!here) totals_.foreign++;
    } else {
      const size_t step = batch.segment_size[i] > 0 ? batch.segment_size[i] : std::max<size_t>(bytes.size(), 1);
      for (size_t at = 0; at < bytes.size(); at += step) {
        const auto datagram = bytes.subspan(at, std::min(step, bytes.size() - at));
        const bool is_ours = count(datagram, -1, batch.address_of(i), replies, now_ns);
        here += is_ours;
        if (!is_ours) totals_.foreign++;
      }
    }
    ours += here;
    if (here > 0) totals_.trains_received++;
  }
  if (replies) {
    for (const uint32_t client : owed_) {
      const auto came = static_cast<uint32_t>(column(received, client));
      if (emit_one(*replies, client, {ack, 0, settings_.run, settings_.first + client, column(next, client), now_ns, came})) totals_.acks_sent++;
      owes_[client] = 0;
    }
    owed_.clear();
  }
  return ours;
}

bool Traffic::count(std::span<const uint8_t> bytes, int32_t slot, const uint8_t* address, Batch* replies, uint64_t now_ns) {
  Payload payload;
  if (!read_payload(bytes, payload) || payload.run != settings_.run || payload.client < settings_.first) return false;
  const uint32_t client = payload.client - settings_.first;
  if (client >= settings_.clients || (slot >= 0 && static_cast<uint32_t>(slot) != client)) return false;
  if (address) {  // the latest counts: a flow's source port changes
    memcpy(addresses_[client].data(), address, address::size);
    column(known, client) = 1;
  }
  switch (payload.type) {
    case hello:
      totals_.hellos++;
      return true;
    case data:
      count_data(client, payload, static_cast<uint32_t>(bytes.size()) + inner_header, now_ns);
      if (replies && (payload.flags & wants_echo)) {
        Payload back = payload;
        back.type = echo;
        if (emit_one(*replies, client, back)) totals_.echoes_sent++;
      }
      if ((payload.flags & wants_ack) && !owes_[client]) {
        owes_[client] = 1;
        owed_.push_back(client);
      }
      return true;
    case ack:
      acknowledged(client, payload, now_ns);
      return true;
    case echo:
      if ((payload.flags & measured) && now_ns >= payload.time_ns) histogram(round_trip, now_ns - payload.time_ns);
      return true;
    default:
      return false;
  }
}

void Traffic::count_data(uint32_t client, const Payload& payload, uint32_t size, uint64_t now_ns) {
  if (is_duplicate(client, payload.sequence)) {
    totals_.duplicates++;
    column(duplicates, client)++;
    return;
  }
  totals_.delivered++;
  totals_.delivered_bytes += size;
  column(received, client)++;
  if (!(payload.flags & measured)) return;
  totals_.measured_delivered++;
  totals_.measured_delivered_bytes += size;
  column(measured_bytes, client) += size;
  histogram(one_way, now_ns > payload.time_ns ? now_ns - payload.time_ns : 0);
}

bool Traffic::is_duplicate(uint32_t client, uint64_t sequence) {
  constexpr uint64_t span = seen_words * 64;
  auto& seen = seen_[client];
  uint64_t& expected = column(next, client);
  if (sequence >= expected) {
    if (sequence - expected >= span) {
      seen.fill(0);
    } else {
      for (uint64_t i = expected; i < sequence; i++) seen[i / 64 % seen_words] &= ~(uint64_t{1} << (i % 64));
    }
    expected = sequence + 1;
    seen[sequence / 64 % seen_words] |= uint64_t{1} << (sequence % 64);
    return false;
  }
  totals_.reordered++;
  column(reordered, client)++;
  if (expected - sequence > span) return false;  // too late to tell
  uint64_t& word = seen[sequence / 64 % seen_words];
  const uint64_t bit = uint64_t{1} << (sequence % 64);
  const bool before = word & bit;
  word |= bit;
  if (before) {
    totals_.reordered--;
    column(reordered, client)--;
  }
  return before;
}

// Grows by what was acknowledged until the first loss, then by one a window; halves once a window in which something was lost.
void Traffic::acknowledged(uint32_t client, const Payload& payload, uint64_t now_ns) {
  Window& window = windows_[client];
  totals_.acks_received++;
  window.heard = static_cast<double>(now_ns) / 1'000;
  const uint64_t all = column(sent, client);
  if (payload.sequence < window.acknowledged || payload.sequence > all) return;  // overtaken, or not of this run
  const auto fresh = static_cast<double>(payload.sequence - window.acknowledged);
  window.acknowledged = payload.sequence;
  window.in_flight = all - payload.sequence;
  const uint64_t lost = payload.sequence > payload.count ? payload.sequence - payload.count : 0;
  if (lost > window.lost && payload.sequence > window.recover) {
    window.size = std::max(2.0, window.size / 2);
    window.threshold = window.size;
    window.recover = all;
  } else if (lost <= window.lost) {
    window.size += window.size < window.threshold ? fresh : fresh / window.size;
    window.size = std::min(window.size, max_window);
  }
  window.lost = lost;
}

}  // namespace ringway::load
