// The traffic of the load lab, one vector a call: makes what is due, counts what came. Used at both ends: the loader puts inner
// packets into superpackets for lanes.seal and finds them in what lanes.open left; the sink has plain datagrams behind the server.
//
// Everything that is counted lies in one mapping that JavaScript sees, as u64 in this order (src/load/traffic.ts):
//   totals[64] | one column per Column, `clients` entries each | one histogram per Histogram, `buckets` entries each
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "core/batch.h"
#include "core/mapping.h"
#include "load/payload.h"

namespace ringway::load {

inline constexpr uint32_t max_clients = 10'000, max_flows = 64, max_sizes = 64, max_burst = 64;
inline constexpr uint32_t inner_header = 28;  // IPv4 without options, UDP

// log-linear, as src/load/buckets.ts
inline constexpr uint32_t sub_bits = 7, max_bits = 40, buckets = (max_bits - sub_bits + 1) << sub_bits;
inline uint32_t bucket_of(uint64_t ns) {
  if (ns < (2u << sub_bits)) return static_cast<uint32_t>(ns);
  if (ns >> max_bits) return buckets - 1;
  const auto octave = static_cast<uint32_t>(63 - __builtin_clzll(ns)) - sub_bits;
  return (octave << sub_bits) + static_cast<uint32_t>(ns >> octave);
}

struct Totals {
  uint64_t offered, offered_bytes, measured_offered, measured_offered_bytes;
  uint64_t delivered, delivered_bytes, measured_delivered, measured_delivered_bytes;
  uint64_t duplicates, reordered, trains_sent, trains_received, foreign, acks_sent, acks_received, timeouts, echoes_sent, no_room;
  uint64_t turns;  // trains the schedule has gone past, those of clients that are not online included
  uint64_t hellos;
  uint64_t unused[44];
};
static_assert(sizeof(Totals) == 64 * 8);

enum Column { sent, received, measured_bytes, next, duplicates, reordered, known, online, source, column_count };
enum Histogram { one_way, round_trip, delay, histogram_count };

struct Settings {
  uint32_t clients = 0, first = 0, run = 0;
  bool inside = false;  // inner IP packets; otherwise datagrams
  uint32_t destination = 0;
  uint16_t port_number = 0;
  uint32_t flows = 1, burst = 1;
  bool window = false;
  uint32_t echo_every = 0;  // of this many packets one asks for an echo; 0: none
  std::vector<uint16_t> sizes;
};

struct Schedule {
  double start = 0, spacing = 0, measure_from = 0, measure_to = 0, stop = 0;  // Micros
};

class Traffic {
 public:
  static constexpr const char* type_name = "traffic";
  static constexpr napi_type_tag type_tag{0x52696e6777617931, 0x9a1f0c6be0d34a51};

  Traffic(std::shared_ptr<Mapping> mapping, Settings settings);

  static size_t bytes_for(uint32_t clients) {
    return (64 + size_t{clients} * column_count + size_t{buckets} * histogram_count) * 8;
  }

  void schedule(const Schedule& schedule);
  // Appends what is due at `now` to `batch`; returns the number of packets.
  uint32_t send(Batch& batch, double now);
  // A hello from every client that is online and not known; returns the number of packets.
  uint32_t greet(Batch& batch, double now);
  // Counts what is in `batch`; acknowledgements and echoes go into `replies`, if given. Returns the number of packets that were ours.
  uint32_t receive(const Batch& batch, Batch* replies, double now);
  // Where the datagrams of a client go (sink).
  const std::shared_ptr<Mapping>& mapping() const { return mapping_; }

 private:
  struct Window {
    double size = 0, threshold = 0;
    uint64_t acknowledged = 0, lost = 0, recover = 0, in_flight = 0;
    double heard = 0;
  };

  uint64_t& column(Column which, uint32_t client) { return columns_[size_t{which} * settings_.clients + client]; }
  bool ready(uint32_t client) { return column(settings_.inside ? online : known, client) != 0; }
  // Up to `wanted` data packets of one client; returns how many fitted.
  uint32_t emit(Batch& batch, uint32_t client, uint32_t wanted, double due, double now);
  uint32_t emit_run(Batch& batch, uint32_t client, uint32_t count, uint32_t size, double due, uint8_t flags);
  // A lone packet of `payload_bytes`.
  bool emit_one(Batch& batch, uint32_t client, const Payload& payload);
  uint8_t* begin(Batch& batch, uint32_t client, uint32_t count, uint32_t payload);
  void end(Batch& batch, uint32_t client, uint32_t count, uint32_t payload);
  void write_header(uint8_t* to, uint32_t client, uint32_t count, uint32_t payload);
  uint32_t send_windows(Batch& batch, double now);

  bool count(std::span<const uint8_t> bytes, int32_t slot, const uint8_t* address, Batch* replies, uint64_t now_ns);
  void count_data(uint32_t client, const Payload& payload, uint32_t size, uint64_t now_ns);
  bool is_duplicate(uint32_t client, uint64_t sequence);
  void acknowledged(uint32_t client, const Payload& payload, uint64_t now_ns);
  void histogram(Histogram which, uint64_t ns) { histograms_[size_t{which} * buckets + bucket_of(ns)]++; }

  std::shared_ptr<Mapping> mapping_;
  Settings settings_;
  Schedule schedule_;
  Totals& totals_;
  uint64_t* columns_;
  uint64_t* histograms_;
  uint64_t turn_ = 0;
  uint32_t begun_ = 0;  // packets of the turn under way that are out already
  uint32_t cursor_ = 0;
  static constexpr uint32_t seen_words = 16;  // 1,024 sequence numbers
  std::vector<std::array<uint64_t, seen_words>> seen_;
  std::vector<std::array<uint8_t, address::size>> addresses_;
  std::vector<Window> windows_;
  std::vector<uint32_t> position_;  // of each client in `sizes`
  std::vector<uint32_t> owed_;      // clients to acknowledge after this vector
  std::vector<uint8_t> owes_;
};

}  // namespace ringway::load
