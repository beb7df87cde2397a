#pragma once
// A member's numbers in Prometheus' exposition format. Names are etcd's where etcd has the metric,
// so that existing dashboards and alerts work; the rest begin with conclave_.

#include <string>

#include "node/stats.h"

namespace conclave::server {

std::string metrics_text(const node::Stats& stats);

}  // namespace conclave::server
