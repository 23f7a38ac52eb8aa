// lanes.seal: from superpackets to sealed trains. Long packets are made in the superpacket itself, by one pass over their payload for the checksum, and the
// AEAD takes them from there into the train; short ones are copied into it, and sealed in groups.
#include <algorithm>
#include <utility>

#include "aead/short_gcm.h"
#include "nodes/header.h"
#include "nodes/nodes.h"
#include "packet/ip.h"

namespace ringway::nodes {
namespace {

constexpr uint32_t max_train_bytes = 65'000;  // above it the kernel segments in software (linux-facts, section 3)
constexpr uint32_t frame_header = 3;          // Data frame: 05, length
constexpr uint8_t data_frame = 5;
constexpr uint32_t group = 8;  // datagrams written before they are sealed
// Bytes. Short packets are sealed faster in groups; and with a longer one no segment's headers lie over the first one's.
constexpr uint32_t longest_copied = 2 * Segmenter::max_header + frame_header;
static_assert(longest_copied >= short_gcm::max_length);

enum class Path : uint8_t { stream, lane, record };

uint32_t overhead_of(Path path) {
  if (path == Path::stream) return frame_header;
  if (path == Path::lane) return lightway::header_bytes + lane::header_bytes;
  return lightway::header_bytes + frame_header + record_overhead;
}

bool fits(Path path, uint32_t length) {
  return path == Path::record ? length + frame_header <= max_record_content : length + overhead_of(path) <= max_train_bytes;
}

// Where the next segment of a slot comes from.
struct Cursor {
  const SealJob* jobs;
  uint32_t job;
  uint32_t segment = 0;

  bool done() const { return job == SealJob::last; }
  uint32_t length() const { return jobs[job].segmenter.length(segment); }
  const Segmenter& segmenter() const { return jobs[job].segmenter; }
  bool is_long() const { return segmenter().length(0) > longest_copied; }
  uint32_t left() const { return segmenter().segments() - segment; }
  // Packets from here on.
  uint32_t rest() const {
    uint32_t all = done() ? 0 : left();
    for (uint32_t i = done() ? job : jobs[job].next; i != SealJob::last; i = jobs[i].next) all += jobs[i].segmenter.segments();
    return all;
  }
  void advance() {
    if (++segment < jobs[job].segmenter.segments()) return;
    segment = 0;
    job = jobs[job].next;
  }
};

struct TrainPlan {
  uint32_t datagrams, bytes, first;  // `first`: bytes of the first datagram
  uint64_t inner;
};

class Sealer {
 public:
  Sealer(Lanes& lanes, Batch& superpackets, Batch& trains, uint32_t max_segments) : lanes_{lanes}, superpackets_{superpackets}, trains_{trains}, max_segments_{max_segments} {}

  void run(double now);

 private:
  uint8_t plan(uint32_t entry, SealJob* job) const;
  bool path_of(uint32_t slot, Path* path) const;
  uint32_t most_of(const PublicSlot& slot) const { return (slot.flags & slot_flag::no_gso) != 0 ? 1 : max_segments_; }
  uint32_t take();
  void chain(SealJob job);
  uint32_t seal_slot(uint32_t first_job, double now);
  TrainPlan plan_train(Cursor cursor) const;
  void seal_train(Cursor& cursor, const TrainPlan& plan, uint8_t* to, uint32_t entry);
  void seal_lane(Cursor& cursor, const TrainPlan& plan, uint8_t* to, uint64_t counter);
  uint8_t* write_lane(const uint8_t* header, uint8_t* to, uint64_t counter, uint32_t length) const;
  uint8_t* seal_long(Cursor& cursor, uint32_t count, const uint8_t* header, uint8_t* to, uint64_t counter);
  void seal_between(const Cursor& cursor, uint8_t* record, const uint8_t* nonce);
  void seal_records(Cursor& cursor, const TrainPlan& plan, uint8_t* to, uint64_t number);

