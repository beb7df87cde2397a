#include "raft/membership_log.h"

#include <algorithm>

#include "base/check.h"

namespace conclave::raft {

MembershipLog::MembershipLog(LogIndex index, consensus::Membership membership) {
  CHECK(membership.is_valid(), "the membership at {} is invalid", index.value);
  changes_.push_back({index, std::move(membership)});
}

std::vector<MembershipLog::Change>::const_iterator MembershipLog::find(LogIndex index) const {
  CHECK(index >= changes_.front().index, "{} is before {}", index.value,
        changes_.front().index.value);
  const auto after = std::find_if(changes_.begin(), changes_.end(),
                                  [index](const Change& change) { return change.index > index; });
  return std::prev(after);
}

const consensus::Membership& MembershipLog::at(LogIndex index) const {
  return find(index)->membership;
}

bool MembershipLog::may_be_voter(NodeId id, LogIndex commit) const {
  return std::any_of(find(commit), changes_.end(),
                     [id](const Change& change) { return change.membership.is_voter(id); });
}

std::size_t MembershipLog::count_after(LogIndex index) const {
  return static_cast<std::size_t>(std::ranges::count_if(
      changes_, [index](const Change& change) { return change.index > index; }));
}

void MembershipLog::append(LogIndex index, consensus::Membership membership) {
  CHECK(index > current_index());
  CHECK(membership.is_valid(), "the membership at {} is invalid", index.value);
  changes_.push_back({index, std::move(membership)});
}

void MembershipLog::truncate_from(LogIndex index) {
  CHECK(index > changes_.front().index);
  while (current_index() >= index) changes_.pop_back();
}

void MembershipLog::compact_to(LogIndex index) {
  changes_.erase(changes_.begin(), find(index));
  changes_.front().index = index;
}

}  // namespace conclave::raft
