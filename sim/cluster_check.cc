#include "sim/cluster_check.h"

#include <fmt/core.h>

#include <algorithm>

#include "node/frame.h"
#include "node/group.h"
#include "sim/finding.h"

namespace conclave::sim {
namespace {

constexpr std::uint64_t kMostSteps = 1'000'000;  // whole runs have half as many at most

}  // namespace

ClusterCheck::ClusterCheck(const Cluster& cluster, Trace& trace)
    : cluster_(cluster),
      trace_(trace),
      engines_(cluster.options().engine == node::Consensus::kRaft
                   ? make_raft_check(cluster, trace)
                   : make_paxos_check(cluster, trace)) {}

void ClusterCheck::after_step() {
  count_step();
  members_.resize(std::max(members_.size(), cluster_.size()));
  for (std::size_t i = 0; i < members_.size(); ++i) {
    if (!cluster_.running(i)) continue;
    engines_->look_at(i);
    check_store(i);
  }
}

// Members that answer each other's messages at once, for ever, make progress of no kind that the
// other checks would miss.
void ClusterCheck::count_step() {
  ++steps_;
  const Instant now = cluster_.clock().now();
  if (now - second_begins_ >= seconds(1)) {
    second_begins_ = now;
    steps_in_second_ = 0;
  }
  if (++steps_in_second_ > kMostSteps) {
    found("no spinning", fmt::format("{} steps within a second", steps_in_second_));
  }
}

void ClusterCheck::on_piece(const std::string& from, const std::string& to, BytesView piece) {
  const bool trace = trace_.wants(Trace::Kind::kMessage);
  if (piece.size() > engines_->largest_promise() && !trace) return;
  const std::optional<std::size_t> member = cluster_.member_at(from);
  const std::optional<std::size_t> other = cluster_.member_at(to);
  if (!member || !other || std::max(*member, *other) >= members_.size()) return;
  node::FrameReader reader;
  reader.feed(piece);
  const Result<std::optional<node::Frame>> frame = reader.next();
  if (!frame || !*frame || (*frame)->type != node::FrameType::kEngine) return;
  engines_->on_message(*member, *other, (*frame)->payload.substr(8));
}

void ClusterCheck::check_store(std::size_t number) {
  Member& member = members_[number];
  if (member.run != cluster_.run(number)) {
    member = Member{};
    member.run = cluster_.run(number);
  }
  const store::Store& store = cluster_.node(number).group().store();
  const LogIndex applied = store.applied_index();
  if (applied == member.applied) return;
  if (applied < member.applied) {
    found("state machine safety",
          fmt::format("{} goes back from index {} to {}", Cluster::host(number),
                      member.applied.value, applied.value));
  }
  member.applied = applied;
  check_rule(member, cluster_.node(number).group().applied_membership().voters);
  if (!applied) return;
  auto& hashes = cluster_.is_witness(number) ? witness_hashes_ : hashes_;
  const auto [first, is_new] = hashes.emplace(applied, store.hash());
  if (first->second != store.hash()) {
    found("state hash", fmt::format("{} holds another state at index {} than the first who applied "
                                    "it",
                                    Cluster::host(number), applied.value));
  }
}

void ClusterCheck::check_rule(Member& member, const consensus::Quorum& voters) const {
  if (voters == member.voters) return;
  member.voters = voters;
  const auto initial = Cluster::first_membership(cluster_.options());
  const consensus::Quorum rule = initial ? initial->voters : consensus::Quorum();
  if (voters == rule.with_votes(voters.votes())) return;
  found("quorum rule", fmt::format("of {} voters {} elect and {} write", voters.votes().size(),
                                   voters.election_threshold(), voters.write_threshold()));
}

}  // namespace conclave::sim
