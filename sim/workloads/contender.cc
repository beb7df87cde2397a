#include "sim/workloads/contender.h"

#include <fmt/core.h>

#include "base/check.h"
#include "etcd.pb.h"

namespace conclave::sim {

KeptLease::KeptLease(Site& site, std::uint64_t seed, const std::string& host)
    : clock_(site.clock),
      client_({.seed = seed, .members = &site.members, .timeout = seconds(1)}, site.clock,
              site.fabric.host(host)) {}

void KeptLease::keep(std::int64_t id, std::int64_t ttl_s) {
  id_ = id;
  ttl_s_ = ttl_s;
  is_kept_ = true;
  clock_.cancel(timer_);
  wait();
}

void KeptLease::wait() {
  timer_ = clock_.after(milliseconds(ttl_s_ * 1'000 / 3), [this] {
    if (!is_kept_) return;
    wait();
    if (client_.busy()) return;
    etcdserverpb::LeaseKeepAliveRequest request;
    request.set_id(id_);
    client_.call("Lease/LeaseKeepAlive", request, [](const EtcdClient::Reply&) {});
  });
}

bool says_no_lease(const EtcdClient::Reply& reply) {
  return reply.error == "etcdserver: requested lease not found" ||
         reply.error == "conclave: no such lease";
}

Contender::Contender(Site& site, const WorkloadPlan& plan, std::string_view letter,
                     std::size_t number, std::int64_t& leases)
    : caller_(site, plan, letter, number),
      lease_(site, plan.seed * 1'000 + number, fmt::format("{}k{}", letter, number)),
      history_(*site.lock_keys),
      leases_(leases) {}

void Contender::grant(std::int64_t ttl_s, const Done& done) {
  etcdserverpb::LeaseGrantRequest request;
  request.set_ttl(ttl_s);
  request.set_id(++leases_);
  CHECK(request.id() <= kOtherLeases);
  caller_.call("Lease/LeaseGrant", request, [this, done](const EtcdClient::Reply& reply) {
    if (reply.answered()) {
      const auto response = reply.as<etcdserverpb::LeaseGrantResponse>();
      lease_.keep(response.id(), response.ttl());
    }
    done(reply);
  });
}

}  // namespace conclave::sim
