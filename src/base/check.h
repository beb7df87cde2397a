#pragma once
// CHECK(condition): states an invariant. When it does not hold the process stops with the place and
// the condition: going on would risk the data. Always on, in release too. Split `CHECK(a && b)`
// into two.
//
// CHECK(condition, "format {}", values...) adds what a person needs to know.

#include <fmt/core.h>

#include <string_view>

namespace conclave::detail {

// Writes the message to standard error and aborts.
[[noreturn]] void check_failed(const char* file, int line, const char* condition,
                               std::string_view message);

}  // namespace conclave::detail

#define CHECK(condition, ...)                                          \
  do {                                                                 \
    if (!(condition)) [[unlikely]]                                     \
      ::conclave::detail::check_failed(__FILE__, __LINE__, #condition, \
                                       ::fmt::format("" __VA_ARGS__)); \
  } while (false)
