#include "steering/numbers.h"

#include <array>
#include <bit>
#include <cstring>

#include "aead/aead.h"

namespace ringway::numbers {
namespace {

constexpr auto relaxed = std::memory_order_relaxed;
constexpr auto release = std::memory_order_release;

constexpr uint8_t doubled(uint8_t value) { return static_cast<uint8_t>(value << 1 ^ (value & 0x80 ? 0x1b : 0)); }

// FIPS 197 §5.1.1: the inverse in GF(2^8), by powers of the generator 3, and the affine map.
constexpr std::array<uint8_t, 256> make_sbox() {
  std::array<uint8_t, 256> powers{}, box{};
  uint8_t value = 1;
  for (uint32_t i = 0; i < 255; i++) {
    powers[i] = value;
    value = static_cast<uint8_t>(value ^ doubled(value));
  }
  const auto affine = [](uint8_t b) {
    return static_cast<uint8_t>(b ^ std::rotl(b, 1) ^ std::rotl(b, 2) ^ std::rotl(b, 3) ^ std::rotl(b, 4) ^ 0x63);
  };
  box[0] = 0x63;
  for (uint32_t i = 0; i < 255; i++) box[powers[i]] = affine(powers[(255 - i) % 255]);
  return box;
}
constexpr std::array<uint8_t, 256> sbox = make_sbox();
static_assert(sbox[0x53] == 0xed && sbox[0xff] == 0x16);

// FIPS 197 §5.2. `to`: 15 round keys of 16 bytes, of which the last 11 are used for a key of 16 bytes.
void expand(const uint8_t* key, uint32_t key_bytes, uint8_t* to) {
  const uint32_t words = key_bytes / 4, total = 4 * (words + 7);
  uint8_t* out = to + 16 * (15 - (words + 7));
  std::memcpy(out, key, key_bytes);
  uint8_t constant = 1;
  for (uint32_t i = words; i < total; i++) {
    const uint8_t* before = out + 4 * (i - 1);
    uint8_t word[4] = {before[0], before[1], before[2], before[3]};
    if (i % words == 0) {
      for (uint32_t byte = 0; byte < 4; byte++) word[byte] = sbox[before[(byte + 1) % 4]];
      word[0] ^= constant;
      constant = doubled(constant);
    } else if (words > 6 && i % words == 4) {
      for (uint8_t& byte : word) byte = sbox[byte];
    }
    for (uint32_t byte = 0; byte < 4; byte++) out[4 * i + byte] = out[4 * (i - words) + byte] ^ word[byte];
  }
}

// The lowest number that the window might still take.
uint64_t floor_of(const PublicSlot& slot, uint32_t bits) {
  const uint64_t next = slot.record_next[bits];
  uint64_t at = next > record_window_size ? next - record_window_size : 0;
  while (at < next && (slot.record_window[bits * 8 + (at >> 6 & 7)] >> (at & 63) & 1) != 0) at++;
  return at;
}

// Not by memset(), which a compiler may leave out.
void wipe(void* memory, size_t bytes) {
  auto* words = static_cast<volatile uint64_t*>(memory);
  for (size_t i = 0; i < bytes / 8; i++) words[i] = 0;
}

// Round keys begin with the key.
uint8_t* key_in(Epoch& told, uint16_t suite) { return reinterpret_cast<uint8_t*>(told.keys) + (suite == suite::aes128 ? 64 : 0); }

bool is_told(Epoch& told, uint16_t epoch, const RecordSecret& secret) {
  if (told.epoch != epoch || secret.epoch != epoch) return false;
  const uint32_t rounds = secret.suite == suite::aes128 ? 10 : 14;
  return told.rounds.load(relaxed) == rounds && std::memcmp(key_in(told, secret.suite), secret.sn, suite::key_length(secret.suite)) == 0;
}

void change_key(Epoch& told, uint16_t epoch, const RecordSecret& secret) {
  told.span.store(all, release);
  told.rounds.store(unknown, release);
  told.epoch = epoch;
  const bool aes = secret.epoch == epoch && (secret.suite == suite::aes128 || secret.suite == suite::aes256);
  if (!aes) return wipe(told.keys, sizeof told.keys);
  expand(secret.sn, static_cast<uint32_t>(suite::key_length(secret.suite)), reinterpret_cast<uint8_t*>(told.keys));
  told.rounds.store(secret.suite == suite::aes128 ? 10 : 14, release);
}

// Of an epoch without keys nothing can be opened. Who is not Online yet is heard all the same: the handshake may go on in it.
void close_epoch(Epoch& told, bool online) {
  if (told.epoch != 0) wipe(told.keys, sizeof told.keys);
  told.epoch = 0;
  told.rounds.store(online ? 0 : unknown, release);
}

}  // namespace

void write_tables(uint8_t* to) {
  for (uint32_t table = 0; table < 4; table++) {
    for (uint32_t i = 0; i < 256; i++) {
      const uint8_t s = sbox[i], twice = doubled(s);
      const uint8_t column[4] = {twice, s, s, static_cast<uint8_t>(twice ^ s)};
      for (uint32_t byte = 0; byte < 4; byte++) to[4 * (256 * table + i) + (byte + table) % 4] = column[byte];
    }
  }
}

void tell(Block& block, const PublicSlot& slot, const SecretSlot& secret) {
  for (uint32_t bits = 0; bits < 4; bits++) {
    Epoch& told = block.epochs[bits];
    const uint16_t epoch = slot.receive_epochs[bits];
    if (epoch == 0) {
      close_epoch(told, slot.state == slot_state::online);
      continue;
    }
    if (!is_told(told, epoch, secret.receive_record[bits])) change_key(told, epoch, secret.receive_record[bits]);
    const uint64_t low = floor_of(slot, bits), span = slot.record_next[bits] + ahead - low;
    told.low.store(static_cast<uint32_t>(low & 0xffff), release);
    told.span.store(static_cast<uint32_t>(span), release);
  }
}

void erase(Block& block) { wipe(&block, sizeof block); }

}  // namespace ringway::numbers
