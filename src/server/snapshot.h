#pragma once
// `conclave snapshot`: save, status, restore.

#include <string>
#include <vector>

namespace conclave::server {

// Returns the exit code.
int run_snapshot(const std::vector<std::string>& arguments);

}  // namespace conclave::server
