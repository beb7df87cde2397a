#include "sim/workloads/lock_caller.h"

#include <utility>

#include "etcd.pb.h"

namespace conclave::sim {
namespace {

constexpr std::string_view kLockLost = "mutex: session is expired";
constexpr std::string_view kNotLeader = "election: not leader";

}  // namespace

LockCaller::LockCaller(Site& site, const WorkloadPlan& plan, std::size_t number,
                       std::int64_t& leases)
    : Contender(site, plan, "k", number, leases), judge_(*site.lock_keys) {}

std::string LockCaller::key_in(const std::string& name) const {
  return LockJudge::key_of(name, lease_.id());
}

// --- standing in line ---

void LockCaller::judge_refusal(const EtcdClient::Reply& reply, const std::string& name,
                               std::int64_t asked) {
  const bool is_lost = reply.error == kLockLost || reply.error == kNotLeader;
  if (is_lost) judge_.lost(name, lease_.id(), asked);
  if (says_no_lease(reply)) lease_.forget();
}

void LockCaller::lock(const std::string& name, const Done& done, EtcdClient::Metadata metadata) {
  v3lockpb::LockRequest request;
  request.set_name(name);
  request.set_lease(lease_.id());
  caller_.call(
      "v3lockpb.Lock/Lock", request,
      [this, name, done, asked = newest()](const EtcdClient::Reply& reply) {
        if (reply.answered()) {
          const auto response = reply.as<v3lockpb::LockResponse>();
          const KeyLife& own = judge_.locked(name, lease_.id(), asked, response);
          held_ = {.name = name, .key = own.key, .token = own.created, .leads = false};
        } else {
          judge_refusal(reply, name, asked);
        }
        done(reply);
      },
      std::move(metadata));
}

void LockCaller::campaign(const std::string& name, const std::string& value, const Done& done,
                          EtcdClient::Metadata metadata) {
  v3electionpb::CampaignRequest request;
  request.set_name(name);
  request.set_lease(lease_.id());
  request.set_value(value);
  caller_.call(
      "v3electionpb.Election/Campaign", request,
      [this, name, value, done, asked = newest()](const EtcdClient::Reply& reply) {
        if (reply.answered()) {
          const auto response = reply.as<v3electionpb::CampaignResponse>();
          judge_.elected(name, lease_.id(), asked, value, response);
          const v3electionpb::LeaderKey& leader = response.leader();
          held_ = {.name = name, .key = leader.key(), .token = leader.rev(), .leads = true};
        } else {
          judge_refusal(reply, name, asked);
        }
        done(reply);
      },
      std::move(metadata));
}

void LockCaller::ask_leader(const std::string& name, const Done& done) {
  v3electionpb::LeaderRequest request;
  request.set_name(name);
  caller_.call("v3electionpb.Election/Leader", request,
               [this, name, done, asked = newest()](const EtcdClient::Reply& reply) {
                 if (reply.answered())
                   judge_.led_by(name, asked, reply.as<v3electionpb::LeaderResponse>());
                 if (reply.error == kNoLeader) judge_.led_by_nobody(name, asked);
                 done(reply);
               });
}

// --- holding ---

void LockCaller::write_guarded(const std::string& key, const Done& done) {
  etcdserverpb::TxnRequest request;
  etcdserverpb::Compare& compare = *request.add_compare();
  compare.set_target(etcdserverpb::Compare::CREATE);
  compare.set_result(etcdserverpb::Compare::EQUAL);
  compare.set_key(held_->key);
  compare.set_create_revision(held_->token);
  etcdserverpb::PutRequest& put = *request.add_success()->mutable_request_put();
  put.set_key(key);
  put.set_value(std::to_string(held_->token));
  caller_.call("KV/Txn", request, [this, done](const EtcdClient::Reply& reply) {
    if (reply.answered()) {
      const auto response = reply.as<etcdserverpb::TxnResponse>();
      judge_.guarded(held_->name, held_->key, held_->token, response.succeeded(),
                     response.header().revision());
      if (!response.succeeded()) held_.reset();
    }
    done(reply);
  });
}

v3electionpb::LeaderKey LockCaller::leader_key() const {
  v3electionpb::LeaderKey leader;
  leader.set_name(held_->name);
  leader.set_key(held_->key);
  leader.set_rev(held_->token);
  leader.set_lease(lease_.id());
  return leader;
}

void LockCaller::proclaim(const std::string& value,
                          const std::function<void(const EtcdClient::Reply&, std::int64_t)>& done) {
  v3electionpb::ProclaimRequest request;
  *request.mutable_leader() = leader_key();
  request.set_value(value);
  caller_.call("v3electionpb.Election/Proclaim", request,
               [this, request, done](const EtcdClient::Reply& reply) {
                 std::int64_t revision = 0;
                 if (reply.answered()) {
                   const auto response = reply.as<v3electionpb::ProclaimResponse>();
                   revision = response.header().revision();
                   judge_.proclaimed(held_->name, request.leader(), request.value(), revision);
                 }
                 if (reply.error == kNotLeader) {
                   judge_.gone(held_->name, held_->key, held_->token);
                   held_.reset();
                 }
                 done(reply, revision);
               });
}

void LockCaller::give_back(const Done& done) {
  if (held_->leads) {
    v3electionpb::ResignRequest request;
    *request.mutable_leader() = leader_key();
    return caller_.call("v3electionpb.Election/Resign", request,
                        [this, done](const EtcdClient::Reply& reply) {
                          const auto response = reply.as<v3electionpb::ResignResponse>();
                          given_back(reply, response.header().revision());
                          done(reply);
                        });
  }
  v3lockpb::UnlockRequest request;
  request.set_key(held_->key);
  caller_.call("v3lockpb.Lock/Unlock", request, [this, done](const EtcdClient::Reply& reply) {
    const auto response = reply.as<v3lockpb::UnlockResponse>();
    given_back(reply, response.header().revision());
    done(reply);
  });
}

void LockCaller::given_back(const EtcdClient::Reply& reply, std::int64_t revision) {
  if (!reply.answered()) return;
  judge_.gone_at(held_->name, held_->key, held_->token, revision);
  held_.reset();
}

}  // namespace conclave::sim
