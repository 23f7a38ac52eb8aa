// lanes.open at work: one for a call. open.cc walks trains and datagrams, open_groups.cc opens what it has found and makes entries of it.
#pragma once

#include <span>

#include "nodes/assembly.h"
#include "nodes/nodes.h"
#include "nodes/open_group.h"

namespace ringway::nodes {

class Opener {
 public:
  Opener(Lanes& lanes, Batch& trains, Batch& packets, double now, Joining joining)
      : lanes_{lanes}, trains_{trains}, packets_{packets}, now_{now}, bytes_{packets.arena->bytes()}, count_{packets.count()}, cleared_{count_},
        assembly_{lanes.guess, packets, joining} {}

  uint32_t run();

 private:
  // What assemble() returns instead of an entry.
  static constexpr uint32_t followed = UINT32_MAX, alone = UINT32_MAX - 1;

  uint32_t open_trains();
  void begin_train(uint32_t train);
  uint8_t judge_slot() const;
  bool has_room(uint32_t entries);
  bool open_datagram(std::span<uint8_t> datagram);  // false: `packets` is too full for it
  bool is_like_last(std::span<const uint8_t> datagram) const;
  bool take(std::span<uint8_t> datagram);  // false: as above
  void take_expresslane(std::span<uint8_t> datagram);
  bool take_records(std::span<uint8_t> body);
  bool take_several_records(std::span<uint8_t> body);
  bool begins_anew(std::span<const uint8_t> body) const;
  void take_one_record(uint8_t* record, RecordShape shape);
  void divert_raw(const uint8_t* bytes, size_t length);

  void open_group();
  void open_lane_group();
  void open_record_group();
  bool open_with_previous(uint32_t piece);
  void open_again(const RecordKey& key, const RecordSecret& secret, uint32_t piece);
  bool stands_apart() const;
  uint32_t assemble(uint32_t piece);
  void give_record(uint32_t piece);
  void judge_checksums(uint32_t first);
  const RecordKey* lane_key();
  const RecordKey* record_key(uint8_t epoch_bits) { return record_keys_[epoch_bits] ? record_keys_[epoch_bits] : find_record_key(epoch_bits); }
  const RecordKey* find_record_key(uint8_t epoch_bits);
  void forget_keys();

  uint32_t append(const uint8_t* bytes, size_t length, uint32_t train, uint16_t flags);
  uint32_t append(const uint8_t* bytes, size_t length, uint32_t train, uint16_t flags, uint16_t block);
  void let_hold();
  void clear_columns();
  void divert(uint32_t entry, uint8_t kind);
  void refuse(uint8_t verdict, uint32_t train);
  void pass(uint32_t length);

  Lanes& lanes_;
  Batch& trains_;
  Batch& packets_;
  const double now_;
  uint8_t* const bytes_;  // of the arena
  uint32_t diverted_ = 0;
  uint32_t wanted_ = 0;    // by session.control: diverted, moved, or under a new id
  uint32_t count_;         // of packets; written to its header at the end
  uint32_t cleared_;       // entries up to here have the columns that append() leaves out
  uint32_t followed_ = 0;  // packets that are in the entry of another one
  Assembly assembly_;
  uint16_t held_ = no_block;  // of the last entry
  uint32_t holds_ = 0;        // entries that the block does not count yet
  // the train and the datagram at hand
  uint32_t train_ = 0;
  int32_t number_ = -1;  // of the slot
  PublicSlot* slot_ = nullptr;
  SecretSlot* secret_ = nullptr;
  uint8_t refusal_ = verdict::pass;  // of all datagrams of the slot
  uint16_t flags_ = 0;
  uint8_t last_header_[lightway::header_bytes];  // of the train's last datagram that was taken
  bool knows_header_ = false;
  OpenGroup group_;  // of this slot
  bool unsound_ = false;  // the train lies where it cannot
  uint8_t last_of_ = 0;   // which way the last one came
  // its keys, looked up once a slot
  const RecordKey* lane_key_ = nullptr;
  const RecordKey* record_keys_[4] = {};
};

}  // namespace ringway::nodes
