// Receives of the io_uring port: requests that stay armed, and what their completions become.
#include <algorithm>
#include <cerrno>
#include <cstring>

#include <poll.h>
#include <sys/uio.h>

#include "io/uring_port.h"

namespace ringway {
namespace {

constexpr uint32_t chained_reads = 16;  // without READ_MULTISHOT

}  // namespace

void UringPort::rearm() {
  direct_ = false;
  if (options_.udp >= 0 && !udp_armed_ && udp_.lent() > 0 && udp_failures_ < hopeless) {
    io_uring_sqe* sqe = next_sqe();
    io_uring_prep_recvmsg_multishot(sqe, fixed_udp, &receive_header_, 0);
    sqe->flags |= IOSQE_FIXED_FILE | IOSQE_BUFFER_SELECT;
    sqe->buf_group = udp_group;
    sqe->user_data = tagged(Kind::udp_receive);
    udp_armed_ = true;
  }
  if (options_.tun >= 0 && tun_armed_ == 0 && tun_.lent() > 0 && tun_failures_ < hopeless) arm_tun();
  if (options_.handover && !handover_armed_) {
    io_uring_sqe* sqe = next_sqe();
    io_uring_prep_poll_multishot(sqe, fixed_handover, POLLIN);
    sqe->flags |= IOSQE_FIXED_FILE;
    sqe->user_data = tagged(Kind::handover);
    handover_armed_ = true;
  }
}

void UringPort::watch_door(uint32_t door) {
  io_uring_sqe* sqe = next_sqe();
  io_uring_prep_poll_add(sqe, fixed_door + static_cast<int>(door), POLLIN);
  sqe->flags |= IOSQE_FIXED_FILE;
  sqe->user_data = tagged(Kind::door, door);
}

void UringPort::arm_tun() {
  const uint32_t reads = read_multishot_ ? 1 : std::min(chained_reads, tun_.lent());
  for (uint32_t i = 0; i < reads; i++) {
    io_uring_sqe* sqe = next_sqe();
    const auto room = read_multishot_ ? 0u : static_cast<unsigned>(tun_.arena().block_size() - tun_skip());
    io_uring_prep_read(sqe, fixed_tun, nullptr, room, static_cast<uint64_t>(-1));
    if (read_multishot_) sqe->opcode = uring_abi::op_read_multishot;
    sqe->flags = IOSQE_FIXED_FILE | IOSQE_BUFFER_SELECT;
    // hard links keep plain reads in order, also after one that was shorter than its buffer
    if (i + 1 < reads) sqe->flags |= IOSQE_IO_HARDLINK;
    sqe->buf_group = tun_group;
    sqe->user_data = tagged(Kind::tun_read);
  }
  tun_armed_ = reads;
}

void UringPort::received(Lending& lending, const io_uring_cqe& cqe, int& failures) {
  const bool has_block = cqe.flags & IORING_CQE_F_BUFFER;
  const auto block = static_cast<uint16_t>(cqe.flags >> IORING_CQE_BUFFER_SHIFT);
  if (cqe.res > 0 && has_block) {
    failures = 0;
    lending.filled(block, cqe.res);
    return;
  }
  if (has_block) lending.came_back_empty(block);
  if (cqe.res == -ENOBUFS) {
    counters_.no_buffers += lending.is_short();
  } else if (cqe.res != -ECANCELED && cqe.res != -EINTR && cqe.res != -EAGAIN) {
    counters_.receive_errors++;  // a pending error of the socket, or a device that is gone
    failures++;
  }
}

// One train, without the ring.
uint32_t UringPort::receive_train() {
  Arena& arena = udp_.arena();
  const uint16_t block = options_.udp_receive->full() ? no_block : arena.lend();
  if (block == no_block) return 0;
  uint8_t* start = arena.start(block);
  iovec part{start + train_block::payload, arena.block_size() - train_block::payload};
  msghdr header{start + train_block::name, train_block::name_bytes, &part, 1, start + train_block::control, train_block::control_bytes, 0};
  counters_.system_calls++;
  const ssize_t bytes = recvmsg(options_.udp, &header, MSG_DONTWAIT);
  if (bytes < 0) {
    arena.give_back(block);
    return failed(udp_failures_);
  }
  udp_failures_ = 0;
  arena.filled(block);
  add_train(block, static_cast<uint32_t>(bytes), header.msg_namelen, header.msg_controllen, header.msg_flags & (MSG_TRUNC | MSG_CTRUNC));
  return 1;
}

uint32_t UringPort::failed(int& failures) {
  if (errno == EAGAIN || errno == EINTR) return 0;
  counters_.receive_errors++;
  failures++;
  return 0;
}

// One packet, without the ring.
uint32_t UringPort::receive_packet() {
  Arena& arena = tun_.arena();
  const uint16_t block = options_.tun_receive->full() ? no_block : arena.lend();
  if (block == no_block) return 0;
  const iovec part{arena.start(block) + tun_skip(), arena.block_size() - tun_skip()};
  counters_.system_calls++;
  const ssize_t bytes = preadv2(options_.tun, &part, 1, -1, RWF_NOWAIT);  // the device is one that blocks, for the ring's sake
  if (bytes < 0) {
    arena.give_back(block);
    return failed(tun_failures_);
  }
  tun_failures_ = 0;
  arena.filled(block);
  add_packet(block, static_cast<uint32_t>(bytes));
  return 1;
}

uint32_t UringPort::receive_trains(uint32_t limit) {
  counters_.udp_receive_calls++;
  uint32_t received = 0;
  const Batch& batch = *options_.udp_receive;
  if (!udp_.pending() && limit > 0 && was_told(ready::udp)) return receive_train();
  for (; received < limit && udp_.pending() && !batch.full(); received++) {
    const Completed done = udp_.pop();
    const uint8_t* start = udp_.arena().start(done.block);
    io_uring_recvmsg_out out;
    memcpy(&out, start, sizeof out);
    const auto room = static_cast<uint32_t>(udp_.arena().block_size() - train_block::payload);
    const auto behind = static_cast<uint32_t>(std::max(0, done.result - static_cast<int32_t>(train_block::payload)));
    add_train(done.block, std::min({out.payloadlen, behind, room}), out.namelen, out.controllen, out.flags & (MSG_TRUNC | MSG_CTRUNC));
  }
  return received;
}

uint32_t UringPort::receive_packets(uint32_t limit) {
  uint32_t received = 0;
  if (!tun_.pending() && limit > 0 && was_told(ready::tun)) return receive_packet();
  const Batch& batch = *options_.tun_receive;
  for (; received < limit && tun_.pending() && !batch.full(); received++) {
    const Completed done = tun_.pop();
    add_packet(done.block, static_cast<uint32_t>(done.result));
  }
  return received;
}

}  // namespace ringway
