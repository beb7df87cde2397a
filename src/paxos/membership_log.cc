#include "paxos/membership_log.h"

#include <algorithm>

#include "base/check.h"

namespace conclave::paxos {

using consensus::Membership;

MembershipLog::MembershipLog(LogIndex index, const Membership& membership, std::uint64_t window)
    : window_(window) {
  CHECK(window > 0);
  CHECK(membership.is_valid(), "the membership at {} is invalid", index.value);
  CHECK(!membership.is_joint(), "a joint membership at {}: written by another engine", index.value);
  Membership plain = membership;
  plain.successor.reset();
  plain.merge_witnesses({});
  configs_.push_back({index, std::move(plain)});
  if (!membership.successor) return;
  const Membership::Successor& next = *membership.successor;
  CHECK(next.from > index, "a successor from {} in a snapshot at {}", next.from.value, index.value);
  Membership then;
  then.voters = next.voters;
  then.learners = next.learners;
  then.merge_witnesses(membership.witnesses);
  configs_.push_back({next.from, std::move(then)});
}

std::vector<Config>::const_iterator MembershipLog::find(LogIndex slot) const {
  CHECK(slot >= configs_.front().from, "{} is before {}", slot.value, configs_.front().from.value);
  const auto after = std::find_if(configs_.begin(), configs_.end(),
                                  [slot](const Config& config) { return config.from > slot; });
  return std::prev(after);
}

const Config& MembershipLog::at(LogIndex slot) const { return *find(slot); }

std::span<const Config> MembershipLog::open(LogIndex commit) const {
  return {find(commit.next()), configs_.end()};
}

Membership MembershipLog::snapshot_at(LogIndex index) const {
  const auto in_force = find(index);
  Membership membership = in_force->membership;
  const auto next = std::next(in_force);
  if (next == configs_.end()) return membership;
  const bool is_chosen = next->from.value <= index.value + window_;
  if (!is_chosen) return membership;
  membership.successor = {next->from, next->membership.voters, next->membership.learners};
  membership.merge_witnesses(next->membership.witnesses);
  return membership;
}

void MembershipLog::decide(LogIndex index, Membership membership) {
  CHECK(may_decide(index));
  CHECK(membership.is_valid(), "the membership at {} is invalid", index.value);
  configs_.push_back({index.plus(window_), std::move(membership)});
}

void MembershipLog::compact_to(LogIndex index) { configs_.erase(configs_.begin(), find(index)); }

}  // namespace conclave::paxos
