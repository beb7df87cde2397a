#pragma once
// A client of etcd's locks and of one election: the calls that change what it holds, each answer of
// which is judged (sim/workloads/lock_judge.h).

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "sim/workloads/contender.h"
#include "sim/workloads/lock_judge.h"

namespace conclave::sim {

inline constexpr std::string_view kNoLeader = "election: no leader";

class LockCaller final : public Contender {
 public:
  // See Contender.
  LockCaller(Site& site, const WorkloadPlan& plan, std::size_t number, std::int64_t& leases);

  const LockJudge& judge() const { return judge_; }

  void lock(const std::string& name, const Done& done, EtcdClient::Metadata metadata) override;
  std::string key_in(const std::string& name) const override;
  void campaign(const std::string& name, const std::string& value, const Done& done,
                EtcdClient::Metadata metadata = {});
  void ask_leader(const std::string& name, const Done& done);

  // REQUIRES: held().
  // Puts `key` if it holds the lock.
  void write_guarded(const std::string& key, const Done& done);
  // `done` is told the revision, too.
  void proclaim(const std::string& value,
                const std::function<void(const EtcdClient::Reply&, std::int64_t)>& done);
  // By Unlock or Resign.
  void give_back(const Done& done) override;

 private:
  v3electionpb::LeaderKey leader_key() const;
  void judge_refusal(const EtcdClient::Reply& reply, const std::string& name, std::int64_t asked);
  void given_back(const EtcdClient::Reply& reply, std::int64_t revision);

  LockJudge judge_;
};

}  // namespace conclave::sim
