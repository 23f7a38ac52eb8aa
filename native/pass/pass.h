// A pass: one vector through a whole pipeline in one call, as long as nothing has to be decided between two nodes. The steps are those of
// src/datapath/pipeline.ts, in the same order; where a vector holds something that session.control, the handover or a stream has to see, the pass stops and
// names the step at which the pipeline goes on. Rules: docs/contracts.md.
#pragma once

#include <array>
#include <memory>

#include "io/port.h"
#include "nodes/nodes.h"
#include "pass/stages.h"

namespace ringway {

class Pass final : public Port::Sleeper {
 public:
  static constexpr const char* type_name = "pass";
  static constexpr napi_type_tag type_tag{0x52696e6777617931, 0x9a1f0c6be0d34a31};

  // src/datapath/pass.ts has the same.
  enum class Next : uint32_t {
    done,         // the vector is through
    located,      // uplink: a train is diverted, to be rejected, or another shard's; none has been opened
    control,      // uplink: session.control has entries to look at, or answers were refused by the socket; trains may be left to be opened
    looked_up,    // downlink: not all superpackets pass; they have not been sealed
    transmitted,  // downlink: streams, or refused sends, are among what was to leave; superpackets may be left to be sealed
  };
  // Words of state(), each an f64. JavaScript sets `alone` and `due` before it sleeps, or goes on, and `joining`. From `times` on, how many turns took how long, as turnBucket() of
  // src/observe/statistics.ts says.
  static constexpr uint32_t queued_in = 0, queued_out = 1, received = 2, alone = 3, woken = 4, next = 5, taken = 6, ready = 7, drained = 8, began = 9, down = 10,
                            empty = 11, answered = 12, pings = 13, worked = 14, rested = 15, due = 16, joining = 17, refused_tcp = 18, refused_udp = 19, times = 20;
  static constexpr uint32_t buckets = 104, words = times + buckets;
  // What `woken` says: which direction `next` is of.
  static constexpr uint32_t woken_up = 1, woken_down = 2;

  struct Parts {
    std::shared_ptr<Port> port;
    std::shared_ptr<Lanes> lanes;
    std::shared_ptr<Batch> trains_in, packets, superpackets_out, superpackets_in, trains_out;
    nodes::Joining joining;  // of the vector under way
    uint32_t max_segments;
  };
  // When JavaScript is called.
  struct Calls {
    uint32_t lone_turns;  // so many turns after a sleep of `long_sleep` microseconds are a lone packet's, and its answer's
    double long_sleep;
    double soon, late, alone;   // at work: after so long, where more came than could be worked on, or else; or where one session has the shard to itself
    double together;            // two sessions in so much time share it
    uint32_t full, full_bytes;  // the device has more than a vector of so many superpackets, or bytes
  };
  // nullptr when memory is short.
  static std::shared_ptr<Pass> create(Parts parts, Calls calls);
  ~Pass() { parts_.port->set_sleeper(nullptr); }

  // Of what has come: at most `limit` trains, or superpackets. The batches of the direction are empty before it, and after `done`, but for superpackets that the
  // socket has no room for.
  Next uplink(double now, uint32_t limit);
  Next downlink(double now, uint32_t limit);

  // Turns, one after the other, until nothing is there and nothing comes for `idle_us`, or what is no vector of the socket's or the device's, or a vector is
  // not through, or `until`. The first one may wait in the kernel, and counts from `since`. Sets `ready` (of the last look, what is still to be served),
  // `drained` (some look found the socket empty), `empty` (1: the last one found nothing; 2: after `idle_us`), `began` (of the turn that JavaScript has to
  // finish; infinite: none), `down` (superpackets of the last vector from the device) and `woken`. @returns how many turns are over
  uint32_t turns(double since, double wait_us, double until, double idle_us);

  const Port& port() const { return *parts_.port; }
  const std::shared_ptr<Mapping>& state() const { return state_memory_; }
  const std::shared_ptr<Mapping>& stages() const { return stages_.memory(); }

 private:
  static constexpr uint32_t vector = 32;  // as VECTOR of src/datapath/batches.ts

  Port::Woke wake(uint32_t ready) override;
  void go_on() override;
  Port::Woke work(double until, double idle_us) override;
  bool may_wake() const override { return words_of()[alone] != 0; }
  // How a row of turns ended: nothing was there, the last one has to be finished by JavaScript, or the time was over.
  enum class Ended { empty, stopped, over };
  Ended run(double wait_us, double until, double idle_us);
  void begin_work();
  bool is_pressed() const;
  bool is_called() const;
  void see(const Batch& batch, uint32_t count, double now);
  bool turn(double now, uint32_t ready);
  void ended();
  bool stopped(uint32_t direction, Next where);

  Pass(Parts parts, Calls calls, std::shared_ptr<Mapping> state, Stages stages)
      : parts_{std::move(parts)}, calls_{calls}, state_memory_{std::move(state)}, stages_{std::move(stages)} {}

  bool answer_pings();
  void to_device(double now);
  void note_refused(const BatchHeader& header);
  void nothing_to_device();
  bool leave();
  double* words_of() const { return reinterpret_cast<double*>(state_memory_->data()); }

  Parts parts_;
  Calls calls_;
  std::shared_ptr<Mapping> state_memory_;
  Stages stages_;
  uint32_t turns_in_a_row_ = 0;
  double since_ = 0;       // the turn's time counts from then
  double called_at_ = 0;  // JavaScript, the last time
  int32_t last_slot_ = -1;  // of the session that was seen last
  double several_at_ = 0;  // when another one was seen than before
  double taken_before_ = 0;  // turns, when it was
};

}  // namespace ringway
