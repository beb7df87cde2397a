// Leases that are granted, kept alive for a while, sometimes revoked, and otherwise left to expire,
// with keys of which some are written again without the lease. Judged: no lease ends before its
// time, counted from when its client last asked for it and was told yes; a key lives and dies with
// the lease that its last write named; and in the end every lease has expired, with its keys.
//
// A member's clock may be off (storm.cc), and the cluster's time is the leader's: so a lease may
// end a little early by the world's clock, and late by any time in which nobody led.

#include <fmt/core.h>

#include <algorithm>
#include <map>
#include <utility>

#include "etcd.pb.h"
#include "sim/finding.h"
#include "sim/workloads/caller.h"
#include "sim/workloads/kinds.h"

namespace conclave::sim {
namespace {

// By then everything has expired, once nobody keeps anything alive: a storm is over, and the calm
// after it has lasted long enough for any of the leases.
constexpr Duration kLongEnough = seconds(120);
constexpr std::size_t kLeases = 3;        // of a client at a time
constexpr std::uint64_t kLongestTtl = 4;  // seconds; the cluster's minimum is in this range
constexpr std::string_view kNotFound = "etcdserver: requested lease not found";

template <class... Values>
Finding wrong(fmt::format_string<Values...> format, Values&&... values) {
  return {"leases", fmt::format(format, std::forward<Values>(values)...), {}};
}

struct Key {
  std::string name;
  std::int64_t lease = 0;
  enum class State : std::uint8_t { kAttached, kDetached, kPerhaps } state = State::kPerhaps;
};

struct Lease {
  std::int64_t id = 0;
  std::int64_t ttl_s = 0;
  std::int64_t asked_ns = 0;  // when it was last asked for, of all that were answered with yes
  bool may_be_revoked = false;

  // Nobody but the client may have ended it before.
  std::int64_t safe_until_ns() const {
    return asked_ns + static_cast<std::int64_t>(static_cast<double>(ttl_s) * 1e9 / kFastestClock);
  }
};

struct Shared {
  explicit Shared(const WorkloadPlan& plan) : prefix(fmt::format("leases/{}/", plan.seed)) {}

  std::string prefix;
  std::vector<Key> keys;
  std::size_t names = 0;
};

class LeaseClient {
 public:
  LeaseClient(Site& site, const WorkloadPlan& plan, std::size_t number, Shared& shared)
      : caller_(site, plan, "l", number), shared_(shared) {}

  Caller& caller() { return caller_; }

  void act() {
    Rng& rng = caller_.rng();
    if (leases_.empty() || (leases_.size() < kLeases && rng.one_in(4))) return grant();
    Lease& lease = leases_[rng.below(leases_.size())];
    const std::uint64_t dice = rng.below(16);
    if (dice < 4) return put(lease);
    if (dice < 8) return keep_alive(lease);
    if (dice < 10) return look_at(lease);
    if (dice < 13) return look_at_a_key();
    if (dice < 15) return put_again();
    if (rng.one_in(2)) return revoke(lease);
    forget(lease.id);  // left to expire
    caller_.next();
  }

 private:
  // No other client knows of a client's leases, so each is what this one last did to it.
  Lease* find(std::int64_t id) {
    const auto found = std::ranges::find(leases_, id, &Lease::id);
    return found == leases_.end() ? nullptr : &*found;
  }
  void forget(std::int64_t id) {
    std::erase_if(leases_, [id](const Lease& lease) { return lease.id == id; });
  }

  // Somebody says that the lease is not there, in answer to a call that may have been carried out
  // at any moment up to now.
  void ended(std::int64_t id, std::string_view what) {
    const Lease* lease = find(id);
    if (lease == nullptr) return;
    const std::int64_t now = caller_.now_ns();
    if (!lease->may_be_revoked && now < lease->safe_until_ns())
      throw wrong("lease {} of {} s ended {:.3f} s after it was asked for: {}", id, lease->ttl_s,
                  static_cast<double>(now - lease->asked_ns) / 1e9, what);
    forget(id);
  }

  // --- what is done to leases ---

