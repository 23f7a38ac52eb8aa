// DTLS 1.3 records as bytes (RFC 9147 §4): the unified header in all its forms, record numbers, sealing and opening in place.
#pragma once

#include <cstdint>
#include <span>

#include "aead/aead.h"
#include "packet/bytes.h"

namespace ringway {

namespace content_type {
inline constexpr uint8_t alert = 21, handshake = 22, application = 23, ack = 26;
}

namespace record_bits {  // of the first byte: 001C SLEE
inline constexpr uint8_t unified = 0x20, connection_id = 0x10, long_number = 0x08, with_length = 0x04;
}

inline constexpr size_t record_header = 5;  // of what we send: S and L set, 16-bit number, length
inline constexpr size_t record_overhead = record_header + 1 + tag_bytes;
inline constexpr size_t max_record_content = 16384;
inline constexpr uint64_t max_record_number = (uint64_t{1} << 48) - 1;

// An expanded key of one epoch and direction, wherever it is kept.
struct RecordKey {
  Schedule schedule;
  NumberKey number;
};

// What the bytes at the head of a datagram are.
struct RecordShape {
  enum class Is : uint8_t { sealed, plain, malformed } is;
  uint8_t epoch_bits;
  uint8_t number_bytes;  // 1 or 2; 0 when the first byte is not one of a record without connection id
  uint8_t header;        // bytes
  uint32_t encrypted;    // bytes of ciphertext and tag
  uint32_t total() const { return header + encrypted; }
};
inline RecordShape look_at_record(std::span<const uint8_t> bytes) {
  RecordShape shape{RecordShape::Is::malformed, 0, 0, 0, 0};
  if (bytes.empty()) return shape;
  const uint8_t first = bytes[0];
  if (first >= 20 && first <= 31) {
    shape.is = RecordShape::Is::plain;
    return shape;
  }
  if ((first & 0xe0) != record_bits::unified || (first & record_bits::connection_id) != 0) return shape;
  shape.number_bytes = first & record_bits::long_number ? 2 : 1;
  shape.header = static_cast<uint8_t>(1 + shape.number_bytes + (first & record_bits::with_length ? 2 : 0));
  shape.epoch_bits = first & 3;
  if (bytes.size() < shape.header) return shape;
  const size_t left = bytes.size() - shape.header;
  size_t encrypted = left;
  if (first & record_bits::with_length) encrypted = load16(&bytes[shape.header - 2u]);
  if (encrypted > left) return shape;
  shape.encrypted = static_cast<uint32_t>(encrypted);
  shape.is = RecordShape::Is::sealed;
  return shape;
}

// Bytes of a record in plaintext (RFC 9147 §4: `type | version u16 | epoch u16 | number u48 | length u16`); 0 when it does not end within `bytes`.
inline constexpr size_t plaintext_header = 13;
inline size_t plaintext_bytes(std::span<const uint8_t> bytes) {
  if (bytes.size() < plaintext_header) return 0;
  const size_t length = plaintext_header + load16(&bytes[plaintext_header - 2]);
  return length <= bytes.size() ? length : 0;
}

// Whether a datagram begins with a ClientHello, or a piece of one, as isClientHello() of src/dtls/records.ts has it.
inline bool is_client_hello(std::span<const uint8_t> bytes) {
  return bytes.size() > plaintext_header && bytes[0] == content_type::handshake && bytes[3] == 0 && bytes[4] == 0 && bytes[plaintext_header] == 1;
}

// The number closest to `expected` that ends with `low` (RFC 9147 §4.2.2; contracts.md says how ties fall). May exceed max_record_number.
inline uint64_t reconstruct(uint64_t expected, uint32_t low, uint8_t bytes) {
  const uint64_t size = uint64_t{1} << (8 * bytes), half = size / 2;
  const uint64_t near = (expected & ~(size - 1)) | low;
  if (near > expected + half && near >= size) return near - size;
  if (near + half < expected) return near + size;
  return near;
}

// The IV exclusive-or the 64-bit number, left-padded (RFC 8446 §5.3). The epoch is not mixed in.
inline void make_record_nonce(const uint8_t* iv, uint64_t number, uint8_t* nonce) {
  std::memcpy(nonce, iv, 4);
  store64(nonce + 4, load64(iv + 4) ^ number);
}

// Reveals the number in the header, in place. Needs encrypted >= 16. @returns the number's low bits
inline uint32_t reveal_number(uint16_t mask, uint8_t* record, const RecordShape& shape) {
  if (shape.number_bytes == 1) return record[1] ^= static_cast<uint8_t>(mask >> 8);
  const auto number = static_cast<uint16_t>(load16(record + 1) ^ mask);
  store16(record + 1, number);
  return number;
}
inline uint32_t reveal_number(Aead& aead, const RecordKey& key, uint8_t* record, const RecordShape& shape) {
  return reveal_number(aead.number_mask(key.number, record + shape.header), record, shape);
}

// Content and type of an opened record; type 0 when it was all padding.
struct OpenedContent {
  uint8_t type;
  uint32_t length;
};
inline OpenedContent find_content(const uint8_t* opened, uint32_t length) {
  while (length > 0 && opened[length - 1] == 0) length--;
  if (length == 0) return {0, 0};
  return {opened[length - 1], length - 1};
}
// Opens in place a record whose number is revealed; the content begins behind the header. Needs encrypted >= 16. False = forged.
bool open_record(Aead& aead, const RecordKey& key, const uint8_t* iv, uint8_t* record, const RecordShape& shape, uint64_t number, OpenedContent* content);

// The header of what we send (the number in the clear: it is additional data), the content type behind the content, and the nonce.
void begin_record(const uint8_t* iv, uint16_t epoch, uint64_t number, uint8_t type, uint8_t* record, uint32_t length, uint8_t* nonce);
inline void hide_number(uint16_t mask, uint8_t* record) { store_native(record + 1, static_cast<uint16_t>(load_native<uint16_t>(record + 1) ^ swap_bytes(mask))); }
// Seals in place: `record` holds `length` bytes of content from record_header on, and has room for record_overhead more.
void seal_record(Aead& aead, const RecordKey& key, const uint8_t* iv, uint16_t epoch, uint64_t number, uint8_t type, uint8_t* record, uint32_t length);

}  // namespace ringway
