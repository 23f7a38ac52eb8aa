// A descriptor with an owner: closed when it goes out of scope, unless released to JavaScript.
#pragma once

#include <unistd.h>

namespace ringway {

class Descriptor {
 public:
  explicit Descriptor(int descriptor = -1) : descriptor_{descriptor} {}
  Descriptor(Descriptor&& from) noexcept : descriptor_{from.release()} {}
  Descriptor& operator=(Descriptor&& from) noexcept {
    if (this != &from) reset(from.release());
    return *this;
  }
  ~Descriptor() { reset(-1); }

  int get() const { return descriptor_; }
  bool ok() const { return descriptor_ >= 0; }
  int release() {
    const int released = descriptor_;
    descriptor_ = -1;
    return released;
  }
  void reset(int descriptor) {
    if (descriptor_ >= 0) close(descriptor_);  // nothing to do about a failing close of our own descriptor
    descriptor_ = descriptor;
  }

 private:
  int descriptor_;
};

}  // namespace ringway
