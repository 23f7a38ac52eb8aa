#include "nodes/assembly.h"

#include <algorithm>

#include "packet/checksum.h"
#include "packet/coalesce.h"
#include "packet/ip.h"

namespace ringway::nodes {
namespace {

// What packets that follow one another have not in common in their IP headers, but for what Coalescer compares.
uint64_t sum_of_own(const uint8_t* ip) {
  return uint64_t{load_native<uint16_t>(ip + ip4::total_length)} + load_native<uint16_t>(ip + ip4::identification) + load_native<uint16_t>(ip + ip4::checksum);
}

uint8_t* aligned(const uint8_t* at) { return reinterpret_cast<uint8_t*>((reinterpret_cast<uintptr_t>(at) + 63) & ~uintptr_t{63}); }

}  // namespace

Assembly::Assembly(Guess& guess, Batch& packets, Joining joining) : guess_{guess}, packets_{packets}, joining_{joining} {
  if (guess.arena != packets.arena) {
    if (guess.arena) guess.arena->release(guess.block);
    guess.arena = packets.arena;
    guess.block = no_block;
  }
  if (guess.block == no_block) return;
  block_ = guess.block;
  used_ = packets.arena->start(block_);
  block_end_ = used_ + packets.arena->block_size();
  if (!packets.arena->is_only_reference(block_)) used_ = block_end_;
}

bool Assembly::may_overlap(uint32_t offset, uint32_t length) const {
  const Arena& arena = *packets_.arena;
  const uint32_t first = offset / arena.block_size(), last = (offset + length - 1) / arena.block_size();
  return first != last || first == block_ || !arena.is_referenced(static_cast<uint16_t>(first));
}

// ---- before packets can be read ---------------------------------------------------------------------------------------------

void Assembly::open(Aead& aead, const Schedule& schedule, OpenGroup& group, const Framing& framing, bool apart, uint32_t ahead) {
  if (placed_ && !missed_) guess_.misses = 0;
  framing_ = framing;
  missed_ = false;
  apart_ = apart || !active();
  placed_ = !apart_ && plan(group, ahead);
  const std::span<Sealed> sealed{group.sealed.data(), group.count};
  if (!placed_) return aead.open_group(schedule, sealed);

  std::array<uint8_t, margin> tail;  // of the superpacket at hand: the first piece that follows is written over it
  const uint32_t overlap = is_open_ ? header_ + framing_.before : 0;
  if (overlap > 0) std::memcpy(tail.data(), end_ - overlap, overlap);
  open_placed(aead, schedule, sealed);
  if (overlap > 0) std::memcpy(end_ - overlap, tail.data(), overlap);
}

void Assembly::open_placed(Aead& aead, const Schedule& schedule, std::span<Sealed> sealed) {
  const Place* after = nullptr;
  for (size_t i = sealed.size(); i-- > 0;) {
    Place& place = places_[i];
    Sealed& one = sealed[i];
    if (!place.out) {
      aead.open_group(schedule, {&one, 1});
      continue;
    }
    one.authentic = aead.open(schedule, one.nonce, one.aad, one.aad_length, one.bytes, place.out, one.length, one.tag);
    uint8_t* last = place.out + one.length - 1;
    place.type = *last;
    std::memcpy(place.head.data(), place.out, margin);
    // the content type was written over the first byte of what follows
    const bool touches = framing_.behind > 0 && after && after->header > 0 && after->payload(framing_) == last;
    if (touches) *last = after->head[framing_.before + after->header];
    after = &place;
  }
}

// @returns whether any is opened elsewhere than where it was sealed
bool Assembly::plan(const OpenGroup& group, uint32_t ahead) {
  if (guess_.wait > 0) {
    guess_.wait--;
    return false;
  }
  Extent extent{is_open_ ? first_ : nullptr, end_, limit_, header_, payload_};
  bool any = false;
  for (uint32_t i = 0; i < group.count; i++) {
    places_[i].out = nullptr;
    if (!group.sealed[i].skip && place(places_[i], group.sealed[i].length, extent, ahead, !any)) any = true;
  }
  return any;
}

bool Assembly::place(Place& place, uint32_t sealed, Extent& extent, uint32_t ahead, bool first) {
  const uint32_t length = sealed - around();
  if (sealed <= worth_placing || length > max_ip_bytes) {
    extent.start = nullptr;
    return false;
  }
  if (extent.start && length - extent.header <= extent.payload && has_room(extent, length - extent.header)) {
    const uint32_t payload = length - extent.header;
    place.out = extent.end - extent.header - framing_.before;
    place.header = extent.header;
    extent.end += payload;
    if (payload < extent.payload) extent.start = nullptr;
    return true;
  }
  const bool in_block = extent.end && extent.end >= used_ && extent.end <= block_end_;
  uint8_t* at = begin_place(in_block ? extent.end : used_, std::max(length, ahead), first);
  if (!at) {
    extent.start = nullptr;
    return false;
  }
  place.out = at - framing_.before;
  place.header = 0;
  extent = {guess_.header > 0 ? at : nullptr, at + length, block_end_, guess_.header, length - guess_.header};
  return true;
}

// A content type may stand behind the last packet.
bool Assembly::has_room(const Extent& extent, uint32_t payload) {
  return static_cast<size_t>(extent.end - extent.start) + payload <= max_ip_bytes && extent.end + payload < extent.limit;
}

// Where a superpacket may begin that is to have so many bytes, behind what lies in the block up to `after`. `may_change`: in another block.
uint8_t* Assembly::begin_place(const uint8_t* after, uint32_t bytes, bool may_change) {
  const size_t room = std::clamp<size_t>(bytes, least_room, max_ip_bytes) + 1;
  if (block_ != no_block) {
    uint8_t* at = aligned(after) + margin;
    if (after < block_end_ && at + room <= block_end_) return at;
    if (!may_change) return nullptr;
  }
  Arena& arena = *packets_.arena;
  // some stay back for what else needs blocks
  if (arena.free_count() <= arena.block_count() / 16 || margin + room > arena.block_size()) return nullptr;
  arena.release(block_);
  block_ = arena.acquire();
  used_ = arena.start(block_);
  block_end_ = used_ + arena.block_size();
  return used_ + margin;
}

// ---- when they can ------------------------------------------------------------------------------------------------------------

Assembly::Taken Assembly::take(uint32_t piece, const Sealed& sealed, uint64_t number) {
  Taken taken = Taken::no;
  is_open_ = is_open_ && number == next_number_;
  next_number_ = number + 1;
  if (placed_) {
    if (places_[piece].out) taken = take_placed(places_[piece], sealed);
  } else if (!apart_) {
    taken = take_copied(sealed);
  }
  if (taken == Taken::no) finish();
  return taken;
}

bool Assembly::is_framed(const uint8_t* plaintext, uint8_t type, uint32_t length) const {
  return framing_.before == 0 || (plaintext[0] == 5 && load16(plaintext + 1) == length && type == content_type::application);
}

Assembly::Taken Assembly::take_placed(Place& place, const Sealed& sealed) {
  const uint32_t length = sealed.length - around();
  if (!is_framed(place.head.data(), place.type, length)) {
    (void)put_back(place, sealed);
    // session.control wipes what it has read where it was sealed; only what is this piece's alone, as the ends are the neighbours', too
    wipe(place.out + margin, sealed.length - margin - framing_.behind);
    wipe(place.head.data(), margin);
    return Taken::no;
  }
  if (place.header > 0) {
    const bool right = is_open_ && place.header == header_ && place.payload(framing_) == end_ && follow(place.head.data() + framing_.before, length, nullptr);
    return right ? Taken::followed : put_back(place, sealed);
  }
  uint8_t* packet = place.out + framing_.before;
  if (!is_first(packet, length)) return put_back(place, sealed);
  begin(packet, length);
  return Taken::began;
}

// The guess was wrong: as if it had been opened there.
Assembly::Taken Assembly::put_back(const Place& place, const Sealed& sealed) {
  std::memcpy(sealed.bytes, place.head.data(), margin);
  std::memcpy(sealed.bytes + margin, place.out + margin, sealed.length - margin);
  if (framing_.behind > 0) sealed.bytes[sealed.length - 1] = place.type;
  if (!missed_ && ++guess_.misses == misses_in_a_row) {
    guess_.misses = 0;
    guess_.wait = groups_to_wait;
  }
  missed_ = true;
  return Taken::no;
}

Assembly::Taken Assembly::take_copied(const Sealed& sealed) {
  if (sealed.length <= around() + ip4::min_header) return Taken::no;
  const uint32_t length = sealed.length - around();
  if (!is_framed(sealed.bytes, sealed.bytes[sealed.length - 1], length)) return Taken::no;
  uint8_t* packet = sealed.bytes + framing_.before;
  if (is_open_ && length > header_ && follow(packet, length, packet + header_)) return Taken::followed;
  if (!is_first(packet, length)) return Taken::no;
  finish();
  uint8_t* at = begin_place(used_, length, true);
  if (!at) return Taken::no;
  std::memcpy(at, packet, length);
  begin(at, length);
  return Taken::began;
}

// May others follow it?
bool Assembly::is_first(uint8_t* packet, uint32_t length) const {
  const Coalescer::Shape shape = Coalescer::look({packet, length, 0, 0, true}, joins_tcp(joining_), joins_udp(joining_));
  return shape.fit && shape.flow.version == 4 && shape.header_length <= max_header && checksums_right({packet, length});
}

void Assembly::begin(uint8_t* packet, uint32_t length) {
  finish();
  const bool is_tcp = packet[ip4::proto] == protocol::tcp;
  header_ = ip4::min_header + (is_tcp ? (packet[ip4::min_header + tcp::data_offset] >> 4) * 4u : udp::header);
  payload_ = length - header_;
  expected_.sequence = is_tcp ? load32(packet + ip4::min_header + tcp::sequence) + payload_ : 0;
  expected_.identification = static_cast<uint16_t>(load16(packet + ip4::identification) + 1);
  alike_ = sum_words(packet, ip4::min_header) - sum_of_own(packet);
  pseudo_ = pseudo_sum4(packet, packet[ip4::proto], 0);
  pushed_ = pushes(packet);
  is_open_ = !pushed_;
  of_block_ = block_;
  first_ = packet;
  end_ = packet + length;
  limit_ = block_end_;
  count_ = 1;
  length_ = length;
  guess_.header = header_;
}

// `copied_from`: the payload; nullptr: it is in its place.
bool Assembly::follow(const uint8_t* headers, uint32_t length, const uint8_t* copied_from) {
  const uint32_t payload = length - header_;
  if (payload > payload_ || !has_room({first_, end_, limit_, header_, payload_}, payload)) return false;
  const bool is_udp = first_[ip4::proto] == protocol::udp;
  if (is_udp && count_ >= Coalescer::max_udp_packets) return false;
  if (!follows(headers, length, first_, header_, expected_)) return false;
  if (fold(alike_ + sum_of_own(headers)) != 0xffff) return false;
  const uint64_t sum = copied_from ? copy_and_sum(end_, copied_from, payload) : sum_bytes(end_, payload);
  const auto transport = static_cast<uint16_t>(length - ip4::min_header);
  const uint64_t whole = sum + sum_words(headers + ip4::min_header, header_ - ip4::min_header) + pseudo_ + swap_bytes(transport);
  if (fold(whole) != 0xffff) return false;
  end_ += payload;
  count_++;
  length_ = length;
  expected_.sequence += payload;
  expected_.identification = static_cast<uint16_t>(load16(headers + ip4::identification) + 1);
  pushed_ = pushes(headers);
  is_open_ = !pushed_ && payload == payload_;
  return true;
}

void Assembly::finish() {
  if (count_ == 0) return;
  if (of_block_ == block_) used_ = end_;
  is_open_ = false;
  if (count_ > 1) {
    const bool is_tcp = first_[ip4::proto] == protocol::tcp;
    const auto length = static_cast<uint32_t>(end_ - first_);
    const auto checksum = static_cast<uint16_t>(is_tcp ? tcp::checksum : udp::checksum);
    Coalescer::write_header({.first = 0, .last = 0, .length = length, .ip_length = ip4::min_header, .checksum_offset = checksum,
                             .kind = is_tcp ? gso::tcp4 : gso::udp, .push = pushed_}, first_);
    packets_.length[entry_] = length;
    packets_.segment_size[entry_] = payload_;
    packets_.header_length[entry_] = static_cast<uint16_t>(header_);
    packets_.checksum_start[entry_] = ip4::min_header;
    packets_.checksum_offset[entry_] = checksum;
    packets_.flags[entry_] |= flag::needs_checksum;
  }
  count_ = 0;
}

}  // namespace ringway::nodes
