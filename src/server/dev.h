#pragma once
// `conclave dev`: a cluster of `conclave serve` processes on this machine, to try things on.

#include <string>
#include <vector>

namespace conclave::server {

// `arguments` are those after `conclave dev`. Returns, on SIGINT or SIGTERM, once all members have
// stopped: the exit code is 0 then; 1 if the cluster cannot be started or all its members have
// died; 2 for wrong arguments.
//
// REQUIRES: the process has one thread. Its own executable, called with `serve`, runs a member.
int run_dev(const std::vector<std::string>& arguments);

}  // namespace conclave::server
