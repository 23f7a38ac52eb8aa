// The session table and its keys as JavaScript reaches them: openTable, the index, lanes, slot…, lane….
#include <sys/stat.h>

#include <cerrno>
#include <cstring>
#include <vector>

#include "core/args.h"
#include "core/errors.h"
#include "core/functions.h"
#include "core/handle.h"
#include "core/values.h"
#include "secret/handles.h"
#include "steering/floors.h"
#include "table/lanes.h"
#include "table/window.h"

namespace ringway {

Lanes* lanes_of(Args& args, size_t argument) { return static_cast<Lanes*>(args.handle<Shards>(argument, "lanes")); }

namespace {

constexpr int64_t max_slots = 1 << 20;
constexpr int64_t max_epoch = 65535, first_epoch = 3;

// ---- tableLayout ----------------------------------------------------------------------------------------------------

struct FieldAt {
  const char* name;
  size_t offset;
};
#define RINGWAY_FIELD(struct_, name_, field_) {name_, offsetof(struct_, field_)}
constexpr FieldAt public_fields[] = {
  RINGWAY_FIELD(PublicSlot, "state", state), RINGWAY_FIELD(PublicSlot, "generation", generation), RINGWAY_FIELD(PublicSlot, "shard", shard),
  RINGWAY_FIELD(PublicSlot, "flags", flags), RINGWAY_FIELD(PublicSlot, "currentId", current_id), RINGWAY_FIELD(PublicSlot, "pendingId", pending_id),
  RINGWAY_FIELD(PublicSlot, "sendId", send_id), RINGWAY_FIELD(PublicSlot, "remote", remote), RINGWAY_FIELD(PublicSlot, "versionMajor", version_major),
  RINGWAY_FIELD(PublicSlot, "versionMinor", version_minor), RINGWAY_FIELD(PublicSlot, "suite", suite), RINGWAY_FIELD(PublicSlot, "sendEpoch", send_epoch),
  RINGWAY_FIELD(PublicSlot, "mssClamp", mss_clamp), RINGWAY_FIELD(PublicSlot, "insideAddress", inside_address),
  RINGWAY_FIELD(PublicSlot, "sealSource", seal_source), RINGWAY_FIELD(PublicSlot, "sealDestination", seal_destination),
  RINGWAY_FIELD(PublicSlot, "sealMatch", seal_match), RINGWAY_FIELD(PublicSlot, "sealReplace", seal_replace),
  RINGWAY_FIELD(PublicSlot, "openSource", open_source), RINGWAY_FIELD(PublicSlot, "openDestination", open_destination),
  RINGWAY_FIELD(PublicSlot, "openMatch", open_match), RINGWAY_FIELD(PublicSlot, "openReplace", open_replace),
  RINGWAY_FIELD(PublicSlot, "receiveEpochs", receive_epochs), RINGWAY_FIELD(PublicSlot, "laneSendCounter", lane_send_counter),
  RINGWAY_FIELD(PublicSlot, "recordSendCounter", record_send_counter), RINGWAY_FIELD(PublicSlot, "laneHighest", lane_highest),
  RINGWAY_FIELD(PublicSlot, "laneWindow", lane_window), RINGWAY_FIELD(PublicSlot, "recordNext", record_next),
  RINGWAY_FIELD(PublicSlot, "recordWindow", record_window), RINGWAY_FIELD(PublicSlot, "packetsOpened", packets_opened),
  RINGWAY_FIELD(PublicSlot, "bytesOpened", bytes_opened), RINGWAY_FIELD(PublicSlot, "packetsSealed", packets_sealed),
  RINGWAY_FIELD(PublicSlot, "bytesSealed", bytes_sealed), RINGWAY_FIELD(PublicSlot, "laneSent", lane_sent),
  RINGWAY_FIELD(PublicSlot, "laneReceived", lane_received), RINGWAY_FIELD(PublicSlot, "lastOutside", last_outside),
  RINGWAY_FIELD(PublicSlot, "lastInside", last_inside), RINGWAY_FIELD(PublicSlot, "snapshotLength", snapshot_length),
  RINGWAY_FIELD(PublicSlot, "paceRate", pace_rate), RINGWAY_FIELD(PublicSlot, "snapshot", snapshot),
};
constexpr FieldAt secret_fields[] = {
  RINGWAY_FIELD(SecretSlot, "sendRecord", send_record), RINGWAY_FIELD(SecretSlot, "receiveRecord", receive_record),
  RINGWAY_FIELD(SecretSlot, "laneSend", lane_send),     RINGWAY_FIELD(SecretSlot, "laneStaged", lane_staged),
  RINGWAY_FIELD(SecretSlot, "laneReceive", lane_receive), RINGWAY_FIELD(SecretSlot, "lanePrevious", lane_previous),
};
#undef RINGWAY_FIELD

napi_value field_offsets(napi_env env, std::span<const FieldAt> fields) {
  const napi_value offsets = new_object(env);
  for (const FieldAt& field : fields) set(env, offsets, field.name, to_js(env, static_cast<uint32_t>(field.offset)));
  return offsets;
}

napi_value table_layout(napi_env env, napi_callback_info) {
  const napi_value layout = new_object(env);
  set(env, layout, "public", field_offsets(env, public_fields));
  set(env, layout, "secret", field_offsets(env, secret_fields));
  set(env, layout, "publicSlotBytes", to_js(env, static_cast<uint32_t>(public_slot_bytes)));
  set(env, layout, "secretSlotBytes", to_js(env, static_cast<uint32_t>(secret_slot_bytes)));
  return layout;
}

// ---- openTable, the index, lanes --------------------------------------------------------------------------------------

// A mapping of all of a memfd that is long enough; touching a shorter one would be SIGBUS.
std::shared_ptr<Mapping> map_slots(napi_env env, int descriptor, size_t bytes, bool secret) {
  struct stat status;
  if (fstat(descriptor, &status) != 0) {
    throw_errno(env, "fstat", errno);
    return nullptr;
  }
  if (status.st_size < 0 || static_cast<size_t>(status.st_size) < bytes) {
    throw_range(env, secret ? "openTable: options.secret must be a file of at least 1280 bytes per slot" : "openTable: options.public must be a file of at least 2560 bytes per slot");
    return nullptr;
  }
  auto mapping = Mapping::of_descriptor(descriptor, bytes, secret);
  if (!mapping) throw_errno(env, "mmap", errno);
  return mapping;
}

// openTable({ public, secret, slots, exposeSecrets }) -> { handle, public, secret? }
napi_value open_table(napi_env env, napi_callback_info info) {
  Args args{env, info, "openTable"};
  Options options = args.options(0, "options");
  const auto public_descriptor = static_cast<int>(options.integer("public", 0, INT32_MAX));
  const auto secret_descriptor = static_cast<int>(options.integer("secret", 0, INT32_MAX));
  const auto slots = static_cast<uint32_t>(options.integer("slots", 1, max_slots));
  const bool expose = options.boolean_or("exposeSecrets", false);
  if (!args.ok()) return nullptr;

  auto mapped = map_slots(env, public_descriptor, size_t{slots} * public_slot_bytes, false);
  if (!mapped) return nullptr;
  auto secrets = map_slots(env, secret_descriptor, size_t{slots} * secret_slot_bytes, true);
  if (!secrets) return nullptr;
  const napi_value result = new_object(env);
  set(env, result, "handle", make_handle(env, std::make_shared<Table>(mapped, secrets, slots)));
  set(env, result, "public", to_array_buffer(env, mapped, size_t{slots} * public_slot_bytes));
  if (expose) set(env, result, "secret", to_array_buffer(env, secrets, size_t{slots} * secret_slot_bytes));
  return result;
}

napi_value create_index(napi_env env, napi_callback_info info) {
  Args args{env, info, "createIndex"};
  const auto slots = static_cast<uint32_t>(args.integer(0, "slots", 1, max_slots));
  if (!args.ok()) return nullptr;
  auto index = std::make_shared<Index>(slots);
  const uint32_t id = Index::publish(index);
  const napi_value result = new_object(env);
  set(env, result, "handle", make_handle(env, std::move(index)));
  set(env, result, "id", to_js(env, id));
  return result;
}

napi_value attach_index(napi_env env, napi_callback_info info) {
  Args args{env, info, "attachIndex"};
  const auto id = static_cast<uint32_t>(args.integer(0, "id", 1, UINT32_MAX));
  if (!args.ok()) return nullptr;
  auto index = Index::attach(id);
  return index ? make_handle(env, std::move(index)) : args.refuse_range("id", "must be of an index that somebody in this process still holds");
}

struct IndexCall {
  Index* index;
  Index::Kind kind;
  std::span<uint8_t> key;

