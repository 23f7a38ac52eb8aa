#include "hello/parse.h"

#include <algorithm>

#include "packet/bytes.h"

namespace ringway::hello {
namespace {

using Bytes = std::span<const uint8_t>;

constexpr uint8_t handshake = 22, least_type = 20, most_type = 26;
constexpr size_t record_header = 13, random_bytes = 32, max_session_id = 32;
constexpr uint8_t client_hello = 1;
constexpr uint16_t second_hello = 1, dtls12 = 0xfefd, dtls13 = 0xfefc;
constexpr uint16_t supported_groups = 10, signature_algorithms = 13, supported_versions = 43, cookie = 44, key_share = 51;
constexpr uint8_t handshake_failure = 40, protocol_version = 70, missing_extension = 109;

// Fields one after the other. What goes beyond the end reads as nothing and makes it bad for good.
class Reader {
 public:
  explicit Reader(Bytes bytes) : left_{bytes} {}

  bool good() const { return good_; }
  bool done() const { return left_.empty(); }
  Bytes take(size_t length) {
    if (!good_ || length > left_.size()) {
      good_ = false;
      return {};
    }
    const Bytes taken = left_.first(length);
    left_ = left_.subspan(length);
    return taken;
  }
  uint32_t uint(size_t size) {
    uint32_t value = 0;
    for (const uint8_t byte : take(size)) value = value << 8 | byte;
    return value;
  }
  uint16_t u16() { return static_cast<uint16_t>(uint(2)); }
  Bytes prefixed(size_t size) { return take(uint(size)); }

 private:
  Bytes left_;
  bool good_ = true;
};

struct Fragment {
  uint8_t type;
  uint32_t length, offset;
  uint16_t sequence;
  Bytes body;
};

// Fragments must fill their record exactly; only the first matters. @returns whether they do
bool read_fragments(Bytes content, Fragment& first) {
  Reader from{content};
  bool is_first = true;
  do {
    Fragment one{};
    one.type = static_cast<uint8_t>(from.uint(1));
    one.length = from.uint(3);
    one.sequence = from.u16();
    one.offset = from.uint(3);
    one.body = from.prefixed(3);
    if (!from.good() || one.offset + one.body.size() > one.length) return false;
    if (is_first) first = one;
    is_first = false;
  } while (!from.done());
  return true;
}

// Extensions by type, or key shares by group: each at most once.
class Entries {
 public:
  // @returns false when `block` is not such a list
  bool read(Bytes block) {
    for (Reader from{block}; !from.done();) {
      const uint16_t code = from.u16();
      const Bytes content = from.prefixed(2);
      if (!from.good() || count_ == most || find(code)) return false;
      entries_[count_++] = {code, content};
    }
    return true;
  }
  const Bytes* find(uint16_t code) const {
    for (size_t i = 0; i < count_; i++) {
      if (entries_[i].code == code) return &entries_[i].content;
    }
    return nullptr;
  }

