#include "sim/operator.h"

#include <fmt/core.h>

#include <algorithm>
#include <utility>

#include "node/group.h"

namespace conclave::sim {
namespace {

constexpr std::size_t kMostHosts = 6;
// After this a change that was asked for has been answered. It may still wait in somebody's log.
constexpr Duration kChangeEnds = seconds(12);
// What a client asks for may take so long until a member reads it.
constexpr Duration kFindsItsWay = seconds(16);
// A new cluster has settled who its members are.
constexpr Duration kFounded = seconds(4);

api::MemberAddRequest add_of(std::size_t host, bool is_learner) {
  return {
      .peer_urls = {Cluster::peer_url(host)}, .is_learner = is_learner, .replaces = {}, .id = {}};
}

}  // namespace

Operator::Operator(Cluster& cluster, ClusterCheck& check, Trace& trace)
    : cluster_(cluster),
      check_(check),
      trace_(trace),
      founders_(cluster.size()),
      changed_at_(cluster.clock().now() - (kChangeEnds - kFounded)) {}

const store::Store* Operator::truth() const {
  const auto leader = cluster_.leader();
  return leader ? &cluster_.node(*leader).group().store() : nullptr;
}

NodeId Operator::id_of(std::size_t host) const {
  const store::Store* store = truth();
  if (store == nullptr) return {};
  for (const api::Member& member : store->members()) {
    if (member.peer_urls == std::vector{Cluster::peer_url(host)}) return member.id;
  }
  return {};
}

void Operator::ask(std::size_t host, const std::string& what, api::Body body) {
  ++counts_[what];
  trace_.note(Trace::Kind::kFault, Cluster::host(host), "asked for " + what);
  cluster_.ask(host, std::move(body), [this, host, what](const api::Answer& answer) {
    const auto* error = std::get_if<api::Error>(&answer);
    trace_.note(Trace::Kind::kFault, Cluster::host(host),
                error == nullptr ? "grants " + what
                                 : fmt::format("does not grant {}: error {} {}", what,
                                               static_cast<int>(error->code), error->detail));
  });
}

void Operator::ask_for_change(std::size_t host, const std::string& what, api::Body body) {
  changed_at_ = std::max(changed_at_, cluster_.clock().now());
  ask(host, what, std::move(body));
}

bool Operator::move_leader(Rng& rng) {
  const NodeId target = id_of(rng.below(cluster_.size()));
  const auto leader = cluster_.leader();
  if (!leader || cluster_.paused(*leader)) return false;
  ask(*leader, "another leader", api::MoveLeaderRequest{target});
  return true;
}

bool Operator::may_change_members() {
  if (founders_ < 3 || !damaged_.empty() || truth() == nullptr) return false;
  changed_at_ = cluster_.clock().now() + kFindsItsWay;
  ++counts_["a reconfig"];
  return true;
}

std::size_t Operator::provide_hosts() {
  while (cluster_.size() < kMostHosts) cluster_.add_host();
  return kMostHosts;
}

void Operator::let_go(const std::vector<NodeId>& members) {
  for (std::size_t host = 0; host < cluster_.size(); ++host) {
    if (!cluster_.running(host)) continue;
    if (std::ranges::find(members, self_of(host)) != members.end()) take_away(host);
  }
}

std::optional<Tenants> Operator::members_now() const {
  constexpr std::string_view kScheme = "http://";
  const store::Store* store = truth();
  if (store == nullptr) return std::nullopt;
  const auto node = store->find_znode("/zookeeper/config");
  if (!node) return std::nullopt;
  Tenants now{.version = node->version, .members = {}};
  for (const api::Member& member : store->members()) {
    const std::string peer = member.peer_urls.empty() ? "" : member.peer_urls.front();
    now.members.push_back(
        {member.id, peer.substr(std::min(peer.size(), kScheme.size())), member.is_learner});
  }
  return now;
}

NodeId Operator::self_of(std::size_t host) const {
  return cluster_.node(host).group().engine().status().self;
}

void Operator::take_away(std::size_t host) {
  trace_.note(Trace::Kind::kFault, Cluster::host(host), "is no member, and its machine goes");
  check_.forgive(host);
  cluster_.lose_disk(host);
}

// Removed, and where it knows others nobody is who could tell it.
bool Operator::is_forgotten(std::size_t host) const {
  const store::Store* store = truth();
  if (store == nullptr || !cluster_.running(host) || !store->was_removed(self_of(host))) {
    return false;
  }
  const std::vector<api::Member>& known = cluster_.node(host).group().store().members();
  for (std::size_t other = 0; other < cluster_.size(); ++other) {
    const auto is_there = [url = Cluster::peer_url(other)](const api::Member& member) {
      return member.peer_urls == std::vector{url};
    };
    if (other != host && id_of(other) && std::ranges::any_of(known, is_there)) return false;
  }
  return true;
}

bool Operator::change_members(Rng& rng) {
  const std::size_t asked = rng.below(cluster_.size());
  const std::size_t host = rng.below(kMostHosts);
  const std::uint64_t what = rng.below(3);
  const bool as_learner = rng.one_in(2);
  if (founders_ < 3 || !damaged_.empty()) return false;
  if (!cluster_.running(asked) || cluster_.paused(asked) || truth() == nullptr) return false;
  while (cluster_.size() <= host) cluster_.add_host();
  const NodeId id = id_of(host);
  if (!id) {
    ask_for_change(asked, as_learner ? "a new learner" : "a new member", add_of(host, as_learner));
  } else if (what == 0) {
    asked_to_go_.insert(id);
    ask_for_change(asked, "a removal", api::MemberRemoveRequest{id});
  } else {
    ask_for_change(asked, "a promotion", api::MemberPromoteRequest{id});
  }
  return true;
}

bool Operator::may_damage(std::size_t host) const {
  const auto damage = damaged_.find(host);
  if (damage != damaged_.end()) return !damage->second.lost;  // its successor is spared
  const auto leader = cluster_.leader();
  if (!leader || !id_of(host) || !damaged_.empty()) return false;
  if (cluster_.clock().now() - changed_at_ < kChangeEnds) return false;
  const auto& engine = cluster_.node(*leader).group().engine();
  const consensus::Membership& membership = engine.membership();
  // No witness can give back what a copy loses: without that copy the others must be able to decide
  // without witnesses.
  const bool is_copy = !membership.is_witness(id_of(host));
  const auto is_other = [&, id = id_of(host)](NodeId other) {
    return other != id && !(is_copy && membership.is_witness(other));
  };
  if (membership.is_changing() || !membership.reached(is_other) || !membership.elects(is_other)) {
    return false;
  }
  // A change that waits in a log can be committed long after, until the leader of a new epoch has
  // committed all that it found.
  const consensus::EngineStatus status = engine.status();
  return status.commit == status.last && engine.snapshot_meta(status.commit).epoch == status.epoch;
}

bool Operator::may_lose_disk(std::size_t host) const {
  if (!may_damage(host)) return false;
  const NodeId id = id_of(host);
  if (!id) return false;
  for (std::size_t other = 0; other < cluster_.size(); ++other) {
    if (!id_of(other)) continue;
    if (!cluster_.running(other)) return false;
    if (cluster_.node(other).group().store().directory_of(id) == 0) return false;
  }
  return true;
}

void Operator::damaged(std::size_t host) {
  damaged_.emplace(host, Damage{.id = id_of(host)});
  check_.forgive(host);
}

void Operator::lose_disk(std::size_t host) {
  trace_.note(Trace::Kind::kFault, Cluster::host(host), "its disk is exchanged for an empty one");
  damaged(host);
  Damage& damage = damaged_.at(host);
  damage.lost = true;
  damage.may_try = damage.id == NodeId{host + 1};
  cluster_.lose_disk(host);
}

std::optional<Result<void>> Operator::start(std::size_t host) {
  const Result<bool> has_data = cluster_.has_data(host);
  if (!has_data) return cluster_.start_existing(host);  // it fails the same way
  // Its start may be cut short before it has written down who it is.
  const bool first = host < founders_ && !*has_data && !had_data_.contains(host);
  if (first) {
    Result<void> started = cluster_.start(host);
    if (started) had_data_.insert(host);
    return started;
  }
  if (*has_data) {
    had_data_.insert(host);
    return cluster_.start_existing(host);
  }
  const NodeId id = id_of(host);
  if (!id) return std::nullopt;
  const auto damage = damaged_.find(host);
  if (damage != damaged_.end() && damage->second.id == id) {
    // As if nothing had happened: the others have to refuse it. Then it has to be replaced first.
    if (!std::exchange(damage->second.may_try, false)) return std::nullopt;
    return cluster_.start(host);
  }
  return cluster_.start_existing(host);
}

void Operator::tend() {
  for (std::size_t host = 0; host < cluster_.size(); ++host) {
    if (is_forgotten(host)) take_away(host);
    if (cluster_.running(host) || cluster_.joining(host)) continue;
    const std::optional<Error>& stopped = cluster_.stopped_because(host);
    const auto damage = damaged_.find(host);
    const bool by_fault = stopped && stopped->code == ErrorCode::kIo;
    if (damage != damaged_.end() && (damage->second.lost || (stopped && !by_fault))) {
      replace(host, damage->second);
    }
    const bool removed = stopped && stopped->code == ErrorCode::kRemoved;
    if (removed) empty_disk(host);
  }
  std::erase_if(damaged_, [&](const auto& entry) {
    const NodeId id = id_of(entry.first);
    if (truth() == nullptr || !cluster_.running(entry.first) || id == entry.second.id) return false;
    return cluster_.node(*cluster_.leader()).group().engine().membership().is_voter(id);
  });
}

// Moves its data directory away.
void Operator::empty_disk(std::size_t host) {
  const Result<bool> has_data = cluster_.has_data(host);
  if (!has_data || *has_data) cluster_.lose_disk(host);
}

void Operator::replace(std::size_t host, Damage& damage) {
  const NodeId lost = damage.id;
  if (truth() == nullptr || id_of(host) != lost || !lost) return;
  empty_disk(host);
  damage.lost = true;
  api::MemberAddRequest replacement = add_of(host, false);
  replacement.replaces = lost;
  asked_to_go_.insert(lost);
  ask_for_change(*cluster_.leader(), "a replacement", std::move(replacement));
}

void Operator::look_for_damage() {
  for (const auto& [host, damage] : damaged_) {
    if (cluster_.running(host) && !damage.lost) cluster_.kill(host);
  }
}

void Operator::unharmed(std::size_t host) {
  const auto found = damaged_.find(host);
  if (found != damaged_.end() && !found->second.lost) damaged_.erase(found);
}

bool Operator::settled() const {
  const store::Store* store = truth();
  if (store == nullptr || !damaged_.empty()) return false;
  std::size_t running = 0;
  for (std::size_t i = 0; i < cluster_.size(); ++i) running += cluster_.running(i) ? 1u : 0u;
  const consensus::Membership& membership =
      cluster_.node(*cluster_.leader()).group().engine().membership();
  return running == store->members().size() && membership.all().size() == running &&
         !membership.is_changing();
}

}  // namespace conclave::sim
