// The nodes: functions over batches, called through the lanes of a shard. Their rules are in docs/contracts.md.
#pragma once

#include <cstdint>

#include "core/batch.h"
#include "packet/segment.h"
#include "table/lanes.h"

namespace ringway::nodes {

enum class Joining : uint8_t { all, tcp, off, udp };  // as addon.d.ts names them: inline, tcp, off, udp
inline bool joins_tcp(Joining joining) { return joining == Joining::all || joining == Joining::tcp; }
inline bool joins_udp(Joining joining) { return joining == Joining::all || joining == Joining::udp; }

uint32_t locate(Lanes& lanes, Batch& trains);
// After locate: is there a train that session.control or the handover has to see? All others pass, or are counted.
bool leaves_any(const Batch& trains);
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

// Of those from `header->consumed` on that pass, assembled ones as many as they stand for.
inline uint32_t packets_left(const Batch& packets) {
  uint32_t all = 0;
  for (uint32_t i = packets.header->consumed; i < packets.count(); i++) all += packets.verdict[i] == verdict::pass ? packets_in(packets, i) : 0;
  return all;
}

// What the virtio-net header of a superpacket from the TUN says of it.
inline SuperpacketHints hints_of(const Batch& superpackets, uint32_t entry) {
  return {
    .kind = superpackets.kind[entry],
    .segment_size = superpackets.segment_size[entry],
    .needs_checksum = (superpackets.flags[entry] & flag::needs_checksum) != 0,
    .checksum_start = superpackets.checksum_start[entry],
    .checksum_offset = superpackets.checksum_offset[entry],
  };
}

// Packets that such a superpacket stands for; 1 where it cannot be cut.
inline uint32_t segments_in(const Batch& superpackets, uint32_t entry) {
  Segmenter segmenter;
  return segmenter.begin(superpackets.span(entry), hints_of(superpackets, entry)) ? segmenter.segments() : 1;
}

// A drop counts as many packets as it is of.
inline void judge_superpacket(Lanes& lanes, Batch& superpackets, uint32_t entry, uint8_t result) {
  lanes.judge(superpackets, entry, result, result >= verdict::first_drop ? segments_in(superpackets, entry) : 1);
}

inline constexpr uint32_t max_records = 32;  // of a datagram; `packets` must have room for as many

}  // namespace ringway::nodes