 private:
  static constexpr size_t most = 64;
  struct Entry {
    uint16_t code;
    Bytes content;
  };
  std::array<Entry, most> entries_;
  size_t count_ = 0;
};

struct ClientHello {
  Bytes session_id, suites;
  Entries extensions;
};

// A list of 16-bit numbers behind its length in bytes.
bool read_numbers(Reader& from, Bytes& numbers) {
  numbers = from.prefixed(2);
  return from.good() && numbers.size() % 2 == 0;
}

bool has(Bytes numbers, uint16_t wanted) {
  for (size_t at = 0; at + 2 <= numbers.size(); at += 2) {
    if (load16(&numbers[at]) == wanted) return true;
  }
  return false;
}

enum class Decoded : uint8_t { yes, other_version, no };

Decoded read_hello(Bytes body, ClientHello& hello) {
  Reader from{body};
  const uint16_t version = from.u16();
  if (from.good() && version != dtls12) return Decoded::other_version;
  from.take(random_bytes);
  hello.session_id = from.prefixed(1);
  const Bytes legacy_cookie = from.prefixed(1);
  const bool lists = read_numbers(from, hello.suites);
  const Bytes compression = from.prefixed(1);
  const Bytes extensions = from.prefixed(2);
  if (!from.good() || !from.done() || !lists || hello.session_id.size() > max_session_id || !legacy_cookie.empty()) return Decoded::no;
  if (compression.size() != 1 || compression[0] != 0) return Decoded::no;
  return hello.extensions.read(extensions) ? Decoded::yes : Decoded::no;
}

// A ClientHello that breaks off: does a whole cookie come before it does?
bool prefix_has_cookie(Bytes body) {
  Reader from{body};
  from.take(2 + random_bytes);
  from.prefixed(1);
  from.prefixed(1);
  from.prefixed(2);
  from.prefixed(1);
  from.u16();  // length of the extensions
  while (from.good()) {
    const uint16_t type = from.u16();
    from.prefixed(2);
    if (from.good() && type == cookie) return true;
  }
  return false;
}

struct Offer {
  Judgement judgement = Judgement::retry;
  uint8_t alert = 0;
};

bool read_only_numbers(Bytes content, Bytes& numbers) {
  Reader from{content};
  return read_numbers(from, numbers) && from.done();
}

bool read_shares(Bytes content, Entries& shares) {
  Reader from{content};
  const Bytes list = from.prefixed(2);
  return from.good() && from.done() && shares.read(list);
}

// The place in `wanted` of the first that is among `offered`, or its count.
size_t first_common(const Preferences& wanted, Bytes offered) {
  const auto all = wanted.all();
  return static_cast<size_t>(std::find_if(all.begin(), all.end(), [&](uint16_t each) { return has(offered, each); }) - all.begin());
}

// Suite and group by our preference. In the order in which src/dtls/listener.ts looks, as the first that is wrong gives its name.
Offer choose(const ClientHello& hello, const Terms& terms, Heard& heard) {
  constexpr Offer missing{Judgement::missing_extension, missing_extension}, malformed{Judgement::malformed};
  const Bytes* found = hello.extensions.find(supported_versions);
  if (!found) return missing;
  Reader versions{*found};
  const bool new_enough = has(versions.prefixed(1), dtls13);
  if (!versions.good()) return malformed;
  if (!new_enough) return {Judgement::not_dtls13, protocol_version};

  Entries shares;
  Bytes groups, schemes;
  if (!(found = hello.extensions.find(key_share))) return missing;
  if (!read_shares(*found, shares)) return malformed;
  if (!(found = hello.extensions.find(supported_groups))) return missing;
  if (!read_only_numbers(*found, groups)) return malformed;
  if (!(found = hello.extensions.find(signature_algorithms))) return missing;
  if (!read_only_numbers(*found, schemes)) return malformed;

  const size_t suite = first_common(terms.suites, hello.suites);
  if (suite == terms.suites.count) return {Judgement::no_common_suite, handshake_failure};
  const size_t group = first_common(terms.groups, groups);
  if (group == terms.groups.count) return {Judgement::no_common_group, handshake_failure};
  if (first_common(terms.schemes, schemes) == terms.schemes.count) return {Judgement::no_common_scheme, handshake_failure};
  heard.suite = terms.suites.list[suite];
  heard.group = terms.groups.list[group];
  const Bytes* share = shares.find(heard.group);
  if (share && share->size() != terms.share_lengths[group]) return malformed;
  heard.named = share == nullptr;
  return {};
}

// The first record's fragments; only it can begin a handshake. @returns false when it is no plaintext handshake record
bool first_record(Bytes datagram, Bytes& content, uint64_t& sequence) {
  if (datagram.size() < record_header || datagram[0] < least_type || datagram[0] > most_type) return false;
  const size_t length = load16(&datagram[record_header - 2]);
  if (record_header + length > datagram.size()) return false;
  const uint16_t epoch = load16(&datagram[3]);
  if (epoch != 0 || datagram[1] != 0xfe || datagram[0] != handshake) return false;
  sequence = uint64_t{load16(&datagram[5])} << 32 | load32(&datagram[7]);
  content = datagram.subspan(record_header, length);
  return true;
}

}  // namespace

Heard judge(std::span<const uint8_t> datagram, const Terms& terms) {
  Heard heard;
  const auto end = [&](Judgement judgement, uint8_t alert = 0) {
    heard.judgement = judgement;
    heard.alert = alert;
    return heard;
  };
  Bytes content;
  if (!first_record(datagram, content, heard.sequence)) return end(Judgement::not_hello);
  Fragment fragment{};
  if (!read_fragments(content, fragment)) return end(Judgement::malformed);
  if (fragment.type != client_hello || fragment.sequence > second_hello) return end(Judgement::not_hello);
  if (fragment.offset != 0) return end(fragment.sequence == second_hello ? Judgement::later_piece : Judgement::fragmented);
  if (fragment.body.size() < fragment.length) return end(prefix_has_cookie(fragment.body) ? Judgement::has_cookie : Judgement::fragmented);

  ClientHello hello;
  const Decoded decoded = read_hello(fragment.body, hello);
  if (decoded == Decoded::other_version) return end(Judgement::not_dtls13, protocol_version);
  if (decoded == Decoded::no) return end(Judgement::malformed);
  if (hello.extensions.find(cookie)) return end(Judgement::has_cookie);
  if (fragment.sequence != 0) return end(Judgement::not_hello);
  const Offer offer = choose(hello, terms, heard);
  heard.body = fragment.body;
  heard.session_id = hello.session_id;
  return end(offer.judgement, offer.alert);
}

}  // namespace ringway::hello
