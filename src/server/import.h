#pragma once
// `conclave import`: of a ZooKeeper (import_zookeeper.h), and of an etcd, as follows: copies a live
// etcd into a Conclave cluster and follows it until the cut-over.
//
// It reads the source's keys at one revision, writes what the target lacks, and then carries over
// every later revision as a watch tells it. What it remembers is one key in the target
// (import_plan.h, kImportKey), which is gone after the cut-over. Source and target are read and
// written over gRPC; memory is bounded whatever they hold.

#include <string>
#include <vector>

namespace conclave::server {

// `arguments` are those after `conclave import`. Returns the exit code: 0 handed over, 1 failed,
// 2 wrong arguments, 3 source and target differ, 130 stopped.
int run_import(const std::vector<std::string>& arguments);

}  // namespace conclave::server
