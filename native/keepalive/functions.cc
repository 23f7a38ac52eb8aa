// Answers to Pings as JavaScript calls them.
#include "core/args.h"
#include "core/functions.h"
#include "core/values.h"
#include "keepalive/answer.h"

namespace ringway {
namespace {

// answerPings(lanes, packets, answers) -> entries answered
napi_value answer_pings(napi_env env, napi_callback_info info) {
  Args args{env, info, "answerPings"};
  Lanes* lanes = lanes_of(args, 0);
  auto* packets = args.handle<Batch>(1, "packets");
  auto* answers = args.handle<Batch>(2, "answers");
  if (!args.ok()) return nullptr;
  if (answers->arena == packets->arena) return args.refuse_range("answers", "must have an arena of its own");
  return to_js(env, keepalive::answer(*lanes, *packets, *answers));
}

const Functions functions{{"answerPings", answer_pings}};

}  // namespace
}  // namespace ringway
