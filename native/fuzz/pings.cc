// answerPings over vectors: trains of sessions through locate and open, most records a Ping. The input chooses the sessions' states, flags, epochs and numbers,
// what the records hold, and how much room there is for answers; in half of the runs columns lie, and only memory is judged. Where they are right: exactly
// those are answered that are one whole Ping of a server's session that is online, behind nothing of the same session that is left; each by the Pong that
// is sealed here once more, under the next number, to the session's address; and nothing of the Ping stays behind.
// link: native/fuzz/backends/world.cc native/fuzz/backends/toy.cc native/keepalive/answer.cc native/nodes/locate.cc
// link: native/nodes/open.cc native/nodes/open_groups.cc native/nodes/assembly.cc native/table/lanes.cc
// link: native/table/index.cc native/core/arena.cc native/core/batch.cc native/aead/aead.cc native/aead/record.cc native/packet/checksum.cc native/packet/ip.cc
// link: native/packet/coalesce.cc
#include "keepalive/answer.h"

#include <algorithm>
#include <set>

#include "fuzz/world.h"
#include "keepalive/echo.h"
#include "nodes/header.h"
#include "nodes/nodes.h"

using namespace ringway;
using namespace ringway::fuzz;

namespace {

constexpr uint32_t packet_capacity = 64, answer_capacity = 12;

// As one reads the specification: a kind, two numbers, and as many bytes as the second says.
bool is_ping(const Octets& content) {
  if (content.size() < 5 || content[0] != 2) return false;
  return size_t{content[3]} * 256 + content[4] + 5 == content.size();
}

struct Vector {
  World world;
  Pool trains{4096, 12, 16}, packets{trains, packet_capacity}, answers{512, 6, answer_capacity};
  uint64_t said[slots][4] = {};  // records of each epoch