  Lanes& lanes_;
  Batch& superpackets_;
  Batch& trains_;
  const uint32_t max_segments_;
  // the slot at hand
  uint32_t number_ = 0;
  PublicSlot* slot_ = nullptr;
  SecretSlot* secret_ = nullptr;
  const RecordKey* key_ = nullptr;
  Path path_ = Path::lane;
  uint8_t inner_header_[Segmenter::max_header];  // of the superpacket that is sealed from where it lies
};

// ---- what to take -----------------------------------------------------------------------------------------------------

bool Sealer::path_of(uint32_t slot, Path* path) const {
  const PublicSlot& open = lanes_.table->slot(slot);
  const SecretSlot& secret = lanes_.table->secret(slot);
  if ((open.flags & slot_flag::stream) != 0) {
    *path = Path::stream;
    return true;
  }
  if ((open.flags & slot_flag::expresslane) != 0 && secret.lane_send.valid == 1) {
    *path = Path::lane;
    return true;
  }
  *path = Path::record;
  const uint8_t at = open.send_epoch & 3;
  return open.send_epoch != 0 && secret.send_record[at].epoch == open.send_epoch && open.record_send_counter[at] <= max_record_number;
}

// Pass and a job, or the verdict against the entry.
uint8_t Sealer::plan(uint32_t entry, SealJob* job) const {
  const int32_t slot = superpackets_.slot[entry];
  if (!lanes_.exists(slot)) return verdict::no_route;
  const PublicSlot& open = lanes_.table->slot(static_cast<uint32_t>(slot));
  if (lanes_.superseded(open)) return verdict::superseded;
  if (open.state != slot_state::online) return verdict::not_online;
  Path path;
  if (!path_of(static_cast<uint32_t>(slot), &path)) return verdict::no_key;
  if (!job->segmenter.begin(superpackets_.span(entry), hints_of(superpackets_, entry))) return verdict::bad_gso;

  const uint32_t segments = job->segmenter.segments(), largest = job->segmenter.length(0);
  if (!fits(path, largest)) return verdict::too_large;
  const uint32_t most = std::max(1u, std::min(most_of(open), max_train_bytes / (overhead_of(path) + largest)));
  job->entries = (segments + most - 1) / most + 1;
  job->bytes = (job->segmenter.bytes(0, segments) + uint64_t{segments} * overhead_of(path) + 63) / 64 * 64 + 64;
  job->slot = static_cast<uint32_t>(slot);
  const uint64_t arena = uint64_t{trains_.arena->block_count()} * trains_.arena->block_size();
  return job->entries > trains_.capacity || job->bytes > arena / 2 ? verdict::too_large : verdict::pass;
}

// Appends a job to its slot's chain, and the slot to the order of the call.
void Sealer::chain(SealJob job) {
  std::vector<SealJob>& jobs = lanes_.jobs;
  const uint32_t index = static_cast<uint32_t>(jobs.size());
  uint32_t& tail = lanes_.tail[job.slot];  // left from earlier calls where the job there is not of this slot
  job.next = SealJob::last;
  if (tail < index && jobs[tail].slot == job.slot) {
    jobs[tail].next = index;
  } else {
    lanes_.order.push_back(index);
  }
  tail = index;
  jobs.push_back(job);
}

// @returns the first entry not taken
uint32_t Sealer::take() {
  lanes_.jobs.clear();
  lanes_.order.clear();
  uint64_t entries = trains_.capacity - trains_.count();
  uint64_t bytes = uint64_t{trains_.arena->free_count()} * trains_.arena->block_size() / 2;
  const uint32_t count = superpackets_.count();
  uint32_t at = std::min(superpackets_.header->consumed, count);
  for (; at < count; at++) {
    if (superpackets_.verdict[at] != verdict::pass) continue;
    SealJob job;
    if (const uint8_t wrong = plan(at, &job); wrong != verdict::pass) {
      judge_superpacket(lanes_, superpackets_, at, wrong);
      continue;
    }
    if (job.entries > entries || job.bytes > bytes) break;
    entries -= job.entries;
    bytes -= job.bytes;
    chain(job);
  }
  return at;
}

// ---- cutting ------------------------------------------------------------------------------------------------------------

TrainPlan Sealer::plan_train(Cursor cursor) const {
  const uint32_t overhead = overhead_of(path_);
  const uint32_t most = path_ == Path::stream ? UINT32_MAX : most_of(*slot_);
  TrainPlan plan{.datagrams = 0, .bytes = 0, .first = overhead + cursor.length(), .inner = 0};
  while (!cursor.done() && plan.datagrams < most) {
    const uint32_t inner = cursor.length(), size = overhead + inner;
    if (plan.bytes + size > max_train_bytes || (path_ != Path::stream && size > plan.first)) break;
    plan.datagrams++;
    plan.bytes += size;
    plan.inner += inner;
    if (path_ != Path::stream && size < plan.first) break;
    cursor.advance();
  }
  return plan;
}

// ---- sealing ------------------------------------------------------------------------------------------------------------

// Headers of a datagram of the Expresslane. Returns where its packet goes.
uint8_t* Sealer::write_lane(const uint8_t* header, uint8_t* to, uint64_t counter, uint32_t length) const {
  std::memcpy(to, header, lightway::header_bytes);
  uint8_t* frame = to + lightway::header_bytes;
  store64(frame + lane::counter, counter);
  std::memcpy(frame + lane::iv, secret_->lane_send.salt, 4);
  store64(frame + lane::iv + 4, counter);
  store16(frame + lane::length, static_cast<uint16_t>(length));
  store16(frame + lane::flags, 0);
  return frame + lane::header_bytes;
}

// `count` segments of the job at hand, from the superpacket. The payload of the next one is summed between making a packet and sealing it: what the AEAD
// loads in vectors was stored in small pieces, and must have left the store buffer by then (a stall of a dozen cycles otherwise).
uint8_t* Sealer::seal_long(Cursor& cursor, uint32_t count, const uint8_t* header, uint8_t* to, uint64_t counter) {
  const bool with_flags = (slot_->flags & slot_flag::aad_flags) != 0;
  const Segmenter& segmenter = cursor.segmenter();
  if (cursor.segment == 0) segmenter.save_header(inner_header_);
  uint64_t sum = segmenter.sum(cursor.segment);
  for (uint32_t segment = cursor.segment, end = segment + count; segment < end; segment++, counter++, cursor.advance()) {
    const uint32_t length = segmenter.length(segment);
    uint8_t* body = write_lane(header, to, counter, length);
    uint8_t* frame = to + lightway::header_bytes;
    uint8_t aad[24];
    const size_t aad_length = lane::make_aad(header + lightway::id, frame, with_flags, aad);
    const uint8_t* packet = segmenter.place(segment, inner_header_, sum);
    if (segment + 1 < end) sum = segmenter.sum(segment + 1);
    lanes_.aead->seal(key_->schedule, frame + lane::iv, aad, aad_length, packet, body, length, frame + lane::tag);
    to = body + length;
  }
  return to;
}

// Both write a group of datagrams before they seal the first of them, for the store buffer's sake too. A group stays in the L1 cache.

void Sealer::seal_lane(Cursor& cursor, const TrainPlan& plan, uint8_t* to, uint64_t counter) {
  Sealed written[group];
  uint8_t aads[group][24];
  const bool with_flags = (slot_->flags & slot_flag::aad_flags) != 0;
  uint8_t header[lightway::header_bytes];
  lightway::write(header, *slot_, true);
  for (uint32_t left = plan.datagrams; left > 0;) {
    if (cursor.is_long()) {
      const uint32_t count = std::min(left, cursor.left());
      to = seal_long(cursor, count, header, to, counter);
      counter += count;
      left -= count;
      continue;
    }
    const uint32_t most = std::min(left, group);
    uint32_t count = 0;
    for (; count < most && !cursor.is_long(); count++, counter++, cursor.advance()) {
      const uint32_t length = cursor.length();
      uint8_t* body = write_lane(header, to, counter, length);
      uint8_t* frame = to + lightway::header_bytes;
      cursor.segmenter().write(cursor.segment, body);
      const size_t aad_length = lane::make_aad(header + lightway::id, frame, with_flags, aads[count]);
      written[count] = {frame + lane::iv, aads[count], static_cast<uint32_t>(aad_length), length, body, frame + lane::tag, false, false};
      to = body + length;
    }
    lanes_.aead->seal_group(key_->schedule, {written, count});
    left -= count;
  }
}

void Sealer::seal_records(Cursor& cursor, const TrainPlan& plan, uint8_t* to, uint64_t number) {
  Sealed written[group];
  uint8_t nonces[group][16];
  const uint8_t* samples[group];
  uint8_t* records[group];
  uint16_t masks[group];
  const RecordSecret& secret = secret_->send_record[slot_->send_epoch & 3];
  for (uint32_t left = plan.datagrams; left > 0;) {
    const uint32_t count = std::min(left, group);
    uint32_t copied = 0;
    for (uint32_t i = 0; i < count; i++, number++, cursor.advance()) {
      const uint32_t length = cursor.length(), content = frame_header + length;
      lightway::write(to, *slot_, false);
      uint8_t* record = records[i] = to + lightway::header_bytes;
      uint8_t* frame = record + record_header;
      begin_record(secret.iv, secret.epoch, number, content_type::application, record, content, nonces[i]);
      if (cursor.is_long() && cursor.segment > 0 && cursor.left() > 1) {
        seal_between(cursor, record, nonces[i]);
      } else {
        if (cursor.segment == 0 && cursor.is_long()) cursor.segmenter().save_header(inner_header_);
        frame[0] = data_frame;
        store16(frame + 1, static_cast<uint16_t>(length));
        cursor.segmenter().write(cursor.segment, frame + frame_header);
        written[copied++] = {nonces[i], record, record_header, content + 1, frame, frame + content + 1, false, false};
      }
      samples[i] = frame;
      to = record + record_overhead + content;
    }
    lanes_.aead->seal_group(key_->schedule, {written, copied});
    lanes_.aead->number_masks(key_->number, {samples, count}, masks);
    for (uint32_t i = 0; i < count; i++) hide_number(masks[i], records[i]);
    left -= count;
  }
}

// A segment with others on both sides, from the superpacket: what its record has in front of the packet and behind it has room there, behind it in the place
// of a byte of the next one.
void Sealer::seal_between(const Cursor& cursor, uint8_t* record, const uint8_t* nonce) {
  const uint32_t length = cursor.length(), content = frame_header + length;
  uint8_t* packet = cursor.segmenter().place(cursor.segment, inner_header_, cursor.segmenter().sum(cursor.segment));
  uint8_t* from = packet - frame_header;
  from[0] = data_frame;
  store16(from + 1, static_cast<uint16_t>(length));
  const uint8_t next = std::exchange(from[content], content_type::application);
  uint8_t* body = record + record_header;
  lanes_.aead->seal(key_->schedule, nonce, record, record_header, from, body, content + 1, body + content + 1);
  from[content] = next;
}

void Sealer::seal_train(Cursor& cursor, const TrainPlan& plan, uint8_t* to, uint32_t entry) {
  if (path_ == Path::lane) {
    const uint64_t counter = Lanes::claim_lane(*slot_, plan.datagrams);
    trains_.counter[entry] = counter;
    trains_.flags[entry] = flag::expresslane;
    slot_->lane_sent += plan.datagrams;
    return seal_lane(cursor, plan, to, counter);
  }
  if (path_ == Path::record) {
    const uint64_t number = Lanes::claim_record(*slot_, slot_->send_epoch, plan.datagrams);
    trains_.counter[entry] = number;
    trains_.epoch[entry] = slot_->send_epoch;
    return seal_records(cursor, plan, to, number);
  }
  trains_.kind[entry] = kind::stream;
  for (uint32_t i = 0; i < plan.datagrams; i++, cursor.advance()) {
    const uint32_t length = cursor.length();
    to[0] = data_frame;
    store16(to + 1, static_cast<uint16_t>(length));
    cursor.segmenter().write(cursor.segment, to + frame_header);
    to += frame_header + length;
  }
}

// @returns how many packets were not sealed: all when a key could not be expanded, the rest where a train has no block
uint32_t Sealer::seal_slot(uint32_t first_job, double now) {
  number_ = lanes_.jobs[first_job].slot;
  slot_ = &lanes_.table->slot(number_);
  secret_ = &lanes_.table->secret(number_);
  path_of(number_, &path_);
  key_ = path_ == Path::lane     ? lanes_.keys->lane(number_, KeyPlace::lane_send(), secret_->lane_send)
         : path_ == Path::record ? lanes_.keys->record(number_, KeyPlace::send_record(slot_->send_epoch), secret_->send_record[slot_->send_epoch & 3])
                                 : nullptr;
  Cursor cursor{.jobs = lanes_.jobs.data(), .job = first_job};
  if (path_ != Path::stream && !key_) return cursor.rest();
  slot_->last_inside = now;
  while (!cursor.done()) {
    const TrainPlan plan = plan_train(cursor);
    uint8_t* to = trains_.full() ? nullptr : trains_.reserve(plan.bytes);
    if (!to) return cursor.rest();  // take() left room: only an arena whose blocks are smaller than a train comes here
    const uint32_t entry = trains_.commit(plan.bytes);
    trains_.slot[entry] = static_cast<int32_t>(number_);
    std::memcpy(trains_.address_of(entry), slot_->remote, address::size);
    trains_.segment_size[entry] = path_ != Path::stream && plan.datagrams > 1 ? plan.first : 0;
    slot_->packets_sealed += plan.datagrams;
    slot_->bytes_sealed += plan.inner;
    seal_train(cursor, plan, to, entry);
  }
  return 0;
}

void Sealer::run(double now) {
  const uint32_t taken = take();
  for (const uint32_t first_job : lanes_.order) {
    lanes_.counters[verdict::no_block] += seal_slot(first_job, now);
  }
  superpackets_.header->consumed = taken;
}

}  // namespace

uint32_t seal(Lanes& lanes, Batch& superpackets, Batch& trains, uint32_t max_segments, double now) {
  Sealer{lanes, superpackets, trains, max_segments}.run(now);
  return superpackets.header->consumed;
}

}  // namespace ringway::nodes
