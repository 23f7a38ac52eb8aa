// The port over io_uring: multishot receives into provided buffer rings (the arenas' blocks), fixed files, sends and writes as linked chains.
// uring_port.cc sets it up and takes its turns, uring_receive.cc keeps receives armed, uring_transmit.cc runs chains, uring_teardown.cc
// ends it. All of it runs on the thread that opened it.
#pragma once

#include <array>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include <liburing.h>

#include "io/lending.h"
#include "io/port.h"
#include "kernel/descriptor.h"

namespace ringway {

// Kernel ABI that liburing 2.3 (Debian 12) has no names for; numbers from linux/io_uring.h.
namespace uring_abi {
inline constexpr uint8_t op_send_zc = 47;         // 6.0: stands for multishot RECVMSG, which came with it
inline constexpr uint8_t op_sendmsg_zc = 48;      // 6.1
inline constexpr uint8_t op_read_multishot = 49;  // 6.7
inline constexpr uint32_t feature_min_timeout = 1u << 15;  // 6.12: min_wait_us below
// io_uring_getevents_arg: the third field has had two names.
struct GetEvents {
  uint64_t signal_mask = 0;
  uint32_t signal_mask_bytes = 0, min_wait_us = 0;
  uint64_t timeout = 0;
};
static_assert(sizeof(GetEvents) == sizeof(io_uring_getevents_arg));
}

class UringPort final : public Port {
 public:
  UringPort(napi_env env, const PortOptions& options);
  ~UringPort() override;

  bool open(napi_env env);
  void close() override;
  uint32_t receive_trains(uint32_t limit) override;
  uint32_t receive_packets(uint32_t limit) override;

 protected:
  uint32_t look(double wait_us) override;
  Progress send(std::span<const Send> sends) override;
  Progress write(std::span<const Write> writes) override;
  void watch_blocked(bool udp, bool later) override;
  void watch_door(uint32_t door) override;
  bool begin_idle() override;
  void end_idle() override;
  bool may_be_direct() const override;
  bool begin_direct(bool settled) override;
  uint32_t is_ready() override;
  // Not without a block to read into.
  uint32_t watched() const override { return (udp_armed_ ? ready::udp : 0) | (tun_armed_ > 0 ? ready::tun : 0); }

 private:
  static constexpr int fixed_tun = 0, fixed_udp = 1, fixed_handover = 2, fixed_timer = 3, fixed_door = 4;
  static constexpr unsigned tun_group = 0, udp_group = 1;
  static constexpr int hopeless = 16;  // receives that failed in a row: the descriptor is gone

  // What a completion answers, in its user_data; with the index of its request, and the hold of a zero-copy send.
  enum class Kind : uint8_t { send = 1, write, tun_read, udp_receive, handover, timer, udp_writable, tun_writable, door, cancel };
  static constexpr uint64_t tagged(Kind kind, uint32_t index = 0, uint16_t hold = 0) {
    return static_cast<uint64_t>(kind) | uint64_t{index} << 8 | uint64_t{hold} << 40;
  }

  // The name of what the kernel refused (errno says why), or nullptr.
  const char* set_up();
  const char* create_ring();
  io_uring_sqe* next_sqe();
  bool has_task_work() const { return __atomic_load_n(ring_.sq.kflags, __ATOMIC_RELAXED) & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW); }
  void submit_and_look();
  void sleep(double wait_us);
  bool may_poll() const;
  void reap();
  void complete(const io_uring_cqe& cqe);

  void rearm();
  void arm_tun();
  uint32_t receive_train();
  uint32_t receive_packet();
  uint32_t failed(int& failures);
  void received(Lending& lending, const io_uring_cqe& cqe, int& failures);
  // Bytes of a block in front of what a read of the TUN fills.
  size_t tun_skip() const { return options_.vnet_header ? packet_block::header : packet_block::packet; }

  // Runs the chain that was queued.
  template <class LengthOf>
  Progress run_chain(size_t count, LengthOf length_of);
  template <class Call>
  Progress run_alone(size_t length, Call call);
  // The kernel reads a zero-copy send's block until it notifies.
  uint16_t hold(const Send& one);
  void end_hold(uint64_t user_data);
  void poll_once(Kind kind, int file, unsigned events, bool& armed);

  bool in_flight() const;
  bool cancel_all();  // true: the kernel holds nothing of ours any more

  io_uring ring_{};
  bool has_ring_ = false;
  Descriptor event_, timer_;
  Lending tun_, udp_;
  msghdr receive_header_{nullptr, train_block::name_bytes, nullptr, 0, nullptr, train_block::control_bytes, 0};
  bool read_multishot_ = false;
  bool udp_armed_ = false, handover_armed_ = false, timer_armed_ = false, udp_out_armed_ = false, tun_out_armed_ = false, udp_unblocked_ = false,
       tun_unblocked_ = false;
  uint32_t tun_armed_ = 0;
  int udp_failures_ = 0, tun_failures_ = 0;
  size_t outstanding_ = 0;
  std::vector<int32_t> results_;
  std::vector<Message> messages_;
  std::vector<std::pair<std::shared_ptr<Arena>, uint16_t>> holds_;
  std::vector<uint16_t> free_holds_;
  size_t held_ = 0;
};

}  // namespace ringway
