#include "pass/pass.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "core/clock.h"
#include "keepalive/answer.h"
#include "steering/floors.h"

namespace ringway {
namespace {

// A word that JavaScript has written.
nodes::Joining joining_of(double word) {
  return word == 0 ? nodes::Joining::all : word == 1 ? nodes::Joining::tcp : word == 3 ? nodes::Joining::udp : nodes::Joining::off;
}

}  // namespace

std::shared_ptr<Pass> Pass::create(Parts parts, Calls calls) {
  auto state = Mapping::anonymous(words * sizeof(double));
  auto memory = Mapping::anonymous(Stages::bytes);
  if (!state || !memory) return nullptr;
  Stages stages{std::move(memory), parts.lanes->counters};
  auto pass = std::shared_ptr<Pass>{new Pass{std::move(parts), calls, std::move(state), std::move(stages)}};
  pass->words_of()[joining] = static_cast<double>(pass->parts_.joining);
  pass->parts_.port->set_sleeper(pass.get());
  return pass;
}

// A lone packet goes through without JavaScript, whose code is not in the cache after a sleep, and the shard sleeps on.
Port::Woke Pass::wake(uint32_t ready) {
  if (!may_wake()) return Port::Woke::wanted;
  since_ = monotonic_micros();
  words_of()[worked] = 0;
  words_of()[rested] = parts_.port->idle_since();
  turns_in_a_row_ = since_ - parts_.port->idle_since() > calls_.long_sleep ? 1 : turns_in_a_row_ + 1;
  if (turns_in_a_row_ > calls_.lone_turns) {
    begin_work();
    return Port::Woke::work;
  }
  if (turn(since_, ready)) return Port::Woke::wanted;
  ended();
  return Port::Woke::rest;
}

void Pass::go_on() {
  begin_work();
  since_ = called_at_ = monotonic_micros();
}

void Pass::begin_work() {
  double* state = words_of();
  state[drained] = state[down] = state[woken] = 0;
  taken_before_ = state[taken];
}

Port::Woke Pass::work(double until, double idle_us) {
  double* state = words_of();
  const Ended how = run(0, std::min(until, state[due]), idle_us);
  state[worked] = 1 + state[taken] - taken_before_;
  if (how == Ended::stopped) return Port::Woke::wanted;
  if (how == Ended::empty) return Port::Woke::rest;
  return is_called() ? Port::Woke::wanted : Port::Woke::work;
}

// A look of JavaScript's code is 40 us, mostly of waiting for memory. It sees to it that sessions are fair to each other: not where there is one.
bool Pass::is_called() const {
  if (since_ >= words_of()[due]) return true;
  const double passed = since_ - called_at_;
  if (passed >= calls_.alone) return true;
  return since_ - several_at_ < calls_.together && passed >= (is_pressed() ? calls_.soon : calls_.late);
}

// Whose entries these are.
void Pass::see(const Batch& batch, uint32_t count, double now) {
  for (uint32_t i = 0; i < count; i++) {
    if (batch.slot[i] == last_slot_ || batch.slot[i] < 0) continue;
    if (last_slot_ >= 0) several_at_ = now;
    last_slot_ = batch.slot[i];
  }
}

// Either direction had more than was taken, whenever it was looked at.
bool Pass::is_pressed() const {
  const auto count = static_cast<uint32_t>(words_of()[down]);
  if (words_of()[drained] == 0 || count >= calls_.full) return true;
  size_t bytes = 0;
  for (uint32_t i = 0; i < std::min(count, parts_.superpackets_in->capacity); i++) bytes += parts_.superpackets_in->length[i];
  return bytes >= calls_.full_bytes;
}

uint32_t Pass::turns(double since, double wait_us, double until, double idle_us) {
  double* state = words_of();
  const double before = state[taken];
  state[drained] = state[down] = state[worked] = 0;
  since_ = since;
  run(wait_us, until, idle_us);
  return static_cast<uint32_t>(state[taken] - before);
}

Pass::Ended Pass::run(double wait_us, double until, double idle_us) {
  double* state = words_of();
  state[ready] = state[empty] = 0;
  state[began] = std::numeric_limits<double>::infinity();
  do {
    uint32_t found = parts_.port->wait(std::exchange(wait_us, 0));
    if ((found & ready::udp) == 0) state[drained] = 1;
    if (found == 0) {
      const double now = monotonic_micros();
      const double wait = std::min(idle_us, until - now);
      if (wait > 0) found = parts_.port->wait(wait);
      if (found == 0) {
        state[empty] = wait > 0 ? 2 : 1;
        since_ = monotonic_micros();
        return wait < idle_us ? Ended::over : Ended::empty;
      }
      since_ = monotonic_micros();
    }
    if (turn(monotonic_micros(), found)) {
      const double stage = state[woken];
      state[ready] = stage == woken_up ? found & ready::tun : stage == woken_down ? 0 : found;
      state[began] = since_;
      return Ended::stopped;
    }
    ended();
  } while (since_ < until);
  return Ended::over;
}

// A turn is over, without JavaScript.
void Pass::ended() {
  const double now = monotonic_micros();
  words_of()[taken]++;
  const double bucket = std::floor(4 * std::log2(1 + std::max(0.0, now - since_)));
  words_of()[times + static_cast<uint32_t>(std::min<double>(buckets - 1, bucket))]++;
  since_ = now;
}

// @returns whether there is something in it for JavaScript
bool Pass::turn(double now, uint32_t ready) {
  if ((ready & ~(ready::udp | ready::tun)) != 0) return true;
  if (ready & ready::udp) {
    const Next where = uplink(now, vector);
    const bool full = words_of()[queued_in] > 0 || (words_of()[answered] > 0 && words_of()[queued_out] > 0);
    const bool refused = words_of()[refused_tcp] != 0 || words_of()[refused_udp] != 0;
    if (where != Next::done || full || refused) return stopped(woken_up, where);
  }
  if (ready & ready::tun) {
    const Next where = downlink(now, vector);
    words_of()[down] = words_of()[received];
    if (where != Next::done || words_of()[queued_out] > 0 || parts_.superpackets_in->count() > 0) return stopped(woken_down, where);
  }
  return false;
}

bool Pass::stopped(uint32_t direction, Next where) {
  words_of()[woken] = direction;
  words_of()[next] = static_cast<double>(where);
  return true;
}

Pass::Next Pass::uplink(double now, uint32_t limit) {
  auto& [port, lanes, trains, packets, superpackets, in, out, how, max_segments] = parts_;
  double* state = words_of();
  state[queued_in] = state[answered] = state[refused_tcp] = state[refused_udp] = 0;
  parts_.joining = joining_of(state[joining]);
  stages_.begin();
  const uint32_t count = port->udp_receive(limit);
  words_of()[received] = count;
  stages_.count(stage::udp_receive, count);
  if (count == 0) return Next::done;
  stages_.begun();
  const bool all = nodes::locate(*lanes, *trains) == count;
  see(*trains, count, now);
  if (!all && nodes::leaves_any(*trains)) return Next::located;
  while (trains->header->consumed < count) {
    packets->clear();
    nodes::open(*lanes, *trains, *packets, now, how);
    publish_floors(*lanes, *trains);
    stages_.count(stage::open, packets->count() + packets->header->followed);
    const double before = words_of()[answered];
    if (packets->header->wanted > 0 && !answer_pings()) return Next::control;
    if (words_of()[answered] - before < packets->count()) to_device(now);
    else nothing_to_device();
  }
  packets->clear();
  trains->clear();
  return Next::done;
}

// What session.control would do, as far as it is that alone. @returns whether nothing is left for it
bool Pass::answer_pings() {
  if (parts_.trains_out->count() > 0) return false;  // answers to strangers wait there, whose sending session.control times
  const uint32_t count = keepalive::answer(*parts_.lanes, *parts_.packets, *parts_.trains_out);
  if (count == 0) return false;
  words_of()[answered] += count;
  words_of()[pings] += count;
  stages_.count(stage::control, count);
  return leave() && parts_.packets->header->wanted == 0;
}

// All that is in `packets`.
void Pass::to_device(double now) {
  auto& packets = *parts_.packets;
  auto& superpackets = *parts_.superpackets_out;
  const uint32_t count = packets.count();
  uint32_t followed = packets.header->followed;
  superpackets.clear();
  nodes::admit(*parts_.lanes, packets, now);
  stages_.count(stage::admit, count + followed);
  for (uint32_t before = 0; before < count; before = packets.header->consumed) {
    const uint32_t made = nodes::coalesce(*parts_.lanes, packets, superpackets, parts_.joining);
    const uint32_t consumed = packets.header->consumed;
    if (consumed == before) {  // no block is free for it: the device is full
      parts_.lanes->counters[verdict::no_block] += nodes::packets_left(packets);
      stages_.count(stage::coalesce, 0);
      return;
    }
    stages_.count(stage::coalesce, consumed - before + std::exchange(followed, 0));
    words_of()[queued_in] = static_cast<double>(parts_.port->tun_transmit(superpackets));
    stages_.count(stage::tun_transmit, made);
    note_refused(*superpackets.header);
    superpackets.clear();
  }
}

// What the device has refused as one, for JavaScript to remember.
void Pass::note_refused(const BatchHeader& header) {
  if (header.refused_tcp != 0) words_of()[refused_tcp] = header.refused_tcp;
  if (header.refused_udp != 0) words_of()[refused_udp] = header.refused_udp;
}

// The vector was answered, all of it.
void Pass::nothing_to_device() {
  const uint32_t count = parts_.packets->count();
  stages_.count(stage::admit, count);
  stages_.count(stage::coalesce, count);
  stages_.count(stage::tun_transmit, 0);
}

Pass::Next Pass::downlink(double now, uint32_t limit) {
  auto& [port, lanes, trains, packets, to_tun, superpackets, out, joining, max_segments] = parts_;
  words_of()[queued_out] = 0;
  stages_.begin();
  const uint32_t count = port->tun_receive(limit);
  words_of()[received] = count;
  stages_.count(stage::tun_receive, count);
  if (count == 0) return Next::done;
  stages_.begun();
  const uint32_t passing = nodes::lookup(*lanes, *superpackets);
  stages_.count(stage::lookup, count);
  see(*superpackets, count, now);
  if (passing < count) return Next::looked_up;
  for (uint32_t before = 0;; before = superpackets->header->consumed) {
    const uint32_t consumed = nodes::seal(*lanes, *superpackets, *out, max_segments, now);
    stages_.count(stage::seal, consumed - before);
    if (consumed == before) return Next::done;  // the socket is full: the rest waits in its batch
    if (consumed == count) superpackets->clear();
    if (!leave()) return Next::transmitted;
    if (consumed == count) return Next::done;
  }
}

// What has been sealed. @returns false when some of it is not the socket's to send, or was refused as a train
bool Pass::leave() {
  auto& trains = *parts_.trains_out;
  const uint32_t count = trains.count();
  words_of()[queued_out] = static_cast<double>(parts_.port->udp_transmit(trains));
  stages_.count(stage::udp_transmit, count);
  for (uint32_t i = 0; i < count; i++) {
    if (trains.kind[i] != kind::datagrams || trains.error[i] != 0) return false;
  }
  trains.clear();
  return true;
}

}  // namespace ringway
