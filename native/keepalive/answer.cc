#include "keepalive/answer.h"

#include <algorithm>
#include <array>

#include "keepalive/echo.h"
#include "nodes/header.h"

namespace ringway::keepalive {
namespace {

constexpr uint32_t put_headroom = 64;  // as addon.put leaves
constexpr uint16_t first_epoch = 3;    // of data
constexpr uint32_t max_datagram = lightway::header_bytes + record_overhead + max_pong;

// Sessions of which something in front is session.control's: what it does to them comes first.
class Left {
 public:
  bool has(int32_t slot) const { return std::find(list_.begin(), list_.begin() + count_, slot) != list_.begin() + count_; }
  // @returns false when there are too many to go on
  bool add(int32_t slot) {
    if (has(slot)) return true;
    if (count_ == list_.size()) return false;
    list_[count_++] = slot;
    return true;
  }

 private:
  std::array<int32_t, 16> list_;
  uint32_t count_ = 0;
};

bool wanted(const Batch& packets, uint32_t entry) {
  return packets.verdict[entry] == verdict::divert || (packets.flags[entry] & (flag::floating | flag::new_id)) != 0;
}

// Of a session that only an answer is asked of, whatever the Ping.
bool is_quiet(const Lanes& lanes, const Batch& packets, uint32_t entry) {
  if (packets.verdict[entry] != verdict::divert || packets.kind[entry] != kind::application || packets.epoch[entry] < first_epoch) return false;
  if ((packets.flags[entry] & (flag::floating | flag::new_id)) != 0 || !lanes.exists(packets.slot[entry])) return false;
  const PublicSlot& slot = lanes.table->slot(static_cast<uint32_t>(packets.slot[entry]));
  return slot.state == slot_state::online && (slot.flags & (slot_flag::client | slot_flag::stream)) == 0 && !lanes.superseded(slot);
}

// @returns false when there is no key for it, no number, or no room
bool send_pong(Lanes& lanes, uint32_t number, uint16_t id, Batch& answers) {
  PublicSlot& slot = lanes.table->slot(number);
  const uint16_t epoch = slot.send_epoch;
  const RecordSecret& secret = lanes.table->secret(number).send_record[epoch & 3];
  if (epoch < first_epoch || secret.epoch != epoch || slot.record_send_counter[epoch & 3] > max_record_number) return false;
  const RecordKey* key = lanes.keys->record(number, KeyPlace::send_record(epoch), secret);
  uint8_t* to = !key || answers.full() ? nullptr : answers.reserve(max_datagram, put_headroom);
  if (!to) return false;
  const uint64_t record_number = Lanes::claim_record(slot, epoch, 1);
  if (record_number > max_record_number) return false;

  lightway::write(to, slot, false);
  uint8_t* record = to + lightway::header_bytes;
  const Statistics statistics{slot.lane_sent, slot.lane_received};
  const bool reports = id == 0 && (slot.flags & slot_flag::lane_ready) != 0;  // a probe of the path is answered without (protocol §3.3)
  const uint32_t length = write_pong(id, reports ? &statistics : nullptr, record + record_header);
  seal_record(*lanes.aead, *key, secret.iv, epoch, record_number, content_type::application, record, length);
  const uint32_t entry = answers.commit(static_cast<uint32_t>(lightway::header_bytes + record_overhead + length));
  answers.slot[entry] = static_cast<int32_t>(number);
  std::memcpy(answers.address_of(entry), slot.remote, address::size);
  return true;
}

bool answer_one(Lanes& lanes, Batch& packets, uint32_t entry, Batch& answers) {
  if (!is_quiet(lanes, packets, entry)) return false;
  const auto content = packets.span(entry);
  uint16_t id;
  if (!read_ping(content, &id) || !send_pong(lanes, static_cast<uint32_t>(packets.slot[entry]), id, answers)) return false;
  std::ranges::fill(content, uint8_t{0});
  return true;
}

}  // namespace

uint32_t answer(Lanes& lanes, Batch& packets, Batch& answers) {
  Left left;
  uint32_t answered = 0;
  const uint32_t count = packets.count();
  for (uint32_t i = 0, ahead = packets.header->wanted; i < count && ahead > 0; i++) {
    if (!wanted(packets, i)) continue;
    ahead--;
    if (packets.kind[i] == kind::raw) continue;  // heard last of all, when it comes to that
    if (!left.has(packets.slot[i]) && answer_one(lanes, packets, i, answers)) {
      lanes.judge(packets, i, verdict::answered);
      if (packets.header->wanted > 0) packets.header->wanted--;  // it may lie: JavaScript can write it
      answered++;
    } else if (!left.add(packets.slot[i])) {
      break;
    }
  }
  return answered;
}

}  // namespace ringway::keepalive
