#include "raft/describe.h"

#include <fmt/format.h>

#include "base/check.h"

namespace conclave::raft {

namespace {

using consensus::EntryKind;

std::string at(Position p) { return fmt::format("{}/{}", p.index.value, p.epoch.value); }

std::string ids(const std::vector<NodeId>& nodes) {
  std::string out;
  for (const NodeId id : nodes) out += fmt::format("{}{}", out.empty() ? "" : ",", id.value);
  return out;
}

std::string voters(const consensus::Quorum& quorum) {
  std::string out;
  for (const consensus::Vote& vote : quorum.votes()) {
    out += fmt::format("{}{}", out.empty() ? "" : ",", vote.id.value);
    if (vote.weight != 1) out += fmt::format("*{}", vote.weight);
  }
  return out;
}

std::string words(const PreVote& m) { return "PreVote last=" + at(m.last); }
std::string words(const PreVoteReply& m) {
  return fmt::format("PreVoteReply for={} {}", m.for_term.value, m.granted ? "yes" : "no");
}
std::string words(const RequestVote& m) {
  return "RequestVote last=" + at(m.last) + (m.handover ? " handover" : "");
}
std::string words(const VoteReply& m) { return m.granted ? "VoteReply yes" : "VoteReply no"; }
std::string words(const Append& m) {
  std::string out = fmt::format("Append prev={} commit={}", at(m.prev), m.commit.value);
  for (const auto& entry : m.entries) out += " [" + describe(entry) + "]";
  return out;
}
std::string words(const AppendAck& m) { return fmt::format("AppendAck match={}", m.match.value); }
std::string words(const AppendReject& m) {
  return fmt::format("AppendReject prev={} hint={}", m.prev.value, at(m.hint));
}
std::string words(const Heartbeat& m) {
  return fmt::format("Heartbeat round={} commit={}", m.round, m.commit.value);
}
std::string words(const HeartbeatReply& m) {
  return fmt::format("HeartbeatReply round={}", m.round);
}
std::string words(const CommitNotice& m) {
  return fmt::format("CommitNotice commit={}", m.commit.value);
}
std::string words(const SnapshotChunk& m) {
  return fmt::format("SnapshotChunk {} ({}) bytes {}..{}{}", at({m.meta.index, m.meta.epoch}),
                     describe(m.meta.membership), m.offset, m.offset + m.data.size(),
                     m.last ? " last" : "");
}
std::string words(const SnapshotProgress& m) {
  return fmt::format("SnapshotProgress {} next={}{}", m.index.value, m.next_offset,
                     m.refused ? " refused" : "");
}
std::string words(const TimeoutNow&) { return "TimeoutNow"; }
// Batch numbers start at random: the text leaves them out.
std::string words(const ReadRequest&) { return "ReadRequest"; }
std::string words(const ReadReply& m) {
  return m.index ? fmt::format("ReadReply index={}", m.index->value) : "ReadReply unknown";
}

std::string words(const Progress& peer) {
  const auto mode = std::visit(
      Overloaded{[](const Probe& m) { return std::string(m.waiting ? "probe waiting" : "probe"); },
                 [](const Replicate& m) {
                   return fmt::format("replicate inflight={}", m.inflight.size());
                 },
                 [](const SendSnapshot& m) {
                   return fmt::format("snapshot {} at {}", m.meta.index.value, m.offset);
                 }},
      peer.mode);
  return fmt::format("match={} next={} {}", peer.match.value, peer.next.value, mode);
}

std::string role(const State& s) {
  if (s.leader()) return "leader";
  if (s.candidate()) return s.candidate()->pre ? "pre-candidate" : "candidate";
  return s.is_voter() ? "follower" : "learner";
}

}  // namespace

std::string describe(const Message& message) {
  return fmt::format("t{} {}", message.term.value,
                     std::visit([](const auto& body) { return words(body); }, message.body));
}

std::string describe(const consensus::Entry& entry) {
  const std::string where = at({entry.index, entry.epoch});
  if (entry.kind == EntryKind::kNoop) return where + " noop";
  if (entry.kind == EntryKind::kCommand) return where + " " + entry.data;
  if (entry.kind == EntryKind::kWitnessed) return where + " witnessed " + entry.data;
  const auto membership = consensus::decode_membership(entry.data);
  CHECK(membership.has_value());
  return where + " members " + describe(*membership);
}

std::string describe(const Membership& membership) {
  std::string out = voters(membership.voters);
  if (membership.outgoing) out += " from " + voters(*membership.outgoing);
  if (!membership.learners.empty()) out += " learners " + ids(membership.learners);
  if (!membership.witnesses.empty()) out += " witnesses " + ids(membership.witnesses);
  return out;
}

std::string describe(const State& s) {
  std::string out = fmt::format("{} t{}", role(s), s.term.value);
  if (s.vote) out += fmt::format(" vote={}", s.vote.value);
  if (s.follower() && s.follower()->leader)
    out += fmt::format(" leader={}", s.follower()->leader.value);
  out += fmt::format(" commit={} durable={} log=", s.commit.value, s.durable.value);
  out += at(s.log.base()) + ".." + at(s.log.last_position());
  out += " members=" + describe(s.membership());
  if (!s.leader()) return out;
  if (s.leader()->transfer) out += fmt::format(" transfer={}", s.leader()->transfer->target.value);
  for (const auto& [id, peer] : s.leader()->peers) {
    out += fmt::format("\n    {}: {}", id.value, words(peer));
  }
  return out;
}

}  // namespace conclave::raft
