// pacer.release: when each superpacket may go on to lanes.seal. Sessions with a rate leave in short trains, spaced in time (earliest departure
// time); while the shard has more to send than it can, sessions take turns (deficit round robin). What may not leave yet is copied into
// the bounded queue of its session, before a number is claimed for it. Rules: docs/contracts.md; oracle: src/datapath/reference/pacer.ts.
#pragma once

#include <algorithm>
#include <memory>
#include <vector>

#include "core/batch.h"
#include "nodes/nodes.h"
#include "packet/segment.h"
#include "table/lanes.h"

namespace ringway {

namespace pace {
inline constexpr uint32_t quantum = 65'536, least_quantum = 2'048;  // bytes of a turn; no piece is longer than the first
inline constexpr uint32_t overhead = 84;               // of a datagram: IPv4, UDP, Lightway and Expresslane headers
inline constexpr uint32_t piece_cost = 256;            // what a piece costs its session's bound beside its bytes
inline constexpr uint32_t least_bound = 262'144, most_bound = 4'194'304;
inline constexpr double bound_micros = 50'000;         // a session's queue holds as much as it may send in this time
inline constexpr double train_micros = 1'000;          // and a train as much as in this
inline constexpr double late_micros = 5'000;           // lateness that is made up for
inline constexpr double peak = 0.875;                  // at 8/7 of the rate: a machine that was busy does not end in a burst
inline constexpr uint32_t least_train = 3'000, segment_bytes = 1'500;
inline constexpr uint32_t most_pieces = 16'384;
inline constexpr uint32_t no_limit = UINT32_MAX;
}  // namespace pace

// What JavaScript reads, in f64 words: src/datapath/pacer.ts has the same.
namespace pacer_state {
inline constexpr uint32_t deadline = 0, pieces = 1, bytes = 2, words = 8;
}

class Pacer {
 public:
  static constexpr const char* type_name = "pacer";
  static constexpr napi_type_tag type_tag{0x52696e6777617931, 0x9a1f0c6be0d34a21};

  // nullptr when memory is short.
  static std::shared_ptr<Pacer> create(std::shared_ptr<Lanes> lanes, std::shared_ptr<Batch> released, uint32_t train_segments);
  ~Pacer();

  // Looks at the passing entries of `superpackets` from `consumed` on if they are new, then appends to the batch of released ones.
  void release(Batch& superpackets, bool fresh, double now, uint32_t budget);
  // Drops what waits in a slot, counted by segments. @returns how many those were
  uint32_t forget(uint32_t slot, uint8_t verdict);

  const Batch& released() const { return *released_; }
  uint32_t slots() const { return lanes_->table->count(); }
  const std::shared_ptr<Mapping>& state() const { return state_memory_; }

 private:
  enum class Place : uint8_t { none, waiting, active };
  struct Piece {
    uint32_t next;  // index + 1, as all links here: the mappings begin as zeros
    uint32_t offset, length, segment_size, wire;
    uint16_t segments, block, checksum_start, checksum_offset, flags;
    uint8_t kind;
  };
  struct Session {
    double sustained, peak;  // when the next piece conforms to the rate and to the peak rate: the later one is its departure
    uint32_t head, tail, count, cost;
    uint32_t next_active;
    uint32_t deficit;
    uint32_t call, passed;  // bytes that went on without waiting, in which call
    uint32_t block_used;
    uint16_t block;  // + 1: the one its next piece is written to
    Place place;
  };
  struct Waiting {
    double at;
    uint32_t slot;
    bool operator<(const Waiting& other) const { return at != other.at ? at > other.at : slot > other.slot; }  // std heaps: greatest first
  };
  static double departure_of(const Session& session) { return std::max(session.sustained, session.peak); }
  struct Rate {
    double micros_per_byte;  // 0: none
    uint32_t train;
    uint32_t bound;
  };

  Pacer() = default;
  Rate rate_of(const PublicSlot& slot) const;
  uint32_t segments_of(const Rate& rate, const Segmenter& segmenter) const;
  void arrive(Batch& superpackets, uint32_t entry);
  void settle(Session& session, const Rate& rate, uint32_t wire) const;
  void advance(Session& session, const Rate& rate, uint32_t wire) const;
  bool passes(Session& session, const Rate& rate, const Segmenter& segmenter, uint32_t length);
  bool hold(Session& session, uint32_t slot, const Rate& rate, const Segmenter& segmenter, const SuperpacketHints& hints);
  void store(Session& session, const Segmenter& segmenter, const SuperpacketHints& hints, uint32_t first, uint32_t count);
  void activate(uint32_t slot);
  void serve(uint32_t slot);
  void take(Session& session, uint32_t slot, const Rate& rate);
  uint32_t pop(Session& session);
  void rest(Session& session);
  void tell();

  std::shared_ptr<Lanes> lanes_;
  std::shared_ptr<Batch> released_;
  std::shared_ptr<Mapping> sessions_memory_, pieces_memory_, state_memory_;
  Session* sessions_ = nullptr;  // per slot
  Piece* pieces_ = nullptr;
  double* state_ = nullptr;
  uint32_t fresh_pieces_ = 0, free_pieces_ = 0;  // never used yet; chain of those given back
  uint32_t pieces_in_use_ = 0;
  uint64_t cost_ = 0;
  std::vector<Waiting> waiting_;
  uint32_t active_head_ = 0, active_tail_ = 0, active_count_ = 0;
  uint32_t train_segments_ = 64;
  uint32_t call_ = 0;
  // the call at hand
  double now_ = 0;
  int64_t left_ = 0;
  bool limited_ = false;
  uint32_t quantum_ = 0;
};

}  // namespace ringway
