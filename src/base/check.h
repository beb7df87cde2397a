#pragma once
// CHECK(condition): states an invariant. When it does not hold the process stops with the place and
// the condition: going on would risk the data. Always on, in release too. Split `CHECK(a && b)`
// into two.
//
// CHECK(condition, "format {}", values...) adds what a person needs to know.

#include <fmt/core.h>

#include <string_view>

namespace conclave {

// Told what failed, before the process aborts. The simulator's throws instead: there the process is
// one of many members, and the failure a finding. Not thread-safe: call before other threads exist.
using CheckHandler = void (*)(std::string_view message);
void set_check_handler(CheckHandler handler);

}  // namespace conclave

namespace conclave::detail {

// Calls the handler, if one is set; else writes the message to standard error. Then aborts.
[[noreturn]] void check_failed(const char* file, int line, const char* condition,
                               std::string_view message);

}  // namespace conclave::detail

#define CHECK(condition, ...)                                          \
  do {                                                                 \
    if (!(condition)) [[unlikely]]                                     \
      ::conclave::detail::check_failed(__FILE__, __LINE__, #condition, \
                                       ::fmt::format("" __VA_ARGS__)); \
  } while (false)
