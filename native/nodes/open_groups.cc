// lanes.open, second half: entries, keys; a group of sealed pieces is opened under its key, judged piece by piece, and given to `packets`.
#include <algorithm>

#include "nodes/header.h"
#include "nodes/opener.h"
#include "packet/ip.h"
#include "steering/floors.h"
#include "table/window.h"

namespace ringway::nodes {

// ---- entries ------------------------------------------------------------------------------------------------------------

uint32_t Opener::append(const uint8_t* bytes, size_t length, uint32_t train, uint16_t flags) {
  if (trains_.block[train] != held_) let_hold();
  held_ = trains_.block[train];
  holds_++;
  return append(bytes, length, train, flags, held_);
}

// In a block that is held already.
uint32_t Opener::append(const uint8_t* bytes, size_t length, uint32_t train, uint16_t flags, uint16_t block) {
  const uint32_t entry = count_++;
  if (entry == cleared_) clear_columns();
  packets_.counter[entry] = 0;
  packets_.offset[entry] = static_cast<uint32_t>(bytes - bytes_);
  packets_.length[entry] = static_cast<uint32_t>(length);
  packets_.train[entry] = train;
  packets_.slot[entry] = number_;
  packets_.epoch[entry] = 0;
  packets_.block[entry] = block;
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

// Those that are zero in most entries, of several at a time.
void Opener::clear_columns() {
  constexpr uint32_t at_a_time = 32;
  const size_t entries = std::min(at_a_time, packets_.capacity - cleared_);
  std::memset(packets_.segment_size + cleared_, 0, entries * sizeof *packets_.segment_size);
  std::memset(packets_.error + cleared_, 0, entries * sizeof *packets_.error);
  std::memset(packets_.header_length + cleared_, 0, entries * sizeof *packets_.header_length);
  std::memset(packets_.checksum_start + cleared_, 0, entries * sizeof *packets_.checksum_start);
  std::memset(packets_.checksum_offset + cleared_, 0, entries * sizeof *packets_.checksum_offset);
  std::memset(packets_.address_of(cleared_), 0, entries * address::size);
  cleared_ += static_cast<uint32_t>(entries);
}

void Opener::divert(uint32_t entry, uint8_t kind) {
  packets_.kind[entry] = kind;
  lanes_.judge(packets_, entry, verdict::divert);
  diverted_++;
  wanted_ += (packets_.flags[entry] & (flag::floating | flag::new_id)) == 0;  // append() has counted the others
}

// Counts it, and who is refused too often is suspected. Under another id than those that it had that may be anybody's.
void Opener::refuse(uint8_t verdict, uint32_t train) {
  lanes_.count(verdict);
  if (!lanes_.floors || trains_.segment_size[train] != 0) return;
  const auto datagram = trains_.span(train);
  const uint64_t id = datagram.size() < lightway::header_bytes ? lightway::empty_id : load_native<uint64_t>(datagram.data() + lightway::id);
  const bool own = slot_ && (id == load_native<uint64_t>(slot_->current_id) || lanes_.floors->has_told(number_, id));
  lanes_.floors->refused(lanes_, own ? number_ : Suspects::nobody);
}

void Opener::pass(uint32_t length) {
  slot_->packets_opened++;
  slot_->bytes_opened += length;
}

// Of the entries from `first` on: what admit would find, found while the bytes are in the cache. Assembling has looked at some.
void Opener::judge_checksums(uint32_t first) {
  for (uint32_t entry = first; entry < count_; entry++) {
    if (packets_.verdict[entry] != verdict::pass || (packets_.flags[entry] & flag::checksum_valid) != 0) continue;
    if (is_sound({bytes_ + packets_.offset[entry], packets_.length[entry]})) packets_.flags[entry] |= flag::checksum_valid;
  }
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

const RecordKey* Opener::find_record_key(uint8_t epoch_bits) {
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
  if (group_.of != last_of_) assembly_.finish();
  last_of_ = group_.of;
  if (group_.of == OpenGroup::lane_pieces) {
    open_lane_group();
  } else {
    open_record_group();
  }
  group_.clear();
  judge_checksums(first);
}

// None of the group may be in a superpacket with others: session.control has to see it, or drops it.
bool Opener::stands_apart() const {
  if (unsound_ || slot_->state != slot_state::online) return true;
  uint16_t flags = 0;
  for (uint32_t i = 0; i < group_.count; i++) flags |= group_.pieces[i].flags;
  return (flags & (flag::floating | flag::new_id)) != 0;
}

void Opener::open_lane_group() {
  LaneWindow window{*slot_};
  const RecordKey* key = lane_key();
  for (uint32_t i = 0; i < group_.count; i++) group_.sealed[i].skip = window.refuses(group_.pieces[i].number);
  if (key) assembly_.open(*lanes_.aead, key->schedule, group_, lane_framing, stands_apart(), trains_.length[group_.pieces[0].train]);
  for (uint32_t i = 0; i < group_.count; i++) {
    const auto& [frame, counter, low, train, shape, flags] = group_.pieces[i];
    const Sealed& sealed = group_.sealed[i];
    if (window.refuses(counter)) {
      refuse(verdict::replayed, train);
      continue;
    }
    if (!key) {
      refuse(verdict::no_key, train);
      continue;
    }
    if (!sealed.authentic && !open_with_previous(i)) {
      refuse(verdict::forged, train);
      continue;
    }
    window.take(counter);
    slot_->lane_received++;
    slot_->last_outside = now_;
    if ((load16(frame + lane::flags) & lane::encoded) != 0) {
      refuse(verdict::malformed, train);
      continue;
    }
    uint32_t entry = assemble(i);
    if (entry == followed) continue;
    if (entry == alone) {
      entry = append(sealed.bytes, sealed.length, train, flags);
      packets_.kind[entry] = kind::application;
      pass(sealed.length);
    }
    packets_.counter[entry] = counter;
  }
}

// @returns its entry, the first of a superpacket; or `followed`, or `alone`
uint32_t Opener::assemble(uint32_t piece) {
  const Assembly::Taken taken = assembly_.take(piece, group_.sealed[piece], group_.pieces[piece].number);
  if (taken == Assembly::Taken::no) return alone;
  pass(assembly_.length());
  if (taken == Assembly::Taken::followed) {
    followed_++;
    return followed;
  }
  const Piece& of = group_.pieces[piece];
  packets_.arena->retain(assembly_.block());
  const uint32_t entry = append(assembly_.packet(), assembly_.length(), of.train, static_cast<uint16_t>(of.flags | flag::checksum_valid), assembly_.block());
  packets_.kind[entry] = kind::application;
  assembly_.entered(entry);
  return entry;
}

bool Opener::open_with_previous(uint32_t piece) {
  if (secret_->lane_previous.valid != 1) return false;
  const Sealed& sealed = group_.sealed[piece];
  Aead& aead = *lanes_.aead;
  if (assembly_.has_placed(piece)) {
    assembly_.leave(piece);
  } else {
    const RecordKey* key = lane_key();
    if (!key) return false;
    aead.restore(key->schedule, sealed.nonce, sealed.bytes, sealed.length);
  }
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
  assembly_.open(aead, key->schedule, group_, record_framing, stands_apart(), trains_.length[group_.pieces[0].train]);
  for (uint32_t i = 0; i < group_.count; i++) {
    Piece& piece = group_.pieces[i];
    // those before it may have moved the window so far that these bits mean another number, but not where it is the next one
    const uint64_t number = piece.number == window.next() ? piece.number : reconstruct(window.next(), piece.low, piece.shape.number_bytes);
    if (number > max_record_number) {
      refuse(verdict::malformed, piece.train);
      continue;
    }
    if (window.refuses(number)) {
      refuse(verdict::replayed, piece.train);
      continue;
    }
    if (number != piece.number) {
      piece.number = number;
      open_again(*key, secret, i);
    }
    if (!group_.sealed[i].authentic) {
      refuse(verdict::forged, piece.train);
      continue;
    }
    window.take(number);
    slot_->last_outside = now_;
    give_record(i);
  }
}

// Under another number than was thought.
void Opener::open_again(const RecordKey& key, const RecordSecret& secret, uint32_t piece) {
  Sealed& sealed = group_.sealed[piece];
  Aead& aead = *lanes_.aead;
  if (assembly_.has_placed(piece)) {
    assembly_.leave(piece);
  } else if (!sealed.skip) {
    aead.restore(key.schedule, sealed.nonce, sealed.bytes, sealed.length);
  }
  make_record_nonce(secret.iv, group_.pieces[piece].number, group_.nonces[piece].data());
  sealed.authentic = aead.open(key.schedule, sealed.nonce, sealed.aad, sealed.aad_length, sealed.bytes, sealed.bytes, sealed.length, sealed.tag);
}

void Opener::give_record(uint32_t index) {
  const Piece& piece = group_.pieces[index];
  uint32_t entry = assemble(index);
  if (entry == followed) return;
  if (entry != alone) {
    packets_.counter[entry] = piece.number;
    packets_.epoch[entry] = slot_->receive_epochs[piece.shape.epoch_bits];
    return;
  }
  const Sealed& sealed = group_.sealed[index];
  const OpenedContent content = find_content(sealed.bytes, sealed.length);
  const uint8_t* bytes = sealed.bytes;
  switch (content.type) {
    case content_type::application:
      if (content.length >= 3 && bytes[0] == 5 && load16(bytes + 1) == content.length - 3) {
        if (slot_->state != slot_state::online) return refuse(verdict::not_online, piece.train);
        entry = append(bytes + 3, content.length - 3, piece.train, piece.flags);
        packets_.kind[entry] = kind::application;
        pass(content.length - 3);
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
      return refuse(verdict::malformed, piece.train);
  }
  packets_.counter[entry] = piece.number;
  packets_.epoch[entry] = slot_->receive_epochs[piece.shape.epoch_bits];
}

}  // namespace ringway::nodes
