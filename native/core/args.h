// The arguments of one call, checked before anything is touched.
//
//   Args args{env, info, "put"};
//   auto* batch = args.handle<Batch>(0, "batch");
//   const auto slot = args.integer(1, "slot", -1, max_slots);
//   const auto bytes = args.bytes(4, "bytes", 1, 65536);
//   if (!args.ok()) return nullptr;  // the first wrong argument has thrown; the rest read as zero
//
// A refusal names function, argument and range: "put: slot must be an integer from -1 to 65535, got 70000".
// Options objects are read the same way: `Options o = args.options(0, "options"); o.integer("tun", -1, INT_MAX)`.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include <node_api.h>

#include "core/handle.h"

namespace ringway {

class Options;

class Args {
 public:
  Args(napi_env env, napi_callback_info info, const char* function);

  bool ok() const { return ok_; }
  napi_env env() const { return env_; }
  bool present(size_t index) const;  // neither undefined nor null

  // Valid during this call; `shared` where the object must live longer.
  template <class T>
  T* handle(size_t index, const char* name) {
    Holder* holder = holder_of(at(index), name, T::type_name, T::type_tag);
    return holder ? static_cast<T*>(holder->object.get()) : nullptr;
  }
  template <class T>
  std::shared_ptr<T> shared(size_t index, const char* name) {
    Holder* holder = holder_of(at(index), name, T::type_name, T::type_tag);
    return holder ? std::static_pointer_cast<T>(holder->object) : nullptr;
  }
  // A Uint8Array (Buffers are). The memory belongs to JavaScript: use it within this call.
  std::span<uint8_t> bytes(size_t index, const char* name, size_t min = 0, size_t max = UINT32_MAX);
  // The same, or an empty span with data() == nullptr for undefined.
  std::span<uint8_t> bytes_if_any(size_t index, const char* name, size_t min = 0, size_t max = UINT32_MAX);
  int64_t integer(size_t index, const char* name, int64_t min, int64_t max);
  double number(size_t index, const char* name, double min, double max);
  bool boolean(size_t index, const char* name);
  std::string string(size_t index, const char* name, size_t min, size_t max);  // lengths in UTF-8 bytes; no NUL inside
  // One of a fixed set of words, as its index: choice(2, "kind", {"udp", "tun"})
  size_t choice(size_t index, const char* name, std::initializer_list<const char*> words);
  napi_value function(size_t index, const char* name);
  napi_value array(size_t index, const char* name, uint32_t max, uint32_t* length);
  Options options(size_t index, const char* name);
  napi_value at(size_t index) const { return index < count_ ? values_[index] : nullptr; }

  // Refuses in the same form for a reason of the caller's own: "put: bytes ..." + must. Returns nullptr.
  napi_value refuse_range(const char* name, const char* must);
  napi_value refuse_type(const char* name, const char* must);

  // The same checks for any value (an element, a property); `name` is only for the message.
  std::span<uint8_t> bytes_of(napi_value value, const char* name, size_t min, size_t max);
  int64_t integer_of(napi_value value, const char* name, int64_t min, int64_t max);
  double number_of(napi_value value, const char* name, double min, double max);
  bool boolean_of(napi_value value, const char* name);
  std::string string_of(napi_value value, const char* name, size_t min, size_t max);
  napi_value array_of(napi_value value, const char* name, uint32_t max, uint32_t* length);
  size_t choice_of(napi_value value, const char* name, std::initializer_list<const char*> words);
  Options options_of(napi_value value, const char* name);
  Holder* holder_of(napi_value value, const char* name, const char* type_name, const napi_type_tag& tag);

 private:
  static constexpr size_t max_arguments = 8;

  void refuse(bool range, const char* name, const std::string& must, napi_value got);
  void throw_refusal(bool range, const char* name, const std::string& must);
  std::string describe(napi_value value) const;

  napi_env env_;
  const char* function_;
  bool ok_ = true;
  size_t count_ = max_arguments;
  napi_value values_[max_arguments];
};

// The properties of an options argument. Getters on the object may run JavaScript; values are read once.
class Options {
 public:
  // `name` is only for messages
  Options(Args& args, napi_value object, const char* name) : args_{args}, object_{object}, name_{name} {}

  bool present(const char* name);
  int64_t integer(const char* name, int64_t min, int64_t max) { return args_.integer_of(get(name), label(name), min, max); }
  int64_t integer_or(const char* name, int64_t min, int64_t max, int64_t otherwise) { return present(name) ? integer(name, min, max) : otherwise; }
  bool boolean(const char* name) { return args_.boolean_of(get(name), label(name)); }
  bool boolean_or(const char* name, bool otherwise) { return present(name) ? boolean(name) : otherwise; }
  std::string string(const char* name, size_t min, size_t max) { return args_.string_of(get(name), label(name), min, max); }
  size_t choice(const char* name, std::initializer_list<const char*> words) { return args_.choice_of(get(name), label(name), words); }
  template <class T>
  std::shared_ptr<T> shared(const char* name) {
    Holder* holder = args_.holder_of(get(name), label(name), T::type_name, T::type_tag);
    return holder ? std::static_pointer_cast<T>(holder->object) : nullptr;
  }
  template <class T>
  std::shared_ptr<T> shared_if_any(const char* name) {
    return present(name) ? shared<T>(name) : nullptr;
  }
  napi_value get(const char* name);

 private:
  const char* label(const char* name);

  Args& args_;
  napi_value object_;
  const char* name_;
  std::string label_;
};

}  // namespace ringway
