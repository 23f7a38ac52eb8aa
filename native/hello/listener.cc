#include "hello/listener.h"

#include <algorithm>

#include "nodes/header.h"

namespace ringway {
namespace {

constexpr uint32_t put_headroom = 64;  // as addon.put leaves

}  // namespace

Listener::Listener(std::shared_ptr<Lanes> lanes, const hello::Terms& terms, std::unique_ptr<hello::Cookies> cookies)
    : lanes_{std::move(lanes)}, terms_{terms}, cookies_{std::move(cookies)}, steering_{static_cast<uint8_t>(lanes_->shard), static_cast<uint16_t>(lanes_->shards)} {}

uint32_t Listener::answer(Batch& packets, const Batch& trains, Batch& answers, double now, uint32_t first, uint32_t end) {
  const uint32_t count = packets.count();
  const uint32_t last = std::min(end, trains.count());
  uint32_t judged = 0;
  for (uint32_t i = 0; i < count; i++) {
    const uint32_t train = packets.train[i];
    if (packets.verdict[i] != verdict::divert || packets.kind[i] != kind::raw || packets.slot[i] >= 0 || train < first || train >= last) continue;
    const uint8_t* address = trains.address_of(train);
    if (lanes_->index->get(Index::Kind::outside, address) >= 0) continue;  // an earlier datagram of the vector may have begun a session
    if (!answer_one(packets, i, address, answers, now)) continue;
    lanes_->judge(packets, i, verdict::answered);
    judged++;
  }
  return judged;
}

// @returns false when it is for JavaScript
bool Listener::answer_one(const Batch& packets, uint32_t entry, const uint8_t* address, Batch& answers, double now) {
  const auto datagram = packets.span(entry);
  if (packets.offset[entry] < lightway::header_bytes) return false;
  const hello::Heard heard = hello::judge(datagram, terms_);
  if (heard.judgement >= hello::Judgement::has_cookie) return false;
  auto& counter = counters_[static_cast<size_t>(heard.judgement)];
  const bool retried = heard.judgement == hello::Judgement::retry;
  if (!retried && heard.alert == 0) {
    counter++;
    return true;
  }
  uint8_t* to = answers.full() ? nullptr : answers.reserve(lightway::header_bytes + hello::max_retry, put_headroom);
  if (!to) return false;
  uint8_t id[8] = {};
  uint8_t* const body = to + lightway::header_bytes;
  size_t length = 0;
  if (retried) {
    uint8_t cookie[hello::Cookies::max_bytes];
    const size_t cookie_length = cookies_->seal(now, {address, address::key_bytes}, heard, steering_, cookie);
    if (cookie_length == 0) return false;
    length = hello::write_retry(heard, {cookie, cookie_length}, body);
    if (length > terms_.amplification * datagram.size()) {
      counters_[static_cast<size_t>(hello::Judgement::amplification)]++;
      return true;
    }
    std::memcpy(id, cookie + hello::application_at, sizeof id);
  } else {
    length = hello::write_alert(heard, body);
  }
  counter++;
  std::memset(to, 0, lightway::header_bytes);
  std::memcpy(to, datagram.data() - lightway::header_bytes, lightway::minor + 1);  // magic, and the client's own version (docs/protocol.md §1.3)
  std::memcpy(to + lightway::id, id, sizeof id);
  const uint32_t answer = answers.commit(static_cast<uint32_t>(lightway::header_bytes + length));
  std::memcpy(answers.address_of(answer), address, address::size);
  return true;
}

}  // namespace ringway
