#pragma once
// What a member is told at its start (node/options.h), from its flags.

#include <string>
#include <vector>

#include "node/options.h"
#include "server/config.h"

namespace conclave::server {

// `founds`: it is one of the first members of a new cluster, at its first start. kInvalid: the
// members and quorums that the flags name make no cluster.
Result<node::Options> node_options(const Config& config, bool founds);

std::vector<std::string> texts_of(const std::vector<Url>& urls);

}  // namespace conclave::server
