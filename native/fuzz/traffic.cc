// What comes to either end of the load lab: payloads of any fields, columns that lie, with traffic being made meanwhile. No byte but those of entries
// is touched; what is counted adds up; windows stay within their bounds.
// link: native/load/traffic.cc native/fuzz/backends/world.cc native/fuzz/backends/toy.cc native/table/lanes.cc native/table/index.cc native/core/arena.cc
// link: native/core/batch.cc native/aead/aead.cc native/aead/record.cc native/packet/checksum.cc native/packet/ip.cc native/packet/segment.cc
#include "load/traffic.h"

#include "fuzz/world.h"

using namespace ringway;
using namespace ringway::fuzz;

namespace {

constexpr uint32_t block = 65'600, run = 7, most_clients = 5;
constexpr uint64_t max_window = 2'048;

struct End {
  explicit End(Input& input) : settings{settings_of(input)}, mapping{Mapping::anonymous(load::Traffic::bytes_for(settings.clients))}, traffic{mapping, settings} {}

  static load::Settings settings_of(Input& input) {
    const auto choice = input.take<uint8_t>();
    load::Settings made;
    made.clients = 1 + input.below(most_clients);
    made.first = input.below(3) * 4'000;
    made.run = run;
    made.inside = choice & 1;
    made.flows = 1 + (choice >> 1 & 3);
    made.window = choice & 8;
    made.burst = 1 + input.below(64);
    made.echo_every = choice & 16 ? 3 : 0;
    made.sizes = choice & 32 ? std::vector<uint16_t>{1'350} : std::vector<uint16_t>{64, 64, 576, 1'350};
    return made;
  }

  uint64_t* words() const { return reinterpret_cast<uint64_t*>(mapping->data()); }
  load::Totals& totals() const { return *reinterpret_cast<load::Totals*>(mapping->data()); }
  uint64_t& column(load::Column which, uint32_t client) const { return words()[64 + which * settings.clients + client]; }
  uint64_t sum(load::Column which) const {
    uint64_t all = 0;
    for (uint32_t client = 0; client < settings.clients; client++) all += column(which, client);
    return all;
  }
  uint64_t histogram(load::Histogram which) const {
    uint64_t all = 0;
    for (uint32_t i = 0; i < load::buckets; i++) all += words()[64 + load::column_count * settings.clients + which * load::buckets + i];
    return all;
  }
  void check() const;

  load::Settings settings;
  std::shared_ptr<Mapping> mapping;
  load::Traffic traffic;
};

void End::check() const {
  const load::Totals& all = totals();
  must(all.delivered == sum(load::received) && all.duplicates == sum(load::duplicates) && all.reordered == sum(load::reordered));
  must(all.measured_delivered == histogram(load::one_way) && all.measured_delivered <= all.delivered);
  must(all.offered == sum(load::sent) && all.measured_offered <= all.offered);
  must(all.measured_delivered_bytes == sum(load::measured_bytes));
}

// A datagram: rightly a payload, nearly one, or anything.
Octets datagram(Input& input, const End& end) {
  Octets made(load::payload_bytes);
  const load::Payload payload{
    .type = static_cast<uint8_t>(input.below(5)),
    .flags = input.take<uint8_t>(),
    .run = input.one_in(8) ? input.take<uint32_t>() : run,
    .client = input.one_in(8) ? input.take<uint32_t>() : end.settings.first + input.below(most_clients + 1),
    .sequence = input.one_of<uint64_t>({0, 1, 63, 64, 1'023, 1'024, 1u << 20, UINT64_MAX - 1, UINT64_MAX}) + input.take<uint8_t>(),
    .time_ns = input.one_in(3) ? input.take<uint64_t>() : 1'000 * input.take<uint16_t>(),
    .count = input.one_in(3) ? input.take<uint32_t>() : input.take<uint8_t>(),
  };
  load::write_payload(made.data(), payload);
  if (input.one_in(6)) made[input.below(8)] ^= input.take<uint8_t>();
  if (input.one_in(6)) made.resize(input.below(load::payload_bytes + 1));
  else made.resize(made.size() + input.one_of({0, 0, 28, 1'286}));
  return made;
}

void add(Input& input, const End& end, Pool& came) {
  Octets bytes;
  if (end.settings.inside) bytes = {0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};
  if (end.settings.inside && input.one_in(8)) bytes.resize(input.below(29));
  const Octets first = datagram(input, end);
  bytes.insert(bytes.end(), first.begin(), first.end());
  for (uint32_t more = input.one_in(3) ? input.below(20) : 0; more > 0; more--) {
    Octets next = datagram(input, end);
    next.resize(std::max<size_t>(1, first.size()));
    bytes.insert(bytes.end(), next.begin(), next.end());
  }
  if (!came.add(bytes)) return;
  const uint32_t entry = came.batch->count() - 1;
  came.batch->segment_size[entry] = input.one_in(6) ? input.take<uint8_t>() : static_cast<uint32_t>(first.size());
  came.batch->slot[entry] = input.one_in(4) ? static_cast<int32_t>(input.take<uint32_t>()) : static_cast<int32_t>(input.below(most_clients));
}

void send(Input& input, End& end, Pool& out, double now) {
  const load::Totals before = end.totals();
  const uint32_t packets = input.one_in(4) ? end.traffic.greet(*out.batch, now) : end.traffic.send(*out.batch, now);
  must(end.totals().offered - before.offered <= packets);
  if (end.settings.window) must(packets <= (max_window + end.settings.burst) * end.settings.clients);
  for (uint32_t i = 0; i < out.batch->count(); i++) must(out.batch->arena->contains(out.batch->offset[i], out.batch->length[i]));
  out.clear();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static Pool came{block, 4, 16}, out{block, 4, 24};
  Input input{data, size};
  End end{input};
  const bool orderly = !input.one_in(2);
  const double start = 1'000;
  end.traffic.schedule({start, input.one_in(2) ? 0.0 : 1.0 + input.take<uint8_t>(), start, start + 1e6, start + 2e6});
  for (uint32_t client = 0; client < end.settings.clients; client++) end.column(load::online, client) = !input.one_in(8);
  double now = start;
  for (uint32_t steps = 0; steps < 64 && !input.empty(); steps++) {
    now += input.one_of({0.0, 1.0, 50.0, 1e3, 1e6}) * input.take<uint8_t>() / 16;
    if (input.one_in(3)) {
      send(input, end, out, now);
      continue;
    }
    for (uint32_t left = 1 + input.below(4); left > 0; left--) add(input, end, came);
    if (!orderly) spoil(input, *came.batch);
    const bool replying = !input.one_in(4);
    came.lock();
    end.traffic.receive(*came.batch, replying ? out.batch.get() : nullptr, now);
    came.unlock();
    if (orderly) must(out.batch->count() <= out.batch->capacity);
    if (input.one_in(2)) out.clear();
    if (orderly) came.clear();
    else came.renew();
    end.check();
  }
  out.clear();
  must(out.arena->unreferenced() == out.arena->block_count());
  return 0;
}
