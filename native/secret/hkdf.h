// Hash, HMAC and the key schedule of DTLS 1.3 (RFC 8446 §7.1, RFC 9147 §5.9). SHA-256 and SHA-384 of the OpenSSL inside Node.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string_view>

namespace ringway {

enum class Hash : uint8_t { sha256, sha384 };
inline constexpr size_t max_hash_bytes = 48;
inline size_t hash_bytes(Hash hash) { return hash == Hash::sha256 ? 32 : 48; }
Hash hash_of_suite(uint16_t suite);

using Bytes = std::span<const uint8_t>;

// Each writes hash_bytes. False when OpenSSL refuses (memory).
bool digest(Hash hash, std::span<const Bytes> chunks, uint8_t* out);
bool hmac(Hash hash, Bytes key, std::initializer_list<Bytes> message, uint8_t* out);
// HKDF-Expand-Label with the prefix 'dtls13'; `length` up to hash_bytes.
bool expand_label(Hash hash, Bytes secret, std::string_view label, Bytes context, uint8_t* out, size_t length);

}  // namespace ringway
