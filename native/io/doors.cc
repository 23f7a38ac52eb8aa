#include "io/doors.h"

#include <algorithm>
#include <cerrno>

#include <linux/sock_diag.h>

#include "io/port.h"

namespace ringway {

bool Doors::open(std::span<const int> sockets) {
  if (sockets.empty()) return true;
  scratch_ = Mapping::anonymous(vector_length * block_bytes);
  if (!scratch_) return false;
  sockets_.assign(sockets.begin(), sockets.end());
  for (size_t door = 0; door < sockets_.size(); door++) counted_drops_[door] = drops_of(sockets_[door]);  // what came before is not ours
  return true;
}

std::span<const mmsghdr> Doors::receive(uint32_t door, uint32_t limit, PortCounters& counters) {
  const auto wanted = static_cast<unsigned>(std::min<size_t>(limit, vector_length));
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
  return std::span{messages_}.first(count);
}

void Doors::count_drops(PortCounters& counters) {
  for (size_t door = 0; door < sockets_.size(); door++) {
    const uint32_t now = drops_of(sockets_[door]);
    (door == 0 ? counters.handshake_drops : counters.stranger_drops) += now - counted_drops_[door];
    counted_drops_[door] = now;
  }
}

uint32_t Doors::drops_of(int socket) {
  uint32_t values[SK_MEMINFO_VARS]{};
  socklen_t bytes = sizeof values;
  return getsockopt(socket, SOL_SOCKET, SO_MEMINFO, values, &bytes) == 0 ? values[SK_MEMINFO_DROPS] : 0;
}

}  // namespace ringway
