#include "paxos/plausible.h"

#include <fmt/core.h>

#include <algorithm>

#include "paxos/ballot.h"
#include "paxos/persistence.h"

namespace conclave::paxos {

namespace {

using consensus::Entry;

Failure implausible(NodeId from, const char* what) {
  return fail(ErrorCode::kCorrupt, fmt::format("paxos message from {:x}: {}", from.value, what));
}

// Only the owner of a ballot prepares it and proposes in it, and an acceptor gives it to one owner.
Result<void> check_owner(const State& s, NodeId from, Epoch ballot) {
  if (!owns(from, ballot)) return implausible(from, "speaks for a ballot of somebody else's");
  if (ballot == s.promised && s.owner && s.owner != from) {
    return implausible(from, "a second owner of one ballot");
  }
  return {};
}

// A value that was chosen in `chosen_by` or a lower ballot is what every higher ballot has there.
bool contradicts(const State& s, const Entry& value, Epoch chosen_by) {
  const Slot* own = s.log.find(value.index);
  if (!own) return false;
  const bool must_be_it = own->chosen || value.index <= s.commit || own->ballot >= chosen_by;
  return must_be_it && !is_same_entry(own->value, value);
}

Result<void> check_has_data(const State& s, NodeId from, const Entry& value) {
  if (value.kind != consensus::EntryKind::kWitnessed || s.config.is_witness) return {};
  return implausible(from, "takes this member for a witness");
}

bool any_contradicts(const State& s, const std::vector<Pvalue>& chosen, LogIndex to) {
  return std::any_of(chosen.begin(), chosen.end(), [&](const Pvalue& pvalue) {
    return pvalue.value.index <= to && contradicts(s, pvalue.value, pvalue.ballot);
  });
}

Result<void> check(const State& s, NodeId from, Epoch ballot, const Prepare&) {
  return check_owner(s, from, ballot);
}

Result<void> check(const State& s, NodeId from, Epoch ballot, const Accept& message) {
  TRY(check_owner(s, from, ballot));
  for (const Entry& value : message.values) {
    TRY(check_has_data(s, from, value));
    const Slot* own = s.log.find(value.index);
    if (!own) continue;
    const bool is_known = own->chosen || value.index <= s.commit || own->ballot == ballot;
    if (is_known && !is_same_entry(own->value, value))
      return implausible(from, "contradicts what is chosen");
  }
  return {};
}

Result<void> check(const State& s, NodeId from, Epoch ballot, const Heartbeat&) {
  return check_owner(s, from, ballot);
}

Result<void> check(const State& s, NodeId from, Epoch ballot, const CommitNotice&) {
  return check_owner(s, from, ballot);
}

Result<void> check(const State& s, NodeId from, Epoch ballot, const TimeoutNow&) {
  return check_owner(s, from, ballot);
}

Result<void> check(const State& s, NodeId from, Epoch ballot, const Learn& message) {
  TRY(check_owner(s, from, ballot));
  for (const Pvalue& pvalue : message.chosen) TRY(check_has_data(s, from, pvalue.value));
  if (any_contradicts(s, message.chosen, LogIndex{kMaxOnWire})) {
    return implausible(from, "contradicts what is chosen");
  }
  return {};
}

Result<void> check(const State& s, NodeId from, Epoch ballot, const SnapshotChunk& message) {
  TRY(check_owner(s, from, ballot));
  const LogIndex index = message.meta.index;
  const bool is_known = index >= s.log.base().index && index <= s.commit;
  if (is_known && settled_epoch(s, index) != message.meta.epoch) {
    return implausible(from, "a snapshot that contradicts what is committed");
  }
  return {};
}

// Answers to this replica's own Prepare: nothing was accepted in its ballot but what it proposed
// (unless it prepares or leads that ballot no longer, and may have forgotten: then the answer is of
// no use).
Result<void> check(const State& s, NodeId from, Epoch ballot, const Promise& message) {
  const bool is_own_ballot = s.leader() || (s.candidate() && !s.candidate()->pre);
  if (ballot != s.promised || !is_own_ballot) return {};
  if (any_contradicts(s, message.accepted, message.commit)) {
    return implausible(from, "contradicts what is chosen");
  }
  for (const Pvalue& pvalue : message.accepted) {
    if (pvalue.ballot != ballot) continue;
    const Slot* own = s.log.find(pvalue.value.index);
    const bool is_own = own ? is_same_entry(own->value, pvalue.value)
                            : s.leader() && pvalue.value.index <= s.log.base().index;
    if (!is_own) return implausible(from, "accepted what was never proposed");
  }
  return {};
}

Result<void> check(const State& s, NodeId from, Epoch ballot, const HeartbeatReply& message) {
  if (ballot == s.promised && s.leader() && message.round > s.leader()->round) {
    return implausible(from, "answers a heartbeat that was never sent");
  }
  return {};
}

// The rest can say nothing that depends on our state.
Result<void> check(const State&, NodeId, Epoch, const PrePrepare&) { return {}; }
Result<void> check(const State&, NodeId, Epoch, const PrePrepareReply&) { return {}; }
Result<void> check(const State&, NodeId, Epoch, const Refuse&) { return {}; }
// It may list slots that are not proposed yet: known to be chosen, by an older ballot and under a
// membership that is still to come to light here.
Result<void> check(const State&, NodeId, Epoch, const Accepted&) { return {}; }
Result<void> check(const State&, NodeId, Epoch, const CatchUp&) { return {}; }
Result<void> check(const State&, NodeId, Epoch, const SnapshotProgress&) { return {}; }
Result<void> check(const State&, NodeId, Epoch, const ReadRequest&) { return {}; }
Result<void> check(const State&, NodeId, Epoch, const ReadReply&) { return {}; }

}  // namespace

Result<void> check_plausible(const State& s, NodeId from, const Message& message) {
  if (message.ballot < s.promised) return {};  // will only be told so
  return std::visit([&](const auto& body) { return check(s, from, message.ballot, body); },
                    message.body);
}

}  // namespace conclave::paxos
