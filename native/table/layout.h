// The native side of src/datapath/layout.ts: same fields, same order, same offsets (compared at start-up).
#pragma once

#include <cstddef>
#include <cstdint>

namespace ringway {

namespace slot_state {
inline constexpr uint32_t free = 0, handshake = 1, link_up = 2, online = 3, closing = 4;
}
namespace slot_flag {
inline constexpr uint32_t client = 1, stream = 2, expresslane = 4, aad_flags = 8, no_gso = 16, lane_ready = 32;
}

inline constexpr uint64_t lane_window_size = 8192;
inline constexpr uint64_t record_window_size = 512;

struct PublicSlot {
  uint32_t state;
  uint32_t generation;
  uint32_t shard;
  uint32_t flags;
  uint8_t current_id[8];
  uint8_t pending_id[8];
  uint8_t send_id[8];
  uint8_t remote[40];
  uint8_t version_major;
  uint8_t version_minor;
  uint16_t suite;
  uint16_t send_epoch;
  uint16_t mss_clamp;
  uint32_t inside_address;
  uint32_t seal_source;
  uint32_t seal_destination;
  uint32_t seal_match;
  uint32_t seal_replace;
  uint32_t open_source;
  uint32_t open_destination;
  uint32_t open_match;
  uint32_t open_replace;
  uint16_t receive_epochs[4];
  uint64_t lane_send_counter;
  uint64_t record_send_counter[4];
  uint64_t lane_highest;
  uint64_t lane_window[128];
  uint64_t record_next[4];
  uint64_t record_window[32];
  uint64_t packets_opened;
  uint64_t bytes_opened;
  uint64_t packets_sealed;
  uint64_t bytes_sealed;
  uint64_t lane_sent;
  uint64_t lane_received;
  double last_outside;
  double last_inside;
  uint32_t snapshot_length;
  uint32_t pace_rate;
  uint8_t snapshot[704];
  uint8_t unused[288];
};
inline constexpr size_t public_slot_bytes = 2560;
static_assert(offsetof(PublicSlot, lane_send_counter) == 136 && offsetof(PublicSlot, snapshot) + sizeof(PublicSlot::snapshot) <= public_slot_bytes);
static_assert(sizeof(PublicSlot) == public_slot_bytes);

// One direction of one DTLS epoch; epoch 0 = none.
struct RecordSecret {
  uint8_t key[32];
  uint8_t iv[12];
  uint16_t suite;
  uint16_t epoch;
  uint8_t sn[32];
  uint8_t traffic[48];
};
static_assert(sizeof(RecordSecret) == 128);

// One Expresslane key. In lane_staged `valid` says what is staged: 0 nothing, 1 a key, 2 the absence of one (degrade).
struct LaneSecret {
  uint8_t key[32];
  uint8_t salt[4];
  uint32_t valid;
  uint8_t pad[8];
};
static_assert(sizeof(LaneSecret) == 48);
namespace staged {
inline constexpr uint32_t nothing = 0, key = 1, none = 2;
}

struct SecretSlot {
  RecordSecret send_record[4];  // at epoch & 3
  RecordSecret receive_record[4];
  LaneSecret lane_send;
  LaneSecret lane_staged;
  LaneSecret lane_receive;
  LaneSecret lane_previous;
  uint8_t unused[64];
};
inline constexpr size_t secret_slot_bytes = 1280;
static_assert(sizeof(SecretSlot) == secret_slot_bytes);

}  // namespace ringway
