#pragma once
// The workloads there are; each is made in the file of its name.

#include <memory>

#include "sim/workload.h"

namespace conclave::sim {

std::unique_ptr<Workload> make_leases(Site& site, const WorkloadPlan& plan);
std::unique_ptr<Workload> make_list_append(Site& site, const WorkloadPlan& plan);
std::unique_ptr<Workload> make_locks(Site& site, const WorkloadPlan& plan);
std::unique_ptr<Workload> make_native(Site& site, const WorkloadPlan& plan);
std::unique_ptr<Workload> make_registers(Site& site, const WorkloadPlan& plan);
std::unique_ptr<Workload> make_request_ids(Site& site, const WorkloadPlan& plan);
std::unique_ptr<Workload> make_revisions(Site& site, const WorkloadPlan& plan);
std::unique_ptr<Workload> make_users(Site& site, const WorkloadPlan& plan);
std::unique_ptr<Workload> make_watches(Site& site, const WorkloadPlan& plan);
std::unique_ptr<Workload> make_zookeeper(Site& site, const WorkloadPlan& plan);

}  // namespace conclave::sim
