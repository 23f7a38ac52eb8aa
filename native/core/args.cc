#include "core/args.h"

#include <cmath>
#include <cstring>

#include "core/errors.h"

namespace ringway {
namespace {

bool is_nothing(napi_env env, napi_value value) {
  napi_valuetype type = napi_undefined;
  return !value || napi_typeof(env, value, &type) != napi_ok || type == napi_undefined || type == napi_null;
}

std::string number_text(double value) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value < 0 ? "-Infinity" : "Infinity";
  char text[32];
  snprintf(text, sizeof text, "%.15g", value);
  return text;
}

std::string between(const char* what, int64_t min, int64_t max) {
  return std::string{"must be "} + what + " from " + std::to_string(min) + " to " + std::to_string(max);
}

std::string one_of(std::initializer_list<const char*> words) {
  std::string text = "must be ";
  size_t i = 0;
  for (const char* word : words) {
    if (i) text += i + 1 == words.size() ? " or " : ", ";
    text += std::string{"'"} + word + "'";
    i++;
  }
  return text;
}

}  // namespace

Args::Args(napi_env env, napi_callback_info info, const char* function) : env_{env}, function_{function} {
  if (napi_get_cb_info(env, info, &count_, values_, nullptr, nullptr) != napi_ok) {
    count_ = 0;
    ok_ = false;
  }
  count_ = std::min(count_, max_arguments);
}

bool Args::present(size_t index) const { return !is_nothing(env_, at(index)); }

std::span<uint8_t> Args::bytes(size_t index, const char* name, size_t min, size_t max) { return bytes_of(at(index), name, min, max); }

std::span<uint8_t> Args::bytes_if_any(size_t index, const char* name, size_t min, size_t max) {
  return present(index) ? bytes_of(at(index), name, min, max) : std::span<uint8_t>{};
}

int64_t Args::integer(size_t index, const char* name, int64_t min, int64_t max) { return integer_of(at(index), name, min, max); }
double Args::number(size_t index, const char* name, double min, double max) { return number_of(at(index), name, min, max); }
bool Args::boolean(size_t index, const char* name) { return boolean_of(at(index), name); }
std::string Args::string(size_t index, const char* name, size_t min, size_t max) { return string_of(at(index), name, min, max); }
size_t Args::choice(size_t index, const char* name, std::initializer_list<const char*> words) { return choice_of(at(index), name, words); }

napi_value Args::function(size_t index, const char* name) {
  napi_valuetype type = napi_undefined;
  napi_value value = at(index);
  if (value && napi_typeof(env_, value, &type) == napi_ok && type == napi_function) return value;
  refuse(false, name, "must be a function", value);
  return nullptr;
}

napi_value Args::array(size_t index, const char* name, uint32_t max, uint32_t* length) { return array_of(at(index), name, max, length); }

napi_value Args::array_of(napi_value value, const char* name, uint32_t max, uint32_t* length) {
  bool is_array = false;
  *length = 0;
  if (!value || napi_is_array(env_, value, &is_array) != napi_ok || !is_array) {
    refuse(false, name, "must be an array", value);
    return nullptr;
  }
  uint32_t elements = 0;
  if (napi_get_array_length(env_, value, &elements) != napi_ok || elements > max) {
    throw_refusal(true, name, "must have at most " + std::to_string(max) + " elements, got " + std::to_string(elements));
    return nullptr;
  }
  *length = elements;
  return value;
}

Options Args::options(size_t index, const char* name) { return options_of(at(index), name); }

Options Args::options_of(napi_value value, const char* name) {
  napi_valuetype type = napi_undefined;
  if (value && napi_typeof(env_, value, &type) == napi_ok && type == napi_object) return Options{*this, value, name};
  refuse(false, name, "must be an object", value);
  return Options{*this, nullptr, name};
}

napi_value Args::refuse_range(const char* name, const char* must) {
  throw_refusal(true, name, must);
  return nullptr;
}

napi_value Args::refuse_type(const char* name, const char* must) {
  throw_refusal(false, name, must);
  return nullptr;
}

std::span<uint8_t> Args::bytes_of(napi_value value, const char* name, size_t min, size_t max) {
  bool is_typed = false;
  napi_typedarray_type type = napi_int8_array;
  size_t length = 0;
  void* memory = nullptr;
  if (!value || napi_is_typedarray(env_, value, &is_typed) != napi_ok || !is_typed ||
      napi_get_typedarray_info(env_, value, &type, &length, &memory, nullptr, nullptr) != napi_ok || type != napi_uint8_array) {
    refuse(false, name, "must be a Uint8Array", value);
    return {};
  }
  if (length < min || length > max) {
    const std::string must = min == max ? "must be " + std::to_string(min) + " bytes long"
                                        : "must be " + std::to_string(min) + " to " + std::to_string(max) + " bytes long";
    throw_refusal(true, name, must + ", got " + std::to_string(length));
    return {};
  }
  static uint8_t nothing;  // an empty array's memory may be null; a span that is present never is
  return {memory ? static_cast<uint8_t*>(memory) : &nothing, length};
}

