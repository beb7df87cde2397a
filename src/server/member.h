#pragma once
// `conclave member replace`: another member in the place of one that lost its disk. Asks over the
// JSON gateway.

#include <string>
#include <vector>

namespace conclave::server {

// Returns the exit code.
int run_member(const std::vector<std::string>& arguments);

}  // namespace conclave::server
