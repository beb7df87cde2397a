#include "consensus/quorum.h"

#include <algorithm>

#include "base/check.h"

namespace conclave::consensus {

Quorum Quorum::majority(std::vector<NodeId> ids) {
  std::vector<Vote> votes;
  votes.reserve(ids.size());
  for (const NodeId id : ids) votes.push_back({id, 1});
  return weighted(std::move(votes));
}

Quorum Quorum::weighted(std::vector<Vote> votes) {
  std::sort(votes.begin(), votes.end());
  // A voter named twice keeps its smaller weight: it is one machine, and can fail only once.
  const auto same_id = [](const Vote& a, const Vote& b) { return a.id == b.id; };
  votes.erase(std::unique(votes.begin(), votes.end(), same_id), votes.end());

  Quorum quorum;
  std::uint64_t total = 0;
  for (const Vote& vote : votes) {
    CHECK(vote.id, "0 is nobody and cannot vote");
    CHECK(vote.weight > 0, "member {} has no weight: make it a learner", vote.id.value);
    total += vote.weight;
  }
  quorum.threshold_ = votes.empty() ? 0 : total / 2 + 1;
  quorum.votes_ = std::move(votes);
  return quorum;
}

bool Quorum::contains(NodeId id) const {
  const auto at =
      std::lower_bound(votes_.begin(), votes_.end(), id,
                       [](const Vote& vote, NodeId wanted) { return vote.id < wanted; });
  return at != votes_.end() && at->id == id;
}

bool Quorum::reached(const std::function<bool(NodeId)>& has) const {
  if (votes_.empty()) return false;
  std::uint64_t weight = 0;
  for (const Vote& vote : votes_) {
    if (has(vote.id)) weight += vote.weight;
  }
  return weight >= threshold_;
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
    if (weight >= threshold_) return index;
  }
  CHECK(false, "the threshold {} exceeds the total weight {}", threshold_, weight);
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
  if (granted >= threshold_) return VoteResult::kWon;
  return granted + open >= threshold_ ? VoteResult::kPending : VoteResult::kLost;
}

}  // namespace conclave::consensus
