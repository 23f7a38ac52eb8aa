// GSO in userspace: cuts a superpacket of the TUN into packets, with one pass over the payload: copy and checksum together, or the checksum
// alone where the AEAD takes each packet from the superpacket itself.
#pragma once

#include <cstdint>
#include <span>

namespace ringway {

// What a virtio-net header says of a superpacket (the columns of a batch entry). hdr_len is not among them: nobody may trust it.
struct SuperpacketHints {
  uint8_t kind = 0;  // GsoType
  uint32_t segment_size = 0;
  bool needs_checksum = false;
  uint16_t checksum_start = 0;
  uint16_t checksum_offset = 0;
};

class Segmenter {
 public:
  // False when the hints do not fit the bytes (verdict badGso). The bytes must stay until the last write().
  bool begin(std::span<uint8_t> packet, const SuperpacketHints& hints);

  uint32_t segments() const { return segments_; }
  // Bytes of segment i: all but the last have length(0).
  uint32_t length(uint32_t segment) const {
    return segment + 1 < segments_ ? header_length_ + segment_size_ : total_ - segment * segment_size_;
  }
  // All inner bytes of `count` segments from `first` on.
  uint64_t bytes(uint32_t first, uint32_t count) const {
    return uint64_t{count - 1} * length(0) + length(first + count - 1);
  }
  // Writes segment i (length(i) bytes) to `to`, which must not overlap the superpacket.
  void write(uint32_t segment, uint8_t* to) const;
  // The bytes of its payload that a checksum covers, summed: what place() wants. Of a packet that goes as it is those from its checksum's start on.
  uint64_t sum(uint32_t segment) const;
  // Makes segment i in the superpacket itself, and says where. Its headers, from a copy that save_header() made of the first ones, are written over what
  // lies before its payload, the end of the segment in front: that one and all before it are lost, so they come in order.
  uint8_t* place(uint32_t segment, const uint8_t* header, uint64_t sum) const;
  void save_header(uint8_t* to) const;
  static constexpr uint32_t max_header = 120;  // bytes: of IPv4 and TCP 60 each
  // `count` segments from `first` on as a superpacket of their own, which is cut into the same segments: as long as slice_length() says.
  uint32_t slice_length(uint32_t first, uint32_t count) const;
  void slice(uint32_t first, uint32_t count, uint8_t* to) const;

 private:
  void write_alone(uint8_t* to) const;
  void finish(uint32_t segment, uint8_t* to, uint64_t sum) const;
  void finish_alone(uint8_t* to, uint64_t sum) const;

  uint8_t* packet_;
  uint32_t total_;
  uint32_t header_length_;  // 0 for a packet that goes as it is
  uint32_t segment_size_;
  uint32_t segments_;
  uint32_t ip_length_;
  SuperpacketHints hints_;
  bool version6_;
  bool tcp_;
  bool without_checksum_;  // UDP without a checksum stays without
  uint16_t identification_;
  uint32_t sequence_;
  uint8_t flags_;
  uint64_t ip_sum_;         // IPv4 header without length, identification and checksum
  uint64_t transport_sum_;  // pseudo-header without length, transport header without length, sequence, changing flags and checksum
};

}  // namespace ringway
