// What a port did, by name, in the order portCounters() reports it.
#pragma once

#include <array>
#include <cstdint>

namespace ringway {

#define RINGWAY_PORT_COUNTERS(_)                                                                                                          \
  _(system_calls, "systemCalls") _(udp_receive_calls, "udpReceiveCalls") _(udp_trains_in, "udpTrainsIn")                                  \
  _(udp_datagrams_in, "udpDatagramsIn") _(udp_trains_out, "udpTrainsOut") _(udp_datagrams_out, "udpDatagramsOut")                         \
  _(udp_bytes_out, "udpBytesOut") _(udp_bytes_in, "udpBytesIn") _(tun_packets_in, "tunPacketsIn") _(tun_bytes_in, "tunBytesIn")           \
  _(tun_packets_out, "tunPacketsOut") _(tun_bytes_out, "tunBytesOut") _(gso_refused, "gsoRefused") _(eagain, "eagain")                    \
  _(send_errors, "sendErrors") _(tun_errors, "tunErrors") _(socket_drops, "socketDrops") _(wakes, "wakes") _(no_buffers, "noBuffers")     \
  _(truncated, "truncated") _(bad_vnet, "badVnet") _(receive_errors, "receiveErrors") _(udp_queued, "udpQueued")                          \
  _(tun_queued, "tunQueued") _(taken_over, "takenOver")

struct PortCounters {
#define RINGWAY_DECLARE(field, name) uint64_t field = 0;
  RINGWAY_PORT_COUNTERS(RINGWAY_DECLARE)
#undef RINGWAY_DECLARE
};

}  // namespace ringway
