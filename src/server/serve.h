#pragma once
// `conclave serve`: one member as a process.

#include <string>
#include <vector>

namespace conclave::server {

// `arguments` are those after `serve`. Returns the process's exit code: 0 after a graceful stop
// (SIGTERM or SIGINT), 1 if the member could not start or had to stop, 2 for a wrong command line.
int run_serve(const std::vector<std::string>& arguments);

}  // namespace conclave::server
