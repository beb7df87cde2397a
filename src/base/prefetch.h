#pragma once
// Memory that will be read soon: the processor fetches it into its caches meanwhile. No effect
// otherwise; the address need not even be one.

#include <cstddef>

namespace conclave {

inline void prefetch(const void* from, std::size_t bytes) {
  constexpr std::size_t kCacheLineBytes = 64;
  const auto* at = static_cast<const char*>(from);
  for (std::size_t i = 0; i < bytes; i += kCacheLineBytes) __builtin_prefetch(at + i);
  // GCC 12 takes a function that does nothing else for one without an effect, and does not call it.
  asm volatile("");
}

}  // namespace conclave
