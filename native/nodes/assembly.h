// Superpackets that are put together while their packets are opened: the AEAD writes each payload where it belongs, behind the one before it, so that
// nothing copies it and the device gets it in one piece. Where a packet goes is guessed before its headers can be read: it follows the one in
// front of it, as packets of a train mostly do. Once it is open its headers say whether that was right; if not, it is put back where it was sealed.
//
//   at         from here on the packet would be in one piece; where it follows, its headers lie over the last payload
//              ↓
//   … headers payload │ payload │ payload │ …      opened from the last to the first: each restores what the next one has overwritten
#pragma once

#include <array>
#include <cstdint>

#include "nodes/nodes.h"
#include "nodes/open_group.h"
#include "packet/headers.h"

namespace ringway::nodes {

// What lies around the packet in a plaintext: nothing in an Expresslane frame; in a record a Data frame's header, and the content type.
struct Framing {
  uint32_t before, behind;
};
inline constexpr Framing lane_framing{0, 0}, record_framing{3, 1};

class Assembly {
 public:
  // `packets`: whose arena the superpackets are in, one or several in a block.
  Assembly(Guess& guess, Batch& packets, Joining joining);
  ~Assembly() { guess_.block = block_; }
  Assembly(const Assembly&) = delete;
  Assembly& operator=(const Assembly&) = delete;

  bool active() const { return joining_ != Joining::off; }
  // Opens a group. `apart`: none of it may join others. `ahead`: bytes that its train holds, more or less.
  void open(Aead& aead, const Schedule& schedule, OpenGroup& group, const Framing& framing, bool apart, uint32_t ahead);
  // Was that piece opened elsewhere than where it was sealed? Then its ciphertext is still there.
  bool has_placed(uint32_t piece) const { return placed_ && places_[piece].out != nullptr; }
  // It is to be opened once more, where it lies.
  void leave(uint32_t piece) { places_[piece].out = nullptr; }

  enum class Taken : uint8_t { no, began, followed };
  // A piece that is authentic and that the window has taken, in order, and its number: only what was sealed one behind the other may be so in a superpacket.
  // `no`: its plaintext lies where it was sealed, and is the caller's. `began`: it is the first of a superpacket, at packet(); the caller makes an entry of it, which
  // holds block(), and says which by entered(). `followed`: it is part of that.
  Taken take(uint32_t piece, const Sealed& sealed, uint64_t number);
  // The superpacket at hand is complete.
  void finish();

  // Bytes in a block that nobody holds, or that superpackets are put into: columns lie.
  bool may_overlap(uint32_t offset, uint32_t length) const;

  uint32_t length() const { return length_; }  // of the packet taken last
  uint8_t* packet() const { return first_; }
  uint16_t block() const { return of_block_; }
  void entered(uint32_t entry) { entry_ = entry; }

 private:
  // Longer plaintexts are opened into their place; shorter ones, which come four at a time from the AEAD, are copied there.
  static constexpr uint32_t worth_placing = 256;
  static constexpr uint32_t margin = 64, max_header = 60;  // bytes; a margin holds framing and headers, and one byte behind them
  static constexpr uint32_t least_room = 16 * 1024;        // for a superpacket to begin in a block that has others
  static constexpr uint32_t misses_in_a_row = 2, groups_to_wait = 16;

  struct Place {
    uint8_t* out;     // of the plaintext; nullptr: it stays where it was sealed
    uint32_t header;  // of one that follows: bytes that lie over the packet in front of it; 0: it begins
    uint8_t type;     // what stood behind the packet
    std::array<uint8_t, margin> head;

    const uint8_t* payload(const Framing& framing) const { return out + framing.before + header; }
  };
  // A superpacket as far as it can be told before its packets are open.
  struct Extent {
    uint8_t *start, *end, *limit;  // start is nullptr: nothing can follow
    uint32_t header, payload;
  };

  uint32_t around() const { return framing_.before + framing_.behind; }
  bool plan(const OpenGroup& group, uint32_t ahead);
  bool place(Place& place, uint32_t sealed, Extent& extent, uint32_t ahead, bool first);
  uint8_t* begin_place(const uint8_t* after, uint32_t bytes, bool may_change);
  static bool has_room(const Extent& extent, uint32_t payload);
  void open_placed(Aead& aead, const Schedule& schedule, std::span<Sealed> sealed);

  bool is_framed(const uint8_t* plaintext, uint8_t type, uint32_t length) const;
  Taken take_placed(Place& place, const Sealed& sealed);
  Taken take_copied(const Sealed& sealed);
  Taken put_back(const Place& place, const Sealed& sealed);
  bool is_first(uint8_t* packet, uint32_t length) const;
  void begin(uint8_t* packet, uint32_t length);
  bool follow(const uint8_t* headers, uint32_t length, const uint8_t* copied_from);

  Guess& guess_;
  Batch& packets_;
  const Joining joining_;
  Framing framing_{};
  bool apart_ = false, placed_ = false, missed_ = false;  // of the group
  std::array<Place, OpenGroup::most> places_;

  uint16_t block_ = no_block;  // where superpackets begin
  uint8_t *used_ = nullptr, *block_end_ = nullptr;
  // the superpacket at hand
  uint16_t of_block_ = no_block;
  uint8_t *first_ = nullptr, *end_ = nullptr, *limit_ = nullptr;
  bool is_open_ = false;
  uint32_t entry_ = 0, count_ = 0, length_ = 0;
  uint64_t next_number_ = 0;
  uint32_t header_ = 0, payload_ = 0;  // bytes, of its first packet
  Expected expected_{};
  uint64_t alike_ = 0, pseudo_ = 0;  // sums of what all have alike in the IP header, and of the pseudo-header without its length
  bool pushed_ = false;
};

}  // namespace ringway::nodes
