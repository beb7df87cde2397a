#include "consensus/quorum.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "base/check.h"

namespace conclave::consensus {

namespace {

// Sorted, each voter once. One that is named twice keeps its smaller weight: it is one machine, and
// can fail only once.
std::vector<Vote> tidy(std::vector<Vote> votes) {
  std::sort(votes.begin(), votes.end());
  const auto same_id = [](const Vote& a, const Vote& b) { return a.id == b.id; };
  votes.erase(std::unique(votes.begin(), votes.end(), same_id), votes.end());
  for (const Vote& vote : votes) {
    CHECK(vote.id, "0 is nobody and cannot vote");
    CHECK(vote.weight > 0, "member {} has no weight: make it a learner", vote.id.value);
  }
  return votes;
}

std::uint64_t total_of(const std::vector<Vote>& votes) {
  std::uint64_t total = 0;
  for (const Vote& vote : votes) total += vote.weight;
  return total;
}

std::string names(const std::vector<NodeId>& ids) {
  std::string out;
  for (const NodeId id : ids) out += fmt::format("{}{:x}", out.empty() ? "" : ",", id.value);
  return "{" + out + "}";
}

}  // namespace

std::optional<Disjoint> counter_example(const std::vector<Vote>& votes, std::uint64_t election,
                                        std::uint64_t write) {
  const std::uint64_t total = total_of(votes);
  if (election + write > total) return std::nullopt;
  // Each weight that some set of voters has, with one such set.
  std::map<std::uint64_t, std::vector<NodeId>> sets{{0, {}}};
  for (const Vote& vote : votes) {
    const auto before = sets;
    for (const auto& [weight, members] : before) {
      std::vector<NodeId> more = members;
      more.push_back(vote.id);
      sets.emplace(weight + vote.weight, std::move(more));
    }
  }
  // The lightest set that is enough for an election leaves the most for the others.
  const auto enough = sets.lower_bound(election);
  if (enough == sets.end() || total - enough->first < write) return std::nullopt;
  Disjoint out{enough->second, {}};
  std::sort(out.election.begin(), out.election.end());
  for (const Vote& vote : votes) {
    const bool elects = std::binary_search(out.election.begin(), out.election.end(), vote.id);
    if (!elects) out.write.push_back(vote.id);
  }
  std::sort(out.write.begin(), out.write.end());
  return out;
}

Quorum Quorum::majority(std::vector<NodeId> ids) {
  std::vector<Vote> votes;
  votes.reserve(ids.size());
  for (const NodeId id : ids) votes.push_back({id, 1});
  return weighted(std::move(votes));
}

Quorum Quorum::weighted(std::vector<Vote> votes) {
  Quorum quorum;
  quorum.votes_ = tidy(std::move(votes));
  if (quorum.votes_.empty()) return quorum;
  quorum.write_ = total_of(quorum.votes_) / 2 + 1;
  quorum.election_ = quorum.write_;
  return quorum;
}

Result<Quorum> Quorum::flexible(std::vector<Vote> votes, std::uint64_t election,
                                std::uint64_t write) {
  Quorum quorum;
  quorum.votes_ = tidy(std::move(votes));
  quorum.election_ = election;
  quorum.write_ = write;
  const std::uint64_t total = total_of(quorum.votes_);
  if (election == 0 || write == 0 || election > total || write > total) {
    return fail(ErrorCode::kInvalid,
                fmt::format("an election quorum of {} and a write quorum of {}, of {} votes in all:"
                            " each must be at least 1 and at most all of them",
                            election, write, total));
  }
  if (const auto disjoint = counter_example(quorum.votes_, election, write)) {
    return fail(ErrorCode::kInvalid,
                fmt::format("an election quorum of {} and a write quorum of {}, of {} votes in all,"
                            " need not share a member: {} could elect a leader that knows nothing "
                            "of what {} stored. Together they must be more than {}",
                            election, write, total, names(disjoint->election),
                            names(disjoint->write), total));
  }
  return quorum;
}

Quorum Quorum::with_votes(std::vector<Vote> votes) const {
  if (!is_flexible() || votes.empty()) return weighted(std::move(votes));
  Quorum quorum;
  quorum.votes_ = tidy(std::move(votes));
  const std::uint64_t total = total_of(quorum.votes_);
  quorum.write_ = std::min(write_, total);
  quorum.election_ = std::clamp(election_, total - quorum.write_ + 1, total);
  return quorum;
}

bool Quorum::is_flexible() const {
  const std::uint64_t majority = votes_.empty() ? 0 : total_of(votes_) / 2 + 1;
  return election_ != majority || write_ != majority;
}

bool Quorum::contains(NodeId id) const {
  const auto at =
      std::lower_bound(votes_.begin(), votes_.end(), id,
                       [](const Vote& vote, NodeId wanted) { return vote.id < wanted; });
  return at != votes_.end() && at->id == id;
}

std::uint64_t Quorum::weight_of(const std::function<bool(NodeId)>& has) const {
  std::uint64_t weight = 0;
  for (const Vote& vote : votes_) {
    if (has(vote.id)) weight += vote.weight;
  }
  return weight;
}

bool Quorum::reached(const std::function<bool(NodeId)>& has) const {
  return !votes_.empty() && weight_of(has) >= write_;
}

bool Quorum::elects(const std::function<bool(NodeId)>& has) const {
  return !votes_.empty() && weight_of(has) >= election_;
}

LogIndex Quorum::agreed(const std::function<LogIndex(NodeId)>& index_of) const {
  if (votes_.empty()) return {};
  std::vector<std::pair<LogIndex, std::uint32_t>> reached;
  reached.reserve(votes_.size());
  for (const Vote& vote : votes_) reached.emplace_back(index_of(vote.id), vote.weight);
  std::sort(reached.begin(), reached.end(), std::greater<>());

  std::uint64_t weight = 0;
  for (const auto& [index, more] : reached) {
    weight += more;
    if (weight >= write_) return index;
  }
  CHECK(false, "the threshold {} exceeds the total weight {}", write_, weight);
  return {};
}

VoteResult Quorum::tally(const std::function<std::optional<bool>(NodeId)>& vote) const {
  if (votes_.empty()) return VoteResult::kLost;
  std::uint64_t granted = 0;
  std::uint64_t open = 0;
  for (const Vote& voter : votes_) {
    const std::optional<bool> answer = vote(voter.id);
    if (!answer) {
      open += voter.weight;
    } else if (*answer) {
      granted += voter.weight;
    }
  }
  if (granted >= election_) return VoteResult::kWon;
  return granted + open >= election_ ? VoteResult::kPending : VoteResult::kLost;
}

}  // namespace conclave::consensus
