// The nodes: functions over batches, called through the lanes of a shard. Their rules are in docs/contracts.md.
#pragma once

#include <cstdint>

#include "core/batch.h"
#include "table/lanes.h"

namespace ringway::nodes {

enum class Joining : uint8_t { all, tcp, off };

uint32_t locate(Lanes& lanes, Batch& trains);
// Joining::off: every packet is an entry.
uint32_t open(Lanes& lanes, Batch& trains, Batch& packets, double now, Joining joining);
uint32_t admit(Lanes& lanes, Batch& packets, double now);
uint32_t coalesce(Lanes& lanes, Batch& packets, Batch& superpackets, Joining joining);
uint32_t lookup(Lanes& lanes, Batch& superpackets);
uint32_t seal(Lanes& lanes, Batch& superpackets, Batch& trains, uint32_t max_segments, double now);

inline constexpr uint32_t max_records = 32;  // of a datagram; `packets` must have room for as many

}  // namespace ringway::nodes
