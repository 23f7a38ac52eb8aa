// GRO in userspace: which packets of a vector join into which superpacket, and the bytes of it. The rules are in docs/contracts.md.
//
//   coalescer.begin(tcp, udp);
//   for each packet, or superpacket that has been assembled already (nodes/assembly.h), in order: coalescer.add(bytes, length, slot, checksum_valid, segment_size);
//   for (const Run& run : coalescer.runs()) coalescer.write(run, to);
//
// or, where the bytes stay where they are, coalescer.write_header(run, its first packet), and the payloads of run.first, next(run.first) ...
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

namespace ringway {

struct InnerPacket {
  const uint8_t* bytes;
  uint32_t length;
  int32_t slot;
  uint32_t segment_size;  // of a superpacket; 0: it is none
  bool checksum_valid;
};

// One superpacket to be: a chain of packets.
struct Run {
  uint32_t first, last;  // into what was added
  uint32_t added = 1;    // links of the chain
  uint32_t packets = 1;
  uint32_t length = 0;  // of the superpacket
  // of a run of two or more
  uint32_t segment_size = 0;
  uint16_t header_length = 0;
  uint16_t ip_length = 0;
  uint16_t checksum_offset = 0;
  uint8_t kind = 0;  // GsoType; none for a packet that stands alone
  bool push = false;
};

class Coalescer {
 public:
  // Room for `capacity` packets: nothing allocates after that.
  void reserve(uint32_t capacity);
  // Which superpackets the TUN takes; neither: every packet stands alone.
  void begin(bool tcp, bool udp);
  // Values, not an InnerPacket: one put together by its caller would be copied before it has left the store buffer.
  void add(const uint8_t* bytes, uint32_t length, int32_t slot, bool checksum_valid, uint32_t segment_size = 0);
  const std::vector<Run>& runs() const { return runs_; }
  const InnerPacket& packet(uint32_t index) const { return packets_[index]; }
  // Writes run.length bytes.
  void write(const Run& run, uint8_t* to) const;
  // Makes the header of a run's first packet that of the superpacket. Of a run of two or more.
  static void write_header(const Run& run, uint8_t* first);
  // What was added behind that one to its run, or none.
  uint32_t next(uint32_t index) const { return next_[index]; }
  static constexpr uint32_t none = UINT32_MAX;
  static constexpr uint32_t max_udp_packets = 64;

  struct Flow {
    uint64_t addresses[4];
    uint32_t ports;
    int32_t slot;
    uint8_t version, proto;
    bool operator==(const Flow&) const = default;
  };
  // What a packet is, and whether it is one that others may join.
  struct Shape {
    Flow flow;
    bool has_ports, fit;
    uint16_t ip_length, header_length;
    uint32_t payload;
  };
  static Shape look(const InnerPacket& packet, bool tcp, bool udp);

 private:
  static constexpr size_t max_open = 16;

  struct Open {
    Flow flow;
    uint32_t run;
    uint32_t payload;  // of the first packet
    uint32_t next_sequence;
    uint16_t next_identification;
  };

  bool continues(const Open& open, const Shape& shape, const InnerPacket& packet) const;
  bool plainly_continues(const Open& open, const InnerPacket& packet) const;
  void extend(Open& open, uint32_t index, uint32_t payload, uint32_t packets, bool push);
  uint32_t begin_run(uint32_t index, const Shape* shape);
  static void make_superpacket(Run& run, const Flow& flow, uint32_t payload);
  void close(size_t open);

  bool tcp_ = true, udp_ = true;
  std::vector<InnerPacket> packets_;  // the first count_; so next_
  std::vector<uint32_t> next_;
  uint32_t count_ = 0;
  std::vector<Run> runs_;
  std::array<Open, max_open> open_;  // in the order they were begun
  size_t open_count_ = 0;
};

}  // namespace ringway
