#include "steering/suspects.h"

#include "core/clock.h"

namespace ringway {

bool Suspects::refused(int32_t slot) {
  Case& about = cases_[case_of(slot)];
  if (about.slot != slot) {  // two slots share a case: it is of the one that is refused more
    if (++about.others <= about.refused) return false;
    about = {slot, 0, 0, 0};
  }
  if (about.refused++ == 0) about.began = monotonic_micros();
  if (about.refused < together) return false;
  const bool suspected = monotonic_micros() - about.began <= hurry;
  about = {slot, 0, 0, 0};
  return suspected;
}

}  // namespace ringway
