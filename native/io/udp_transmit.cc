// udp.transmit: trains of a batch to the socket.
#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "io/port.h"
#include "io/transmit.h"

namespace ringway {

using namespace transmit;

namespace {

// docs/linux-facts.md §3: no checksum offload at the egress; a 6.6.44-era kernel and a short tail, or too many segments; a train beyond the path MTU
bool refuses_train(int error) { return error == EIO || error == EINVAL || error == EMSGSIZE; }

}  // namespace

size_t Port::udp_transmit(Batch& batch) {
  if (!queued_trains_.empty()) unqueue_trains(run_trains(queued_trains_, nullptr));
  collect_trains(batch);
  const size_t done = queued_trains_.empty() ? run_trains(trains_, &batch) : 0;
  queue_trains(std::span{trains_}.subspan(done), batch);
  counters_.udp_queued = queued_trains_.size();
  return queued_trains_.size();
}

void Port::queue_trains(std::span<Train> left, const Batch& batch) {
  for (Train& train : left) {
    train.keeps = batch.arena;
    train.entry = not_in_batch;
    train.keeps->retain(train.block);
    queued_trains_.push_back(std::move(train));
  }
}

void Port::unqueue_trains(size_t count) {
  for (Train& train : std::span{queued_trains_}.first(count)) train.keeps->release(train.block);
  queued_trains_.erase(queued_trains_.begin(), queued_trains_.begin() + static_cast<ptrdiff_t>(count));
}

void Port::collect_trains(Batch& batch) {
  trains_.clear();
  const uint32_t count = batch.count();
  for (uint32_t i = 0; i < count; i++) {
    if (batch.verdict[i] != verdict::pass || batch.kind[i] != kind::datagrams) continue;
    batch.error[i] = 0;
    if (!is_held(batch, i)) {
      batch.verdict[i] = verdict::send_failed;
      batch.error[i] = EFAULT;
      counters_.send_errors += datagrams_in(std::min<uint32_t>(batch.length[i], max_packet), batch.segment_size[i]);
      continue;
    }
    Train train{nullptr, batch.arena->bytes() + batch.offset[i], batch.length[i], 0, batch.segment_size[i], i,
                batch.block[i], batch.arena.get(), false, {}};
    memcpy(train.address, batch.address_of(i), address::size);
    trains_.push_back(std::move(train));
  }
}

// @returns trains that are done with: sent, or refused and counted. Those after it could not leave for now.
size_t Port::run_trains(std::span<Train> trains, Batch* batch) {
  size_t at = 0;
  while (at < trains.size()) {
    gather_sends(trains, at);
    const auto [allowed, injected, given] = injection(injected_udp_, sends_.size());
    if (given > 0) sends_[allowed - 1].given = std::min(given, sends_[allowed - 1].length);
    const auto [done, refused, bytes] = allowed == 0 ? Progress{} : send(std::span{sends_}.first(allowed));
    const int error = done < allowed ? refused : injected;
    taken(injected_udp_, done + (error ? 1 : 0));
    for (const Send& sent : std::span{sends_}.first(done)) {
      trains[sent.work].sent += sent.length;
      count_sent(sent.length, sent.segment);
    }
    if (done == sends_.size()) {
      at = sends_.back().work;
      if (trains[at].sent >= trains[at].length) at++;
      continue;
    }
    at = sends_[done].work;
    if (error == 0 || error == EINTR) continue;
    if (refused_for_now(error)) {
      counters_.eagain++;
      watch_blocked(true, error != EAGAIN);
      return at;
    }
    if (error == cut) {
      train_cut(trains[at], sends_[done], bytes, batch);
    } else {
      train_failed(trains[at], sends_[done], error, batch);
    }
    if (trains[at].sent >= trains[at].length) at++;
  }
  return at;
}

void Port::gather_sends(std::span<const Train> trains, size_t from) {
  sends_.clear();
  for (size_t i = from; i < trains.size() && sends_.size() < max_sends_; i++) {
    const Train& train = trains[i];
    const uint32_t step = train.singly ? train.segment_size : train.length;
    uint32_t sent = train.sent;
    do {
      const uint32_t bytes = std::min(step, train.length - sent);
      const bool several = train.segment_size > 0 && bytes > train.segment_size && train.segment_size <= UINT16_MAX;
      sends_.push_back({train.bytes + sent, bytes, bytes, several ? static_cast<uint16_t>(train.segment_size) : uint16_t{0}, train.block, train.arena,
                        train.address, i});
      sent += bytes;
    } while (sent < train.length && sends_.size() < max_sends_);
  }
}

void Port::train_failed(Train& train, const Send& failed, int error, Batch* batch) {
  const bool in_batch = batch && train.entry != not_in_batch;
  if (in_batch && !train.singly) batch->error[train.entry] = error;  // of a train that was refused as one: why that was
  if (failed.segment > 0 && refuses_train(error)) {
    counters_.gso_refused++;
    train.singly = true;
    if (in_batch) batch->flags[train.entry] |= flag::unsegmented;
    return;
  }
  counters_.send_errors += datagrams_in(failed.length, failed.segment);
  train.sent += std::max(failed.length, 1u);  // an empty datagram is over as well
  if (in_batch) batch->verdict[train.entry] = verdict::send_failed;
}

// The kernel took `bytes` of the send. Whole datagrams of them are sent; what comes behind the one that was cut is still to go.
void Port::train_cut(Train& train, const Send& cut, uint32_t bytes, Batch* batch) {
  const uint32_t each = std::max(cut.segment > 0 ? cut.segment : cut.length, 1u);
  const uint32_t whole = std::min(bytes, cut.length) / each * each;
  if (whole > 0) count_sent(whole, cut.segment);
  train.sent += whole;
  if (whole == bytes && whole > 0) return;
  train.sent += std::min(each, cut.length - whole);
  counters_.send_errors++;
  if (batch && train.entry != not_in_batch) batch->verdict[train.entry] = verdict::send_failed;
}

void Port::count_sent(uint32_t length, uint16_t segment) {
  counters_.train_out(datagrams_in(length, segment));
  counters_.udp_bytes_out += length;
}

}  // namespace ringway