  void grant() {
    etcdserverpb::LeaseGrantRequest request;
    request.set_ttl(static_cast<std::int64_t>(1 + caller_.rng().below(kLongestTtl)));
    const std::int64_t asked = caller_.now_ns();
    caller_.call("Lease/LeaseGrant", request, [this, request, asked](const auto& reply) {
      if (reply.answered()) {
        const auto response = reply.template as<etcdserverpb::LeaseGrantResponse>();
        if (response.ttl() < request.ttl())
          throw wrong("{} s were granted of {}", response.ttl(), request.ttl());
        leases_.push_back({.id = response.id(), .ttl_s = response.ttl(), .asked_ns = asked});
      }
      caller_.next();
    });
  }

  void keep_alive(const Lease& lease) {
    etcdserverpb::LeaseKeepAliveRequest request;
    request.set_id(lease.id);
    const std::int64_t asked = caller_.now_ns();
    caller_.call("Lease/LeaseKeepAlive", request, [this, id = lease.id, asked](const auto& reply) {
      if (reply.answered()) {
        const auto response = reply.template as<etcdserverpb::LeaseKeepAliveResponse>();
        if (response.ttl() == 0) {
          ended(id, "it cannot be kept alive");
        } else if (Lease* kept = find(id)) {
          kept->asked_ns = asked;
        }
      }
      caller_.next();
    });
  }

  void look_at(const Lease& lease) {
    etcdserverpb::LeaseTimeToLiveRequest request;
    request.set_id(lease.id);
    request.set_keys(true);
    caller_.call("Lease/LeaseTimeToLive", request, [this, id = lease.id](const auto& reply) {
      if (reply.answered()) {
        const auto response = reply.template as<etcdserverpb::LeaseTimeToLiveResponse>();
        if (response.ttl() < 0) {
          ended(id, "it is not there");
        } else {
          judge_keys(id, response);
        }
      }
      caller_.next();
    });
  }

  void judge_keys(std::int64_t id, const etcdserverpb::LeaseTimeToLiveResponse& response) const {
    for (const Key& key : shared_.keys) {
      if (key.state == Key::State::kPerhaps) continue;
      const bool is_named = std::find(response.keys().begin(), response.keys().end(), key.name) !=
                            response.keys().end();
      const bool is_attached = key.state == Key::State::kAttached && key.lease == id;
      if (is_named != is_attached)
        throw wrong("lease {} {} {}", id, is_named ? "still has" : "lacks", key.name);
    }
  }

  void revoke(Lease& lease) {
    etcdserverpb::LeaseRevokeRequest request;
    request.set_id(lease.id);
    lease.may_be_revoked = true;
    caller_.call("Lease/LeaseRevoke", request, [this, id = lease.id](const auto& reply) {
      if (reply.answered()) forget(id);
      if (reply.error == kNotFound) ended(id, "it cannot be revoked");
      caller_.next();
    });
  }

  // --- what is done to keys: each has one client, and is put at most twice ---

  void put(const Lease& lease) {
    Key key{.name = fmt::format("{}{}", shared_.prefix, shared_.names++), .lease = lease.id};
    etcdserverpb::PutRequest request;
    request.set_key(key.name);
    request.set_lease(lease.id);
    caller_.call("KV/Put", request, [this, key = std::move(key)](const auto& reply) mutable {
      if (reply.error == kNotFound) ended(key.lease, "a put may not name it");
      if (reply.answered()) key.state = Key::State::kAttached;
      if (!reply.refused()) keys_.push_back(shared_.keys.size());
      if (!reply.refused()) shared_.keys.push_back(std::move(key));
      caller_.next();
    });
  }

  Key* any_key() {
    if (keys_.empty()) return nullptr;
    const std::size_t recent = std::min<std::size_t>(keys_.size(), 6);
    return &shared_.keys[keys_[keys_.size() - 1 - caller_.rng().below(recent)]];
  }

