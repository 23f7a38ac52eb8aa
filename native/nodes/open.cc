// lanes.open: from trains to packets, opened where they lie.
#include <algorithm>

#include "nodes/header.h"
#include "nodes/nodes.h"
#include "nodes/open_group.h"
#include "packet/ip.h"
#include "table/window.h"

namespace ringway::nodes {
namespace {

class Opener {
 public:
  Opener(Lanes& lanes, Batch& trains, Batch& packets, double now)
      : lanes_{lanes}, trains_{trains}, packets_{packets}, now_{now}, bytes_{packets.arena->bytes()}, count_{packets.count()} {}

  uint32_t run();

 private:
  uint32_t open_trains();
  void begin_train(uint32_t train);
  uint8_t judge_slot() const;
  bool has_room(uint32_t entries);
  bool open_datagram(std::span<uint8_t> datagram);  // false: `packets` is too full for it
  void take_expresslane(std::span<uint8_t> datagram);
  bool take_records(std::span<uint8_t> body);
  bool take_several_records(std::span<uint8_t> body);
  void take_one_record(uint8_t* record, const RecordShape& shape);
  void divert_raw(const uint8_t* bytes, size_t length);

  void open_group();
  void open_lane_group();
  void open_record_group();
  bool open_with_previous(const Sealed& sealed);
  void give_record(const Piece& piece, const OpenedContent& content);
  void judge_checksums(uint32_t first);
  const RecordKey* lane_key();
  const RecordKey* record_key(uint8_t epoch_bits);
  void forget_keys();

  uint32_t append(const uint8_t* bytes, size_t length, uint32_t train, uint16_t flags);
  void let_hold();
  void clear_columns(uint32_t first);
  void divert(uint32_t entry, uint8_t kind);
  void pass(uint32_t entry);

