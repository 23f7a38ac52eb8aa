// The outside of many clients on one thread: a connected UDP socket a client, since a Lightway server tells its clients apart by address
// and port, and one epoll over all of them. What io/port.h is to a shard.
#pragma once

#include <vector>

#include <sys/epoll.h>
#include <sys/socket.h>

#include "core/batch.h"
#include "kernel/descriptor.h"

namespace ringway::load {

struct FleetCounters {
  uint64_t system_calls, trains_out, datagrams_out, bytes_out, trains_in, datagrams_in, bytes_in, socket_drops, blocked, send_errors,
    receive_errors, gso_refused, no_blocks;
};

class Fleet {
 public:
  static constexpr const char* type_name = "fleet";
  static constexpr napi_type_tag type_tag{0x52696e6777617931, 0x9a1f0c6be0d34a52};
  static constexpr uint32_t max_slots = 10'000;

  Fleet(Descriptor epoll, const sockaddr_storage& server, socklen_t server_bytes, uint32_t slots, int buffer_bytes);

  // The local port number, or 0 and errno; `failed` names the system call.
  // From the server's own kind of address, `bytes` long and without a port; 0 bytes: the kernel chooses.
  uint16_t open(uint32_t slot, const sockaddr_storage& from, socklen_t bytes, const char*& failed);
  void close(uint32_t slot);
  void close_all();
  // Sockets with something to read, after at most `wait_us`.
  uint32_t wait(double wait_us);
  uint32_t receive(Batch& batch, uint32_t limit);
  // From header.consumed on; stops at an entry whose socket is full. Returns the entries that are left.
  uint32_t transmit(Batch& batch);

  sa_family_t family() const { return server_.ss_family; }
  uint32_t slots() const { return static_cast<uint32_t>(sockets_.size()); }
  const FleetCounters& counters() const { return counters_; }

 private:
  struct Socket {
    Descriptor descriptor;
    uint32_t drops = 0;
  };

  bool receive_one(Batch& batch, uint32_t slot, bool& more);
  int send(int socket, const uint8_t* bytes, uint32_t length, uint32_t segment);
  int send_singly(int socket, const uint8_t* bytes, uint32_t length, uint32_t segment);

  Descriptor epoll_;
  sockaddr_storage server_;
  socklen_t server_bytes_;
  int buffer_bytes_;
  std::vector<Socket> sockets_;
  uint8_t address_[address::size];
  std::vector<epoll_event> events_;
  uint32_t ready_ = 0, taken_ = 0;
  FleetCounters counters_{};
};

}  // namespace ringway::load
