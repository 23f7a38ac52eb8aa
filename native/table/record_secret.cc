#include <cstring>

#include "table/lanes.h"

namespace ringway {

bool derive_record_secret(uint16_t suite, uint16_t epoch, const uint8_t* traffic, RecordSecret* out) {
  const Hash hash = hash_of_suite(suite);
  const Bytes secret{traffic, hash_bytes(hash)};
  wipe(out, sizeof *out);
  const bool good = expand_label(hash, secret, "key", {}, out->key, suite::key_length(suite)) && expand_label(hash, secret, "iv", {}, out->iv, sizeof out->iv) &&
                    expand_label(hash, secret, "sn", {}, out->sn, suite::key_length(suite));
  if (!good) {
    wipe(out, sizeof *out);
    return false;
  }
  out->suite = suite;
  out->epoch = epoch;
  std::memcpy(out->traffic, traffic, secret.size());
  return true;
}

}  // namespace ringway
