#pragma once
// LOG(level, "format {}", values...): a line for the operator. Where it goes is decided once by
// whoever owns the process (server: spdlog; simulator: virtual time); until then, standard error.
// Pure code does not log: it returns what happened.

#include <fmt/core.h>

#include <string_view>

namespace conclave {

enum class LogLevel { kDebug, kInfo, kWarn, kError };

using LogSink = void (*)(LogLevel level, std::string_view line);

// Replaces the sink and the lowest level that reaches it. Not thread-safe: call before other
// threads exist.
void set_log_sink(LogSink sink, LogLevel lowest);
bool log_enabled(LogLevel level);
void log_line(LogLevel level, std::string_view line);

}  // namespace conclave

#define LOG(level, ...)                                                              \
  do {                                                                               \
    if (::conclave::log_enabled(::conclave::LogLevel::level))                        \
      ::conclave::log_line(::conclave::LogLevel::level, ::fmt::format(__VA_ARGS__)); \
  } while (false)
