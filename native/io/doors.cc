#include "io/doors.h"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <ctime>

#include <linux/sock_diag.h>

#include "core/columns.h"
#include "io/message.h"
#include "io/port.h"
#include "io/transmit.h"

namespace ringway {
namespace {

uint32_t coarse_ms() {
  timespec time{};
  clock_gettime(CLOCK_MONOTONIC_COARSE, &time);
  return static_cast<uint32_t>(time.tv_sec * 1000 + time.tv_nsec / 1'000'000);
}

}  // namespace

bool Doors::open(std::span<const int> sockets) {
  if (sockets.empty()) return true;
  scratch_ = Mapping::anonymous(vector_length * block_bytes);
  if (!scratch_ || !regulars_.open()) return false;
  sockets_.assign(sockets.begin(), sockets.end());
  for (size_t door = 0; door < sockets_.size(); door++) counted_drops_[door] = drops_of(sockets_[door]);  // what came before is not ours
  flood_drops_ = counted_drops_[strangers];
  return true;
}

Doors::Received Doors::receive(uint32_t door, uint32_t limit, PortCounters& counters) {
  const uint32_t now = coarse_ms();
  const bool flooded = door == strangers && limit > 0 && is_flooded(now);
  const auto wanted = static_cast<unsigned>(flooded ? vector_length : std::min<size_t>(limit, door == suspects ? vector_length : usual_length));
  for (size_t i = 0; i < wanted; i++) {
    uint8_t* start = scratch_->data() + i * block_bytes;
    parts_[i] = {start + train_block::payload, block_bytes - train_block::payload};
    messages_[i].msg_hdr = {start + train_block::name, train_block::name_bytes, &parts_[i], 1, start + train_block::control, train_block::control_bytes, 0};
  }
  const int got = recvmmsg(sockets_[door], messages_.data(), wanted, MSG_DONTWAIT, nullptr);
  counters.system_calls++;
  counters.udp_receive_calls++;
  if (got < 0 && errno != EAGAIN && errno != EINTR) counters.receive_errors++;  // a pending error of the socket: told once
  const auto count = static_cast<size_t>(std::max(got, 0));
  if (count < wanted) waiting_ &= ~(1u << door);  // empty, as far as we know: watched again
  if (door == suspects) counters.suspects_in += count;
  const auto chosen = choose(count, limit, flooded && count == wanted, now);
  if (chosen.size() < count) {
    uint64_t dropped = 0;
    for (size_t i = 0; i < count; i++) dropped += datagrams(i);
    for (const uint8_t number : chosen) dropped -= datagrams(number);
    drops(counters, door) += dropped;
  }
  return {static_cast<uint32_t>(count), chosen};
}

uint32_t Doors::datagrams(size_t number) const {
  uint8_t unused[address::size];
  const auto& [header, length] = messages_[number];
  const size_t bytes = std::min<size_t>(header.msg_controllen, train_block::control_bytes);
  return transmit::datagrams_in(length, read_control({block(number) + train_block::control, bytes}, unused).segment_size);
}

// Has the kernel had to drop strangers in the last second? Before that they are better left in the socket than dropped here.
bool Doors::is_flooded(uint32_t now) {
  const uint32_t drops = drops_at(strangers);
  if (static_cast<int32_t>(drops - flood_drops_) > 0) {
    flood_drops_ = drops;
    flooded_at_ = now;
    was_flooded_ = true;
  }
  was_flooded_ = was_flooded_ && now - flooded_at_ < flood_ms;
  return was_flooded_;
}

// All, where there is a place for all. Else those that have come before, and of the others a few; from a place on that nobody knows, so that chance
// decides and not the order of arrival.
std::span<const uint8_t> Doors::choose(size_t count, uint32_t limit, bool pressed, uint32_t now) {
  if (count <= limit && !pressed) {
    for (size_t i = 0; i < count; i++) chosen_[i] = static_cast<uint8_t>(i);
    return {chosen_.data(), count};
  }
  const size_t begin = turn_++ * 29 % vector_length;
  size_t chosen = 0, others = 0;
  std::array<uint8_t, vector_length> later;
  for (size_t i = 0; i < count; i++) {
    const auto number = static_cast<uint8_t>((begin + i) % count);
    sockaddr_storage source{};
    memcpy(&source, block(number) + train_block::name, std::min<size_t>(messages_[number].msg_hdr.msg_namelen, train_block::name_bytes));
    if (regulars_.see(source, now) && chosen < limit) {
      chosen_[chosen++] = number;
    } else {
      later[others++] = number;
    }
  }
  const size_t places = std::min<size_t>(limit, chosen + (pressed ? newcomers : limit));
  for (size_t i = 0; i < others && chosen < places; i++) chosen_[chosen++] = later[i];
  return {chosen_.data(), chosen};
}

void Doors::count_drops(PortCounters& counters) {
  for (size_t door = 0; door < sockets_.size(); door++) {
    const uint32_t now = drops_at(door);
    if (static_cast<int32_t>(now - counted_drops_[door]) <= 0) continue;
    drops(counters, static_cast<uint32_t>(door)) += now - counted_drops_[door];
    counted_drops_[door] = now;
  }
}

// The filter counts before the socket does, and is read after it: for a moment there may be fewer drops than before, and never too many.
uint32_t Doors::drops_of(int socket, const std::atomic<uint64_t>* filtered) {
  uint32_t values[SK_MEMINFO_VARS]{};
  socklen_t bytes = sizeof values;
  const uint32_t drops = getsockopt(socket, SOL_SOCKET, SO_MEMINFO, values, &bytes) == 0 ? values[SK_MEMINFO_DROPS] : 0;
  return filtered ? drops - static_cast<uint32_t>(filtered->load(std::memory_order_acquire)) : drops;
}

void Doors::without(const std::atomic<uint64_t>* filtered) {
  filtered_ = filtered;
  if (sockets_.size() <= strangers) return;
  counted_drops_[strangers] = flood_drops_ = drops_at(strangers);
}

}  // namespace ringway
