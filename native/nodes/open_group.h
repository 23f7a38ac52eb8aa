// What lanes.open has found in datagrams and not opened yet: a few sealed pieces of one session under one key. They are opened together and
// judged one after the other, so that everything the AEAD loads in vectors has left the store buffer, the masks of the record numbers are made
// side by side, and checksums are summed while the bytes are in the L1 cache.
#pragma once

#include <array>
#include <cstdint>

#include "aead/aead.h"
#include "aead/record.h"
#include "nodes/header.h"

namespace ringway::nodes {

// An Expresslane frame, or a DTLS record.
struct Piece {
  uint8_t* start;
  uint64_t number;  // counter, or what the record's number seems to be
  uint32_t low;     // bits of it that the record holds
  uint32_t train;
  RecordShape shape;  // of a record
  uint16_t flags;     // of its entry
};

class OpenGroup {
 public:
  static constexpr uint32_t most = 16, most_bytes = 10'000;  // before the last one; eight of 1,400 bytes fill a third of the L1 cache
  static constexpr uint8_t lane_pieces = 4;  // `of` when not the epoch bits of records

  bool empty() const { return count == 0; }
  // Is there room for a piece of that kind?
  bool takes(uint8_t kind) const { return count == 0 || (of == kind && count < most && bytes < most_bytes); }
  void add_lane(uint8_t* session_id, uint8_t* frame, uint32_t length, bool aad_flags, uint32_t train, uint16_t flags) {
    of = lane_pieces;
    const size_t aad_length = lane::make_aad(session_id, frame, aad_flags, aads[count].data());
    seal(frame + lane::iv, aads[count].data(), aad_length, frame + lane::header_bytes, length, frame + lane::tag);
    pieces[count].number = load64(frame + lane::counter);
    add(frame, train, flags);
  }
  void add_record(uint8_t* record, RecordShape shape, uint32_t train, uint16_t flags) {
    of = shape.epoch_bits;
    const uint32_t length = shape.encrypted - tag_bytes;
    uint8_t* body = record + shape.header;
    seal(nonces[count].data(), record, shape.header, body, length, body + length);
    RecordShape& of_piece = pieces[count].shape;  // field by field, too: it comes in registers
    of_piece.epoch_bits = shape.epoch_bits;
    of_piece.number_bytes = shape.number_bytes;
    of_piece.header = shape.header;
    of_piece.encrypted = shape.encrypted;
    add(record, train, flags);
  }

  void clear() { count = bytes = 0; }

  uint32_t count = 0, bytes = 0;
  uint8_t of = lane_pieces;
  std::array<Piece, most> pieces;
  std::array<Sealed, most> sealed;
  std::array<std::array<uint8_t, 16>, most> nonces;
  std::array<std::array<uint8_t, 24>, most> aads;

 private:
  // field by field: a whole Piece would be built elsewhere, and copied before it has left the store buffer
  void seal(const uint8_t* nonce, const uint8_t* aad, size_t aad_length, uint8_t* body, uint32_t length, uint8_t* tag) {
    bytes += length;
    Sealed& one = sealed[count];
    one.nonce = nonce;
    one.aad = aad;
    one.aad_length = static_cast<uint32_t>(aad_length);
    one.length = length;
    one.bytes = body;
    one.tag = tag;
  }
  void add(uint8_t* start, uint32_t train, uint16_t flags) {
    Piece& piece = pieces[count++];
    piece.start = start;
    piece.train = train;
    piece.flags = flags;
  }
};

}  // namespace ringway::nodes
