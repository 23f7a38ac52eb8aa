// Hostile packets through everything that reads one: shape, checksums, translation, MSS, segmentation, coalescing. What is cut must have
// right checksums, and what is joined must come out of the segmenter as it was.
// link: native/packet/checksum.cc native/packet/ip.cc native/packet/segment.cc native/packet/coalesce.cc
#include <cstdlib>
#include <vector>

#include "core/batch.h"
#include "packet/coalesce.h"
#include "packet/ip.h"
#include "packet/segment.h"

using namespace ringway;
using Packet = std::vector<uint8_t>;

namespace {

void must(bool holds) {
  if (!holds) std::abort();
}

void check_variants(const Packet& bytes) {
  size_t count = 0;
  const ChecksumVariant* variants = checksum_variants(&count);
  Packet copied(bytes.size());
  for (size_t i = 0; i < count; i++) {
    must(fold(variants[i].sum(bytes.data(), bytes.size())) == fold(variants[0].sum(bytes.data(), bytes.size())));
    must(fold(variants[i].copy(copied.data(), bytes.data(), bytes.size())) == fold(variants[0].sum(bytes.data(), bytes.size())));
    must(copied == bytes);
  }
}

void check_admission(Packet packet, uint32_t address, uint16_t mss) {
  if (packet.size() < ip4::min_header || packet[0] >> 4 != 4) return;
  const uint32_t length = ipv4_length(packet);
  if (length == 0) return;
  packet.resize(length);
  packet.shrink_to_fit();  // so that the sanitizer sees a read beyond it
  const bool right = checksums_right(packet);
  for (const bool partial : {false, true}) {
    Packet copy = packet;
    translate(copy, {.source = address, .destination = ~address}, partial);
    clamp_mss(copy, mss, partial);
    if (right && !partial) must(checksums_right(copy));
  }
}

std::vector<Packet> cut(const Segmenter& segmenter) {
  std::vector<Packet> segments;
  for (uint32_t i = 0; i < segmenter.segments() && i < 200; i++) {
    Packet segment(segmenter.length(i));
    segmenter.write(i, segment.data());
    segments.push_back(segment);
  }
  return segments;
}

// The same packets, made in the superpacket itself.
void check_placed(const Segmenter& segmenter, const std::vector<Packet>& segments) {
  uint8_t header[Segmenter::max_header];
  segmenter.save_header(header);
  uint64_t sum = segmenter.sum(0);
  for (uint32_t i = 0; i < segments.size(); i++) {
    const uint8_t* placed = segmenter.place(i, header, sum);
    if (i + 1 < segments.size()) sum = segmenter.sum(i + 1);
    must(std::equal(segments[i].begin(), segments[i].end(), placed));
  }
}

void check_segments(Packet packet, const SuperpacketHints& hints) {
  Segmenter segmenter;
  if (!segmenter.begin(packet, hints)) return;
  must(segmenter.segments() > 0);
  const std::vector<Packet> segments = cut(segmenter);
  const bool is_ipv4 = packet[0] >> 4 == 4;
  check_placed(segmenter, segments);
  if (hints.kind == gso::none) return;
  if (!is_ipv4) return;
  Coalescer coalescer;
  coalescer.begin(true, true);
  for (const Packet& segment : segments) {
    must(ipv4_length(segment) == segment.size() && checksums_right(segment));
    coalescer.add(segment.data(), static_cast<uint32_t>(segment.size()), 1, true);
  }
  Packet again;
  size_t at = 0;
  for (const Run& run : coalescer.runs()) {
    Packet joined(run.length);
    coalescer.write(run, joined.data());
    if (run.packets == 1) {
      must(joined == segments[at++]);
      continue;
    }
    Segmenter back;
    must(back.begin(joined, {run.kind, run.segment_size, true, run.ip_length, run.checksum_offset}));
    must(back.segments() == run.packets);
    for (const Packet& segment : cut(back)) {
      // identifications may differ where DF makes them meaningless; all else must be what it was
      Packet expected = segments[at++], actual = segment;
      if (expected[ip4::fragment] & 0x40) {
        for (const size_t field : {ip4::identification, ip4::checksum}) {
          for (size_t i = 0; i < 2; i++) expected[field + i] = actual[field + i] = 0;
        }
      }
      must(actual == expected);
      if (at == segments.size()) return;
    }
  }
}

// Packets of the input's own lengths, joined as they come: bytes must neither appear nor vanish.
void check_joining(const Packet& bytes) {
  Coalescer coalescer;
  coalescer.begin(true, true);
  std::vector<Packet> packets;
  for (size_t at = 0; at + 2 < bytes.size() && packets.size() < 64;) {
    const size_t length = std::min<size_t>(load16(&bytes[at]) % 256, bytes.size() - at - 2);
    packets.emplace_back(bytes.begin() + at + 2, bytes.begin() + at + 2 + length);
    at += 2 + length;
  }
  for (const Packet& packet : packets) coalescer.add(packet.data(), static_cast<uint32_t>(packet.size()), 0, true);
  uint32_t joined = 0;
  for (const Run& run : coalescer.runs()) {
    Packet out(run.length);
    coalescer.write(run, out.data());
    joined += run.packets;
  }
  must(joined == packets.size());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  constexpr size_t head = 12;
  if (size < head) return 0;
  const Packet packet(data + head, data + size);
  const SuperpacketHints hints{
    .kind = data[0], .segment_size = load16(data + 1), .needs_checksum = (data[3] & 1) != 0, .checksum_start = load16(data + 4), .checksum_offset = load16(data + 6)};
  check_variants(packet);
  check_admission(packet, load32(data + 8), hints.checksum_start);
  check_segments(packet, hints);
  check_joining(packet);
  return 0;
}
