// answerHellos over vectors: trains of strangers and of sessions' addresses through locate, open and the listener. The input chooses datagrams (its own
// bytes, or ClientHellos with a few bits turned), addresses, which trains are asked about, and how much room there is for answers; in half of the runs
// columns lie, and only memory is judged. Where they are right: only nobody's raw entries of those trains are answered, each as the parser alone
// judges it, in order, to where it came from, no longer than is allowed; and all that is left has a reason to be.
// link: native/fuzz/backends/world.cc native/fuzz/backends/toy.cc native/fuzz/backends/hash.cc native/hello/listener.cc native/hello/parse.cc native/hello/retry.cc
// link: native/nodes/locate.cc native/nodes/open.cc native/nodes/open_groups.cc native/nodes/assembly.cc
// link: native/table/lanes.cc native/table/index.cc native/core/arena.cc native/core/batch.cc native/aead/aead.cc
// link: native/aead/record.cc native/packet/checksum.cc native/packet/ip.cc native/packet/coalesce.cc
#include <numeric>

#include "aead/aead.h"
#include "fuzz/world.h"
#include "hello/listener.h"
#include "nodes/header.h"
#include "nodes/nodes.h"

using namespace ringway;
using namespace ringway::fuzz;

// Secrets where AddressSanitizer sees their borders.
void* SecretMemory::take(size_t bytes) { return calloc(1, bytes); }
void SecretMemory::give_back(void* memory, size_t bytes) {
  if (memory) wipe(memory, bytes);
  free(memory);
}

namespace {

constexpr uint32_t packet_capacity = 64, answer_capacity = 12;

// @param amplification 1 refuses what 3 allows
hello::Terms terms(size_t amplification = 3) {
  hello::Terms made;
  made.suites = {{0x1302, 0x1303, 0x1301}, 3};
  made.groups = {{0x11ec, 0x001d}, 2};
  made.share_lengths = {1216, 32};
  made.schemes = {{0x0807, 0x0403}, 2};
  made.amplification = amplification;
  return made;
}

std::unique_ptr<hello::Cookies> cookies() { return hello::Cookies::create(Octets(32, 7)); }

// What opens a first ClientHello: record, handshake, random, no session id, no cookie, two suites; extensions follow.
Octets client_hello(bool with_share) {
  Octets extensions{0, 43, 0, 3, 2, 0xfe, 0xfc, 0, 13, 0, 6, 0, 4, 4, 3, 8, 7, 0, 10, 0, 6, 0, 4, 0x11, 0xec, 0, 0x1d};
  const Octets none{0, 51, 0, 2, 0, 0}, x25519{0, 51, 0, 38, 0, 36, 0, 0x1d, 0, 32};
  extensions.insert(extensions.end(), with_share ? x25519.begin() : none.begin(), with_share ? x25519.end() : none.end());
  if (with_share) extensions.resize(extensions.size() + 32, 9);
  Octets body{0xfe, 0xfd};
  body.resize(34, 5);
  for (const uint8_t byte : {0, 0, 0, 4, 0x13, 0x02, 0x13, 0x01, 1, 0, 0, static_cast<int>(extensions.size())}) body.push_back(static_cast<uint8_t>(byte));
  body.insert(body.end(), extensions.begin(), extensions.end());
  const auto length = static_cast<uint8_t>(body.size());
  Octets datagram{22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, static_cast<uint8_t>(length + 12), 1, 0, 0, length, 0, 0, 0, 0, 0, 0, 0, length};
  datagram.insert(datagram.end(), body.begin(), body.end());
  return datagram;
}

struct Vector {
  World world;
  Pool trains{4096, 12, 16}, packets{trains, packet_capacity}, answers{512, 6, answer_capacity};
  Listener generous{world.lanes, terms(), cookies()}, strict{world.lanes, terms(1), cookies()};
  std::unique_ptr<hello::Cookies> own_cookies = cookies();

