#include "fuzz/world.h"

#include <sanitizer/asan_interface.h>

#include "aead/record.h"
#include "nodes/header.h"
#include "packet/ip.h"
#include "steering/floors.h"

// Lanes of this world have no floors: no kernel filters here.
void ringway::Floors::refused(const Lanes&, int32_t) { __builtin_trap(); }
bool ringway::Floors::has_told(int32_t, uint64_t) const { __builtin_trap(); }

namespace ringway::fuzz {
namespace {

constexpr uint32_t base = 0x0a000002;  // 10.0.0.2

std::shared_ptr<Table> make_table() {
  return std::make_shared<Table>(Mapping::anonymous(slots * public_slot_bytes), Mapping::anonymous(slots * secret_slot_bytes), slots);
}

void fill_key(uint8_t* key, uint32_t slot, uint32_t place) {
  for (uint32_t i = 0; i < 32; i++) key[i] = static_cast<uint8_t>(slot * 31 + place * 7 + i);
}

void write_id(uint32_t slot, uint8_t* id) {
  for (uint32_t i = 0; i < 8; i++) id[i] = static_cast<uint8_t>(0x10 * (slot + 1) + i);
}

RecordSecret make_record_secret(uint32_t slot, uint32_t place, uint16_t epoch) {
  RecordSecret secret{};
  fill_key(secret.key, slot, place + epoch);
  fill_key(secret.sn, slot, place + 50 + epoch);
  std::memcpy(secret.iv, secret.sn + 16, sizeof secret.iv);
  secret.suite = slot % 2 == 0 ? suite::aes256 : suite::chacha20;
  secret.epoch = epoch;
  return secret;
}

void install_keys(uint32_t slot, SecretSlot& secret) {
  fill_key(secret.lane_receive.key, slot, 1);
  fill_key(secret.lane_previous.key, slot, 2);
  fill_key(secret.lane_send.key, slot, 3);
  secret.lane_receive.valid = secret.lane_previous.valid = secret.lane_send.valid = 1;
  for (const uint16_t epoch : epochs) {
    secret.receive_record[epoch & 3] = make_record_secret(slot, 4, epoch);
    secret.send_record[epoch & 3] = make_record_secret(slot, 100, epoch);
  }
}

}  // namespace

Pool::Pool(uint32_t block_size, uint32_t blocks, uint32_t capacity)
    : arena{std::make_shared<Arena>(Mapping::anonymous(size_t{block_size} * blocks), block_size, blocks)}, columns_{Mapping::anonymous(batch_layout(capacity).bytes)} {
  batch = std::make_shared<Batch>(arena, columns_, capacity);
}
Pool::Pool(const Pool& arena_of, uint32_t capacity) : arena{arena_of.arena}, columns_{Mapping::anonymous(batch_layout(capacity).bytes)} {
  batch = std::make_shared<Batch>(arena, columns_, capacity);
}
void Pool::renew() {
  unlock();
  batch->clear();
  arena = std::make_shared<Arena>(arena->mapping(), arena->block_size(), arena->block_count());
  batch = std::make_shared<Batch>(arena, columns_, batch->capacity);
}
void Pool::renew(const Pool& arena_of) {
  batch->clear();
  arena = arena_of.arena;
  batch = std::make_shared<Batch>(arena, columns_, batch->capacity);
}

bool Pool::add(std::span<const uint8_t> bytes) {
  uint8_t* to = batch->full() ? nullptr : batch->reserve(static_cast<uint32_t>(bytes.size()));
  if (!to) return false;
  if (!bytes.empty()) std::memcpy(to, bytes.data(), bytes.size());
  batch->commit(static_cast<uint32_t>(bytes.size()));
  return true;
}

void Pool::lock() const {
  ASAN_POISON_MEMORY_REGION(arena->bytes(), arena->size());
  for (uint32_t i = 0; i < batch->count(); i++) {
    const auto bytes = batch->span(i);
    ASAN_UNPOISON_MEMORY_REGION(bytes.data(), bytes.size());
  }
}
void Pool::unlock() const { ASAN_UNPOISON_MEMORY_REGION(arena->bytes(), arena->size()); }

void Pool::clear() {
  unlock();
  batch->clear();
}

void spoil(Input& input, Batch& batch) {
  for (uint32_t left = input.below(12); left > 0; left--) {
    const uint32_t entry = input.below(batch.capacity), column = input.below(18);
    const auto value = input.take<uint32_t>();
    switch (column) {
      case 0: batch.counter[entry] = uint64_t{value} << 32 | value; break;
      case 1: batch.offset[entry] = value; break;
      case 2: batch.offset[entry] = value % static_cast<uint32_t>(batch.arena->size()); break;
      case 3: batch.length[entry] = value; break;
      case 4: batch.length[entry] = value % 70'000; break;
      case 5: batch.segment_size[entry] = value; break;
      case 6: batch.segment_size[entry] = value % 2'000; break;
      case 7: batch.train[entry] = value; break;
      case 8: batch.slot[entry] = static_cast<int32_t>(value); break;
      case 9: batch.slot[entry] = static_cast<int32_t>(value % (slots + 2)) - 1; break;
      case 10: batch.epoch[entry] = static_cast<uint16_t>(value); break;
      case 11: batch.block[entry] = static_cast<uint16_t>(value); break;
      case 12: batch.checksum_start[entry] = static_cast<uint16_t>(value), batch.checksum_offset[entry] = static_cast<uint16_t>(value >> 16); break;
      case 13: batch.flags[entry] = static_cast<uint16_t>(value); break;
      case 14: batch.verdict[entry] = static_cast<uint8_t>(value); break;
      case 15: batch.kind[entry] = static_cast<uint8_t>(value); break;
      case 16: batch.header->count = value % 4 == 0 ? value : value % (batch.capacity + 1); break;
      case 17: batch.header->consumed = value % 4 == 0 ? value : value % (batch.capacity + 1); break;
    }
  }
}

World::World() : table{make_table()}, peers{make_table()}, index{std::make_shared<Index>(slots)} {
  Lanes::Options options{.table = table, .index = index, .shard = 0, .shards = 2, .generation = generation, .backend = Backend::openssl, .single = -1};
  lanes = Lanes::create(options);
  options.table = peers;
  options.single = 0;
  peer = Lanes::create(options);
  for (uint32_t i = 0; i < slots; i++) {
    uint8_t id[8], outside[address::size] = {}, inside[4];
    write_id(i, id);
    outside_of(i, outside);
    store32(inside, inside_of(i));
    const auto slot = static_cast<int32_t>(i);
    must(index->set(Index::Kind::id, id, slot) && index->set(Index::Kind::outside, outside, slot) && index->set(Index::Kind::inside, inside, slot));
  }
}

void World::reset(Input& input) {
  constexpr uint32_t states[]{slot_state::online, slot_state::online, slot_state::online, slot_state::link_up, slot_state::handshake, slot_state::closing, slot_state::free};
  constexpr uint64_t counters[]{0, 5, 65'530, (1u << 24) - 3, uint64_t{1} << 40};
  std::memset(&table->slot(0), 0, slots * public_slot_bytes);
  std::memset(lanes->limits + limit::words, 0, slots * sizeof(Lanes::Arrival));
  for (uint32_t i = 0; i < slots; i++) {
    PublicSlot& slot = table->slot(i);
    SecretSlot& secret = table->secret(i);
    std::memset(&secret, 0, sizeof secret);
    install_keys(i, secret);
    const auto choice = input.take<uint16_t>();
    slot.state = states[choice % std::size(states)];
    slot.generation = choice & 0x100 ? generation + (choice >> 15) : generation;
    slot.shard = (choice & 0x600) == 0x600;
    slot.flags = choice >> 11 & (slot_flag::stream | slot_flag::expresslane | slot_flag::aad_flags | slot_flag::no_gso);
    if ((choice & 0x80) != 0) slot.flags &= ~slot_flag::stream;
    write_id(i, slot.current_id);
    write_id(i, slot.send_id);
    outside_of(i, slot.remote);
    slot.version_major = 1;
    slot.version_minor = i % 3 + 1;
    slot.inside_address = inside_of(i);
    if (i % 2 == 0) slot.open_source = inside_of(i), slot.seal_destination = base + 1000;
    if (i % 3 == 0) slot.mss_clamp = 1200;
    slot.send_epoch = input.one_of(epochs);
    for (const uint16_t epoch : epochs) slot.receive_epochs[epoch & 3] = epoch;
    slot.lane_send_counter = input.one_of(counters);
    for (uint64_t& counter : slot.record_send_counter) counter = slot.lane_send_counter;
    slot.lane_highest = input.one_of(counters);
    for (uint64_t& next : slot.record_next) next = slot.lane_highest;
    if ((choice & 0x40) != 0) secret.lane_previous.valid = 0;
    if ((choice & 0x20) != 0) secret.lane_receive.valid = 0;
  }
}

void World::mirror(uint32_t number) {
  const PublicSlot& from = table->slot(number);
  PublicSlot& to = peers->slot(number);
  to = {};
  to.state = slot_state::online;
  to.generation = generation;
  to.flags = slot_flag::client | (from.flags & slot_flag::aad_flags);
  to.lane_highest = from.lane_send_counter;
  for (int i = 0; i < 4; i++) {
    to.receive_epochs[i] = table->secret(number).send_record[i].epoch;
    to.record_next[i] = from.record_send_counter[i];
  }
  std::memcpy(to.current_id, from.send_id, 8);
  SecretSlot& secret = peers->secret(number);
  secret = {};
  secret.lane_receive = table->secret(number).lane_send;
  std::memcpy(secret.receive_record, table->secret(number).send_record, sizeof secret.receive_record);
}

uint32_t inside_of(uint32_t slot) { return base + slot; }
void outside_of(uint32_t number, uint8_t* address) {
  address[address::family] = 4;
  store16(address + address::port_number, static_cast<uint16_t>(1000 + number));
  store32(address + address::remote, 0xc0000200 + number);
}

Octets inner_packet(Input& input, uint32_t source, uint32_t destination) {
  const bool is_tcp = !input.one_in(3);
  const auto flow = input.take<uint8_t>();
  const size_t headers = ip4::min_header + (is_tcp ? tcp::min_header : udp::header);
  Octets packet(headers + input.one_of({0, 1, 64, 64, 64, 100, 1000}));
  for (size_t i = headers; i < packet.size(); i++) packet[i] = static_cast<uint8_t>(i);
  uint8_t* ip = packet.data();
  uint8_t* transport = ip + ip4::min_header;
  ip[0] = 0x45;
  store16(ip + ip4::total_length, static_cast<uint16_t>(packet.size()));
  store16(ip + ip4::fragment, ip4::dont_fragment);
  ip[ip4::ttl] = 64;
  ip[ip4::proto] = is_tcp ? protocol::tcp : protocol::udp;
  store32(ip + ip4::source, source);
  store32(ip + ip4::destination, destination);
  store_native(ip + ip4::checksum, complement(fold(sum_bytes(ip, ip4::min_header))));
  store32(transport, 443u << 16 | flow % 3);
  if (is_tcp) {
    store32(transport + tcp::sequence, (flow >> 2) * 64);
    transport[tcp::data_offset] = 0x50;
    transport[tcp::flags] = input.one_of({tcp::ack, tcp::ack, tcp::ack, tcp::psh, tcp::syn});
  } else {
    store16(transport + udp::length, static_cast<uint16_t>(packet.size() - ip4::min_header));
  }
  const auto length = static_cast<uint32_t>(packet.size() - ip4::min_header);
  const uint64_t sum = sum_bytes(transport, length) + pseudo_sum4(ip, ip[ip4::proto], length);
  store_native(transport + (is_tcp ? tcp::checksum : udp::checksum), complement(fold(sum)));
  for (uint32_t left = input.one_in(4) ? input.below(4) : 0; left > 0; left--) {
    const uint32_t at = input.below(static_cast<uint32_t>(packet.size()));
    packet[at] ^= input.take<uint8_t>();
  }
  return packet;
}

Octets header(const World& world, uint32_t slot, bool expresslane) {
  Octets bytes(lightway::header_bytes);
  lightway::write(bytes.data(), world.table->slot(slot), expresslane);
  return bytes;
}

Octets data_frame(const Octets& packet) {
  Octets frame{5, static_cast<uint8_t>(packet.size() >> 8), static_cast<uint8_t>(packet.size())};
  frame.insert(frame.end(), packet.begin(), packet.end());
  return frame;
}

Octets seal_lane(const World& world, uint32_t slot, bool with_previous, const Content& content) {
  Octets datagram = header(world, slot, true);
  datagram.resize(lightway::header_bytes + lane::header_bytes);
  datagram.insert(datagram.end(), content.packet.begin(), content.packet.end());
  uint8_t* frame = datagram.data() + lightway::header_bytes;
  uint8_t* body = frame + lane::header_bytes;
  store64(frame + lane::counter, content.number);
  store64(frame + lane::iv + 4, content.number);
  store16(frame + lane::length, static_cast<uint16_t>(content.packet.size()));
  uint8_t aad[lane::max_aad];
  const size_t aad_length = lane::make_aad(datagram.data() + lightway::id, frame, (world.table->slot(slot).flags & slot_flag::aad_flags) != 0, aad);
  const SecretSlot& secret = world.table->secret(slot);
  Aead& aead = *world.lanes->aead;
  Schedule schedule{};
  aead.expand(schedule, suite::aes256, (with_previous ? secret.lane_previous : secret.lane_receive).key);
  aead.seal(schedule, frame + lane::iv, aad, aad_length, body, body, content.packet.size(), frame + lane::tag);
  return datagram;
}

Octets seal_record(const World& world, uint32_t slot, const RecordForm& form, const Content& content) {
  const RecordSecret& secret = world.table->secret(slot).receive_record[form.epoch & 3];
  const size_t number_bytes = form.long_number ? 2 : 1, head = 1 + number_bytes + (form.with_length ? 2 : 0);
  const size_t text = content.packet.size() + 1 + form.padding;
  Octets record(head + text + tag_bytes);
  record[0] = static_cast<uint8_t>(record_bits::unified | (form.long_number ? record_bits::long_number : 0) | (form.with_length ? record_bits::with_length : 0) | (form.epoch & 3));
  if (form.long_number) {
    store16(&record[1], static_cast<uint16_t>(content.number));
  } else {
    record[1] = static_cast<uint8_t>(content.number);
  }
  if (form.with_length) store16(&record[head - 2], static_cast<uint16_t>(text + tag_bytes));
  uint8_t* body = record.data() + head;
  if (!content.packet.empty()) std::memcpy(body, content.packet.data(), content.packet.size());
  body[content.packet.size()] = form.type;
  uint8_t nonce[nonce_bytes];
  make_record_nonce(secret.iv, content.number, nonce);
  Aead& aead = *world.lanes->aead;
  Schedule schedule{};
  NumberKey number{};
  aead.expand(schedule, secret.suite, secret.key);
  aead.expand_number(number, secret.suite, secret.sn);
  aead.seal(schedule, nonce, record.data(), head, body, body, text, body + text);
  const uint16_t mask = aead.number_mask(number, body);
  record[1] ^= static_cast<uint8_t>(mask >> 8);
  if (form.long_number) record[2] ^= static_cast<uint8_t>(mask);
  return record;
}

}  // namespace ringway::fuzz
