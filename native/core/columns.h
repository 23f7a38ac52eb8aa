// The values that columns of a batch hold, as src/datapath/batch.ts names them. No N-API here: parsers and fuzz targets use it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace ringway {

namespace verdict {
enum : uint8_t {
  pass, divert, elsewhere, handed_over, reject, held, answered,
  too_short, bad_magic, bad_version, version_mismatch, rejected_id, not_online, replayed, forged, no_key, malformed, not_ipv4,
  bad_inner_checksum, no_route, too_large, bad_gso, superseded, handover_full, no_block, send_failed, tun_refused, overload,
  truncated, pacer_full, unprotected, unknown_id,
};
inline constexpr uint8_t first_drop = too_short;
inline constexpr std::array names{
  "pass", "divert", "elsewhere", "handedOver", "reject", "held", "answered",
  "tooShort", "badMagic", "badVersion", "versionMismatch", "rejectedId", "notOnline", "replayed", "forged", "noKey", "malformed", "notIpv4",
  "badInnerChecksum", "noRoute", "tooLarge", "badGso", "superseded", "handoverFull", "noBlock", "sendFailed", "tunRefused", "overload",
  "truncated", "pacerFull", "unprotected", "unknownId",
};
static_assert(names.size() == unknown_id + 1);
}  // namespace verdict

namespace flag {
inline constexpr uint16_t needs_checksum = 1, checksum_valid = 2, floating = 4, new_id = 8, expresslane = 16, unsegmented = 32;
}
namespace kind {
inline constexpr uint8_t raw = 0, alert = 21, handshake = 22, application = 23, ack = 26;  // packets
inline constexpr uint8_t datagrams = 0, stream = 1;                                       // trains
}
namespace gso {
inline constexpr uint8_t none = 0, tcp4 = 1, tcp6 = 4, udp = 5;
inline constexpr uint8_t piece = 255;  // no superpacket: more bytes of the one in front of it
}
namespace address {
inline constexpr size_t size = 40, family = 0, port_number = 2, remote = 4, local = 20, key_bytes = 20;
}

}  // namespace ringway
