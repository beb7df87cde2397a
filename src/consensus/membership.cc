#include "consensus/membership.h"

#include <algorithm>

#include "base/check.h"

namespace conclave::consensus {

namespace {

constexpr std::uint8_t kFormat = 1;
// With thresholds after each quorum's votes, and a successor.
constexpr std::uint8_t kFlexibleFormat = 2;
// And with the witnesses at the end.
constexpr std::uint8_t kWitnessFormat = 3;
// Thresholds that meet although they do not add up to more than all need a proof, which costs up to
// 2^voters steps: nobody reads more voters then from a file or the network.
constexpr std::size_t kMaxFlexibleVoters = 12;

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

void put_quorum(Bytes& out, const Quorum& quorum, std::uint8_t format) {
  put(out, static_cast<std::uint32_t>(quorum.votes().size()));
  for (const Vote& vote : quorum.votes()) {
    put(out, vote.id.value);
    put(out, vote.weight);
  }
  if (format == kFormat) return;
  put(out, quorum.election_threshold());
  put(out, quorum.write_threshold());
}

void put_ids(Bytes& out, const std::vector<NodeId>& ids) {
  put(out, static_cast<std::uint32_t>(ids.size()));
  for (const NodeId id : ids) put(out, id.value);
}

Quorum take_quorum(Reader& in, std::uint8_t format) {
  std::vector<Vote> votes;
  const std::uint32_t count = in.take_count(sizeof(std::uint64_t) + sizeof(std::uint32_t));
  for (std::uint32_t i = 0; i < count; ++i) {
    Vote vote;
    vote.id = NodeId{in.take<std::uint64_t>()};
    vote.weight = in.take<std::uint32_t>();
    if (!vote.id || vote.weight == 0) in.failed = true;
    votes.push_back(vote);
  }
  if (in.failed) return {};
  if (format == kFormat) return Quorum::weighted(std::move(votes));
  const auto election = in.take<std::uint64_t>();
  const auto write = in.take<std::uint64_t>();
  const Quorum majority = Quorum::weighted(votes);
  // The common case, and cheap: the proof that two thresholds meet is not.
  if (election == majority.election_threshold() && write == majority.write_threshold()) {
    return majority;
  }
  std::uint64_t total = 0;
  for (const Vote& vote : votes) total += vote.weight;
  const bool cheap = votes.size() <= kMaxFlexibleVoters ||
                     (election <= total && write <= total && election + write > total);
  if (in.failed || !cheap) {
    in.failed = true;
    return {};
  }
  Result<Quorum> quorum = Quorum::flexible(std::move(votes), election, write);
  if (!quorum) in.failed = true;
  return quorum ? std::move(*quorum) : Quorum{};
}

std::vector<NodeId> take_ids(Reader& in) {
  std::vector<NodeId> ids;
  const std::uint32_t count = in.take_count(sizeof(std::uint64_t));
  for (std::uint32_t i = 0; i < count; ++i) ids.push_back(NodeId{in.take<std::uint64_t>()});
  return ids;
}

bool strictly_sorted(const std::vector<NodeId>& ids) {
  return std::adjacent_find(ids.begin(), ids.end(), std::greater_equal<>()) == ids.end();
}

// Sorted, nobody twice, and none of them a voter.
bool are_learners(const std::vector<NodeId>& learners, const Quorum& voters) {
  if (!strictly_sorted(learners)) return false;
  return std::none_of(learners.begin(), learners.end(),
                      [&voters](NodeId id) { return !id || voters.contains(id); });
}

// The lowest one that can say it.
std::uint8_t format_of(const Membership& membership) {
  if (!membership.witnesses.empty()) return kWitnessFormat;
  if (membership.successor || membership.voters.is_flexible()) return kFlexibleFormat;
  const bool leaves_flexible = membership.outgoing && membership.outgoing->is_flexible();
  return leaves_flexible ? kFlexibleFormat : kFormat;
}

// Whether these voters alone could decide anything.
bool decide_alone(const std::vector<NodeId>& ids, const Quorum& quorum) {
  const auto is_one = [&ids](NodeId id) { return std::binary_search(ids.begin(), ids.end(), id); };
  return quorum.reached(is_one) || quorum.elects(is_one);
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

bool Membership::is_witness(NodeId id) const {
  return std::binary_search(witnesses.begin(), witnesses.end(), id);
}

bool Membership::agrees_on_witnesses(const Membership& other) const {
  const std::vector<NodeId> members = all();
  const std::vector<NodeId> others = other.all();
  return std::all_of(members.begin(), members.end(), [&](NodeId id) {
    const bool in_both = std::binary_search(others.begin(), others.end(), id);
    return !in_both || is_witness(id) == other.is_witness(id);
  });
}

void Membership::merge_witnesses(const std::vector<NodeId>& more) {
  std::vector<NodeId> both;
  std::set_union(witnesses.begin(), witnesses.end(), more.begin(), more.end(),
                 std::back_inserter(both));
  const std::vector<NodeId> members = all();
  witnesses.clear();
  std::set_intersection(both.begin(), both.end(), members.begin(), members.end(),
                        std::back_inserter(witnesses));
}

std::vector<NodeId> Membership::all() const {
  std::vector<NodeId> ids = learners;
  const auto add_voters = [&ids](const Quorum& quorum) {
    for (const Vote& vote : quorum.votes()) ids.push_back(vote.id);
  };
  add_voters(voters);
  if (outgoing) add_voters(*outgoing);
  if (successor) add_voters(successor->voters);
  if (successor) {
    ids.insert(ids.end(), successor->learners.begin(), successor->learners.end());
  }
  std::sort(ids.begin(), ids.end());
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
  return ids;
}

Membership Membership::decided() const {
  if (!successor) return *this;
  Membership next{.voters = successor->voters,
                  .outgoing = {},
                  .learners = successor->learners,
                  .successor = {},
                  .witnesses = {}};
  next.merge_witnesses(witnesses);
  return next;
}

bool Membership::reached(const std::function<bool(NodeId)>& has) const {
  return voters.reached(has) && (!outgoing || outgoing->reached(has));
}

bool Membership::elects(const std::function<bool(NodeId)>& has) const {
  return voters.elects(has) && (!outgoing || outgoing->elects(has));
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

namespace {

bool are_witnesses(const Membership& membership) {
  const std::vector<NodeId>& witnesses = membership.witnesses;
  const std::vector<NodeId> members = membership.all();
  if (!strictly_sorted(witnesses)) return false;
  if (!std::includes(members.begin(), members.end(), witnesses.begin(), witnesses.end())) {
    return false;
  }
  if (decide_alone(witnesses, membership.voters)) return false;
  if (membership.outgoing && decide_alone(witnesses, *membership.outgoing)) return false;
  return !membership.successor || !decide_alone(witnesses, membership.successor->voters);
}

}  // namespace

bool Membership::is_valid() const {
  if (voters.votes().empty()) return false;
  if (outgoing && outgoing->votes().empty()) return false;
  if (!are_learners(learners, voters) || !are_witnesses(*this)) return false;
  if (!successor) return true;
  if (outgoing || successor->from.value < 2 || successor->voters.votes().empty()) return false;
  return are_learners(successor->learners, successor->voters);
}

Bytes encode(const Membership& membership) {
  CHECK(membership.is_valid());
  const std::uint8_t format = format_of(membership);
  Bytes out;
  put(out, format);
  put(out, static_cast<std::uint8_t>(membership.is_joint()));
  put_quorum(out, membership.voters, format);
  if (membership.outgoing) put_quorum(out, *membership.outgoing, format);
  put_ids(out, membership.learners);
  if (format == kFormat) return out;
  put(out, membership.successor ? membership.successor->from.value : std::uint64_t{0});
  if (membership.successor) {
    put_quorum(out, membership.successor->voters, format);
    put_ids(out, membership.successor->learners);
  }
  if (format == kWitnessFormat) put_ids(out, membership.witnesses);
  return out;
}

Result<Membership> decode_membership(BytesView bytes) {
  Reader in{bytes};
  const auto format = in.take<std::uint8_t>();
  if (format < kFormat || format > kWitnessFormat) {
    return fail(ErrorCode::kCorrupt, "membership: unknown format");
  }
  const bool joint = in.take<std::uint8_t>() != 0;
  Membership membership;
  membership.voters = take_quorum(in, format);
  if (joint) membership.outgoing = take_quorum(in, format);
  membership.learners = take_ids(in);
  if (const LogIndex from{format == kFormat ? 0 : in.take<std::uint64_t>()}; from) {
    Membership::Successor successor{from, take_quorum(in, format), {}};
    successor.learners = take_ids(in);
    membership.successor = std::move(successor);
  }
  if (format == kWitnessFormat) membership.witnesses = take_ids(in);
  if (in.failed) return fail(ErrorCode::kCorrupt, "membership: cut off or without sense");
  if (!membership.is_valid()) return fail(ErrorCode::kCorrupt, "membership: invalid");
  // One form per membership: this also refuses trailing bytes, unsorted votes and a joint flag that
  // is not 0 or 1.
  if (encode(membership) != bytes) return fail(ErrorCode::kCorrupt, "membership: not canonical");
  return membership;
}

}  // namespace conclave::consensus
