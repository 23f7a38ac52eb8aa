// A first ClientHello of DTLS 1.3 as it comes (RFC 9147 §5, RFC 8446 §4.1.2), and what a server chooses of it. Knows nothing of N-API and takes no
// memory. src/dtls/listener.ts is the same in TypeScript: both judge every datagram alike.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace ringway::hello {

// Numbers of 16 bits, best first.
struct Preferences {
  static constexpr size_t most = 32;
  std::array<uint16_t, most> list{};
  size_t count = 0;

  std::span<const uint16_t> all() const { return {list.data(), count}; }
};

// What a server takes.
struct Terms {
  Preferences suites, groups, schemes;
  std::array<uint16_t, Preferences::most> share_lengths{};  // of a client, by group
  size_t amplification = 3;  // no retry is longer than so many times its hello
};

enum class Judgement : uint8_t {
  retry, not_hello, malformed, fragmented, no_common_suite, no_common_group, no_common_scheme, not_dtls13, missing_extension, amplification,
  has_cookie, later_piece,  // for whoever keeps sessions: the first piece of a second ClientHello may be about to begin one
};
// As src/dtls/options.ts has them.
inline constexpr std::array judgement_names{
  "retry", "notHello", "malformed", "fragmented", "noCommonSuite", "noCommonGroup", "noCommonScheme", "notDtls13", "missingExtension", "amplification",
};
inline constexpr size_t judgements = judgement_names.size();

struct Heard {
  Judgement judgement = Judgement::not_hello;
  uint8_t alert = 0;        // to be sent, unless 0
  uint64_t sequence = 0;    // of its record
  std::span<const uint8_t> body;  // of the ClientHello, when it is to be retried
  std::span<const uint8_t> session_id;
  uint16_t suite = 0, group = 0;
  bool named = false;       // the client has to be asked for a share of the group
};

// @param datagram what follows the Lightway header
Heard judge(std::span<const uint8_t> datagram, const Terms& terms);

}  // namespace ringway::hello
