#pragma once
// What the system says about this process, for /metrics: the numbers that every Prometheus client
// library gives.

#include <cstdint>

namespace conclave::server {

// What cannot be read is 0.
struct ProcessNumbers {
  double cpu_s = 0;         // user and system
  double start_time_s = 0;  // since 1970
  std::uint64_t resident_bytes = 0;
  std::uint64_t virtual_bytes = 0;
  std::uint64_t open_files = 0;
  std::uint64_t max_files = 0;
};

// At most a second old: reading them takes longer than the rest of a page. For one thread.
ProcessNumbers process_numbers();

}  // namespace conclave::server
