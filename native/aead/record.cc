#include "aead/record.h"

#include "packet/bytes.h"

namespace ringway {

bool open_record(Aead& aead, const RecordKey& key, const uint8_t* iv, uint8_t* record, const RecordShape& shape, uint64_t number, OpenedContent* content) {
  uint8_t nonce[nonce_bytes];
  make_record_nonce(iv, number, nonce);
  uint8_t* body = record + shape.header;
  const uint32_t length = shape.encrypted - tag_bytes;
  if (!aead.open(key.schedule, nonce, record, shape.header, body, body, length, body + length)) return false;
  *content = find_content(body, length);
  return true;
}

void begin_record(const uint8_t* iv, uint16_t epoch, uint64_t number, uint8_t type, uint8_t* record, uint32_t length, uint8_t* nonce) {
  record[0] = static_cast<uint8_t>(record_bits::unified | record_bits::long_number | record_bits::with_length | (epoch & 3));
  store16(record + 1, static_cast<uint16_t>(number));
  store16(record + 3, static_cast<uint16_t>(length + 1 + tag_bytes));
  record[record_header + length] = type;
  make_record_nonce(iv, number, nonce);
}

void seal_record(Aead& aead, const RecordKey& key, const uint8_t* iv, uint16_t epoch, uint64_t number, uint8_t type, uint8_t* record, uint32_t length) {
  uint8_t nonce[nonce_bytes];
  begin_record(iv, epoch, number, type, record, length, nonce);
  uint8_t* body = record + record_header;
  aead.seal(key.schedule, nonce, record, record_header, body, body, length + 1, body + length + 1);
  hide_number(aead.number_mask(key.number, body), record);
}

}  // namespace ringway
