// lanes.open: from trains to packets, opened where they lie.
#include <algorithm>

#include "nodes/header.h"
#include "nodes/nodes.h"
#include "table/window.h"

namespace ringway::nodes {
namespace {

class Opener {
 public:
  Opener(Lanes& lanes, Batch& trains, Batch& packets, double now) : lanes_{lanes}, trains_{trains}, packets_{packets}, now_{now}, count_{packets.count()} {}

  uint32_t run();

 private:
  uint32_t open_trains();
  void begin_train(uint32_t train);
  void forget_keys();
  bool open_datagram(std::span<uint8_t> datagram);  // false: `packets` is too full for it
  void open_expresslane(std::span<uint8_t> datagram);
  bool open_records(std::span<uint8_t> datagram);
  void open_one_record(uint8_t* record, const RecordShape& shape);
  uint32_t append(const uint8_t* bytes, size_t length);
  void clear_columns(uint32_t first);
  uint32_t divert(const uint8_t* bytes, size_t length, uint8_t kind);
  void pass(uint32_t entry);

  Lanes& lanes_;
  Batch& trains_;
  Batch& packets_;
  const double now_;
  uint32_t diverted_ = 0;
  uint32_t count_;  // of packets; written to its header at the end
  // the train and the datagram at hand
  uint32_t train_ = 0;
  int32_t number_ = -1;  // of the slot
  PublicSlot* slot_ = nullptr;
  SecretSlot* secret_ = nullptr;
  uint16_t flags_ = 0;
  // its keys, looked up once a train
  const RecordKey* lane_key_ = nullptr;
  const RecordKey* record_keys_[4] = {};
};

// Writes the columns that differ from entry to entry; clear_columns() does the others for all at once.
uint32_t Opener::append(const uint8_t* bytes, size_t length) {
  const uint32_t entry = count_++;
  packets_.arena->retain(trains_.block[train_]);
  packets_.counter[entry] = 0;
  packets_.offset[entry] = static_cast<uint32_t>(bytes - packets_.arena->bytes());
  packets_.length[entry] = static_cast<uint32_t>(length);
  packets_.train[entry] = train_;
  packets_.slot[entry] = number_;
  packets_.epoch[entry] = 0;
  packets_.block[entry] = trains_.block[train_];
  packets_.flags[entry] = flags_;
  packets_.verdict[entry] = verdict::pass;
  packets_.kind[entry] = kind::raw;
  return entry;
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

uint32_t Opener::divert(const uint8_t* bytes, size_t length, uint8_t kind) {
  const uint32_t entry = append(bytes, length);
  packets_.kind[entry] = kind;
  lanes_.judge(packets_, entry, verdict::divert);
  diverted_++;
  return entry;
}

void Opener::pass(uint32_t entry) {
  packets_.kind[entry] = kind::application;
  slot_->packets_opened++;
  slot_->bytes_opened += packets_.length[entry];
}

void Opener::begin_train(uint32_t train) {
  train_ = train;
  number_ = trains_.verdict[train] == verdict::pass && lanes_.exists(trains_.slot[train]) ? trains_.slot[train] : -1;
  slot_ = number_ < 0 ? nullptr : &lanes_.table->slot(static_cast<uint32_t>(number_));
  secret_ = number_ < 0 ? nullptr : &lanes_.table->secret(static_cast<uint32_t>(number_));
  forget_keys();
}

// A lookup may push out what earlier ones found.
void Opener::forget_keys() {
  lane_key_ = nullptr;
  std::fill(std::begin(record_keys_), std::end(record_keys_), nullptr);
}

uint32_t Opener::run() {
  const uint32_t first = count_, consumed = open_trains();
  clear_columns(first);
  packets_.header->count = count_;
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
  if (count_ >= packets_.capacity) return false;
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
    flags_ = 0;
    const uint32_t entry = append(body, length);  // locate has counted it
    packets_.verdict[entry] = verdict::divert;
    diverted_++;
    return true;
  }
  if (!slot_) {
    lanes_.count(verdict::reject);
    return true;
  }
  if (lanes_.superseded(*slot_)) {
    lanes_.count(verdict::superseded);
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
      open_expresslane(datagram);
    }
    return true;
  }
  if (slot_->state != slot_state::link_up && slot_->state != slot_state::online) {
    divert(body, length, kind::raw);
    return true;
  }
  return open_records(datagram);
}

void Opener::open_expresslane(std::span<uint8_t> datagram) {
  uint8_t* frame = datagram.data() + lightway::header_bytes;
  const size_t left = datagram.size() - lightway::header_bytes;
  if (left < lane::header_bytes) return lanes_.count(verdict::too_short);
  const uint16_t length = load16(frame + lane::length);
  if (left < lane::header_bytes + length) return lanes_.count(verdict::too_short);
  const uint64_t counter = load64(frame + lane::counter);
  LaneWindow window{*slot_};
  if (window.refuses(counter)) return lanes_.count(verdict::replayed);
  if (secret_->lane_receive.valid != 1) return lanes_.count(verdict::no_key);
  const uint32_t slot = static_cast<uint32_t>(number_);
  if (!lane_key_) {
    forget_keys();
    lane_key_ = lanes_.keys->lane(slot, KeyPlace::lane_receive(), secret_->lane_receive);
  }
  const RecordKey* key = lane_key_;
  if (!key) return lanes_.count(verdict::no_key);

  Aead& aead = *lanes_.aead;
  uint8_t aad[lane::max_aad];
  const size_t aad_length = lane::make_aad(datagram.data() + lightway::id, frame, (slot_->flags & slot_flag::aad_flags) != 0, aad);
  uint8_t* body = frame + lane::header_bytes;
  if (!aead.open(key->schedule, frame + lane::iv, aad, aad_length, body, body, length, frame + lane::tag)) {
    if (secret_->lane_previous.valid != 1) return lanes_.count(verdict::forged);
    aead.restore(key->schedule, frame + lane::iv, body, length);
    forget_keys();
    const RecordKey* previous = lanes_.keys->lane(slot, KeyPlace::lane_previous(), secret_->lane_previous);
    if (!previous || !aead.open(previous->schedule, frame + lane::iv, aad, aad_length, body, body, length, frame + lane::tag)) {
      return lanes_.count(verdict::forged);
    }
  }
  window.take(counter);
  slot_->lane_received++;
  slot_->last_outside = now_;
  if ((load16(frame + lane::flags) & lane::encoded) != 0) return lanes_.count(verdict::malformed);
  const uint32_t entry = append(body, length);
  packets_.counter[entry] = counter;
  packets_.flags[entry] |= flag::expresslane;
  pass(entry);
}

bool Opener::open_records(std::span<uint8_t> datagram) {
  const std::span<uint8_t> body = datagram.subspan(lightway::header_bytes);
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
      divert(body.data(), body.size(), kind::raw);
      return true;
    }
    if (shape.is == RecordShape::Is::malformed) {
      rest_malformed = true;
      break;
    }
    shapes[records++] = shape;
  }
  if (packets_.capacity - count_ < records) return false;
  uint8_t* record = body.data();
  for (uint32_t i = 0; i < records; i++) {
    open_one_record(record, shapes[i]);
    record += shapes[i].total();
  }
  if (rest_malformed) lanes_.count(verdict::malformed);
  return true;
}

