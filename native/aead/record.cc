#include "aead/record.h"

#include <cstring>

#include "packet/bytes.h"

namespace ringway {
namespace {

constexpr uint8_t unified = 0x20, connection_id = 0x10, long_number = 0x08, with_length = 0x04;

// The IV exclusive-or the 64-bit number, left-padded. The epoch is not mixed in.
void make_nonce(const uint8_t* iv, uint64_t number, uint8_t* nonce) {
  std::memcpy(nonce, iv, 4);
  store64(nonce + 4, load64(iv + 4) ^ number);
}

}  // namespace

RecordShape look_at_record(std::span<const uint8_t> bytes) {
  RecordShape shape;
  if (bytes.empty()) return shape;
  const uint8_t first = bytes[0];
  if (first >= 20 && first <= 31) {
    shape.is = RecordShape::Is::plain;
    return shape;
  }
  if ((first & 0xe0) != unified || (first & connection_id) != 0) return shape;
  shape.number_bytes = first & long_number ? 2 : 1;
  shape.header = static_cast<uint8_t>(1 + shape.number_bytes + (first & with_length ? 2 : 0));
  shape.epoch_bits = first & 3;
  if (bytes.size() < shape.header) return shape;
  const size_t left = bytes.size() - shape.header;
  size_t encrypted = left;
  if (first & with_length) encrypted = load16(&bytes[shape.header - 2u]);
  if (encrypted > left) return shape;
  shape.encrypted = static_cast<uint32_t>(encrypted);
  shape.is = RecordShape::Is::sealed;
  return shape;
}

uint32_t reveal_number(Aead& aead, const RecordKey& key, uint8_t* record, const RecordShape& shape) {
  const uint16_t mask = aead.number_mask(key.number, record + shape.header);
  record[1] ^= static_cast<uint8_t>(mask >> 8);
  if (shape.number_bytes == 1) return record[1];
  record[2] ^= static_cast<uint8_t>(mask);
  return load16(record + 1);
}

bool open_record(Aead& aead, const RecordKey& key, const uint8_t* iv, uint8_t* record, const RecordShape& shape, uint64_t number, OpenedContent* content) {
  uint8_t nonce[nonce_bytes];
  make_nonce(iv, number, nonce);
  uint8_t* body = record + shape.header;
  uint32_t length = shape.encrypted - tag_bytes;
  if (!aead.open(key.schedule, nonce, record, shape.header, body, body, length, body + length)) return false;
  while (length > 0 && body[length - 1] == 0) length--;
  content->type = length > 0 ? body[length - 1] : uint8_t{0};
  content->length = length > 0 ? length - 1 : 0;
  return true;
}

void seal_record(Aead& aead, const RecordKey& key, const uint8_t* iv, uint16_t epoch, uint64_t number, uint8_t type, uint8_t* record, uint32_t length) {
  uint8_t* body = record + record_header;
  record[0] = static_cast<uint8_t>(unified | long_number | with_length | (epoch & 3));
  store16(record + 1, static_cast<uint16_t>(number));
  store16(record + 3, static_cast<uint16_t>(length + 1 + tag_bytes));
  body[length] = type;
  uint8_t nonce[nonce_bytes];
  make_nonce(iv, number, nonce);
  aead.seal(key.schedule, nonce, record, record_header, body, body, length + 1, body + length + 1);
  const uint16_t mask = aead.number_mask(key.number, body);
  record[1] ^= static_cast<uint8_t>(mask >> 8);
  record[2] ^= static_cast<uint8_t>(mask);
}

}  // namespace ringway
