#include "base/log.h"

#include <cstdio>

namespace conclave {
namespace {

void write_to_stderr(LogLevel level, std::string_view line) {
  constexpr const char* kNames[] = {"debug", "info", "warn", "error"};
  std::fprintf(stderr, "%s %.*s\n", kNames[static_cast<int>(level)], static_cast<int>(line.size()),
               line.data());
}

LogSink sink = write_to_stderr;
LogLevel lowest_level = LogLevel::kInfo;

}  // namespace

void set_log_sink(LogSink new_sink, LogLevel lowest) {
  sink = new_sink;
  lowest_level = lowest;
}

bool log_enabled(LogLevel level) { return level >= lowest_level; }

void log_line(LogLevel level, std::string_view line) { sink(level, line); }

}  // namespace conclave