  Octets datagram(Input& input) const;
  void add_trains(Input& input);
  void open_all(Input& input, bool orderly);
  void answer(Input& input, bool orderly);
  void renew() {
    trains.renew(), packets.renew(trains), answers.renew();
  }
};

Octets Vector::datagram(Input& input) const {
  static const Octets hellos[]{client_hello(false), client_hello(true)};
  Octets made = header(world, input.below(slots), false);
  made[lightway::minor] = input.one_of<uint8_t>({1, 2, 3});
  if (!input.one_in(8)) std::memset(&made[lightway::id], 0, 8);  // as who has no session yet
  const uint32_t form = input.below(8);
  const auto raw = form < 2 ? input.bytes(input.below(300)) : std::span<const uint8_t>{hellos[form % 2]};
  made.insert(made.end(), raw.begin(), raw.end());
  for (uint32_t left = input.one_in(3) ? 1 + input.below(4) : 0; left > 0; left--) {
    const uint32_t at = input.below(static_cast<uint32_t>(made.size()));
    made[at] ^= input.take<uint8_t>();
  }
  if (input.one_in(10)) made.resize(input.below(static_cast<uint32_t>(made.size()) + 1));
  if (input.one_in(10)) made.resize(made.size() + input.below(200), input.take<uint8_t>());
  return made;
}

void Vector::add_trains(Input& input) {
  for (uint32_t left = 1 + input.below(16); left > 0 && !input.empty(); left--) {
    Octets train = datagram(input);
    const auto size = static_cast<uint32_t>(train.size());
    for (uint32_t more = input.one_in(2) ? input.below(6) : 0; more > 0; more--) {
      Octets next = datagram(input);
      const bool last = next.size() < size;
      if (next.size() > size) next.resize(size);
      train.insert(train.end(), next.begin(), next.end());
      if (last) break;
    }
    if (!trains.add(train)) return;
    const uint32_t entry = trains.batch->count() - 1;
    outside_of(input.one_in(6) ? input.below(slots) : slots + input.below(40), trains.batch->address_of(entry));
    trains.batch->segment_size[entry] = train.size() > size ? size : 0;
  }
}

// All of the vector, or as much as there is room for.
void Vector::open_all(Input& input, bool orderly) {
  if (!orderly) spoil(input, *trains.batch);
  trains.lock();
  nodes::locate(*world.lanes, *trains.batch);
  nodes::open(*world.lanes, *trains.batch, *packets.batch, 1, nodes::Joining::off);
  if (!orderly) trains.unlock();  // spoiled packets may lie anywhere; else what has been opened stays all that may be touched
}

uint64_t sum(const std::array<uint64_t, hello::judgements>& counters) { return std::accumulate(counters.begin(), counters.end(), uint64_t{0}); }

// One answer behind what was there: as parser and writers make it, from the address it goes to.
void check_answer(const Batch& answers, uint32_t entry, std::span<const uint8_t> asked, const uint8_t* address, const Octets& expected) {
  const auto bytes = answers.span(entry);
  must(answers.verdict[entry] == verdict::pass && answers.segment_size[entry] == 0);
  must(std::memcmp(answers.address_of(entry), address, address::size) == 0);
  must(bytes.size() == expected.size() && std::memcmp(bytes.data(), expected.data(), expected.size()) == 0);
  must(std::memcmp(bytes.data(), asked.data() - lightway::header_bytes, 4) == 0);
}

void Vector::answer(Input& input, bool orderly) {
  const double now = static_cast<double>(input.take<uint32_t>()) * 1e3;
  const size_t amplification = input.one_in(4) ? 1 : 3;
  Listener& listener = amplification == 1 ? strict : generous;
  const uint32_t first = input.below(4), end = input.one_in(4) ? input.below(20) : 65'536;
  for (uint32_t left = input.one_in(3) ? input.below(answer_capacity + 1) : 0; left > 0; left--) answers.add(Octets(1 + input.below(400), 0xaa));
  if (!orderly) spoil(input, *packets.batch), spoil(input, *trains.batch), spoil(input, *answers.batch);
  Batch& asked = *packets.batch;
  const std::vector<uint8_t> before{asked.verdict, asked.verdict + packet_capacity};
  const uint32_t already = answers.batch->count();
  const uint64_t counted = sum(listener.counters()), answered = world.lanes->counters[verdict::answered];
  const uint32_t judged = listener.answer(asked, *trains.batch, *answers.batch, now, first, end);
  if (!orderly) return;

  uint32_t changed = 0, next = already;
  for (uint32_t i = 0; i < asked.count(); i++) {
    const uint32_t train = asked.train[i];
    const bool nobodys = before[i] == verdict::divert && asked.kind[i] == kind::raw && asked.slot[i] < 0;
    const bool inside = train >= first && train < end;
    const uint8_t* address = trains.batch->address_of(train);
    const bool known = world.index->get(Index::Kind::outside, address) >= 0;
    const hello::Heard heard = hello::judge(asked.span(i), terms());
    if (asked.verdict[i] == before[i]) {
      const bool to_be_said = heard.alert != 0 || heard.judgement == hello::Judgement::retry;
      const bool no_room = to_be_said && (answers.batch->full() || answers.arena->free_count() == 0);
      must(!nobodys || !inside || known || heard.judgement >= hello::Judgement::has_cookie || no_room);
      continue;
    }
    changed++;
    must(asked.verdict[i] == verdict::answered && nobodys && inside && !known && heard.judgement < hello::Judgement::has_cookie);
    Octets expected(lightway::header_bytes + hello::max_retry);
    size_t length = 0;
    if (heard.judgement == hello::Judgement::retry) {
      uint8_t cookie[hello::Cookies::max_bytes];
      const size_t cookie_length = own_cookies->seal(now, {address, address::key_bytes}, heard, {0, 2}, cookie);
      length = hello::write_retry(heard, {cookie, cookie_length}, &expected[lightway::header_bytes]);
      if (length > amplification * asked.span(i).size()) continue;
      std::memcpy(&expected[lightway::id], cookie + hello::application_at, 8);
    } else if (heard.alert != 0) {
      length = hello::write_alert(heard, &expected[lightway::header_bytes]);
    } else {
      continue;  // counted, and not a word
    }
    expected.resize(lightway::header_bytes + length);
    std::memcpy(expected.data(), asked.span(i).data() - lightway::header_bytes, 4);
    must(next < answers.batch->count());
    check_answer(*answers.batch, next++, asked.span(i), address, expected);
  }
  must(changed == judged && next == answers.batch->count());
  must(sum(listener.counters()) - counted == judged && world.lanes->counters[verdict::answered] - answered == judged);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static Vector vector;
  Input input{data, size};
  const bool orderly = (input.take<uint8_t>() & 1) != 0;
  vector.world.reset(input);
  vector.world.lanes->limits[limit::strangers] = input.one_in(6) ? input.below(8) : limit::none;
  vector.add_trains(input);
  vector.open_all(input, orderly);
  vector.answer(input, orderly);
  if (!orderly) return vector.renew(), 0;
  for (const Pool* pool : {&vector.packets, &vector.trains, &vector.answers}) {
    pool->unlock();
    pool->batch->clear();
  }
  for (const Pool* pool : {&vector.trains, &vector.answers}) must(pool->arena->unreferenced() == pool->arena->block_count());
  return 0;
}
