#pragma once
// A member's numbers in Prometheus' exposition format. Names are etcd's where etcd has the metric,
// so that existing dashboards and alerts work; the rest begin with conclave_.

#include <string>

#include "frontends/etcd/call_counts.h"
#include "node/stats.h"

namespace conclave::server {

// The process's own numbers too.
std::string metrics_text(const node::Stats& stats, const etcd::CallCounts& calls);

}  // namespace conclave::server
