// What a port did, by name, in the order portCounters() reports it; train lengths come last.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>

namespace ringway {

#define RINGWAY_PORT_COUNTERS(_)                                                                                                          \
  _(system_calls, "systemCalls") _(udp_receive_calls, "udpReceiveCalls") _(udp_trains_in, "udpTrainsIn")                                  \
  _(udp_datagrams_in, "udpDatagramsIn") _(udp_trains_out, "udpTrainsOut") _(udp_datagrams_out, "udpDatagramsOut")                         \
  _(udp_bytes_out, "udpBytesOut") _(udp_bytes_in, "udpBytesIn") _(tun_packets_in, "tunPacketsIn") _(tun_bytes_in, "tunBytesIn")           \
  _(tun_packets_out, "tunPacketsOut") _(tun_bytes_out, "tunBytesOut") _(gso_refused, "gsoRefused")                                        \
  _(tun_gso_refused, "tunGsoRefused") _(eagain, "eagain")                                                                                 \
  _(send_errors, "sendErrors") _(tun_errors, "tunErrors") _(socket_drops, "socketDrops") _(wakes, "wakes") _(no_buffers, "noBuffers")     \
  _(truncated, "truncated") _(bad_vnet, "badVnet") _(receive_errors, "receiveErrors") _(udp_queued, "udpQueued")                          \
  _(tun_queued, "tunQueued") _(taken_over, "takenOver") _(handshake_drops, "handshakeDrops") _(stranger_drops, "strangerDrops") \
  _(suspects_in, "suspectsIn") _(suspect_drops, "suspectDrops") _(udp_beyond_share, "udpBeyondShare") _(tun_beyond_share, "tunBeyondShare")

struct PortCounters {
#define RINGWAY_DECLARE(field, name) uint64_t field = 0;
  RINGWAY_PORT_COUNTERS(RINGWAY_DECLARE)
#undef RINGWAY_DECLARE
  // Trains by length: 1, 2 to 3, 4 to 7 ... 128 and more datagrams.
  static constexpr uint32_t length_buckets = 8;
  std::array<uint64_t, length_buckets> trains_in{}, trains_out{};

  void train_in(uint32_t datagrams) { count(datagrams, udp_trains_in, udp_datagrams_in, trains_in); }
  void train_out(uint32_t datagrams) { count(datagrams, udp_trains_out, udp_datagrams_out, trains_out); }

 private:
  static void count(uint32_t datagrams, uint64_t& trains, uint64_t& all, std::array<uint64_t, length_buckets>& lengths) {
    trains++;
    all += datagrams;
    lengths[std::min<uint32_t>(static_cast<uint32_t>(std::bit_width(datagrams | 1)), length_buckets) - 1]++;
  }
};

}  // namespace ringway
