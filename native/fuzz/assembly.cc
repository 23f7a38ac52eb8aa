// Superpackets put together while they are opened, against packets opened one by one and coalesced: the same trains, made by the input out of flows that go
// on, stop, push, shrink, lose and repeat packets, go both ways through open, admit and coalesce. What comes out must be the same packets, in the same order
// within each flow, with the same counters, windows and statistics; and no block may be lost.
// link: native/fuzz/backends/world.cc native/fuzz/backends/toy.cc native/nodes/locate.cc native/nodes/open.cc native/nodes/open_groups.cc native/nodes/assembly.cc
// link: native/nodes/admit.cc native/nodes/coalesce.cc native/table/lanes.cc native/table/index.cc native/core/arena.cc native/core/batch.cc
// link: native/aead/aead.cc native/aead/record.cc native/packet/checksum.cc native/packet/ip.cc native/packet/segment.cc native/packet/coalesce.cc
#include <algorithm>
#include <array>

#include "fuzz/world.h"
#include "nodes/header.h"
#include "nodes/nodes.h"
#include "packet/ip.h"

using namespace ringway;
using namespace ringway::fuzz;

namespace {

constexpr uint32_t block = 65'536 + 512, blocks = 24, most_trains = 12;

// One of a session's, as its sender sees it.
struct Flow {
  bool is_tcp, dont_fragment;
  uint32_t options;  // bytes
  uint32_t sequence;
  uint16_t ports, identification;
};

struct Train {
  uint32_t slot, size;
  Octets bytes;
};

Octets packet_of(Input& input, Flow& flow, uint32_t source, size_t payload) {
  const size_t header = ip4::min_header + (flow.is_tcp ? tcp::min_header + flow.options : udp::header);
  Octets packet(header + payload);
  for (size_t i = header; i < packet.size(); i++) packet[i] = static_cast<uint8_t>(i + flow.sequence);
  uint8_t* ip = packet.data();
  uint8_t* transport = ip + ip4::min_header;
  ip[0] = 0x45;
  store16(ip + ip4::total_length, static_cast<uint16_t>(packet.size()));
  store16(ip + ip4::identification, flow.identification++);
  store16(ip + ip4::fragment, flow.dont_fragment ? ip4::dont_fragment : 0);
  ip[ip4::ttl] = 64;
  ip[ip4::proto] = flow.is_tcp ? protocol::tcp : protocol::udp;
  store32(ip + ip4::source, source);
  store32(ip + ip4::destination, 0x08080808);
  store_native(ip + ip4::checksum, complement(fold(sum_bytes(ip, ip4::min_header))));
  store32(transport, 443u << 16 | flow.ports);
  if (flow.is_tcp) {
    store32(transport + tcp::sequence, flow.sequence);
    transport[tcp::data_offset] = static_cast<uint8_t>((tcp::min_header + flow.options) / 4 << 4);
    transport[tcp::flags] = input.one_in(24) ? tcp::ack | tcp::psh : tcp::ack;
    for (uint32_t i = 0; i < flow.options; i++) transport[tcp::min_header + i] = 1;
  } else {
    store16(transport + udp::length, static_cast<uint16_t>(packet.size() - ip4::min_header));
  }
  flow.sequence += static_cast<uint32_t>(payload);
  const auto length = static_cast<uint32_t>(packet.size() - ip4::min_header);
  const uint16_t sum = complement(fold(sum_bytes(transport, length) + pseudo_sum4(ip, ip[ip4::proto], length)));
  store_native(transport + (flow.is_tcp ? tcp::checksum : udp::checksum), sum == 0 && !flow.is_tcp ? uint16_t{0xffff} : sum);
  if (input.one_in(40)) packet[input.below(static_cast<uint32_t>(packet.size()))] ^= input.take<uint8_t>();
  return packet;
}

// A session's sender: flows, and the numbers of its two ways.
struct Sender {
  uint32_t slot;
  std::array<Flow, 3> flows;
  uint64_t lane_number = 1, record_number[4] = {};

