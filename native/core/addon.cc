// The addon's entry, once per environment (the main thread and every worker): a table of functions on `exports`.
#include <node_api.h>

#include "core/environment.h"
#include "core/functions.h"

namespace ringway {

constinit Functions* Functions::first = nullptr;
constinit AeadBackend* AeadBackend::first = nullptr;

}  // namespace ringway

NAPI_MODULE_INIT() {
  using namespace ringway;
  if (!Environment::create(env)) return nullptr;
  for (const Functions* table = Functions::first; table; table = table->next) {
    for (const Function& entry : table->entries) {
      napi_value function = nullptr;
      if (napi_create_function(env, entry.name, NAPI_AUTO_LENGTH, entry.call, nullptr, &function) != napi_ok ||
          napi_set_named_property(env, exports, entry.name, function) != napi_ok) {
        return nullptr;
      }
    }
  }
  return exports;
}
