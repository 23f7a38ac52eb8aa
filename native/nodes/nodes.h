// The nodes: functions over batches, called through the lanes of a shard. Their rules are in docs/contracts.md.
#pragma once

#include <cstdint>

#include "core/batch.h"
#include "table/lanes.h"

namespace ringway::nodes {

enum class Joining : uint8_t { all, tcp, off, udp };  // as addon.d.ts names them: inline, tcp, off, udp
inline bool joins_tcp(Joining joining) { return joining == Joining::all || joining == Joining::tcp; }
inline bool joins_udp(Joining joining) { return joining == Joining::all || joining == Joining::udp; }

uint32_t locate(Lanes& lanes, Batch& trains);
// Joining::off: every packet is an entry.
uint32_t open(Lanes& lanes, Batch& trains, Batch& packets, double now, Joining joining);
uint32_t admit(Lanes& lanes, Batch& packets, double now);
uint32_t coalesce(Lanes& lanes, Batch& packets, Batch& superpackets, Joining joining);
uint32_t lookup(Lanes& lanes, Batch& superpackets);
uint32_t seal(Lanes& lanes, Batch& superpackets, Batch& trains, uint32_t max_segments, double now);

// Of an entry of `packets`: several when it was assembled.
inline uint32_t packets_in(const Batch& packets, uint32_t entry) {
  const uint32_t segment = packets.segment_size[entry], length = packets.length[entry], header = packets.header_length[entry];
  return segment == 0 || length <= header ? 1 : (length - header + segment - 1) / segment;
}

inline constexpr uint32_t max_records = 32;  // of a datagram; `packets` must have room for as many

}  // namespace ringway::nodes