  Lanes& lanes_;
  Batch& trains_;
  Batch& packets_;
  const double now_;
  uint8_t* const bytes_;  // of the arena
  uint32_t diverted_ = 0;
  uint32_t wanted_ = 0;  // by session.control: diverted, moved, or under a new id
  uint32_t count_;  // of packets; written to its header at the end
  uint16_t held_ = no_block;  // of the last entry
  uint32_t holds_ = 0;        // entries that the block does not count yet
  // the train and the datagram at hand
  uint32_t train_ = 0;
  int32_t number_ = -1;  // of the slot
  PublicSlot* slot_ = nullptr;
  SecretSlot* secret_ = nullptr;
  uint8_t refusal_ = verdict::pass;  // of all datagrams of the slot
  uint16_t flags_ = 0;
  OpenGroup group_;  // of this slot
  // its keys, looked up once a slot
  const RecordKey* lane_key_ = nullptr;
  const RecordKey* record_keys_[4] = {};
};

// ---- entries ------------------------------------------------------------------------------------------------------------

// Writes the columns that differ from entry to entry; clear_columns() does the others for all at once.
uint32_t Opener::append(const uint8_t* bytes, size_t length, uint32_t train, uint16_t flags) {
  const uint32_t entry = count_++;
  if (trains_.block[train] != held_) let_hold();
  held_ = trains_.block[train];
  holds_++;
  packets_.counter[entry] = 0;
  packets_.offset[entry] = static_cast<uint32_t>(bytes - bytes_);
  packets_.length[entry] = static_cast<uint32_t>(length);
  packets_.train[entry] = train;
  packets_.slot[entry] = number_;
  packets_.epoch[entry] = 0;
  packets_.block[entry] = trains_.block[train];
  packets_.flags[entry] = flags;
  packets_.verdict[entry] = verdict::pass;
  packets_.kind[entry] = kind::raw;
  wanted_ += (flags & (flag::floating | flag::new_id)) != 0;
  return entry;
}

// Entries one behind the other are mostly of one block, which counts them all at once.
void Opener::let_hold() {
  if (holds_ > 0) packets_.arena->retain(held_, holds_);
  holds_ = 0;
}

void Opener::clear_columns(uint32_t first) {
  const size_t entries = count_ - first;
  std::memset(packets_.segment_size + first, 0, entries * sizeof *packets_.segment_size);
  std::memset(packets_.error + first, 0, entries * sizeof *packets_.error);
  std::memset(packets_.header_length + first, 0, entries * sizeof *packets_.header_length);
  std::memset(packets_.checksum_start + first, 0, entries * sizeof *packets_.checksum_start);
  std::memset(packets_.checksum_offset + first, 0, entries * sizeof *packets_.checksum_offset);
  std::memset(packets_.address_of(first), 0, entries * address::size);
}

void Opener::divert(uint32_t entry, uint8_t kind) {
  packets_.kind[entry] = kind;
  lanes_.judge(packets_, entry, verdict::divert);
  diverted_++;
  wanted_ += (packets_.flags[entry] & (flag::floating | flag::new_id)) == 0;  // append() has counted the others
}

void Opener::pass(uint32_t entry) {
  packets_.kind[entry] = kind::application;
  slot_->packets_opened++;
  slot_->bytes_opened += packets_.length[entry];
}

// Of the entries from `first` on: what admit would find, found while the bytes are in the cache.
void Opener::judge_checksums(uint32_t first) {
  for (uint32_t entry = first; entry < count_; entry++) {
    if (packets_.verdict[entry] == verdict::pass && is_sound({bytes_ + packets_.offset[entry], packets_.length[entry]})) packets_.flags[entry] |= flag::checksum_valid;
  }
}

// ---- trains and datagrams -------------------------------------------------------------------------------------------------

uint8_t Opener::judge_slot() const {
  if (!slot_) return verdict::reject;
  return lanes_.superseded(*slot_) ? verdict::superseded : verdict::pass;
}

void Opener::begin_train(uint32_t train) {
  const int32_t number = trains_.verdict[train] == verdict::pass && lanes_.exists(trains_.slot[train]) ? trains_.slot[train] : -1;
  if (number != number_) {
    open_group();
    forget_keys();
  }
  train_ = train;
  number_ = number;
  slot_ = number < 0 ? nullptr : &lanes_.table->slot(static_cast<uint32_t>(number));
  secret_ = number < 0 ? nullptr : &lanes_.table->secret(static_cast<uint32_t>(number));
  refusal_ = judge_slot();
}

// For so many entries beside those that the group may give?
bool Opener::has_room(uint32_t entries) {
  if (packets_.capacity - count_ - group_.count < entries) open_group();
  return packets_.capacity - count_ >= entries;
}

uint32_t Opener::run() {
  const uint32_t first = count_, consumed = open_trains();
  open_group();
  let_hold();
  clear_columns(first);
  packets_.header->count = count_;
  packets_.header->wanted += wanted_;
  trains_.header->consumed = consumed;
  return diverted_;
}

// @returns the first train that is not opened whole
uint32_t Opener::open_trains() {
  const uint32_t count = trains_.count();
  uint32_t train = std::min(trains_.header->consumed, count);
  for (; train < count; train++) {
    const uint8_t verdict = trains_.verdict[train];
    if (verdict != verdict::pass && verdict != verdict::divert) continue;
    begin_train(train);
    std::span<uint8_t> bytes = trains_.span(train);
    const size_t size = trains_.segment_size[train] == 0 ? bytes.size() : trains_.segment_size[train];
    if (bytes.empty()) lanes_.count(verdict::too_short);
    while (!bytes.empty()) {
      const size_t length = std::min(size, bytes.size());
      if (!open_datagram(bytes.first(length))) {
        trains_.offset[train] = static_cast<uint32_t>(bytes.data() - trains_.arena->bytes());
        trains_.length[train] = static_cast<uint32_t>(bytes.size());
        return train;
      }
      bytes = bytes.subspan(length);
    }
  }
  return train;
}

bool Opener::open_datagram(std::span<uint8_t> datagram) {
  if (!has_room(1)) return false;
  if (const uint8_t wrong = lightway::check(datagram); wrong != verdict::pass) {
    lanes_.count(wrong);
    return true;
  }
  const uint8_t* body = datagram.data() + lightway::header_bytes;
  const size_t length = datagram.size() - lightway::header_bytes;
  if (length == 0) {
    lanes_.count(verdict::too_short);
    return true;
  }
  if (trains_.verdict[train_] == verdict::divert) {
    open_group();
    const uint32_t entry = append(body, length, train_, 0);  // locate has counted it
    packets_.verdict[entry] = verdict::divert;
    diverted_++;
    wanted_++;
    return true;
  }
  if (refusal_ != verdict::pass) {
    lanes_.count(refusal_);
    return true;
  }
  const bool version_matters = (slot_->flags & slot_flag::client) == 0 && slot_->version_major != 0;
  if (version_matters && (datagram[lightway::major] != slot_->version_major || datagram[lightway::minor] != slot_->version_minor)) {
    lanes_.count(verdict::version_mismatch);
    return true;
  }
  const uint64_t id = load_native<uint64_t>(datagram.data() + lightway::id);
  flags_ = trains_.flags[train_] & flag::floating;
  if (id != lightway::empty_id && id != load_native<uint64_t>(slot_->current_id)) flags_ |= flag::new_id;

  if (datagram[lightway::expresslane] != 0) {
    if (slot_->state != slot_state::online) {
      lanes_.count(verdict::not_online);
    } else {
      take_expresslane(datagram);
    }
    return true;
  }
  if (slot_->state != slot_state::link_up && slot_->state != slot_state::online) {
    divert_raw(body, length);
    return true;
  }
  return take_records(datagram.subspan(lightway::header_bytes));
}

void Opener::divert_raw(const uint8_t* bytes, size_t length) {
  open_group();  // entries are in the order of arrival
  divert(append(bytes, length, train_, flags_), kind::raw);
}

void Opener::take_expresslane(std::span<uint8_t> datagram) {
  uint8_t* frame = datagram.data() + lightway::header_bytes;
  const size_t left = datagram.size() - lightway::header_bytes;
  if (left < lane::header_bytes) return lanes_.count(verdict::too_short);
  const uint16_t length = load16(frame + lane::length);
  if (left < lane::header_bytes + length) return lanes_.count(verdict::too_short);
  if (!group_.takes(OpenGroup::lane_pieces)) open_group();
  const bool aad_flags = (slot_->flags & slot_flag::aad_flags) != 0;
  group_.add_lane(datagram.data() + lightway::id, frame, length, aad_flags, train_, static_cast<uint16_t>(flags_ | flag::expresslane));
}

bool Opener::take_records(std::span<uint8_t> body) {
  const RecordShape only = look_at_record(body);
  if (only.is != RecordShape::Is::sealed || only.total() != body.size() || slot_->receive_epochs[only.epoch_bits] == 0) return take_several_records(body);
  take_one_record(body.data(), only);
  return true;
}

// Whatever is not one record.
bool Opener::take_several_records(std::span<uint8_t> body) {
  RecordShape shapes[max_records];
  uint32_t records = 0;
  bool rest_malformed = false;
  for (std::span<uint8_t> rest = body; !rest.empty(); rest = rest.subspan(shapes[records - 1].total())) {
    if (records == max_records) {
      rest_malformed = true;
      break;
    }
    const RecordShape shape = look_at_record(rest);
    const bool unknown = shape.is == RecordShape::Is::plain || (shape.number_bytes != 0 && slot_->receive_epochs[shape.epoch_bits] == 0);
    if (unknown) {
      divert_raw(body.data(), body.size());
      return true;
    }
    if (shape.is == RecordShape::Is::malformed) {
      rest_malformed = true;
      break;
    }
    shapes[records++] = shape;
  }
  if (!has_room(records)) return false;
  uint8_t* record = body.data();
  for (uint32_t i = 0; i < records; i++) {
    take_one_record(record, shapes[i]);
    record += shapes[i].total();
  }
  if (rest_malformed) lanes_.count(verdict::malformed);
  return true;
}

void Opener::take_one_record(uint8_t* record, const RecordShape& shape) {
  if (shape.encrypted <= tag_bytes) return lanes_.count(verdict::malformed);
  if (!group_.takes(shape.epoch_bits)) open_group();
  if (!record_key(shape.epoch_bits)) return lanes_.count(verdict::no_key);
  group_.add_record(record, shape, train_, flags_);
}

// ---- keys -------------------------------------------------------------------------------------------------------------

// A lookup may push out what earlier ones found. The group is of one key, which is looked up last.
void Opener::forget_keys() {
  lane_key_ = nullptr;
  std::fill(std::begin(record_keys_), std::end(record_keys_), nullptr);
}

const RecordKey* Opener::lane_key() {
  if (lane_key_ || secret_->lane_receive.valid != 1) return lane_key_;
  forget_keys();
  lane_key_ = lanes_.keys->lane(static_cast<uint32_t>(number_), KeyPlace::lane_receive(), secret_->lane_receive);
  return lane_key_;
}

const RecordKey* Opener::record_key(uint8_t epoch_bits) {
  if (record_keys_[epoch_bits]) return record_keys_[epoch_bits];
  const uint16_t epoch = slot_->receive_epochs[epoch_bits];
  const RecordSecret& secret = secret_->receive_record[epoch_bits];
  if (secret.epoch != epoch) return nullptr;
  forget_keys();
  record_keys_[epoch_bits] = lanes_.keys->record(static_cast<uint32_t>(number_), KeyPlace::receive_record(epoch), secret);
  return record_keys_[epoch_bits];
}

// ---- opening --------------------------------------------------------------------------------------------------------------

// All of a group are opened before the first is judged, but for what the window refuses already: it will refuse that then too. Nothing is taken
// by a window, and nothing given to `packets`, before its tag was found right.
void Opener::open_group() {
  if (group_.empty()) return;
  const uint32_t first = count_;
  if (group_.of == OpenGroup::lane_pieces) {
    open_lane_group();
  } else {
    open_record_group();
  }
  group_.count = 0;
  judge_checksums(first);
}

void Opener::open_lane_group() {
  LaneWindow window{*slot_};
  const RecordKey* key = lane_key();
  for (uint32_t i = 0; i < group_.count; i++) group_.sealed[i].skip = window.refuses(group_.pieces[i].number);
  if (key) lanes_.aead->open_group(key->schedule, {group_.sealed.data(), group_.count});
  for (uint32_t i = 0; i < group_.count; i++) {
    const auto& [frame, counter, low, train, shape, flags] = group_.pieces[i];
    const Sealed& sealed = group_.sealed[i];
    if (window.refuses(counter)) {
      lanes_.count(verdict::replayed);
      continue;
    }
    if (!key) {
      lanes_.count(verdict::no_key);
      continue;
    }
    if (!sealed.authentic && !open_with_previous(sealed)) {
      lanes_.count(verdict::forged);
      continue;
    }
    window.take(counter);
    slot_->lane_received++;
    slot_->last_outside = now_;
    if ((load16(frame + lane::flags) & lane::encoded) != 0) {
      lanes_.count(verdict::malformed);
      continue;
    }
    const uint32_t entry = append(sealed.bytes, sealed.length, train, flags);
    packets_.counter[entry] = counter;
    pass(entry);
  }
}

bool Opener::open_with_previous(const Sealed& sealed) {
  if (secret_->lane_previous.valid != 1) return false;
  const RecordKey* key = lane_key();
  if (!key) return false;
  Aead& aead = *lanes_.aead;
  aead.restore(key->schedule, sealed.nonce, sealed.bytes, sealed.length);
  forget_keys();
  const RecordKey* previous = lanes_.keys->lane(static_cast<uint32_t>(number_), KeyPlace::lane_previous(), secret_->lane_previous);
  return previous && aead.open(previous->schedule, sealed.nonce, sealed.aad, sealed.aad_length, sealed.bytes, sealed.bytes, sealed.length, sealed.tag);
}

void Opener::open_record_group() {
  const RecordKey* key = record_keys_[group_.of];
  const RecordSecret& secret = secret_->receive_record[group_.of];
  Aead& aead = *lanes_.aead;
  RecordWindow window{*slot_, group_.of};
  const uint8_t* samples[OpenGroup::most];
  uint16_t masks[OpenGroup::most];
  for (uint32_t i = 0; i < group_.count; i++) samples[i] = group_.sealed[i].bytes;
  aead.number_masks(key->number, {samples, group_.count}, masks);
  for (uint32_t i = 0; i < group_.count; i++) {
    Piece& piece = group_.pieces[i];
    piece.low = reveal_number(masks[i], piece.start, piece.shape);
    piece.number = reconstruct(window.next(), piece.low, piece.shape.number_bytes);
    make_record_nonce(secret.iv, piece.number, group_.nonces[i].data());
    group_.sealed[i].skip = piece.number > max_record_number || window.refuses(piece.number);
  }
  aead.open_group(key->schedule, {group_.sealed.data(), group_.count});
  for (uint32_t i = 0; i < group_.count; i++) {
    Piece& piece = group_.pieces[i];
    Sealed& sealed = group_.sealed[i];
    // those before it may have moved the window so far that these bits mean another number, but not where it is the next one
    const uint64_t number = piece.number == window.next() ? piece.number : reconstruct(window.next(), piece.low, piece.shape.number_bytes);
    if (number > max_record_number) {
      lanes_.count(verdict::malformed);
      continue;
    }
    if (window.refuses(number)) {
      lanes_.count(verdict::replayed);
      continue;
    }
    if (number != piece.number) {
      if (!sealed.skip) aead.restore(key->schedule, sealed.nonce, sealed.bytes, sealed.length);
      piece.number = number;
      make_record_nonce(secret.iv, number, group_.nonces[i].data());
      sealed.authentic = aead.open(key->schedule, sealed.nonce, sealed.aad, sealed.aad_length, sealed.bytes, sealed.bytes, sealed.length, sealed.tag);
    }
    if (!sealed.authentic) {
      lanes_.count(verdict::forged);
      continue;
    }
    window.take(number);
    slot_->last_outside = now_;
    give_record(piece, find_content(sealed.bytes, sealed.length));
  }
}

void Opener::give_record(const Piece& piece, const OpenedContent& content) {
  const uint8_t* bytes = piece.start + piece.shape.header;
  uint32_t entry;
  switch (content.type) {
    case content_type::application:
      if (content.length >= 3 && bytes[0] == 5 && load16(bytes + 1) == content.length - 3) {
        if (slot_->state != slot_state::online) return lanes_.count(verdict::not_online);
        entry = append(bytes + 3, content.length - 3, piece.train, piece.flags);
        pass(entry);
        break;
      }
      [[fallthrough]];
    case content_type::alert:
    case content_type::handshake:
    case content_type::ack:
      entry = append(bytes, content.length, piece.train, piece.flags);
      divert(entry, content.type);
      break;
    default:
      return lanes_.count(verdict::malformed);
  }
  packets_.counter[entry] = piece.number;
  packets_.epoch[entry] = slot_->receive_epochs[piece.shape.epoch_bits];
}

}  // namespace

uint32_t open(Lanes& lanes, Batch& trains, Batch& packets, double now) { return Opener{lanes, trains, packets, now}.run(); }

}  // namespace ringway::nodes