void Opener::open_one_record(uint8_t* record, const RecordShape& shape) {
  if (shape.encrypted <= tag_bytes) return lanes_.count(verdict::malformed);
  const uint16_t epoch = slot_->receive_epochs[shape.epoch_bits];
  const RecordSecret& secret = secret_->receive_record[shape.epoch_bits];
  const RecordKey*& key = record_keys_[shape.epoch_bits];
  if (!key) forget_keys();
  if (!key && secret.epoch == epoch) key = lanes_.keys->record(static_cast<uint32_t>(number_), KeyPlace::receive_record(epoch), secret);
  if (!key) return lanes_.count(verdict::no_key);
  Aead& aead = *lanes_.aead;
  RecordWindow window{*slot_, shape.epoch_bits};
  const uint64_t number = reconstruct(window.next(), reveal_number(aead, *key, record, shape), shape.number_bytes);
  if (number > max_record_number) return lanes_.count(verdict::malformed);
  if (window.refuses(number)) return lanes_.count(verdict::replayed);
  OpenedContent content;
  if (!open_record(aead, *key, secret.iv, record, shape, number, &content)) return lanes_.count(verdict::forged);
  window.take(number);
  slot_->last_outside = now_;

  const uint8_t* bytes = record + shape.header;
  uint32_t entry;
  switch (content.type) {
    case content_type::application:
      if (content.length >= 3 && bytes[0] == 5 && load16(bytes + 1) == content.length - 3) {
        if (slot_->state != slot_state::online) return lanes_.count(verdict::not_online);
        entry = append(bytes + 3, content.length - 3);
        pass(entry);
        break;
      }
      [[fallthrough]];
    case content_type::alert:
    case content_type::handshake:
    case content_type::ack:
      entry = divert(bytes, content.length, content.type);
      break;
    default:
      return lanes_.count(verdict::malformed);
  }
  packets_.counter[entry] = number;
  packets_.epoch[entry] = epoch;
}

}  // namespace

uint32_t open(Lanes& lanes, Batch& trains, Batch& packets, double now) { return Opener{lanes, trains, packets, now}.run(); }

}  // namespace ringway::nodes
