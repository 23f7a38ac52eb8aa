// lanes.open: from trains to packets, opened where they lie or into superpackets.
#include <algorithm>

#include "nodes/header.h"
#include "nodes/opener.h"

namespace ringway::nodes {

// ---- trains and datagrams -------------------------------------------------------------------------------------------------

uint8_t Opener::judge_slot() const {
  if (!slot_) return verdict::reject;
  return lanes_.superseded(*slot_) ? verdict::superseded : verdict::pass;
}

void Opener::begin_train(uint32_t train) {
  const int32_t number = trains_.verdict[train] == verdict::pass && lanes_.exists(trains_.slot[train]) ? trains_.slot[train] : -1;
  if (number != number_) {
    open_group();
    assembly_.finish();
    forget_keys();
  }
  const bool unsound = assembly_.active() && assembly_.may_overlap(trains_.offset[train], trains_.length[train]);
  if (unsound != unsound_) open_group();
  unsound_ = unsound;
  train_ = train;
  number_ = number;
  slot_ = number < 0 ? nullptr : &lanes_.table->slot(static_cast<uint32_t>(number));
  secret_ = number < 0 ? nullptr : &lanes_.table->secret(static_cast<uint32_t>(number));
  refusal_ = judge_slot();
  knows_header_ = false;
}

// For so many entries beside those that the group may give?
bool Opener::has_room(uint32_t entries) {
  if (packets_.capacity - count_ - followed_ - group_.count < entries) open_group();
  return packets_.capacity - count_ - followed_ >= entries;
}

uint32_t Opener::run() {
  const uint32_t consumed = open_trains();
  open_group();
  assembly_.finish();
  let_hold();
  packets_.header->count = count_;
  packets_.header->wanted += wanted_;
  packets_.header->followed += followed_;
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
    if (bytes.empty()) refuse(verdict::too_short, train_);
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
  if (is_like_last(datagram)) return take(datagram);
  if (const uint8_t wrong = lightway::check(datagram); wrong != verdict::pass) {
    refuse(wrong, train_);
    return true;
  }
  const uint8_t* body = datagram.data() + lightway::header_bytes;
  const size_t length = datagram.size() - lightway::header_bytes;
  if (length == 0) {
    refuse(verdict::too_short, train_);
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
    refuse(verdict::version_mismatch, train_);
    return true;
  }
  const uint64_t id = load_native<uint64_t>(datagram.data() + lightway::id);
  knows_header_ = false;  // the flags are no longer those of the last one that was taken
  flags_ = trains_.flags[train_] & flag::floating;
  if (id != lightway::empty_id && id != load_native<uint64_t>(slot_->current_id)) flags_ |= flag::new_id;

  const bool over_expresslane = datagram[lightway::expresslane] != 0;
  if (over_expresslane ? slot_->state != slot_state::online : slot_->state != slot_state::link_up && slot_->state != slot_state::online) {
    if (over_expresslane) {
      refuse(verdict::not_online, train_);
    } else {
      divert_raw(body, length);
    }
    return true;
  }
  std::memcpy(last_header_, datagram.data(), sizeof last_header_);
  knows_header_ = true;
  return take(datagram);
}

// The datagrams of a train mostly begin alike: what was found right of one is right of the next.
bool Opener::is_like_last(std::span<const uint8_t> datagram) const {
  return knows_header_ && datagram.size() > lightway::header_bytes && std::memcmp(datagram.data(), last_header_, sizeof last_header_) == 0;
}

bool Opener::take(std::span<uint8_t> datagram) {
  if (datagram[lightway::expresslane] == 0) return take_records(datagram.subspan(lightway::header_bytes));
  take_expresslane(datagram);
  return true;
}

void Opener::divert_raw(const uint8_t* bytes, size_t length) {
  open_group();  // entries are in the order of arrival
  divert(append(bytes, length, train_, flags_), kind::raw);
}

void Opener::take_expresslane(std::span<uint8_t> datagram) {
  uint8_t* frame = datagram.data() + lightway::header_bytes;
  const size_t left = datagram.size() - lightway::header_bytes;
  if (left < lane::header_bytes) return refuse(verdict::too_short, train_);
  const uint16_t length = load16(frame + lane::length);
  if (left < lane::header_bytes + length) return refuse(verdict::too_short, train_);
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

// Whatever is not one record. Of a session that is Online nothing is left to session.control but ClientHellos, some of them: what else is in plaintext, or of an
// epoch without keys, is of no use to it.
bool Opener::take_several_records(std::span<uint8_t> body) {
  const bool online = slot_->state == slot_state::online;
  if (online && begins_anew(body)) {
    if (lanes_.hears_hello(static_cast<uint32_t>(number_), now_)) divert_raw(body.data(), body.size());
    else refuse(verdict::overload, train_);
    return true;
  }
  RecordShape shapes[max_records];
  uint8_t* starts[max_records];
  uint32_t records = 0, walked = 0;
  uint8_t wrong = verdict::pass;  // with what is not opened: the first thing
  const auto note = [&wrong](uint8_t verdict) { wrong = wrong == verdict::pass ? verdict : wrong; };
  for (std::span<uint8_t> rest = body; !rest.empty(); walked++) {
    const RecordShape shape = walked < max_records ? look_at_record(rest) : RecordShape{RecordShape::Is::malformed, 0, 0, 0, 0};
    size_t length = shape.total();
    const bool plain = shape.is == RecordShape::Is::plain;
    if (plain || (shape.number_bytes != 0 && slot_->receive_epochs[shape.epoch_bits] == 0)) {
      if (!online) {
        divert_raw(body.data(), body.size());
        return true;
      }
      note(plain ? verdict::unprotected : verdict::no_key);
      if (plain) length = plaintext_bytes(rest);
      if (length == 0 || shape.is == RecordShape::Is::malformed) break;
    } else if (shape.is == RecordShape::Is::malformed) {
      note(verdict::malformed);
      break;
    } else {
      starts[records] = rest.data();
      shapes[records++] = shape;
    }
    rest = rest.subspan(length);
  }
  if (!has_room(records)) return false;
  for (uint32_t i = 0; i < records; i++) take_one_record(starts[i], shapes[i]);
  if (wrong != verdict::pass) refuse(wrong, train_);
  return true;
}

// Does a client begin anew, from the address of the session it had?
bool Opener::begins_anew(std::span<const uint8_t> body) const {
  if ((slot_->flags & slot_flag::client) != 0 || (flags_ & flag::floating) != 0) return false;
  return is_client_hello(body);
}

void Opener::take_one_record(uint8_t* record, RecordShape shape) {
  if (shape.encrypted <= tag_bytes) return refuse(verdict::malformed, train_);
  if (!group_.takes(shape.epoch_bits)) open_group();
  if (!record_key(shape.epoch_bits)) return refuse(verdict::no_key, train_);
  group_.add_record(record, shape, train_, flags_);
}

uint32_t open(Lanes& lanes, Batch& trains, Batch& packets, double now, Joining joining) { return Opener{lanes, trains, packets, now, joining}.run(); }

}  // namespace ringway::nodes