  void begin(Input& input, uint32_t number) {
    slot = number;
    for (uint16_t i = 0; i < flows.size(); i++) {
      flows[i] = {!input.one_in(3), !input.one_in(4), input.one_of<uint32_t>({0, 12, 12, 20, 24}), input.take<uint32_t>(), i, input.take<uint16_t>()};
    }
  }
  Octets seal(Input& input, bool over_lane, uint16_t epoch, const Octets& packet) {
    const uint64_t turned = input.one_in(30) ? 1 : 0;  // two in the wrong order, or one of them twice
    if (over_lane) return seal_lane(world_of(), slot, input.one_in(30), {lane_number++ ^ turned, packet});
    Octets datagram = header(world_of(), slot, false);
    const RecordForm form{.epoch = epoch, .long_number = true, .with_length = !input.one_in(20), .type = 23, .padding = static_cast<uint8_t>(input.one_in(30) ? 5 : 0)};
    const Octets record = seal_record(world_of(), slot, form, {record_number[epoch & 3]++ ^ turned, input.one_in(40) ? packet : data_frame(packet)});
    datagram.insert(datagram.end(), record.begin(), record.end());
    return datagram;
  }
  static World& world_of() {
    static World one;
    return one;
  }
};

World& world() { return Sender::world_of(); }

void add_train(Input& input, Sender& sender, std::vector<Train>& trains) {
  const bool over_lane = !input.one_in(2);
  const uint16_t epoch = input.one_of(epochs);
  const size_t payload = input.one_of<size_t>({1, 40, 200, 260, 700, 1300, 1348, 1347});
  uint32_t flow = input.below(3);
  Train train{sender.slot, 0, {}};
  for (uint32_t left = 1 + input.below(50); left > 0; left--) {
    if (input.one_in(16)) flow = input.below(3);
    Flow& of = sender.flows[flow];
    if (input.one_in(40)) of.sequence += 100;
    if (input.one_in(40)) over_lane ? sender.lane_number++ : sender.record_number[epoch & 3]++;  // lost
    const bool shorter = input.one_in(24);
    Octets datagram = sender.seal(input, over_lane, epoch, packet_of(input, of, inside_of(sender.slot), shorter ? payload / 2 : payload));
    if (input.one_in(50)) datagram[input.below(static_cast<uint32_t>(datagram.size()))] ^= 1;
    const auto size = static_cast<uint32_t>(datagram.size());
    if (train.size == 0) train.size = size;
    if (size > train.size || train.bytes.size() + size > 65'000) break;  // it is lost, too
    const size_t repeats = input.one_in(40) ? 2 : 1;
    for (size_t i = 0; i < repeats && train.bytes.size() + size <= 65'000; i++) train.bytes.insert(train.bytes.end(), datagram.begin(), datagram.end());
    if (size < train.size) break;
    if (input.one_in(30) && train.bytes.size() >= 2 * size) std::swap_ranges(train.bytes.end() - 2 * size, train.bytes.end() - size, train.bytes.end() - size);
  }
  if (!train.bytes.empty()) trains.push_back(std::move(train));
}

// ---- one way ---------------------------------------------------------------------------------------------------------------------

using Key = std::array<uint8_t, 16>;  // slot, addresses' ends, protocol, ports
struct Outcome {
  std::map<Key, std::vector<Octets>> packets;
  std::vector<uint64_t> counters;
  Octets slots;
};

void keep(Outcome& outcome, int32_t slot, Octets packet) {
  Key key{static_cast<uint8_t>(slot)};
  if (packet.size() >= 24) {
    key[1] = packet[ip4::proto];
    std::copy_n(packet.begin() + ip4::source, 12, key.begin() + 2);
    if ((packet[ip4::fragment] & 0x40) != 0) {  // identifications mean nothing
      for (const size_t field : {ip4::identification, ip4::checksum}) packet[field] = packet[field + 1] = 0;
    }
  }
  outcome.packets[key].push_back(std::move(packet));
}

// A superpacket with its pieces.
void take_apart(Outcome& outcome, const Batch& batch, uint32_t first, uint32_t end) {
  Octets whole;
  for (uint32_t i = first; i < end; i++) {
    const auto bytes = batch.span(i);
    whole.insert(whole.end(), bytes.begin(), bytes.end());
  }
  if (batch.kind[first] == gso::none) return keep(outcome, batch.slot[first], whole);
  Segmenter segmenter;
  const uint8_t proto = whole[ip4::proto];
  const uint8_t* field = &whole[batch.checksum_start[first] + batch.checksum_offset[first]];  // the kernel adds the rest to it
  must(load_native<uint16_t>(field) == fold(pseudo_sum4(whole.data(), proto, static_cast<uint32_t>(whole.size() - ip4::min_header))));
  must((batch.flags[first] & flag::needs_checksum) != 0 && whole.size() <= max_ip_bytes);
  must(segmenter.begin(whole, {batch.kind[first], batch.segment_size[first], true, batch.checksum_start[first], batch.checksum_offset[first]}));
  for (uint32_t i = 0; i < segmenter.segments(); i++) {
    Octets packet(segmenter.length(i));
    segmenter.write(i, packet.data());
    keep(outcome, batch.slot[first], packet);
  }
}

struct Way {
  Pool trains{block, blocks, most_trains + 4}, packets{trains, 128}, superpackets{trains, 128};

  Outcome run(const std::vector<Train>& all, nodes::Joining opening, nodes::Joining joining) {
    Lanes& lanes = *world().lanes;
    Outcome outcome;
    std::memset(lanes.counters, 0, verdict::names.size() * sizeof(uint64_t));
    for (const Train& train : all) {
      must(trains.add(train.bytes));
      const uint32_t entry = trains.batch->count() - 1;
      outside_of(train.slot, trains.batch->address_of(entry));
      trains.batch->segment_size[entry] = train.bytes.size() > train.size ? train.size : 0;
    }
    nodes::locate(lanes, *trains.batch);
    Batch& batch = *trains.batch;
    while (batch.header->consumed < batch.count()) {
      nodes::open(lanes, batch, *packets.batch, 1, opening);
      uint32_t segments = 0;
      for (uint32_t i = 0; i < packets.batch->count(); i++) must(packets.batch->arena->is_referenced(packets.batch->block[i]));
      nodes::admit(lanes, *packets.batch, 1);
      while (packets.batch->header->consumed < packets.batch->count()) {
        nodes::coalesce(lanes, *packets.batch, *superpackets.batch, joining);
        const Batch& out = *superpackets.batch;
        for (uint32_t i = 0, end; i < out.count(); i = end) {
          for (end = i + 1; end < out.count() && out.kind[end] == gso::piece;) end++;
          take_apart(outcome, out, i, end);
          segments++;
        }
        superpackets.clear();
      }
      must(segments <= packets.batch->count() + packets.batch->header->followed);
      packets.clear();
    }
    trains.clear();
    const uint32_t kept = lanes.guess.block == no_block ? 0 : 1;  // for the next superpacket
    must(trains.arena->unreferenced() + kept == trains.arena->block_count());
    outcome.counters.assign(lanes.counters, lanes.counters + verdict::names.size());
    const auto* table = reinterpret_cast<const uint8_t*>(&world().table->slot(0));
    outcome.slots.assign(table, table + slots * public_slot_bytes);
    return outcome;
  }
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static Way way;
  Input input{data, size};
  const auto mode = input.take<uint8_t>();
  world().reset(input);
  world().lanes->limits[limit::strangers] = limit::none;
  std::array<Sender, 2> senders;
  for (uint32_t i = 0; i < senders.size(); i++) {
    PublicSlot& slot = world().table->slot(i);
    if (mode % 8 != 0) slot.state = slot_state::online, slot.generation = generation, slot.shard = 0;
    slot.flags &= ~slot_flag::stream;
    if ((mode & 16) != 0) slot.open_source = 0x0a7d0102 + i;
    if ((mode & 32) != 0) slot.open_match = 0x08080808, slot.open_replace = 0x0a7d0201, slot.open_destination = 0x0a7d0303;
    senders[i].begin(input, i);
  }
  std::vector<Train> trains;
  for (uint32_t left = 1 + input.below(most_trains); left > 0 && !input.empty(); left--) add_train(input, senders[input.one_in(4)], trains);
  if (trains.size() > most_trains) trains.resize(most_trains);

  Octets before(slots * public_slot_bytes);
  std::memcpy(before.data(), &world().table->slot(0), before.size());
  const auto joining = (mode & 64) == 0 ? nodes::Joining::all : (mode & 8) != 0 ? nodes::Joining::udp : nodes::Joining::tcp;
  const Outcome apart = way.run(trains, nodes::Joining::off, joining);
  std::memcpy(&world().table->slot(0), before.data(), before.size());
  std::memset(world().lanes->limits + limit::words, 0, slots * sizeof(Lanes::Arrival));
  const Outcome together = way.run(trains, joining, joining);
  must(together.packets == apart.packets);
  must(together.counters == apart.counters);
  must(together.slots == apart.slots);
  return 0;
}