  explicit IndexCall(Args& args) {
    index = args.handle<Index>(0, "index");
    kind = static_cast<Index::Kind>(args.choice(1, "kind", {"id", "outside", "inside"}));
    const size_t length = Index::key_bytes(kind);
    key = args.bytes(2, "key", length, length);
  }
};

napi_value index_set(napi_env env, napi_callback_info info) {
  Args args{env, info, "indexSet"};
  const IndexCall call{args};
  const auto slot = static_cast<int32_t>(args.integer(3, "slot", 0, max_slots - 1));
  if (!args.ok()) return nullptr;
  if (!call.index->set(call.kind, call.key.data(), slot)) return args.refuse_range("key", "must fit: the index holds two keys of a kind per slot and is full");
  return undefined(env);
}

napi_value index_delete(napi_env env, napi_callback_info info) {
  Args args{env, info, "indexDelete"};
  const IndexCall call{args};
  const auto slot = static_cast<int32_t>(args.integer(3, "slot", 0, max_slots - 1));
  if (!args.ok()) return nullptr;
  call.index->remove(call.kind, call.key.data(), slot);
  return undefined(env);
}

napi_value index_get(napi_env env, napi_callback_info info) {
  Args args{env, info, "indexGet"};
  const IndexCall call{args};
  if (!args.ok()) return nullptr;
  return to_js(env, call.index->get(call.kind, call.key.data()));
}

// createLanes({ table, index, shard, shards, generation, aead, single? }) -> { handle, counters, limits, arrivals }
napi_value create_lanes(napi_env env, napi_callback_info info) {
  Args args{env, info, "createLanes"};
  Options options = args.options(0, "options");
  Lanes::Options wanted;
  wanted.table = options.shared<Table>("table");
  wanted.index = options.shared<Index>("index");
  wanted.shards = static_cast<uint32_t>(options.integer("shards", 1, 256));
  wanted.shard = static_cast<uint32_t>(options.integer("shard", 0, wanted.shards > 0 ? wanted.shards - 1 : 0));
  wanted.generation = static_cast<uint32_t>(options.integer("generation", 0, UINT32_MAX));
  wanted.backend = options.choice("aead", {"ipsec-mb", "openssl"}) == 0 ? Backend::ipsec_mb : Backend::openssl;
  if (!args.ok()) return nullptr;
  wanted.single = static_cast<int32_t>(options.integer_or("single", -1, wanted.table->count() - 1, -1));
  if (!args.ok()) return nullptr;

  if (!Aead::available(wanted.backend)) return args.refuse_range("options.aead", "must be a backend that this machine has (about().aead)");
  auto lanes = Lanes::create(wanted);
  if (!lanes) return throw_errno(env, "mmap", ENOMEM);
  const napi_value buffer = to_array_buffer(env, lanes->counters_memory, verdict::names.size() * sizeof(uint64_t));
  napi_value counters = nullptr;
  if (!buffer || napi_create_typedarray(env, napi_biguint64_array, verdict::names.size(), buffer, 0, &counters) != napi_ok) return nullptr;
  const size_t arrivals_words = sizeof(Lanes::Arrival) / sizeof(uint32_t) * lanes->table->count();
  const napi_value limits_buffer = to_array_buffer(env, lanes->limits_memory, (limit::words + arrivals_words) * sizeof(uint32_t));
  napi_value limits = nullptr, arrivals = nullptr;
  if (!limits_buffer || napi_create_typedarray(env, napi_uint32_array, limit::words, limits_buffer, 0, &limits) != napi_ok ||
      napi_create_typedarray(env, napi_uint32_array, arrivals_words, limits_buffer, limit::words * sizeof(uint32_t), &arrivals) != napi_ok) {
    return nullptr;
  }
  const napi_value result = new_object(env);
  set(env, result, "handle", make_handle<Shards>(env, std::move(lanes)));
  set(env, result, "counters", counters);
  set(env, result, "limits", limits);
  set(env, result, "arrivals", arrivals);
  return result;
}

// ---- slots --------------------------------------------------------------------------------------------------------------

// The lanes and the slot every function below begins with.
struct SlotCall {
  Lanes* lanes;
  uint32_t slot;

