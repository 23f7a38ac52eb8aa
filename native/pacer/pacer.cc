#include "pacer/pacer.h"

#include <algorithm>
#include <limits>

namespace ringway {
namespace {

uint32_t rounded(uint32_t bytes) { return (bytes + 63) / 64 * 64; }

uint32_t wire_of(const Segmenter& segmenter, uint32_t first, uint32_t count) {
  return static_cast<uint32_t>(segmenter.bytes(first, count)) + count * pace::overhead;
}

}  // namespace

std::shared_ptr<Pacer> Pacer::create(std::shared_ptr<Lanes> lanes, std::shared_ptr<Batch> released, uint32_t train_segments) {
  std::shared_ptr<Pacer> pacer{new Pacer};
  pacer->sessions_memory_ = Mapping::anonymous(size_t{lanes->table->count()} * sizeof(Session));
  pacer->pieces_memory_ = Mapping::anonymous(pace::most_pieces * sizeof(Piece));
  pacer->state_memory_ = Mapping::anonymous(pacer_state::words * sizeof(double));
  if (!pacer->sessions_memory_ || !pacer->pieces_memory_ || !pacer->state_memory_) return nullptr;
  pacer->sessions_ = reinterpret_cast<Session*>(pacer->sessions_memory_->data());
  pacer->pieces_ = reinterpret_cast<Piece*>(pacer->pieces_memory_->data());
  pacer->state_ = reinterpret_cast<double*>(pacer->state_memory_->data());
  pacer->waiting_.reserve(pace::most_pieces + 1);  // who waits has a piece, or has just lost its last one
  pacer->lanes_ = std::move(lanes);
  pacer->released_ = std::move(released);
  pacer->train_segments_ = train_segments;
  pacer->tell();
  return pacer;
}

Pacer::~Pacer() {
  if (!state_) return;
  for (uint32_t slot = 0; slot < lanes_->table->count() && pieces_in_use_ > 0; slot++) {
    Session& session = sessions_[slot];
    while (session.count > 0) released_->arena->release(pieces_[pop(session)].block);
    rest(session);
  }
}

// ---- rates ------------------------------------------------------------------------------------------------------------------

Pacer::Rate Pacer::rate_of(const PublicSlot& slot) const {
  const uint32_t kilobits = (slot.flags & slot_flag::stream) != 0 ? 0 : slot.pace_rate;  // TCP has a pace of its own
  if (kilobits == 0) return {.micros_per_byte = 0, .train = 0, .bound = pace::least_bound};
  const double bytes_per_micro = kilobits / 8000.0;
  const double train = std::min(std::max(bytes_per_micro * pace::train_micros, double{pace::least_train}), static_cast<double>(train_segments_ * pace::segment_bytes));
  const double bound = std::min(std::max(bytes_per_micro * pace::bound_micros, double{pace::least_bound}), double{pace::most_bound});
  return {.micros_per_byte = 8000.0 / kilobits, .train = static_cast<uint32_t>(train), .bound = static_cast<uint32_t>(bound)};
}

// How many segments of a superpacket make a train.
uint32_t Pacer::segments_of(const Rate& rate, const Segmenter& segmenter) const {
  if (rate.micros_per_byte == 0) return segmenter.segments();
  return std::max(1u, std::min(train_segments_, rate.train / (segmenter.length(0) + pace::overhead)));
}

// A session at rest has saved one train, less what is to leave now.
void Pacer::settle(Session& session, const Rate& rate, uint32_t wire) const {
  session.sustained = std::max(session.sustained, now_ - (rate.train > wire ? rate.train - wire : 0) * rate.micros_per_byte);
}

void Pacer::advance(Session& session, const Rate& rate, uint32_t wire) const {
  const double each = rate.micros_per_byte * pace::peak;
  session.sustained = std::max(session.sustained, now_ - pace::late_micros) + wire * rate.micros_per_byte;
  session.peak = std::max(session.peak, now_ - (rate.train > wire ? rate.train - wire : 0) * each) + wire * each;
}

// ---- arrivals ---------------------------------------------------------------------------------------------------------------

void Pacer::arrive(Batch& superpackets, uint32_t entry) {
  const int32_t slot = superpackets.slot[entry];
  if (!lanes_->exists(slot)) return;
  Session& session = sessions_[slot];
  const Rate rate = rate_of(lanes_->table->slot(static_cast<uint32_t>(slot)));
  if (session.count == 0 && rate.micros_per_byte == 0 && !limited_) return;
  const SuperpacketHints hints = nodes::hints_of(superpackets, entry);
  Segmenter segmenter;
  if (!segmenter.begin(superpackets.span(entry), hints)) return;  // seal says why
  if (session.count == 0 && passes(session, rate, segmenter, superpackets.length[entry])) return;
  if (hold(session, static_cast<uint32_t>(slot), rate, segmenter, hints)) {
    lanes_->judge(superpackets, entry, verdict::held);
  } else {
    lanes_->judge(superpackets, entry, verdict::pacer_full, segmenter.segments());
  }
}

// Nothing of its session waits: may it go on as it is?
bool Pacer::passes(Session& session, const Rate& rate, const Segmenter& segmenter, uint32_t length) {
  if (session.call != call_) {
    session.call = call_;
    session.passed = 0;
  }
  if (limited_ && session.passed + uint64_t{length} > quantum_) return false;
  if (rate.micros_per_byte > 0) {
    const uint32_t segments = segmenter.segments();
    if (segments > segments_of(rate, segmenter)) return false;
    const uint32_t wire = wire_of(segmenter, 0, segments);
    settle(session, rate, wire);
    if (departure_of(session) > now_) return false;
    advance(session, rate, wire);
  }
  session.passed += length;
  left_ -= length;
  return true;
}

// False when its session has too much waiting, or all sessions together: then nothing of it is kept.
bool Pacer::hold(Session& session, uint32_t slot, const Rate& rate, const Segmenter& segmenter, const SuperpacketHints& hints) {
  const uint32_t segments = segmenter.segments(), each = segments_of(rate, segmenter);
  const uint32_t count = (segments + each - 1) / each;
  const uint64_t cost = segmenter.bytes(0, segments) + uint64_t{count} * pace::piece_cost;
  const Arena& arena = *released_->arena;
  const bool scarce = arena.free_count() < arena.block_count() / 8;
  if (session.cost + cost > (scarce ? pace::quantum : rate.bound)) return false;
  // a block is left when the next piece does not fit: more than half full, unless the pieces are longer than that
  const uint32_t longest = rounded(segmenter.slice_length(0, std::min(each, segments)));
  const uint64_t blocks = longest > arena.block_size() / 2 ? count : uint64_t{count} * longest * 2 / arena.block_size() + 2;
  if (count > pace::most_pieces - pieces_in_use_ || arena.free_count() < blocks) return false;
  if (session.count == 0 && rate.micros_per_byte > 0) settle(session, rate, wire_of(segmenter, 0, std::min(each, segments)));
  for (uint32_t first = 0; first < segments; first += each) store(session, segmenter, hints, first, std::min(each, segments - first));
  if (session.place != Place::none) return true;
  if (rate.micros_per_byte == 0 || departure_of(session) <= now_) {
    activate(slot);
  } else {
    session.place = Place::waiting;
    waiting_.push_back({departure_of(session), slot});
    std::push_heap(waiting_.begin(), waiting_.end());
  }
  return true;
}

void Pacer::store(Session& session, const Segmenter& segmenter, const SuperpacketHints& hints, uint32_t first, uint32_t count) {
  Arena& arena = *released_->arena;
  const uint32_t length = segmenter.slice_length(first, count);
  if (session.block == 0 || session.block_used + length > arena.block_size()) {
    if (session.block != 0) arena.release(session.block - 1);
    session.block = static_cast<uint16_t>(arena.acquire() + 1);
    session.block_used = 0;
  }
  const auto block = static_cast<uint16_t>(session.block - 1);
  segmenter.slice(first, count, arena.start(block) + session.block_used);
  arena.retain(block);

  uint32_t index = free_pieces_;
  if (index == 0) {
    index = ++fresh_pieces_;
  } else {
    free_pieces_ = pieces_[index - 1].next;
  }
  pieces_[index - 1] = {
    .next = 0,
    .offset = arena.offset(block) + session.block_used,
    .length = length,
    .segment_size = hints.segment_size,
    .wire = wire_of(segmenter, first, count),
    .segments = static_cast<uint16_t>(count),
    .block = block,
    .checksum_start = hints.checksum_start,
    .checksum_offset = hints.checksum_offset,
    .flags = hints.needs_checksum ? flag::needs_checksum : uint16_t{0},
    .kind = hints.kind,
  };
  session.block_used = std::min(rounded(session.block_used + length), arena.block_size());
  (session.tail == 0 ? session.head : pieces_[session.tail - 1].next) = index;
  session.tail = index;
  session.count++;
  session.cost += length + pace::piece_cost;
  cost_ += length + pace::piece_cost;
  pieces_in_use_++;
}

// ---- departures -------------------------------------------------------------------------------------------------------------

void Pacer::activate(uint32_t slot) {
  sessions_[slot].place = Place::active;
  sessions_[slot].next_active = 0;
  (active_tail_ == 0 ? active_head_ : sessions_[active_tail_ - 1].next_active) = slot + 1;
  active_tail_ = slot + 1;
  active_count_++;
}

// The index of its oldest piece, taken out of the queue; the reference to its block is the caller's.
uint32_t Pacer::pop(Session& session) {
  const uint32_t index = session.head - 1;
  Piece& piece = pieces_[index];
  session.head = piece.next;
  if (session.head == 0) session.tail = 0;
  session.count--;
  session.cost -= piece.length + pace::piece_cost;
  cost_ -= piece.length + pace::piece_cost;
  piece.next = free_pieces_;
  free_pieces_ = index + 1;
  pieces_in_use_--;
  return index;
}

void Pacer::take(Session& session, uint32_t slot, const Rate& rate) {
  const Piece piece = pieces_[pop(session)];
  const uint32_t entry = released_->append(piece.offset, piece.length, piece.block);
  released_->slot[entry] = static_cast<int32_t>(slot);
  released_->segment_size[entry] = piece.segment_size;
  released_->checksum_start[entry] = piece.checksum_start;
  released_->checksum_offset[entry] = piece.checksum_offset;
  released_->flags[entry] = piece.flags;
  released_->kind[entry] = piece.kind;
  left_ -= piece.length;
  session.deficit -= piece.length;
  if (rate.micros_per_byte > 0) advance(session, rate, piece.wire);
}

void Pacer::rest(Session& session) {
  if (session.block != 0) released_->arena->release(session.block - 1);
  session.block = 0;
  session.deficit = 0;
  session.place = Place::none;
}

// The turn of a session that is due.
void Pacer::serve(uint32_t slot) {
  Session& session = sessions_[slot];
  const Rate rate = rate_of(lanes_->table->slot(slot));
  session.deficit = std::min(session.deficit + quantum_, 2 * pace::quantum);
  while (session.count > 0 && left_ > 0 && !released_->full() && pieces_[session.head - 1].length <= session.deficit) {
    if (rate.micros_per_byte > 0 && departure_of(session) > now_) {
      session.deficit = 0;
      session.place = Place::waiting;
      waiting_.push_back({departure_of(session), slot});
      std::push_heap(waiting_.begin(), waiting_.end());
      return;
    }
    take(session, slot, rate);
  }
  if (session.count == 0) {
    rest(session);
  } else {
    activate(slot);
  }
}

void Pacer::release(Batch& superpackets, bool fresh, double now, uint32_t budget) {
  call_++;
  now_ = now;
  limited_ = budget != pace::no_limit;
  left_ = limited_ ? budget : std::numeric_limits<int64_t>::max();
  // one share more than there are sessions with something waiting: for those who come
  quantum_ = budget == 0 ? 0 : std::min(pace::quantum, std::max(pace::least_quantum, budget / (active_count_ + 1)));
  const uint32_t count = superpackets.count();
  for (uint32_t i = superpackets.header->consumed; fresh && i < count; i++) {
    if (superpackets.verdict[i] == verdict::pass) arrive(superpackets, i);
  }
  while (!waiting_.empty() && waiting_.front().at <= now) {
    const uint32_t slot = waiting_.front().slot;
    std::pop_heap(waiting_.begin(), waiting_.end());
    waiting_.pop_back();
    if (sessions_[slot].count > 0) {
      activate(slot);
    } else {
      rest(sessions_[slot]);  // forgotten meanwhile
    }
  }
  while (active_head_ != 0 && left_ > 0 && !released_->full()) {
    const uint32_t slot = active_head_ - 1;
    active_head_ = sessions_[slot].next_active;
    if (active_head_ == 0) active_tail_ = 0;
    active_count_--;
    serve(slot);
  }
  tell();
}

uint32_t Pacer::forget(uint32_t slot, uint8_t verdict) {
  Session& session = sessions_[slot];
  uint32_t segments = 0;
  while (session.count > 0) {
    const Piece& piece = pieces_[pop(session)];
    segments += piece.segments;
    released_->arena->release(piece.block);
  }
  lanes_->counters[verdict] += segments;
  session.sustained = session.peak = 0;
  session.deficit = 0;
  if (session.block != 0) released_->arena->release(session.block - 1);
  session.block = 0;
  tell();
  return segments;
}

void Pacer::tell() {
  // a session whose pieces were forgotten may still stand in the list: nothing waits, so nothing departs
  state_[pacer_state::deadline] = pieces_in_use_ == 0 ? std::numeric_limits<double>::infinity()
                                  : active_head_ != 0 ? now_
                                  : waiting_.empty() ? std::numeric_limits<double>::infinity()
                                                     : waiting_.front().at;
  state_[pacer_state::pieces] = pieces_in_use_;
  state_[pacer_state::bytes] = static_cast<double>(cost_);
}

}  // namespace ringway
