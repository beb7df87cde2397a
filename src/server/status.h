#pragma once
// `conclave status`: every member of a cluster in a table, or as JSON for scripts.

#include <string>
#include <vector>

#include "server/cluster_status.h"

namespace conclave::server {

// `arguments` are those after `conclave status`. Returns the exit code: 0, 1 if no endpoint
// answered, 2 for wrong arguments.
int run_status(const std::vector<std::string>& arguments);

// Columns for people; ends with a line end.
std::string status_table(const std::vector<MemberStatus>& rows);

// An array of one object per member. Keys stay as they are; what is not known is null. Ids are
// hexadecimal, as etcdctl prints them, and 64-bit hashes are texts.
std::string status_json(const std::vector<MemberStatus>& rows);

}  // namespace conclave::server
