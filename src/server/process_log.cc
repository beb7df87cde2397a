#include "server/process_log.h"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <memory>

namespace conclave::server {

namespace {

spdlog::level::level_enum level_of(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return spdlog::level::debug;
    case LogLevel::kInfo:
      return spdlog::level::info;
    case LogLevel::kWarn:
      return spdlog::level::warn;
    case LogLevel::kError:
      return spdlog::level::err;
  }
  return spdlog::level::err;
}

// Never destroyed: threads may log until the very end of the process.
spdlog::logger& logger() {
  static auto* const instance = [] {
    auto* const created =
        new spdlog::logger("conclave", std::make_shared<spdlog::sinks::stderr_sink_mt>());
    created->set_pattern("%Y-%m-%dT%H:%M:%S.%e%z %l %v");
    created->set_level(spdlog::level::trace);  // base/log.h has filtered already
    return created;
  }();
  return *instance;
}

}  // namespace

void start_process_log(LogLevel lowest) {
  logger();
  set_log_sink(
      [](LogLevel level, std::string_view line) {
        logger().log(level_of(level), spdlog::string_view_t(line.data(), line.size()));
      },
      lowest);
}

}  // namespace conclave::server
