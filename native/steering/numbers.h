// Numbers: what the kernel needs to tell the number of a DTLS record of a suspect (steering/suspects.h), so that it can drop those that the window would
// refuse, or that hardly one is its peer's. Blocks of one map (steering/floors.h), one a case: of each receiving epoch the key of its numbers, expanded,
// and which numbers may come. It is no key that opens anything; it is there for as long as the flood, and zeroed then.
//
//     block of case 0, 1 …    of epochs 0 to 3 mod 4, 256 bytes each: struct Epoch
//
// A number is hidden by the first bytes of AES over the record's first 16 bytes (RFC 9147 §4.2.3). The program in the filter is that cipher by tables
// (`tables`); what their timing may tell is the key of the numbers, to whoever shares the machine's cache.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "steering/suspects.h"
#include "table/layout.h"

namespace ringway {

namespace numbers {

struct Epoch {
  std::atomic<uint32_t> low, span;  // so many numbers from `low` on, modulo 2^16, may come; `all` of them, while the key is changed
  std::atomic<uint32_t> rounds;     // 10, 14; 0: no key, so that nothing can be opened; `unknown`: not AES, and nothing is judged
  uint32_t epoch;
  uint32_t keys[60];  // of 15 rounds, as their bytes lie; those of 10 rounds at the end
};
struct Block {
  Epoch epochs[4];
};
static_assert(sizeof(Epoch) == 256);

inline constexpr uint32_t blocks = Suspects::cases, block_bytes = sizeof(Block);
inline constexpr uint32_t all = 1 << 16, unknown = 255;
// What may wait in the socket, or be on its way, in front of a datagram that the kernel judges.
inline constexpr uint32_t ahead = 4'096;
// Four tables of 256 words: a byte through the S-box and the columns, for each place of a word.
inline constexpr uint32_t tables_bytes = 4 * 256 * 4;

void write_tables(uint8_t* to);
// As the slot and its secrets are now.
void tell(Block& block, const PublicSlot& slot, const SecretSlot& secret);
void erase(Block& block);

}  // namespace numbers
}  // namespace ringway
