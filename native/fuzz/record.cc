// Hostile datagrams through the record walk, number reconstruction and opening, with a cipher that lets everything through; and the windows
// against a plain set.
// link: native/aead/record.cc native/aead/aead.cc native/fuzz/backends/none.cc
#include <cstdlib>
#include <cstring>
#include <set>
#include <vector>

#include "aead/record.h"
#include "packet/bytes.h"
#include "table/window.h"

using namespace ringway;

namespace {

void must(bool holds) {
  if (!holds) std::abort();
}

// Seals nothing and finds everything authentic: what is behind the AEAD gets to see hostile bytes.
class Open final : public Aead {
 public:
  bool expand(Schedule&, uint16_t, const uint8_t*) override { return true; }
  void release(Schedule&) override {}
  void seal(const Schedule&, const uint8_t*, const uint8_t*, size_t, const uint8_t* in, uint8_t* out, size_t length, uint8_t* tag) override {
    std::memmove(out, in, length);
    std::memset(tag, 0x5a, tag_bytes);
  }
  bool open(const Schedule&, const uint8_t*, const uint8_t*, size_t, const uint8_t* in, uint8_t* out, size_t length, const uint8_t* tag) override {
    uint8_t read[tag_bytes];
    std::memcpy(read, tag, sizeof read);
    std::memmove(out, in, length);
    return true;
  }
  bool expand_number(NumberKey&, uint16_t, const uint8_t*) override { return true; }
  void release_number(NumberKey&) override {}
  void number_masks(const NumberKey&, std::span<const uint8_t* const> samples, uint16_t* masks) override {
    for (size_t i = 0; i < samples.size(); i++) masks[i] = load16(samples[i]) ^ load16(samples[i] + 14);
  }
};

void walk(std::vector<uint8_t> datagram, uint64_t expected) {
  Open aead;
  RecordKey key{};
  const uint8_t iv[nonce_bytes] = {};
  for (size_t at = 0; at < datagram.size();) {
    const std::span<uint8_t> rest{datagram.data() + at, datagram.size() - at};
    const RecordShape shape = look_at_record(rest);
    if (shape.is != RecordShape::Is::sealed) return;
    must(shape.total() <= rest.size() && shape.header >= 2 && shape.header <= record_header);
    if (shape.encrypted >= tag_bytes) {
      const uint64_t number = reconstruct(expected, reveal_number(aead, key, rest.data(), shape), shape.number_bytes);
      OpenedContent content;
      must(open_record(aead, key, iv, rest.data(), shape, number, &content));
      must(content.length + (content.type != 0) <= shape.encrypted - tag_bytes);
    }
    at += shape.total();
  }
}

// What is sealed is found again, whatever the number.
void round_trip(const uint8_t* data, size_t size, uint64_t number, uint16_t epoch) {
  Open aead;
  RecordKey key{};
  const uint8_t iv[nonce_bytes] = {};
  const uint32_t length = static_cast<uint32_t>(std::min(size, max_record_content));
  std::vector<uint8_t> record(length + record_overhead);
  std::memcpy(record.data() + record_header, data, length);
  seal_record(aead, key, iv, epoch, number, content_type::application, record.data(), length);
  const RecordShape shape = look_at_record(record);
  must(shape.is == RecordShape::Is::sealed && shape.total() == record.size() && shape.epoch_bits == (epoch & 3));
  const uint32_t low = reveal_number(aead, key, record.data(), shape);
  for (const uint64_t near : {number, number + 30000, number > 30000 ? number - 30000 : 0}) must(number < 30000 || reconstruct(near, low, 2) == number);
  OpenedContent content;
  must(open_record(aead, key, iv, record.data(), shape, number, &content));
  must(content.type == content_type::application && content.length == length && std::memcmp(record.data() + record_header, data, length) == 0);
}

// Steps of hostile size, forward and back.
void windows(const uint8_t* data, size_t size) {
  static PublicSlot slot;
  std::memset(&slot, 0, sizeof slot);
  std::set<uint64_t> lane_seen, record_seen;
  uint64_t lane_high = 0, record_next = 0, at = 5000;
  for (size_t i = 0; i + 2 < size && i < 600; i += 3) {
    const uint64_t step = load16(data + i + 1);
    at = data[i] & 1 ? at + step : at > step ? at - step : 0;
    LaneWindow lane{slot};
    const bool refused = at == 0 || lane_seen.contains(at) || (at <= lane_high && lane_high - at >= lane_window_size);
    must(lane.refuses(at) == refused);
    if (!refused) {
      lane.take(at);
      lane_seen.insert(at);
      lane_high = std::max(lane_high, at);
    }
    RecordWindow record{slot, 2};
    const bool old = record_seen.contains(at) || (at < record_next && record_next - at > record_window_size);
    must(record.refuses(at) == old);
    if (!old) {
      record.take(at);
      record_seen.insert(at);
      record_next = std::max(record_next, at + 1);
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 8) return 0;
  const uint64_t number = load64(data) & max_record_number;
  walk({data + 8, data + size}, number);
  round_trip(data + 8, size - 8, number, data[0]);
  windows(data + 8, size - 8);
  return 0;
}
