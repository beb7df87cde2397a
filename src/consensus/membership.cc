#include "consensus/membership.h"

#include <algorithm>

#include "base/check.h"

namespace conclave::consensus {

namespace {

constexpr std::uint8_t kFormat = 1;

template <class Int>
void put(Bytes& out, Int value) {
  for (std::size_t i = 0; i < sizeof(Int); ++i) {
    out.push_back(static_cast<char>((std::uint64_t{value} >> (8 * i)) & 0xff));
  }
}

// Takes little-endian integers off the front; failed stays set after the first one that is not
// there.
struct Reader {
  BytesView left;
  bool failed = false;

  template <class Int>
  Int take() {
    if (left.size() < sizeof(Int)) {
      failed = true;
      return 0;
    }
    std::uint64_t value = 0;
    for (std::size_t i = 0; i < sizeof(Int); ++i) {
      value |= std::uint64_t{static_cast<std::uint8_t>(left[i])} << (8 * i);
    }
    left.remove_prefix(sizeof(Int));
    return static_cast<Int>(value);
  }

  // A count of items of `bytes` each, refused when that much cannot follow: so that a damaged count
  // allocates nothing.
  std::uint32_t take_count(std::size_t bytes) {
    const auto count = take<std::uint32_t>();
    if (count > left.size() / bytes) failed = true;
    return failed ? 0 : count;
  }
};

void put_quorum(Bytes& out, const Quorum& quorum) {
  put(out, static_cast<std::uint32_t>(quorum.votes().size()));
  for (const Vote& vote : quorum.votes()) {
    put(out, vote.id.value);
    put(out, vote.weight);
  }
}

Quorum take_quorum(Reader& in) {
  std::vector<Vote> votes;
  const std::uint32_t count = in.take_count(sizeof(std::uint64_t) + sizeof(std::uint32_t));
  for (std::uint32_t i = 0; i < count; ++i) {
    Vote vote;
    vote.id = NodeId{in.take<std::uint64_t>()};
    vote.weight = in.take<std::uint32_t>();
    if (!vote.id || vote.weight == 0) in.failed = true;
    votes.push_back(vote);
  }
  return in.failed ? Quorum{} : Quorum::weighted(std::move(votes));
}

bool strictly_sorted(const std::vector<NodeId>& ids) {
  return std::adjacent_find(ids.begin(), ids.end(), std::greater_equal<>()) == ids.end();
}

}  // namespace

Membership Membership::of_majority(std::vector<NodeId> ids) {
  Membership membership;
  membership.voters = Quorum::majority(std::move(ids));
  return membership;
}

bool Membership::is_voter(NodeId id) const {
  return voters.contains(id) || (outgoing && outgoing->contains(id));
}

bool Membership::is_learner(NodeId id) const {
  return std::binary_search(learners.begin(), learners.end(), id) && !is_voter(id);
}

std::vector<NodeId> Membership::all() const {
  std::vector<NodeId> ids = learners;
  for (const Vote& vote : voters.votes()) ids.push_back(vote.id);
  if (outgoing) {
    for (const Vote& vote : outgoing->votes()) ids.push_back(vote.id);
  }
  std::sort(ids.begin(), ids.end());
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
  return ids;
}

bool Membership::reached(const std::function<bool(NodeId)>& has) const {
  return voters.reached(has) && (!outgoing || outgoing->reached(has));
}

LogIndex Membership::agreed(const std::function<LogIndex(NodeId)>& index_of) const {
  const LogIndex incoming = voters.agreed(index_of);
  return outgoing ? std::min(incoming, outgoing->agreed(index_of)) : incoming;
}

VoteResult Membership::tally(const std::function<std::optional<bool>(NodeId)>& vote) const {
  const VoteResult incoming = voters.tally(vote);
  if (!outgoing) return incoming;
  const VoteResult leaving = outgoing->tally(vote);
  if (incoming == VoteResult::kLost || leaving == VoteResult::kLost) return VoteResult::kLost;
  return incoming == leaving ? incoming : VoteResult::kPending;
}

bool Membership::is_valid() const {
  if (voters.votes().empty()) return false;
  if (outgoing && outgoing->votes().empty()) return false;
  if (!strictly_sorted(learners)) return false;
  return std::none_of(learners.begin(), learners.end(),
                      [this](NodeId id) { return !id || voters.contains(id); });
}

Bytes encode(const Membership& membership) {
  CHECK(membership.is_valid());
  Bytes out;
  put(out, kFormat);
  put(out, static_cast<std::uint8_t>(membership.is_joint()));
  put_quorum(out, membership.voters);
  if (membership.outgoing) put_quorum(out, *membership.outgoing);
  put(out, static_cast<std::uint32_t>(membership.learners.size()));
  for (const NodeId id : membership.learners) put(out, id.value);
  return out;
}

Result<Membership> decode_membership(BytesView bytes) {
  Reader in{bytes};
  const auto format = in.take<std::uint8_t>();
  if (format != kFormat) return fail(ErrorCode::kCorrupt, "membership: unknown format");
  const bool joint = in.take<std::uint8_t>() != 0;
  Membership membership;
  membership.voters = take_quorum(in);
  if (joint) membership.outgoing = take_quorum(in);
  const std::uint32_t learners = in.take_count(sizeof(std::uint64_t));
  for (std::uint32_t i = 0; i < learners; ++i) {
    membership.learners.push_back(NodeId{in.take<std::uint64_t>()});
  }
  if (in.failed) return fail(ErrorCode::kCorrupt, "membership: cut off or without sense");
  if (!membership.is_valid()) return fail(ErrorCode::kCorrupt, "membership: invalid");
  // One form per membership: this also refuses trailing bytes, unsorted votes and a joint flag that
  // is not 0 or 1.
  if (encode(membership) != bytes) return fail(ErrorCode::kCorrupt, "membership: not canonical");
  return membership;
}

}  // namespace conclave::consensus
