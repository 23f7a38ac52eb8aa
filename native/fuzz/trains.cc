// Trains through the nodes of both directions: locate, open, admit, coalesce; lookup, seal, and open at the peer. The input chooses sessions,
// trains, what is sealed rightly (so that code behind the AEAD is reached) and, in half of the runs, columns that lie. Whatever they say, a node
// touches no byte but those of entries. Where columns are right: what passes is what was sealed, once; nothing is lost on the way to the TUN;
// what is sealed is opened by the peer, all of it.
// link: native/fuzz/backends/world.cc native/fuzz/backends/toy.cc native/nodes/locate.cc native/nodes/open.cc
// link: native/nodes/open_groups.cc native/nodes/assembly.cc native/nodes/admit.cc native/nodes/coalesce.cc
// link: native/nodes/lookup.cc native/nodes/seal.cc native/table/lanes.cc native/table/index.cc native/core/arena.cc native/core/batch.cc native/aead/aead.cc
// link: native/aead/record.cc native/packet/checksum.cc native/packet/ip.cc native/packet/segment.cc native/packet/coalesce.cc
#include <set>
#include <tuple>

#include "fuzz/world.h"
#include "nodes/header.h"
#include "nodes/nodes.h"
#include "packet/ip.h"

using namespace ringway;
using namespace ringway::fuzz;

namespace {

constexpr uint32_t block = 65'536 + 512;

World& world() {
  static World one;
  return one;
}

// ---- uplink -----------------------------------------------------------------------------------------------------------------

// What was sealed, by session, way and number; and what has passed of it.
struct Known {
  using Key = std::tuple<uint32_t, bool, uint16_t, uint64_t>;
  std::multimap<Key, Octets> sealed;
  std::set<Key> passed;
};

struct Uplink {
  explicit Uplink(uint32_t packet_capacity) : trains{block, 16, 24}, packets{trains, packet_capacity}, superpackets{block, 32, 32} {}

  Pool trains, packets, superpackets;
  Known known;

