#include "server/process_numbers.h"

#include <sys/resource.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <sstream>
#include <string>

namespace conclave::server {
namespace {

std::string read_file(const char* path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

// When the system started, in seconds since 1970: "btime N" in /proc/stat.
double boot_time_s() {
  std::ifstream file("/proc/stat");
  std::string word;
  double value = 0;
  while (file >> word) {
    if (word == "btime" && file >> value) return value;
  }
  return 0;
}

// proc(5): fields 14, 15 (time in user and system mode), 22 (start), 23 (virtual bytes) and 24
// (resident pages) of /proc/self/stat. The second field is the program's name and may have spaces.
void read_stat(ProcessNumbers& numbers) {
  const std::string text = read_file("/proc/self/stat");
  const std::size_t name_end = text.rfind(')');
  if (name_end == std::string::npos) return;
  std::istringstream fields(text.substr(name_end + 1));
  const auto skip = [&](int count) {
    std::string word;
    while (count-- > 0) fields >> word;
  };
  double user = 0, system = 0, start = 0;
  std::uint64_t pages = 0;
  skip(11);
  fields >> user >> system;
  skip(6);
  fields >> start >> numbers.virtual_bytes >> pages;
  const auto ticks = static_cast<double>(sysconf(_SC_CLK_TCK));
  numbers.cpu_s = (user + system) / ticks;
  numbers.start_time_s = boot_time_s() + start / ticks;
  numbers.resident_bytes = pages * static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE));
}

std::uint64_t open_files() {
  std::error_code error;
  std::filesystem::directory_iterator file("/proc/self/fd", error);
  std::uint64_t count = 0;
  for (; !error && file != std::filesystem::directory_iterator(); file.increment(error)) ++count;
  return count;
}

ProcessNumbers read_numbers() {
  ProcessNumbers numbers;
  read_stat(numbers);
  numbers.open_files = open_files();
  rlimit files{};
  if (getrlimit(RLIMIT_NOFILE, &files) == 0) numbers.max_files = files.rlim_cur;
  return numbers;
}

}  // namespace

ProcessNumbers process_numbers() {
  using Clock = std::chrono::steady_clock;
  static std::optional<Clock::time_point> read_at;
  static ProcessNumbers numbers;
  const Clock::time_point now = Clock::now();
  if (!read_at || now - *read_at >= std::chrono::seconds(1)) {
    numbers = read_numbers();
    read_at = now;
  }
  return numbers;
}

}  // namespace conclave::server