  // Without a lease: from here on the key stays.
  void put_again() {
    Key* key = any_key();
    if (key == nullptr || key->state != Key::State::kAttached) return caller_.next();
    etcdserverpb::PutRequest request;
    request.set_key(key->name);
    request.set_value("kept");
    const auto place = static_cast<std::size_t>(key - shared_.keys.data());
    caller_.call("KV/Put", request, [this, place](const auto& reply) {
      if (!reply.refused()) {
        shared_.keys[place].state = reply.answered() ? Key::State::kDetached : Key::State::kPerhaps;
      }
      caller_.next();
    });
  }

  void look_at_a_key() {
    const Key* key = any_key();
    if (key == nullptr || key->state == Key::State::kPerhaps) return caller_.next();
    etcdserverpb::RangeRequest request;
    request.set_key(key->name);
    caller_.call("KV/Range", request, [this, key = *key](const auto& reply) {
      if (reply.answered()) {
        const auto response = reply.template as<etcdserverpb::RangeResponse>();
        const bool is_there = response.kvs_size() > 0;
        if (!is_there && key.state == Key::State::kDetached)
          throw wrong("{} is gone, which no longer had a lease", key.name);
        if (!is_there) ended(key.lease, key.name + " is gone");
        if (is_there && key.state == Key::State::kAttached && response.kvs(0).lease() != key.lease)
          throw wrong("{} has lease {} instead of {}", key.name, response.kvs(0).lease(),
                      key.lease);
      }
      caller_.next();
    });
  }

  Caller caller_;
  Shared& shared_;
  std::vector<Lease> leases_;
  std::vector<std::size_t> keys_;  // this client's, in shared_.keys
};

class Leases final : public Crowd<LeaseClient, Shared> {
 public:
  Leases(Site& site, const WorkloadPlan& plan) : Crowd(site, plan), clock_(site.clock) {}
  ~Leases() override { clock_.cancel(wait_); }

  std::optional<Finding> judge() const override {
    std::map<std::string, std::int64_t> there;
    for (const mvccpb::KeyValue& kv : last_.kvs()) there[kv.key()] = kv.lease();
    for (const auto& [key, lease] : there) {
      if (lease != 0) return wrong("{} has outlived its lease {}", key, lease);
    }
    for (const Key& key : shared().keys) {
      const bool is_there = there.contains(key.name);
      if (key.state == Key::State::kAttached && is_there)
        return wrong("{} is there, and its lease {} is not", key.name, key.lease);
      if (key.state == Key::State::kDetached && !is_there)
        return wrong("{} is gone, which no longer had a lease", key.name);
    }
    return std::nullopt;
  }

 private:
  // Until no lease is left. Of the whole cluster, but for those that other workloads granted.
  void last_look(Caller& caller) override {
    if (since_ns_ < 0) since_ns_ = caller.now_ns();
    caller.call("Lease/LeaseLeases", etcdserverpb::LeaseLeasesRequest(),
                [this, &caller](const EtcdClient::Reply& reply) {
                  const auto leases = reply.as<etcdserverpb::LeaseLeasesResponse>();
                  const auto left = std::ranges::count_if(
                      leases.leases(), [](const auto& lease) { return lease.id() > kOtherLeases; });
                  if (reply.answered() && left == 0) return look_at_keys(caller);
                  if (caller.now_ns() - since_ns_ > kLongEnough.ns)
                    throw wrong("{} leases are still there long after their time", left);
                  wait_ = clock_.after(milliseconds(500), [this, &caller] { last_look(caller); });
                });
  }

  void look_at_keys(Caller& caller) {
    etcdserverpb::RangeRequest request;
    request.set_key(shared().prefix);
    request.set_range_end(shared().prefix + "\xff");
    caller.call("KV/Range", request, [this, &caller](const EtcdClient::Reply& reply) {
      if (!reply.answered()) return look_at_keys(caller);
      last_ = reply.as<etcdserverpb::RangeResponse>();
      over();
    });
  }

  Clock& clock_;
  io::Clock::TimerId wait_ = 0;
  std::int64_t since_ns_ = -1;
  etcdserverpb::RangeResponse last_;
};

}  // namespace

std::unique_ptr<Workload> make_leases(Site& site, const WorkloadPlan& plan) {
  return std::make_unique<Leases>(site, plan);
}

}  // namespace conclave::sim