  void reset(Input& input);
  Octets datagram(Input& input, uint32_t slot);
  void add_trains(Input& input);
  void answer(Input& input, bool orderly);
  bool asks_for_answer(uint32_t entry, const Octets& content) const;
  Octets pong(uint32_t slot, uint16_t id, uint64_t number) const;
  void renew() { trains.renew(), packets.renew(trains), answers.renew(); }
};

void Vector::reset(Input& input) {
  world.reset(input);
  std::memset(said, 0, sizeof said);
  for (uint32_t i = 0; i < slots; i++) {
    PublicSlot& slot = world.table->slot(i);
    if (input.one_in(2)) slot.flags |= slot_flag::lane_ready;
    if (input.one_in(8)) slot.flags |= slot_flag::client;
    if (input.one_in(4)) slot.pending_id[0] = 1;
    slot.lane_sent = input.take<uint16_t>();
    slot.lane_received = uint64_t{input.take<uint8_t>()} << 33;
    if (input.one_in(8)) slot.record_send_counter[slot.send_epoch & 3] = max_record_number - 1 + input.below(3);
    if (input.one_in(10)) slot.send_epoch = input.one_of<uint16_t>({0, 2, 3, 7, 8});
  }
}

Octets Vector::datagram(Input& input, uint32_t slot) {
  Octets made = header(world, slot, false);
  for (uint32_t left = input.one_in(3) ? 1 + input.below(3) : 1; left > 0; left--) {
    const uint16_t id = input.one_in(2) ? input.take<uint16_t>() : 0;
    Octets content{2, static_cast<uint8_t>(id >> 8), static_cast<uint8_t>(id), 0, 0};
    content.resize(5 + (input.one_in(2) ? input.below(300) : 0), 7);
    store16(&content[3], static_cast<uint16_t>(content.size() - 5));
    if (input.one_in(5)) content[input.below(5)] ^= input.take<uint8_t>();
    if (input.one_in(8)) content.resize(input.below(static_cast<uint32_t>(content.size()) + 1));
    if (input.one_in(8)) content.resize(content.size() + input.below(20), input.take<uint8_t>());
    const uint16_t epoch = input.one_of(epochs);
    RecordForm form{.epoch = epoch, .long_number = true, .with_length = left > 1 || input.one_in(2), .type = content_type::application, .padding = static_cast<uint8_t>(input.below(4))};
    if (input.one_in(10)) form.type = input.one_of({content_type::handshake, content_type::ack, content_type::alert});
    const uint64_t number = world.table->slot(slot).record_next[epoch & 3] + said[slot][epoch & 3]++;
    const Octets record = seal_record(world, slot, form, {number, content});
    made.insert(made.end(), record.begin(), record.end());
  }
  if (input.one_in(12)) made[input.below(static_cast<uint32_t>(made.size()))] ^= input.take<uint8_t>();
  return made;
}

void Vector::add_trains(Input& input) {
  for (uint32_t left = 1 + input.below(16); left > 0 && !input.empty(); left--) {
    const uint32_t slot = input.below(slots);
    if (!trains.add(datagram(input, slot))) return;
    outside_of(input.one_in(8) ? slots + input.below(4) : slot, trains.batch->address_of(trains.batch->count() - 1));  // floats
  }
}

// All that is asked of a session is in its slot.
bool Vector::asks_for_answer(uint32_t entry, const Octets& content) const {
  const Batch& batch = *packets.batch;
  if (batch.kind[entry] != content_type::application || (batch.flags[entry] & (flag::floating | flag::new_id)) != 0) return false;
  const PublicSlot& slot = world.table->slot(static_cast<uint32_t>(batch.slot[entry]));
  if (slot.state != slot_state::online || (slot.flags & (slot_flag::client | slot_flag::stream)) != 0 || slot.generation != generation) return false;
  return std::find(std::begin(epochs), std::end(epochs), slot.send_epoch) != std::end(epochs) && is_ping(content);
}

Octets Vector::pong(uint32_t number, uint16_t id, uint64_t record_number) const {
  const PublicSlot& slot = world.table->slot(number);
  const bool reports = id == 0 && (slot.flags & slot_flag::lane_ready) != 0;
  Octets made = header(world, number, false);
  made.resize(lightway::header_bytes + record_header);
  Octets frame{3, static_cast<uint8_t>(id >> 8), static_cast<uint8_t>(id), 0, static_cast<uint8_t>(reports ? 16 : 0)};
  frame.resize(reports ? 21 : 5);
  if (reports) store64(&frame[5], slot.lane_sent), store64(&frame[13], slot.lane_received);
  made.insert(made.end(), frame.begin(), frame.end());
  made.resize(made.size() + 1 + tag_bytes);
  const RecordSecret& secret = world.table->secret(number).send_record[slot.send_epoch & 3];
  RecordKey key{};
  Aead& aead = *world.lanes->aead;
  must(aead.expand(key.schedule, secret.suite, secret.key) && aead.expand_number(key.number, secret.suite, secret.sn));
  ringway::seal_record(aead, key, secret.iv, secret.epoch, record_number, content_type::application, &made[lightway::header_bytes], static_cast<uint32_t>(frame.size()));
  return made;
}

void Vector::answer(Input& input, bool orderly) {
  for (uint32_t left = input.one_in(3) ? input.below(answer_capacity + 1) : 0; left > 0; left--) answers.add(Octets(1 + input.below(400), 0xaa));
  if (!orderly) spoil(input, *packets.batch), spoil(input, *answers.batch);
  Batch& batch = *packets.batch;
  const uint32_t count = batch.count(), already = answers.batch->count(), wanted = batch.header->wanted;
  const std::vector<uint8_t> before{batch.verdict, batch.verdict + packet_capacity};
  std::vector<Octets> contents;
  uint64_t numbers[slots];
  for (uint32_t i = 0; i < slots; i++) numbers[i] = world.table->slot(i).record_send_counter[world.table->slot(i).send_epoch & 3];
  if (orderly) {
    for (uint32_t i = 0; i < count; i++) contents.emplace_back(batch.span(i).begin(), batch.span(i).end());
  }
  const uint32_t answered = keepalive::answer(*world.lanes, batch, *answers.batch);
  if (!orderly) return;

  std::set<int32_t> left;
  uint32_t next = already;
  for (uint32_t i = 0; i < count; i++) {
    const bool waits = before[i] == verdict::divert || (batch.flags[i] & (flag::floating | flag::new_id)) != 0;
    if (!waits || batch.kind[i] == kind::raw) {
      must(batch.verdict[i] == before[i]);
      continue;
    }
    const auto slot = static_cast<uint32_t>(batch.slot[i]);
    const bool due = before[i] == verdict::divert && !left.contains(batch.slot[i]) && asks_for_answer(i, contents[i]) && numbers[slot] <= max_record_number;
    if (batch.verdict[i] == before[i]) {
      must(!due || answers.batch->full() || answers.arena->free_count() == 0);
      must(std::equal(contents[i].begin(), contents[i].end(), batch.span(i).begin()));
      left.insert(batch.slot[i]);
      continue;
    }
    must(due && batch.verdict[i] == verdict::answered && next < answers.batch->count());
    const Octets expected = pong(slot, load16(&contents[i][1]), numbers[slot]++);
    const auto sent = answers.batch->span(next);
    must(std::equal(sent.begin(), sent.end(), expected.begin(), expected.end()));
    must(answers.batch->slot[next] == batch.slot[i] && answers.batch->verdict[next] == verdict::pass && answers.batch->segment_size[next] == 0);
    must(std::memcmp(answers.batch->address_of(next), world.table->slot(slot).remote, address::size) == 0);
    must(std::ranges::all_of(batch.span(i), [](uint8_t byte) { return byte == 0; }));
    next++;
  }
  must(next == answers.batch->count() && answered == next - already && batch.header->wanted == wanted - answered);
  for (uint32_t i = 0; i < slots; i++) must(world.table->slot(i).record_send_counter[world.table->slot(i).send_epoch & 3] == numbers[i]);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static Vector vector;
  Input input{data, size};
  const bool orderly = (input.take<uint8_t>() & 1) != 0;
  vector.reset(input);
  vector.world.lanes->limits[limit::strangers] = limit::none;
  vector.add_trains(input);
  vector.trains.lock();
  nodes::locate(*vector.world.lanes, *vector.trains.batch);
  nodes::open(*vector.world.lanes, *vector.trains.batch, *vector.packets.batch, 1, nodes::Joining::off);
  if (!orderly) vector.trains.unlock();  // spoiled packets may lie anywhere; else what has been opened stays all that may be touched
  vector.answer(input, orderly);
  if (!orderly) return vector.renew(), 0;
  for (const Pool* pool : {&vector.packets, &vector.trains, &vector.answers}) {
    pool->unlock();
    pool->batch->clear();
  }
  for (const Pool* pool : {&vector.trains, &vector.answers}) must(pool->arena->unreferenced() == pool->arena->block_count());
  return 0;
}