  Octets datagram(Input& input, uint32_t slot);
  Octets records(Input& input, uint32_t slot);
  void add_trains(Input& input);
  void run(Input& input, bool orderly);
  void check(uint32_t first);
  void deliver(Input& input, bool orderly);
  void renew() {
    trains.renew(), packets.renew(trains), superpackets.renew();
  }
};

// One record, or several behind one header.
Octets Uplink::records(Input& input, uint32_t slot) {
  Octets datagram = header(world(), slot, false);
  const PublicSlot& session = world().table->slot(slot);
  for (uint32_t left = input.one_in(3) ? input.below(40) : 1; left > 0; left--) {
    const RecordForm form{
      .epoch = input.one_of(epochs),
      .long_number = !input.one_in(4),
      .with_length = left > 1 || !input.one_in(3),
      .type = input.one_of<uint8_t>({23, 23, 23, 22, 21, 26, 0, 7}),
      .padding = static_cast<uint8_t>(input.one_in(4) ? input.below(200) : 0),
    };
    const uint64_t number = session.record_next[form.epoch & 3] + input.below(400) - input.below(200) % (session.record_next[form.epoch & 3] + 1);
    const Octets packet = inner_packet(input, inside_of(slot), 0x08080808);
    const Octets content = input.one_in(5) ? packet : data_frame(packet);
    if (form.type == 23 && content.size() >= 3) known.sealed.emplace(Known::Key{slot, false, form.epoch, number}, Octets(content.begin() + 3, content.end()));
    const Octets record = seal_record(world(), slot, form, {number, content});
    if (datagram.size() + record.size() > 60'000) break;
    datagram.insert(datagram.end(), record.begin(), record.end());
  }
  return datagram;
}

Octets Uplink::datagram(Input& input, uint32_t slot) {
  const uint32_t form = input.below(8);
  Octets made;
  if (form == 0 || slot >= slots) {
    made = header(world(), slot % slots, input.one_in(2));
    const auto raw = input.bytes(input.take<uint8_t>());
    made.insert(made.end(), raw.begin(), raw.end());
    if (slot >= slots && input.one_in(2)) std::memset(made.data() + lightway::id, input.one_of<uint8_t>({0, 0xff, 9}), 8);
  } else if (form < 5) {
    const uint64_t number = world().table->slot(slot).lane_highest + input.below(60) - input.below(30) % (world().table->slot(slot).lane_highest + 1);
    const Content content{number, inner_packet(input, inside_of(slot), 0x08080808)};
    known.sealed.emplace(Known::Key{slot, true, 0, number}, content.packet);
    made = seal_lane(world(), slot, input.one_in(6), content);
  } else {
    made = records(input, slot);
  }
  for (uint32_t left = input.one_in(6) ? 1 + input.below(3) : 0; left > 0; left--) {
    const uint32_t at = input.below(static_cast<uint32_t>(made.size()));
    made[at] ^= input.take<uint8_t>();
  }
  if (input.one_in(12)) made.resize(input.below(static_cast<uint32_t>(made.size()) + 1));
  return made;
}

void Uplink::add_trains(Input& input) {
  for (uint32_t left = 1 + input.below(16); left > 0 && !input.empty(); left--) {
    const uint32_t slot = input.below(slots + 2);
    Octets train = datagram(input, slot);
    const auto size = static_cast<uint32_t>(train.size());
    for (uint32_t more = input.one_in(2) ? input.below(12) : 0; more > 0; more--) {
      Octets next = datagram(input, slot);
      const bool last = next.size() < size;
      if (next.size() > size) next.resize(size);  // cut short: what a lying sender does
      if (train.size() + next.size() > 60'000) break;
      train.insert(train.end(), next.begin(), next.end());
      if (last) break;
    }
    if (!trains.add(train)) return;
    const uint32_t entry = trains.batch->count() - 1;
    outside_of(input.one_in(8) ? input.below(slots + 2) : slot, trains.batch->address_of(entry));
    trains.batch->segment_size[entry] = train.size() > size || input.one_in(4) ? size : 0;
  }
}

// Entries from `first` on, where columns are right.
void Uplink::check(uint32_t first) {
  const Batch& batch = *packets.batch;
  for (uint32_t i = first; i < batch.count(); i++) {
    must(batch.verdict[i] == verdict::pass || batch.verdict[i] == verdict::divert);
    must(batch.train[i] < trains.batch->count() && batch.arena->contains(batch.offset[i], batch.length[i]));
    if (batch.verdict[i] == verdict::divert) continue;
    if (batch.segment_size[i] != 0) continue;  // several packets: native/fuzz/assembly.cc knows which
    must(world().lanes->exists(batch.slot[i]) && batch.kind[i] == kind::application);
    const auto slot = static_cast<uint32_t>(batch.slot[i]);
    const Known::Key key{slot, (batch.flags[i] & flag::expresslane) != 0, batch.epoch[i], batch.counter[i]};
    must(world().table->slot(slot).state == slot_state::online && known.passed.insert(key).second);
    const auto [begin, end] = known.sealed.equal_range(key);
    const auto bytes = batch.span(i);
    must(std::any_of(begin, end, [&](const auto& one) { return std::equal(bytes.begin(), bytes.end(), one.second.begin(), one.second.end()); }));
  }
}

// admit and coalesce, until all is given.
void Uplink::deliver(Input& input, bool orderly) {
  Lanes& lanes = *world().lanes;
  if (!orderly) spoil(input, *packets.batch);
  const uint32_t admitted = nodes::admit(lanes, *packets.batch, 1);
  if (!orderly) spoil(input, *packets.batch);
  const auto joining = static_cast<nodes::Joining>(input.below(4));
  uint64_t given = 0;
  for (uint32_t before = UINT32_MAX; packets.batch->header->consumed < packets.batch->count();) {
    if (packets.batch->header->consumed == before) break;
    before = packets.batch->header->consumed;
    const uint64_t no_block = lanes.counters[verdict::no_block];
    nodes::coalesce(lanes, *packets.batch, *superpackets.batch, joining);
    const Batch& out = *superpackets.batch;
    for (uint32_t i = 0; i < out.count(); i++) {
      Segmenter segmenter;
      const bool cut = out.kind[i] != gso::none;
      if (cut) must(segmenter.begin(out.span(i), {out.kind[i], out.segment_size[i], true, out.checksum_start[i], out.checksum_offset[i]}));
      given += cut ? segmenter.segments() : 1;
    }
    given += lanes.counters[verdict::no_block] - no_block;
    superpackets.clear();
  }
  if (orderly) must(given == admitted + packets.batch->header->followed && packets.batch->header->consumed == packets.batch->count());
}

void Uplink::run(Input& input, bool orderly) {
  Lanes& lanes = *world().lanes;
  world().reset(input);
  lanes.limits[limit::strangers] = input.one_in(3) ? input.below(3) : limit::none;
  lanes.limits[limit::rejects] = input.one_in(3) ? input.below(3) : limit::none;
  add_trains(input);
  const auto opening = static_cast<nodes::Joining>(input.below(4));
  const auto lock = [&] {  // superpackets are assembled in blocks that are free
    if (opening == nodes::Joining::off) trains.lock();
  };
  if (!orderly) spoil(input, *trains.batch);
  lock();
  nodes::locate(lanes, *trains.batch);
  if (!orderly) {
    trains.unlock();
    spoil(input, *trains.batch);
    lock();
  }
  Batch& batch = *trains.batch;
  while (batch.header->consumed < batch.count()) {
    const auto before = std::tuple{batch.header->consumed, batch.offset[batch.header->consumed]};
    nodes::open(lanes, batch, *packets.batch, 1, opening);
    const bool done = batch.header->consumed >= batch.count();
    must(done || before != std::tuple{batch.header->consumed, batch.offset[batch.header->consumed]});
    if (orderly) check(0);
    if (!orderly) trains.unlock();  // spoiled packets may lie anywhere
    deliver(input, orderly);
    packets.batch->clear();
    if (!orderly) lock();
  }
  packets.clear();
  trains.clear();
}

// ---- downlink ---------------------------------------------------------------------------------------------------------------

struct Downlink {
  Pool superpackets{block, 16, 24}, trains{block, 8, 24}, packets{trains, 128};

  void add_superpackets(Input& input);
  void run(Input& input, bool orderly);
  void open_at_peer();
  void renew() {
    superpackets.renew(), trains.renew(), packets.renew(trains);
  }
};

// A packet of the TUN: as the kernel gives it, or with hints that lie.
void Downlink::add_superpackets(Input& input) {
  for (uint32_t left = 1 + input.below(20); left > 0 && !input.empty(); left--) {
    Octets packet = inner_packet(input, 0x08080808, input.one_in(10) ? input.take<uint32_t>() : inside_of(input.below(slots + 1)));
    const bool is_tcp = packet[ip4::proto] == protocol::tcp;
    const bool large = packet[0] == 0x45 && input.one_in(2);
    if (large) {
      packet.resize(packet.size() + input.below(20'000));
      store16(&packet[ip4::total_length], static_cast<uint16_t>(packet.size()));
      packet[ip4::checksum] = packet[ip4::checksum + 1] = 0;
      store_native(&packet[ip4::checksum], complement(fold(sum_bytes(packet.data(), ip4::min_header))));
      if (!is_tcp && packet.size() >= 28) store16(&packet[ip4::min_header + udp::length], static_cast<uint16_t>(packet.size() - ip4::min_header));
    }
    if (!superpackets.add(packet)) return;
    Batch& batch = *superpackets.batch;
    const uint32_t entry = batch.count() - 1;
    if (!large) continue;
    batch.kind[entry] = is_tcp ? gso::tcp4 : gso::udp;
    batch.segment_size[entry] = 300 + input.below(1200);
    batch.flags[entry] = flag::needs_checksum;
    batch.checksum_start[entry] = ip4::min_header;
    batch.checksum_offset[entry] = is_tcp ? tcp::checksum : udp::checksum;
    if (!input.one_in(8)) continue;
    batch.kind[entry] = input.take<uint8_t>();
    batch.segment_size[entry] = input.take<uint16_t>();
    batch.checksum_start[entry] = input.take<uint8_t>();
  }
}

// Every datagram that was sealed is a packet there.
void Downlink::open_at_peer() {
  Batch& batch = *trains.batch;
  Lanes& peer = *world().peer;
  uint32_t datagrams = 0;
  uint64_t opened = 0;
  std::memset(peer.counters, 0, verdict::names.size() * sizeof(uint64_t));
  for (uint32_t i = 0; i < batch.count(); i++) {
    if (batch.kind[i] == kind::stream) batch.verdict[i] = verdict::held;  // no datagrams: plain frames for TLS
    if (batch.verdict[i] != verdict::pass) continue;
    const uint32_t size = batch.segment_size[i] == 0 ? batch.length[i] : batch.segment_size[i];
    datagrams += (batch.length[i] + size - 1) / size;
  }
  trains.lock();
  batch.header->consumed = 0;
  while (batch.header->consumed < batch.count()) {
    nodes::open(peer, batch, *packets.batch, 1, nodes::Joining::off);
    for (uint32_t i = 0; i < packets.batch->count(); i++) opened += packets.batch->verdict[i] == verdict::pass;
    packets.batch->clear();
  }
  trains.unlock();
  must(opened == datagrams);
  for (size_t i = verdict::first_drop; i < verdict::names.size(); i++) must(peer.counters[i] == 0);
}

void Downlink::run(Input& input, bool orderly) {
  Lanes& lanes = *world().lanes;
  world().reset(input);
  for (uint32_t i = 0; i < slots; i++) world().mirror(i);
  const uint32_t max_segments = 1 + input.below(128);
  add_superpackets(input);
  if (!orderly) spoil(input, *superpackets.batch);
  superpackets.lock();
  nodes::lookup(lanes, *superpackets.batch);
  superpackets.unlock();
  if (!orderly) spoil(input, *superpackets.batch);
  Batch& batch = *superpackets.batch;
  superpackets.lock();
  while (batch.header->consumed < batch.count()) {
    const uint32_t before = batch.header->consumed;
    nodes::seal(lanes, batch, *trains.batch, max_segments, 1);
    must(batch.header->consumed > before);
    if (orderly) open_at_peer();
    trains.clear();
  }
  superpackets.clear();
}

}  // namespace

// Nothing was lost of an arena, or given back twice. Where columns lied about blocks, begin anew.
template <class Way>
void judge(Way& way, bool orderly) {
  if (!orderly) return way.renew();
  for (const Pool* pool : {&way.trains, &way.superpackets}) {
    const Guess& guess = world().lanes->guess;  // has a block for the next superpacket
    const uint32_t kept = guess.arena == pool->arena && guess.block != no_block ? 1 : 0;
    must(pool->arena->unreferenced() + kept == pool->arena->block_count());
  }
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static Uplink small{nodes::max_records}, large{256};
  static Downlink down;
  Input input{data, size};
  const auto mode = input.take<uint8_t>();
  const bool orderly = (mode & 1) != 0;
  if ((mode & 2) != 0) {
    down.run(input, orderly);
    judge(down, orderly);
    return 0;
  }
  Uplink& up = (mode & 4) != 0 ? small : large;
  up.known = {};
  up.run(input, orderly);
  judge(up, orderly);
  return 0;
}
