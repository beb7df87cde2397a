#include "raft/plausible.h"

#include <fmt/core.h>

namespace conclave::raft {

namespace {

Failure implausible(NodeId from, const char* what) {
  return fail(ErrorCode::kCorrupt, fmt::format("raft message from {:x}: {}", from.value, what));
}

// Only a leader says such things, and a term has one.
Result<void> check_is_leader(const State& s, NodeId from, Epoch term) {
  if (term != s.term) return {};
  if (s.leader()) return implausible(from, "claims our own term");
  if (s.follower() && s.follower()->leader && s.follower()->leader != from) {
    return implausible(from, "a second leader in one term");
  }
  return {};
}

// What is committed here is the same everywhere.
bool contradicts_commit(const State& s, Position at) {
  if (at.index > s.commit || at.index < s.log.base().index) return false;
  return !s.log.matches(at);
}

// A leader names a commit only up to what this member acknowledged to it, on disk.
Result<void> check_commit(const State& s, NodeId from, LogIndex commit) {
  if (commit > s.log.last()) {
    return implausible(
        from, "counts on entries that this member does not have: was its data directory lost?");
  }
  return {};
}

Result<void> check(const State& s, NodeId from, Epoch term, const Append& message) {
  TRY(check_is_leader(s, from, term));
  bool contradiction = contradicts_commit(s, message.prev);
  for (const consensus::Entry& entry : message.entries) {
    if (entry.kind == consensus::EntryKind::kWitnessed && !s.config.is_witness) {
      return implausible(from, "takes this member for a witness");
    }
  }
  for (const consensus::Entry& entry : message.entries) {
    if (entry.index > s.commit) break;
    contradiction = contradiction || contradicts_commit(s, {entry.index, entry.epoch});
  }
  if (contradiction) return implausible(from, "contradicts what is committed");
  return {};
}

Result<void> check(const State& s, NodeId from, Epoch term, const Heartbeat& message) {
  TRY(check_is_leader(s, from, term));
  return check_commit(s, from, message.commit);
}

Result<void> check(const State& s, NodeId from, Epoch term, const CommitNotice& message) {
  TRY(check_is_leader(s, from, term));
  return check_commit(s, from, message.commit);
}

Result<void> check(const State& s, NodeId from, Epoch term, const SnapshotChunk& message) {
  TRY(check_is_leader(s, from, term));
  if (contradicts_commit(s, {message.meta.index, message.meta.epoch})) {
    return implausible(from, "a snapshot that contradicts what is committed");
  }
  return {};
}

Result<void> check(const State& s, NodeId from, Epoch term, const TimeoutNow&) {
  return check_is_leader(s, from, term);
}

Result<void> check(const State& s, NodeId from, Epoch term, const AppendAck& message) {
  if (term == s.term && s.leader() && message.match > s.log.last()) {
    return implausible(from, "acknowledges entries that were never sent");
  }
  return {};
}

Result<void> check(const State& s, NodeId from, Epoch term, const HeartbeatReply& message) {
  if (term == s.term && s.leader() && message.round > s.leader()->round) {
    return implausible(from, "answers a heartbeat that was never sent");
  }
  return {};
}

// The rest can say nothing that depends on our state.
Result<void> check(const State&, NodeId, Epoch, const PreVote&) { return {}; }
Result<void> check(const State&, NodeId, Epoch, const PreVoteReply&) { return {}; }
Result<void> check(const State&, NodeId, Epoch, const RequestVote&) { return {}; }
Result<void> check(const State&, NodeId, Epoch, const VoteReply&) { return {}; }
Result<void> check(const State&, NodeId, Epoch, const AppendReject&) { return {}; }
Result<void> check(const State&, NodeId, Epoch, const SnapshotProgress&) { return {}; }
Result<void> check(const State&, NodeId, Epoch, const ReadRequest&) { return {}; }
Result<void> check(const State&, NodeId, Epoch, const ReadReply&) { return {}; }

}  // namespace

Result<void> check_plausible(const State& s, NodeId from, const Message& message) {
  if (message.term < s.term) return {};  // it will only be told so
  return std::visit([&](const auto& body) { return check(s, from, message.term, body); },
                    message.body);
}

}  // namespace conclave::raft
