// Answers the Pings of a vector where they lie: an idle session says nothing else, and JavaScript would be cold each time it does.
#pragma once

#include <cstdint>

#include "core/batch.h"
#include "table/lanes.h"

namespace ringway::keepalive {

// Pongs to the diverted records of `packets` that are a Ping and nothing else, of server's sessions that are online, go to `answers`, sealed, behind what is
// there; their entries get the verdict answered, and are wanted no more. Left for session.control: whatever asks for more than an answer, what stands behind
// something of the same session that is left, and what finds no room. Rules: docs/contracts.md.
// @returns entries answered
uint32_t answer(Lanes& lanes, Batch& packets, Batch& answers);

}  // namespace ringway::keepalive