int64_t Args::integer_of(napi_value value, const char* name, int64_t min, int64_t max) {
  double number = 0;
  if (!value || napi_get_value_double(env_, value, &number) != napi_ok) {
    refuse(false, name, between("an integer", min, max), value);
    return 0;
  }
  if (!(number >= static_cast<double>(min) && number <= static_cast<double>(max)) || number != std::trunc(number)) {
    refuse(true, name, between("an integer", min, max), value);
    return 0;
  }
  return static_cast<int64_t>(number);
}

double Args::number_of(napi_value value, const char* name, double min, double max) {
  double number = 0;
  const bool is_number = value && napi_get_value_double(env_, value, &number) == napi_ok;
  if (is_number && number >= min && number <= max) return number;
  refuse(is_number, name, "must be a number from " + number_text(min) + " to " + number_text(max), value);
  return 0;
}

bool Args::boolean_of(napi_value value, const char* name) {
  bool result = false;
  if (!value || napi_get_value_bool(env_, value, &result) != napi_ok) refuse(false, name, "must be true or false", value);
  return result;
}

std::string Args::string_of(napi_value value, const char* name, size_t min, size_t max) {
  size_t length = 0;
  if (!value || napi_get_value_string_utf8(env_, value, nullptr, 0, &length) != napi_ok) {
    refuse(false, name, "must be a string", value);
    return {};
  }
  if (length < min || length > max) {
    throw_refusal(true, name,
                  "must be " + std::to_string(min) + " to " + std::to_string(max) + " bytes of UTF-8, got " + std::to_string(length));
    return {};
  }
  std::string text(length + 1, '\0');
  if (napi_get_value_string_utf8(env_, value, text.data(), text.size(), &length) != napi_ok) {
    ok_ = false;
    return {};
  }
  text.resize(length);
  if (text.find('\0') != std::string::npos) {
    throw_refusal(true, name, "must not contain a zero character");
    return {};
  }
  return text;
}

size_t Args::choice_of(napi_value value, const char* name, std::initializer_list<const char*> words) {
  char text[32] = {};
  size_t length = 0;
  if (!value || napi_get_value_string_utf8(env_, value, text, sizeof text, &length) != napi_ok) {
    refuse(false, name, one_of(words), value);
    return 0;
  }
  size_t i = 0;
  for (const char* word : words) {
    if (length == strlen(word) && memcmp(text, word, length) == 0) return i;
    i++;
  }
  refuse(true, name, one_of(words), value);
  return 0;
}

Holder* Args::holder_of(napi_value value, const char* name, const char* type_name, const napi_type_tag& tag) {
  Holder* holder = unwrap(env_, value, tag);
  if (!holder) refuse(false, name, std::string{strchr("aeiou", type_name[0]) ? "must be an " : "must be a "} + type_name + " handle", value);
  return holder;
}

void Args::refuse(bool range, const char* name, const std::string& must, napi_value got) {
  throw_refusal(range, name, must + ", got " + describe(got));
}

void Args::throw_refusal(bool range, const char* name, const std::string& must) {
  if (!ok_) return;
  ok_ = false;
  bool pending = false;
  if (napi_is_exception_pending(env_, &pending) != napi_ok || pending) return;
  const std::string message = std::string{function_} + ": " + name + " " + must;
  if (range) {
    throw_range(env_, message.c_str());
  } else {
    throw_type(env_, message.c_str());
  }
}

std::string Args::describe(napi_value value) const {
  if (!value) return "nothing";
  napi_valuetype type = napi_undefined;
  if (napi_typeof(env_, value, &type) != napi_ok) return "nothing";
  switch (type) {
    case napi_undefined: return "undefined";
    case napi_null: return "null";
    case napi_boolean: {
      bool is = false;
      napi_get_value_bool(env_, value, &is);
      return is ? "true" : "false";
    }
    case napi_number: {
      double number = 0;
      napi_get_value_double(env_, value, &number);
      return number_text(number);
    }
    case napi_string: {  // never what it says: it may be a secret at the wrong place
      size_t length = 0;
      napi_get_value_string_utf8(env_, value, nullptr, 0, &length);
      return "a string of " + std::to_string(length) + (length == 1 ? " byte" : " bytes");
    }
    case napi_symbol: return "a symbol";
    case napi_object: return "an object";
    case napi_function: return "a function";
    case napi_external: return "another handle";
    case napi_bigint: return "a bigint";
  }
  return "something else";
}

bool Options::present(const char* name) { return !is_nothing(args_.env(), get(name)); }

napi_value Options::get(const char* name) {
  napi_value value = nullptr;
  if (!args_.ok() || !object_) return nullptr;
  return napi_get_named_property(args_.env(), object_, name, &value) == napi_ok ? value : nullptr;
}

const char* Options::label(const char* name) {
  label_ = std::string{name_} + "." + name;
  return label_.c_str();
}

}  // namespace ringway
