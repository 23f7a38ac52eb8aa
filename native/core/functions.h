// How a folder adds its functions to the addon: one table per file, at its end.
//
//   static const Functions functions{{"put", put}, {"clear", clear}};
//
// The tables link themselves into a list before the addon is first loaded; core/addon.cc walks it for every environment.
#pragma once

#include <initializer_list>
#include <vector>

#include <node_api.h>

namespace ringway {

struct Function {
  const char* name;
  napi_callback call;
};

struct Functions {
  Functions(std::initializer_list<Function> list) : entries{list}, next{first} { first = this; }

  std::vector<Function> entries;
  Functions* next;
  static Functions* first;
};

// An AEAD backend announces itself for about(). Lower rank is faster.
struct AeadBackend {
  AeadBackend(const char* name, int rank, bool (*usable)()) : name{name}, rank{rank}, usable{usable}, next{first} { first = this; }

  const char* name;
  int rank;
  bool (*usable)();  // can this CPU run it?
  AeadBackend* next;
  static AeadBackend* first;
};

}  // namespace ringway