  explicit SlotCall(Args& args) {
    lanes = lanes_of(args, 0);
    slot = static_cast<uint32_t>(args.integer(1, "slot", 0, lanes ? lanes->table->count() - 1 : 0));
  }
  PublicSlot& open() const { return lanes->table->slot(slot); }
  SecretSlot& secret() const { return lanes->table->secret(slot); }
};

napi_value clear_slot(napi_env env, napi_callback_info info) {
  Args args{env, info, "clearSlot"};
  const SlotCall call{args};
  if (!args.ok()) return nullptr;
  call.lanes->keys->forget(call.slot);
  wipe(&call.secret(), sizeof(SecretSlot));
  wipe(&call.open(), sizeof(PublicSlot));
  return undefined(env);
}

napi_value claim_slot(napi_env env, napi_callback_info info) {
  Args args{env, info, "claimSlot"};
  const SlotCall call{args};
  if (!args.ok()) return nullptr;
  const std::atomic_ref generation{call.open().generation};
  uint32_t owner = generation.load(std::memory_order_acquire);
  do {
    if (owner > call.lanes->generation) return args.refuse_range("slot", "must not belong to a later engine");
  } while (!generation.compare_exchange_weak(owner, call.lanes->generation, std::memory_order_acq_rel));
  call.lanes->keys->forget(call.slot);
  return undefined(env);
}

bool is_send(Args& args, size_t index) { return args.choice(index, "direction", {"send", "receive"}) == 0; }

// Of a flooded session the kernel knows the keys of record numbers: it drops what comes in an epoch that it has not been told of.
void tell_kernel(const SlotCall& call) {
  if (call.lanes->floors) call.lanes->floors->keys_changed(*call.lanes, call.slot);
}

// Puts a secret into its place; its numbers and window begin at zero, unless it is the very secret that was there.
void place_secret(const SlotCall& call, bool send, const RecordSecret& fresh) {
  const uint8_t at = fresh.epoch & 3;
  PublicSlot& slot = call.open();
  RecordSecret& place = send ? call.secret().send_record[at] : call.secret().receive_record[at];
  const bool same = place.epoch == fresh.epoch && place.suite == fresh.suite && equal_in_constant_time(place.key, fresh.key, sizeof place.key);
  call.lanes->keys->forget(call.slot);
  if (same) return;
  wipe(&place, sizeof place);
  if (send) {
    std::atomic_ref(slot.record_send_counter[at]).store(0, std::memory_order_release);
  } else {
    slot.record_next[at] = 0;
    for (int i = 0; i < 8; i++) slot.record_window[at * 8 + i] = 0;
    slot.receive_epochs[at] = fresh.epoch;
  }
  place = fresh;
  if (!send) tell_kernel(call);
}

// slotInstall(lanes, slot, direction, epoch, suite, secret): consumes the secret
napi_value slot_install(napi_env env, napi_callback_info info) {
  Args args{env, info, "slotInstall"};
  const SlotCall call{args};
  const bool send = is_send(args, 2);
  const auto epoch = static_cast<uint16_t>(args.integer(3, "epoch", first_epoch, max_epoch));
  const auto suite = static_cast<uint16_t>(args.integer(4, "suite", suite::aes128, suite::chacha20));
  Secret* secret = live_secret(args, 5, "secret");
  if (!args.ok()) return nullptr;
  if (secret->bytes().size() != hash_bytes(hash_of_suite(suite))) return args.refuse_range("secret", "must be as long as the suite's hash");
  RecordSecret fresh;
  const bool good = derive_record_secret(suite, epoch, secret->bytes().data(), &fresh);
  if (good) place_secret(call, send, fresh);
  wipe(&fresh, sizeof fresh);
  secret->destroy();
  return good ? undefined(env) : throw_errno(env, "derive", ENOMEM);
}

// slotUpdate(lanes, slot, direction) -> the new epoch
napi_value slot_update(napi_env env, napi_callback_info info) {
  Args args{env, info, "slotUpdate"};
  const SlotCall call{args};
  const bool send = is_send(args, 2);
  if (!args.ok()) return nullptr;
  const RecordSecret* newest = nullptr;
  for (const RecordSecret& each : send ? call.secret().send_record : call.secret().receive_record) {
    if (each.epoch != 0 && (!newest || each.epoch > newest->epoch)) newest = &each;
  }
  if (!newest) return args.refuse_range("slot", "must have an epoch installed in this direction");
  if (newest->epoch == max_epoch) return args.refuse_range("slot", "must have an epoch left: 65535 is the last one");
  const Hash hash = hash_of_suite(newest->suite);
  uint8_t traffic[max_hash_bytes];
  RecordSecret fresh;
  const uint16_t epoch = static_cast<uint16_t>(newest->epoch + 1);
  const bool good = expand_label(hash, {newest->traffic, hash_bytes(hash)}, "traffic upd", {}, traffic, hash_bytes(hash)) &&
                    derive_record_secret(newest->suite, epoch, traffic, &fresh);
  if (good) place_secret(call, send, fresh);
  wipe(traffic, sizeof traffic);
  wipe(&fresh, sizeof fresh);
  return good ? to_js(env, uint32_t{epoch}) : throw_errno(env, "derive", ENOMEM);
}

napi_value slot_drop(napi_env env, napi_callback_info info) {
  Args args{env, info, "slotDrop"};
  const SlotCall call{args};
  const bool send = is_send(args, 2);
  const auto epoch = static_cast<uint16_t>(args.integer(3, "epoch", 0, max_epoch));
  if (!args.ok()) return nullptr;
  RecordSecret& place = send ? call.secret().send_record[epoch & 3] : call.secret().receive_record[epoch & 3];
  if (place.epoch != epoch) return undefined(env);
  call.lanes->keys->forget(call.slot);
  wipe(&place, sizeof place);
  if (!send) {
    call.open().receive_epochs[epoch & 3] = 0;
    tell_kernel(call);
  }
  return undefined(env);
}

// slotSeal(lanes, slot, epoch, contentType, content) -> { bytes, sequence }
napi_value slot_seal(napi_env env, napi_callback_info info) {
  Args args{env, info, "slotSeal"};
  const SlotCall call{args};
  const auto epoch = static_cast<uint16_t>(args.integer(2, "epoch", first_epoch, max_epoch));
  const auto type = static_cast<uint8_t>(args.integer(3, "contentType", 1, 255));
  const auto content = args.bytes(4, "content", 0, max_record_content);
  if (!args.ok()) return nullptr;
  PublicSlot& slot = call.open();
  const RecordSecret& secret = call.secret().send_record[epoch & 3];
  if (secret.epoch != epoch) return args.refuse_range("epoch", "must be installed for sending in this slot");
  if (call.lanes->superseded(slot)) return args.refuse_range("slot", "must belong to this engine: its generation is another one");
  const RecordKey* key = call.lanes->keys->record(call.slot, KeyPlace::send_record(epoch), secret);
  if (!key) return throw_errno(env, "expand", ENOMEM);
  const uint64_t number = Lanes::claim_record(slot, epoch, 1);
  if (number > max_record_number) return args.refuse_range("epoch", "must have record numbers left");
  uint8_t* record = nullptr;
  const napi_value bytes = new_bytes(env, content.size() + record_overhead, &record);
  if (!bytes) return nullptr;
  if (!content.empty()) std::memcpy(record + record_header, content.data(), content.size());
  seal_record(*call.lanes->aead, *key, secret.iv, epoch, number, type, record, static_cast<uint32_t>(content.size()));
  const napi_value result = new_object(env);
  set(env, result, "bytes", bytes);
  set(env, result, "sequence", to_js(env, number));
  return result;
}

// slotOpen(lanes, slot, record) -> { epoch, sequence, contentType, content } | 'replayed' | undefined
napi_value slot_open(napi_env env, napi_callback_info info) {
  Args args{env, info, "slotOpen"};
  const SlotCall call{args};
  const auto sealed = args.bytes(2, "record", 0, 65535);
  if (!args.ok()) return nullptr;
  PublicSlot& slot = call.open();
  const RecordShape shape = look_at_record(sealed);
  if (shape.is != RecordShape::Is::sealed || shape.encrypted < tag_bytes || shape.total() != sealed.size()) return undefined(env);
  const uint16_t epoch = slot.receive_epochs[shape.epoch_bits];
  const RecordSecret& secret = call.secret().receive_record[shape.epoch_bits];
  if (epoch == 0 || secret.epoch != epoch) return undefined(env);
  const RecordKey* key = call.lanes->keys->record(call.slot, KeyPlace::receive_record(epoch), secret);
  if (!key) return undefined(env);

  std::vector<uint8_t> record{sealed.begin(), sealed.end()};
  Aead& aead = *call.lanes->aead;
  RecordWindow window{slot, shape.epoch_bits};
  const uint64_t number = reconstruct(window.next(), reveal_number(aead, *key, record.data(), shape), shape.number_bytes);
  if (number > max_record_number) return undefined(env);
  if (window.refuses(number)) return to_js(env, std::string_view{"replayed"});
  OpenedContent content;
  if (!open_record(aead, *key, secret.iv, record.data(), shape, number, &content)) return undefined(env);
  window.take(number);
  const napi_value result = new_object(env);
  set(env, result, "epoch", to_js(env, uint32_t{epoch}));
  set(env, result, "sequence", to_js(env, number));
  set(env, result, "contentType", to_js(env, uint32_t{content.type}));
  set(env, result, "content", copy_to_js(env, {record.data() + shape.header, content.length}));
  return result;
}

// ---- Expresslane keys -----------------------------------------------------------------------------------------------------

bool is_zero(std::span<const uint8_t> bytes) {
  uint8_t any = 0;
  for (const uint8_t byte : bytes) any |= byte;
  return any == 0;
}

napi_value lane_stage(napi_env env, napi_callback_info info) {
  Args args{env, info, "laneStage"};
  const SlotCall call{args};
  if (!args.ok()) return nullptr;
  LaneSecret& place = call.secret().lane_staged;
  wipe(&place, sizeof place);
  do random_bytes(place.key, sizeof place.key);
  while (is_zero(place.key));  // all zeros means "no key" on the wire
  place.valid = staged::key;
  return copy_to_js(env, place.key);
}

napi_value lane_staged(napi_env env, napi_callback_info info) {
  Args args{env, info, "laneStaged"};
  const SlotCall call{args};
  if (!args.ok()) return nullptr;
  return copy_to_js(env, call.secret().lane_staged.key);
}

napi_value lane_stage_none(napi_env env, napi_callback_info info) {
  Args args{env, info, "laneStageNone"};
  const SlotCall call{args};
  if (!args.ok()) return nullptr;
  wipe(&call.secret().lane_staged, sizeof(LaneSecret));
  call.secret().lane_staged.valid = staged::none;
  return undefined(env);
}

napi_value lane_promote(napi_env env, napi_callback_info info) {
  Args args{env, info, "lanePromote"};
  const SlotCall call{args};
  if (!args.ok()) return nullptr;
  LaneSecret &from = call.secret().lane_staged, &to = call.secret().lane_send;
  if (from.valid == staged::nothing) return undefined(env);  // a repeated ACK: that key is in use already
  wipe(&to, sizeof to);
  if (from.valid == staged::key) {
    std::memcpy(to.key, from.key, sizeof to.key);
    random_bytes(to.salt, sizeof to.salt);
    to.valid = 1;
  }
  wipe(&from, sizeof from);
  call.lanes->keys->forget(call.slot);
  return undefined(env);
}

napi_value lane_install_receive(napi_env env, napi_callback_info info) {
  Args args{env, info, "laneInstallReceive"};
  const SlotCall call{args};
  const auto key = args.bytes(2, "key", 32, 32);
  if (!args.ok()) return nullptr;
  SecretSlot& secret = call.secret();
  secret.lane_previous = secret.lane_receive;
  wipe(&secret.lane_receive, sizeof(LaneSecret));
  std::memcpy(secret.lane_receive.key, key.data(), 32);
  secret.lane_receive.valid = is_zero(key) ? 0 : 1;
  call.lanes->keys->forget(call.slot);
  return undefined(env);
}

napi_value lane_receive_key_is(napi_env env, napi_callback_info info) {
  Args args{env, info, "laneReceiveKeyIs"};
  const SlotCall call{args};
  const auto key = args.bytes(2, "key", 32, 32);
  if (!args.ok()) return nullptr;
  return to_js(env, equal_in_constant_time(call.secret().lane_receive.key, key.data(), 32));
}

napi_value lane_send_valid(napi_env env, napi_callback_info info) {
  Args args{env, info, "laneSendValid"};
  const SlotCall call{args};
  return args.ok() ? to_js(env, call.secret().lane_send.valid == 1) : nullptr;
}

napi_value lane_receive_valid(napi_env env, napi_callback_info info) {
  Args args{env, info, "laneReceiveValid"};
  const SlotCall call{args};
  return args.ok() ? to_js(env, call.secret().lane_receive.valid == 1) : nullptr;
}

const Functions functions{
  {"tableLayout", table_layout},   {"openTable", open_table},       {"createIndex", create_index},
  {"attachIndex", attach_index},   {"indexSet", index_set},         {"indexDelete", index_delete},
  {"indexGet", index_get},         {"createLanes", create_lanes},   {"clearSlot", clear_slot},
  {"claimSlot", claim_slot},       {"slotInstall", slot_install},   {"slotUpdate", slot_update},
  {"slotDrop", slot_drop},         {"slotSeal", slot_seal},         {"slotOpen", slot_open},
  {"laneStage", lane_stage},       {"laneStaged", lane_staged},     {"laneStageNone", lane_stage_none},
  {"lanePromote", lane_promote},   {"laneInstallReceive", lane_install_receive}, {"laneReceiveKeyIs", lane_receive_key_is},
  {"laneSendValid", lane_send_valid}, {"laneReceiveValid", lane_receive_valid},
};

}  // namespace
}  // namespace ringway
