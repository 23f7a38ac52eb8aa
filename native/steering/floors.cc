// attachFloors, forgetFloors: the engine's side of the filter on the sockets.
#include "steering/floors.h"

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <utility>

#include "core/args.h"
#include "core/clock.h"
#include "core/errors.h"
#include "core/functions.h"
#include "core/values.h"
#include "io/port.h"
#include "table/lanes.h"

namespace ringway {

uint64_t lane_floor(const PublicSlot& slot, uint64_t from) {
  const uint64_t highest = slot.lane_highest;
  const uint64_t oldest = highest < lane_window_size ? 1 : highest - lane_window_size + 1;
  if (highest >= floors::most) return std::min(oldest, floors::most);
  if (from > highest + 1) from = 0;  // of another window: this one began later
  uint64_t at = std::max(from, oldest);
  while (at <= highest) {
    const uint64_t unseen = ~slot.lane_window[(at >> 6) & 127] >> (at & 63);
    if (unseen != 0) {
      at += static_cast<uint64_t>(std::countr_zero(unseen));
      break;
    }
    at = (at | 63) + 1;
  }
  return std::min(at, highest + 1);  // bits beyond the highest number are of numbers before the window
}

std::shared_ptr<Floors> Floors::create(std::shared_ptr<Mapping> map, const Place& place, uint32_t slots) {
  auto told = Mapping::anonymous(size_t{slots} * sizeof(Told));
  if (!told) return nullptr;
  auto* begin = reinterpret_cast<Entry*>(map->data() + floors::entries_at(place.shard, place.shards, place.entries));
  for (Entry* entry = begin; entry < begin + place.entries; entry++) {
    if (entry->id.load(std::memory_order_relaxed) != 0) clear(*entry);
  }
  auto created = std::shared_ptr<Floors>{new Floors{std::move(map), std::move(told), place, slots}};
  for (uint32_t which = 0; which < numbers::blocks; which++) numbers::erase(created->block_of(which));
  created->head()->until.store(0, std::memory_order_release);  // ids of sessions that are not restored yet are no suspects
  return created;
}

// All but the id.
void Floors::clear(Entry& entry) {
  entry.word.store(0, std::memory_order_release);
  entry.until.store(0, std::memory_order_release);
  entry.block.store(0, std::memory_order_release);
}

Floors::Entry& Floors::entry_of(uint64_t id) const {
  auto* begin = reinterpret_cast<Entry*>(map_->data() + floors::entries_at(place_.shard, place_.shards, place_.entries));
  return begin[(id >> share::index_shift) & (place_.entries - 1)];
}

void Floors::publish(const Lanes& lanes, const Batch& trains) {
  if (watching_ > 0) acquit_some();
  const uint32_t end = std::min(trains.count(), trains.header->consumed + 1);  // the last may be opened in part
  int32_t before = -1;
  for (uint32_t train = 0; train < end; train++) {
    const int32_t number = trains.slot[train];
    if (number == before || trains.verdict[train] != verdict::pass || !lanes.exists(number)) continue;
    before = number;
    const PublicSlot& slot = lanes.table->slot(static_cast<uint32_t>(number));
    if (lanes.superseded(slot)) continue;
    publish(static_cast<uint32_t>(number), slot);
    if (watches(static_cast<uint32_t>(number))) tell_numbers(lanes, static_cast<uint32_t>(number));
  }
}

void Floors::publish(uint32_t number, const PublicSlot& slot) {
  uint64_t id;
  memcpy(&id, slot.current_id, sizeof id);
  if (id == 0 || id == UINT64_MAX) return;  // names nobody
  constexpr auto relaxed = std::memory_order_relaxed;
  const uint64_t tag = id >> floors::tag_shift << floors::tag_shift;
  Entry& entry = entry_of(id);
  const uint64_t word = entry.word.load(relaxed);
  // A word of 0 has been taken back, or is of an id without a tag, and of no floor.
  const bool ours = entry.id.load(relaxed) == id && (word & ~floors::most) == tag && (word != 0 || last_told(number) == id);
  const uint64_t floor = slot.lane_highest == 0 ? 0 : lane_floor(slot, ours ? word & floors::most : 0);  // 0: of its numbers nothing is known
  const uint64_t told = tag | floor;
  if (!ours || last_told(number) != id) remember(number, id);  // a predecessor may have told of it
  if (!ours) {
    clear(entry);
    entry.id.store(id, std::memory_order_release);
  }
  if (word != told || !ours) entry.word.store(told, std::memory_order_release);
}

numbers::Block& Floors::block_of(uint32_t which) const {
  return reinterpret_cast<numbers::Block*>(map_->data() + floors::blocks_at(place_.shard, place_.shards, place_.entries))[which];
}

bool Floors::has_told(int32_t slot, uint64_t id) const {
  if (slot < 0 || static_cast<uint32_t>(slot) >= slots_) return false;
  const auto& ids = reinterpret_cast<const Told*>(told_memory_->data())[slot].ids;
  return std::find(ids, ids + ids_kept, id) != ids + ids_kept;
}

void Floors::refused(const Lanes& lanes, int32_t slot) {
  if (!suspects_.refused(slot)) return;
  const auto until = static_cast<uint64_t>((monotonic_micros() + Suspects::for_micros) * 1e3);
  if (slot == Suspects::nobody) {
    return head()->until.store(until, std::memory_order_release);
  }
  const auto number = static_cast<uint32_t>(slot);
  if (number >= slots_) return;
  if (lanes.superseded(lanes.table->slot(number))) return;  // another engine tells of it
  const uint32_t which = Suspects::case_of(slot);
  if (watched_[which].slot != slot) {
    acquit(which);
    watching_++;
  }
  watched_[which] = {slot, until};
  tell_numbers(lanes, number);
  for (const uint64_t id : reinterpret_cast<const Told*>(told_memory_->data())[number].ids) {  // replays bear older ones
    if (id != 0) suspect(number, id, until);
  }
}

void Floors::suspect(uint32_t number, uint64_t id, uint64_t until) {
  Entry& entry = entry_of(id);
  if (entry.id.load(std::memory_order_relaxed) != id) return;
  entry.block.store(Suspects::case_of(static_cast<int32_t>(number)) + 1, std::memory_order_release);
  entry.until.store(until, std::memory_order_release);
}

bool Floors::watches(uint32_t slot) const {
  const auto number = static_cast<int32_t>(slot);
  return watched_[Suspects::case_of(number)].slot == number;
}

void Floors::keys_changed(const Lanes& lanes, uint32_t slot) {
  if (watches(slot)) tell_numbers(lanes, slot);
}

// Of a slot that is watched, with every vector and every change of its keys.
void Floors::tell_numbers(const Lanes& lanes, uint32_t number) {
  const uint32_t which = Suspects::case_of(static_cast<int32_t>(number));
  if (monotonic_micros() * 1e3 > static_cast<double>(watched_[which].until)) return acquit(which);
  numbers::tell(block_of(which), lanes.table->slot(number), lanes.table->secret(number));
}

// It is over, or another one needs the block more: nobody's record numbers are in it.
void Floors::acquit(uint32_t which) {
  const int32_t slot = std::exchange(watched_[which].slot, Suspects::nobody);
  if (slot == Suspects::nobody) return;
  watching_--;
  for (const uint64_t id : reinterpret_cast<const Told*>(told_memory_->data())[slot].ids) {
    Entry& entry = entry_of(id);
    if (entry.id.load(std::memory_order_relaxed) != id) continue;
    entry.until.store(0, std::memory_order_release);
    entry.block.store(0, std::memory_order_release);
  }
  numbers::erase(block_of(which));
}

// Those of whom nothing comes any more, too.
void Floors::acquit_some() {
  const double now = monotonic_micros();
  if (now < next_acquittal_) return;
  next_acquittal_ = now + Suspects::for_micros / 8;
  for (uint32_t which = 0; which < watched_.size(); which++) {
    if (watched_[which].slot != Suspects::nobody && now * 1e3 > static_cast<double>(watched_[which].until)) acquit(which);
  }
}

uint64_t Floors::last_told(uint32_t number) const { return number < slots_ ? reinterpret_cast<const Told*>(told_memory_->data())[number].ids[0] : 0; }

// A new id goes first; what falls off the end is told of no more, so that nothing is told that will not be taken back.
void Floors::remember(uint32_t number, uint64_t id) {
  if (number >= slots_) return;
  auto& ids = reinterpret_cast<Told*>(told_memory_->data())[number].ids;
  if (std::find(ids, ids + ids_kept, id) != ids + ids_kept) return;  // another session had taken its place in the table
  erase(ids[ids_kept - 1]);
  std::copy_backward(ids, ids + ids_kept - 1, ids + ids_kept);
  ids[0] = id;
}

void Floors::erase(uint64_t id) {
  Entry& entry = entry_of(id);
  if (id != 0 && entry.id.load(std::memory_order_relaxed) == id) clear(entry);
}

void Floors::forget(uint32_t slot) {
  if (slot >= slots_) return;
  if (watches(slot)) acquit(Suspects::case_of(static_cast<int32_t>(slot)));
  Told& told = reinterpret_cast<Told*>(told_memory_->data())[slot];
  if (told.ids[0] == 0) return;
  for (const uint64_t id : told.ids) erase(id);
  told = {};
}

void publish_floors(const Lanes& lanes, const Batch& trains) {
  if (lanes.floors) lanes.floors->publish(lanes, trains);
}

namespace {

// attachFloors(lanes, map, entries, half) -> { dropped }
napi_value attach_floors(napi_env env, napi_callback_info info) {
  Args args{env, info, "attachFloors"};
  Lanes* lanes = lanes_of(args, 0);
  const auto map = static_cast<int>(args.integer(1, "map", 0, INT32_MAX));
  const auto entries = static_cast<uint32_t>(args.integer(2, "entries", floors::min_entries, floors::max_entries));
  const auto half = static_cast<uint32_t>(args.integer(3, "half", 0, 1));
  if (!args.ok()) return nullptr;
  if (!std::has_single_bit(entries)) return args.refuse_range("entries", "must be a power of two");

  auto mapping = Mapping::of_descriptor(map, floors::bytes(lanes->shards, entries), true);
  if (!mapping) return throw_errno(env, "mmap", errno);
  auto attached = Floors::create(mapping, {lanes->shard, lanes->shards, entries}, lanes->table->count());
  if (!attached) return throw_errno(env, "mmap", ENOMEM);
  lanes->floors = std::move(attached);
  auto* ids = reinterpret_cast<std::atomic<uint8_t>*>(mapping->data() + floors::ids_at(half, lanes->shards, entries));
  lanes->index->tell_ids(mapping, ids, floors::id_bits(lanes->shards, entries) - 1);
  napi_value buffer = to_array_buffer(env, mapping, mapping->bytes());
  napi_value dropped = nullptr;
  if (!buffer || napi_create_typedarray(env, napi_biguint64_array, floors::counters, buffer, floors::counter_at(lanes->shard), &dropped) != napi_ok) return nullptr;
  napi_value result = new_object(env);
  set(env, result, "dropped", dropped);
  return result;
}

// forgetFloors(lanes, slot)
napi_value forget_floors(napi_env env, napi_callback_info info) {
  Args args{env, info, "forgetFloors"};
  Lanes* lanes = lanes_of(args, 0);
  const auto slot = static_cast<uint32_t>(args.integer(1, "slot", 0, lanes ? lanes->table->count() - 1 : 0));
  if (!args.ok()) return nullptr;
  if (lanes->floors) lanes->floors->forget(slot);
  return undefined(env);
}

// countWithoutFilters(port, lanes)
napi_value count_without_filters(napi_env env, napi_callback_info info) {
  Args args{env, info, "countWithoutFilters"};
  auto* port = args.handle<Port>(0, "port");
  Lanes* lanes = lanes_of(args, 1);
  if (!args.ok()) return nullptr;
  if (const auto& floors = lanes->floors) port->share_socket(floors->map(), floors->head(), floors->entries(), floors->mask());
  return undefined(env);
}

const Functions functions{{"attachFloors", attach_floors}, {"forgetFloors", forget_floors}, {"countWithoutFilters", count_without_filters}};

}  // namespace
}  // namespace ringway
