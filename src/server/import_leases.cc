#include "server/import_leases.h"

#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <utility>

#include "etcd.pb.h"

namespace conclave::server {

namespace {

namespace pb = etcdserverpb;
using wire::GrpcCode;

constexpr const char* kLeases = "/etcdserverpb.Lease/LeaseLeases";
constexpr const char* kTimeToLive = "/etcdserverpb.Lease/LeaseTimeToLive";
constexpr const char* kGrant = "/etcdserverpb.Lease/LeaseGrant";
constexpr const char* kRevoke = "/etcdserverpb.Lease/LeaseRevoke";
constexpr const char* kKeepAlive = "/etcdserverpb.Lease/LeaseKeepAlive";

constexpr std::size_t kKeepAlivesAtOnce = 4'000;
constexpr auto kTick = std::chrono::milliseconds(250);
constexpr Duration kAgain = seconds(1);  // an answer that did not come is asked for again
constexpr Duration kHandOverLimit = seconds(30);

pb::LeaseTimeToLiveRequest time_to_live(std::int64_t id) {
  pb::LeaseTimeToLiveRequest request;
  request.set_id(id);
  return request;
}

}  // namespace

LeaseKeeper::LeaseKeeper(Pump& pump, EtcdClient& source, EtcdClient& target)
    : pump_(pump), source_(source), target_(target), timer_(pump.context()) {
  arm();
}

Result<void> LeaseKeeper::refresh() {
  const auto listed = source_.ask<pb::LeaseLeasesResponse>(kLeases, pb::LeaseLeasesRequest());
  if (!listed) return Failure(source_.error(listed.error()));
  source_revision_ = std::max(source_revision_, listed->header().revision());
  std::set<std::int64_t> there;
  std::vector<std::int64_t> unclear;
  for (const auto& lease : listed->leases()) {
    there.insert(lease.id());
    if (!leases_.contains(lease.id())) unclear.push_back(lease.id());
  }
  // A member that lags behind may not list what there is: the leader is asked before one is let go.
  for (const auto& [id, lease] : leases_) {
    if (!there.contains(id)) unclear.push_back(id);
  }
  TRY(learn(unclear));
  TRY(grant(not_granted()));
  return revoke_gone();
}

Result<void> LeaseKeeper::ensure(const std::set<std::int64_t>& ids) {
  std::vector<std::int64_t> unknown;
  for (const std::int64_t id : ids) {
    if (!leases_.contains(id)) unknown.push_back(id);
  }
  return learn(unknown);
}

Result<void> LeaseKeeper::grant_again(const std::set<std::int64_t>& ids) {
  std::vector<std::int64_t> known;
  for (const std::int64_t id : ids) {
    if (leases_.contains(id)) known.push_back(id);
  }
  lost_ = true;
  return grant(known);
}

Result<void> LeaseKeeper::learn(const std::vector<std::int64_t>& ids) {
  std::vector<std::int64_t> found;
  TRY(ask_each<pb::LeaseTimeToLiveResponse>(
      source_, kTimeToLive, ids, time_to_live,
      [&](std::int64_t id, const auto& answer) -> Result<void> {
        if (!answer) return Failure(source_.error(answer.error()));
        if (answer->grantedttl() <= 0 || answer->ttl() < 0) {
          if (leases_.erase(id) > 0) gone_.insert(id);
        } else if (!leases_.contains(id)) {
          leases_[id].ttl_seconds = answer->grantedttl();
          found.push_back(id);
        }
        return {};
      }));
  return grant(found);
}

std::vector<std::int64_t> LeaseKeeper::not_granted() const {
  std::vector<std::int64_t> ids;
  for (const auto& [id, lease] : leases_) {
    if (!lease.granted) ids.push_back(id);
  }
  return ids;
}

Result<void> LeaseKeeper::grant(const std::vector<std::int64_t>& ids) {
  const auto make = [&](std::int64_t id) {
    pb::LeaseGrantRequest request;
    request.set_id(id);
    request.set_ttl(leases_[id].ttl_seconds);
    return request;
  };
  return ask_each<pb::LeaseGrantResponse>(
      target_, kGrant, ids, make, [&](std::int64_t id, const auto& answer) -> Result<void> {
        const bool exists = !answer && answer.error().code == GrpcCode::kFailedPrecondition;
        if (!answer && !exists) return Failure(target_.error(answer.error()));
        gone_.erase(id);
        // One that was there already may be near its end.
        leases_[id].confirmed = exists ? Instant{} : now();
        leases_[id].granted = true;
        return {};
      });
}

Result<void> LeaseKeeper::revoke_gone() {
  const std::vector<std::int64_t> ids(gone_.begin(), gone_.end());
  std::vector<std::int64_t> idle;
  const auto with_keys = [](std::int64_t id) {
    auto request = time_to_live(id);
    request.set_keys(true);
    return request;
  };
  TRY(ask_each<pb::LeaseTimeToLiveResponse>(
      target_, kTimeToLive, ids, with_keys,
      [&](std::int64_t id, const auto& answer) -> Result<void> {
        if (!answer) return Failure(target_.error(answer.error()));
        if (answer->ttl() < 0) gone_.erase(id);
        // The events that delete its keys are still to come otherwise.
        if (answer->ttl() >= 0 && answer->keys().empty()) idle.push_back(id);
        return {};
      }));
  const auto revoke = [](std::int64_t id) {
    pb::LeaseRevokeRequest request;
    request.set_id(id);
    return request;
  };
  return ask_each<pb::LeaseRevokeResponse>(
      target_, kRevoke, idle, revoke, [&](std::int64_t id, const auto& answer) -> Result<void> {
        if (!answer && answer.error().code != GrpcCode::kNotFound) {
          return Failure(target_.error(answer.error()));
        }
        gone_.erase(id);
        return {};
      });
}

void LeaseKeeper::arm() {
  timer_.expires_after(kTick);
  timer_.async_wait([this](const boost::system::error_code& cancelled) {
    if (cancelled) return;
    tick();
    arm();
  });
}

void LeaseKeeper::tick() {
  take_answers();
  send_due(now());
}

void LeaseKeeper::take_answers() {
  if (!keep_alives_) return;
  while (const auto message = keep_alives_->take()) {
    pb::LeaseKeepAliveResponse answer;
    if (!answer.ParseFromString(*message)) continue;
    const auto lease = leases_.find(answer.id());
    if (lease == leases_.end()) continue;
    if (answer.ttl() > 0) {
      lease->second.confirmed = now();
    } else {
      lease->second.granted = false;
      lost_ = true;
    }
  }
  if (keep_alives_->has_ended()) keep_alives_.reset();
}

void LeaseKeeper::send_due(Instant now) {
  std::size_t sent = 0;
  for (auto& [id, lease] : leases_) {
    if (!lease.granted) continue;
    const Duration third{seconds(lease.ttl_seconds).ns / 3};
    if (now - lease.confirmed < third || now - lease.sent < std::min(kAgain, third)) continue;
    pb::LeaseKeepAliveRequest request;
    request.set_id(id);
    if (!keep_alives_) {
      keep_alives_ = target_.begin(kKeepAlive, request, true);
      if (!keep_alives_) return;
    } else {
      keep_alives_->send(request);
    }
    lease.sent = now;
    if (++sent == kKeepAlivesAtOnce) return;
  }
}

Result<void> LeaseKeeper::hand_over() {
  const Instant begin = now();
  for (auto& [id, lease] : leases_) {
    lease.confirmed = {};
    lease.sent = {};
  }
  const auto all_confirmed = [&] {
    return std::ranges::all_of(leases_,
                               [&](const auto& each) { return each.second.confirmed >= begin; });
  };
  while (!all_confirmed()) {
    if (now() - begin > kHandOverLimit) {
      return fail(ErrorCode::kIo, target_.name() + ": leases could not be kept alive");
    }
    // What does not answer is seen, and replaced, by a request that is tried again.
    const auto alive = target_.ask<pb::LeaseLeasesResponse>(kLeases, pb::LeaseLeasesRequest());
    if (!alive) return Failure(target_.error(alive.error()));
    pump_.run_for(milliseconds(50));
    if (lost_) return fail(ErrorCode::kIo, target_.name() + ": a lease has run out");
  }
  return {};
}

Result<std::string> LeaseKeeper::first_difference() {
  std::vector<std::int64_t> ids;
  for (const auto& [id, lease] : leases_) ids.push_back(id);
  std::string difference;
  TRY(ask_each<pb::LeaseTimeToLiveResponse>(
      target_, kTimeToLive, ids, time_to_live,
      [&](std::int64_t id, const auto& answer) -> Result<void> {
        if (!answer) return Failure(target_.error(answer.error()));
        const std::int64_t wanted = leases_.contains(id) ? leases_.at(id).ttl_seconds : 0;
        if (!difference.empty() || answer->grantedttl() >= wanted) return {};
        difference = fmt::format(
            "lease {:x}: {} s in the source, {} in the target", id, wanted,
            answer->ttl() < 0 ? std::string("none") : fmt::format("{} s", answer->grantedttl()));
        return {};
      }));
  return difference;
}

}  // namespace conclave::server
