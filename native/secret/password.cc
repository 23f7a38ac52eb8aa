// Password hashes of crypt(3), by libxcrypt: everything a system's /etc/shadow may hold.
#include <crypt.h>

#include <cerrno>
#include <cstring>
#include <memory>

#include "core/args.h"
#include "core/errors.h"
#include "core/functions.h"
#include "core/values.h"
#include "secret/memory.h"

namespace ringway {
namespace {

constexpr size_t max_setting = CRYPT_OUTPUT_SIZE - 1;
constexpr size_t max_password = CRYPT_MAX_PASSPHRASE_SIZE - 1;

// hashPassword(password, setting) -> hash
// Takes from microseconds to seconds, as the setting says, so it is called in the crypto pool. The password, and all that libxcrypt makes of
// it, is zeroed before this returns.
napi_value hash_password(napi_env env, napi_callback_info info) {
  Args args{env, info, "hashPassword"};
  const auto password = args.bytes(0, "password", 0, max_password);
  const auto setting = args.string(1, "setting", 1, max_setting);
  if (!args.ok()) return nullptr;
  // crypt(3) would stop there, and take any password with the same beginning for the right one
  if (!password.empty() && std::memchr(password.data(), 0, password.size())) return args.refuse_range("password", "must hold no zero byte");

  struct Work {
    crypt_data data;
    char phrase[max_password + 1];
  };
  const auto work = make_secret<Work>();
  if (!work) return throw_errno(env, "crypt_rn", ENOMEM);
  if (!password.empty()) std::memcpy(work->phrase, password.data(), password.size());
  errno = 0;
  const char* hash = crypt_rn(work->phrase, setting.c_str(), &work->data, sizeof work->data);
  if (!hash) return throw_errno(env, "crypt_rn", errno ? errno : EINVAL);
  return to_js(env, std::string_view{hash});
}

// knowsPasswordHash(setting) -> whether libxcrypt here was built with its method; a hash is a setting too
napi_value knows_password_hash(napi_env env, napi_callback_info info) {
  Args args{env, info, "knowsPasswordHash"};
  const auto setting = args.string(0, "setting", 1, max_setting);
  if (!args.ok()) return nullptr;
  const int verdict = crypt_checksalt(setting.c_str());
  return to_js(env, verdict != CRYPT_SALT_INVALID && verdict != CRYPT_SALT_METHOD_DISABLED);
}

const Functions functions{{"hashPassword", hash_password}, {"knowsPasswordHash", knows_password_hash}};

}  // namespace
}  // namespace ringway
