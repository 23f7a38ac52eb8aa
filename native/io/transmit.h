// What a port's two ways out do alike (udp_transmit.cc, tun_transmit.cc):
//
//   1. what is queued goes first; while any of it is left, new entries queue up behind it
//   2. gather: one send (or write) per entry, as many as the backend takes in one call
//   3. the backend executes them in order and stops at the first the kernel refuses, or takes only a part of
//   4. refused for now (EAGAIN, ENOBUFS): everything from there on is queued, holding its blocks
//   5. refused as a train or superpacket: that one is replayed piece by piece; refused as a piece: a verdict and a counter
//   6. cut: a train goes on with its next datagram, the one that was cut is lost and counted; a packet of the TUN is lost
#pragma once

#include <cerrno>
#include <cstddef>
#include <cstdint>

namespace ringway::transmit {

inline constexpr uint32_t not_in_batch = UINT32_MAX;
inline constexpr size_t max_packet = 65'535;

// Beside errnos: the kernel took a part of it, as Progress::bytes says.
inline constexpr int cut = -1;

inline bool refused_for_now(int error) { return error == EAGAIN || error == ENOBUFS || error == ENOMEM; }

inline uint32_t datagrams_in(uint32_t length, uint32_t segment_size) {
  return segment_size == 0 || length <= segment_size ? 1 : (length + segment_size - 1) / segment_size;
}

}  // namespace ringway::transmit
