// Memory for secrets: pages of their own, locked where the limit allows, left out of core dumps, zeroed when given back.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

namespace ringway {

class SecretMemory {
 public:
  // Zeroed bytes at a 64-byte boundary; nullptr when memory is short. Any thread.
  static void* take(size_t bytes);
  static void give_back(void* memory, size_t bytes);
};

// One T in secret memory. T is trivial: it begins as zeros and ends as zeros.
template <class T>
struct SecretDelete {
  void operator()(T* object) const { SecretMemory::give_back(object, sizeof(T)); }
};
template <class T>
using SecretPtr = std::unique_ptr<T, SecretDelete<T>>;
template <class T>
SecretPtr<T> make_secret() {
  return SecretPtr<T>{static_cast<T*>(SecretMemory::take(sizeof(T)))};
}

// Fresh bytes of the kernel's generator. Never fails: aborts where there is none.
void random_bytes(void* to, size_t length);

}  // namespace ringway
