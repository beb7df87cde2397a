#include "paxos/describe.h"

#include <fmt/format.h>

#include "base/check.h"
#include "paxos/ballot.h"

namespace conclave::paxos {

namespace {

using consensus::EntryKind;

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
  if (quorum.is_flexible()) {
    out += fmt::format(" (election {}, write {})", quorum.election_threshold(),
                       quorum.write_threshold());
  }
  return out;
}

std::string runs(const std::vector<Range>& ranges) {
  std::string out;
  for (const Range& range : ranges) {
    out += fmt::format("{}{}", out.empty() ? "" : ",", range.first.value);
    if (range.last != range.first) out += fmt::format("..{}", range.last.value);
  }
  return out.empty() ? "none" : out;
}

std::string list(const std::vector<Pvalue>& pvalues) {
  std::string out;
  for (const Pvalue& pvalue : pvalues) out += " [" + describe(pvalue) + "]";
  return out;
}

// Question and batch numbers start at random: the text leaves them out.
std::string words(const PrePrepare& m) {
  return fmt::format("PrePrepare commit={}", m.commit.value);
}
std::string words(const PrePrepareReply& m) {
  return fmt::format("PrePrepareReply {}", m.granted ? "yes" : "no");
}
std::string words(const Prepare& m) {
  return fmt::format("Prepare from={}{}", m.from.value, m.handover ? " handover" : "");
}
std::string words(const Promise& m) {
  const std::string next = m.next ? fmt::format(" next={}", m.next.value) : "";
  return fmt::format("Promise from={}{} commit={}", m.from.value, next, m.commit.value) +
         list(m.accepted);
}
std::string words(const Refuse& m) { return m.behind ? "Refuse behind" : "Refuse"; }
std::string words(const Accept& m) {
  std::string out = fmt::format("Accept commit={}", m.commit.value);
  for (const auto& value : m.values) out += " [" + describe(value) + "]";
  return out;
}
std::string words(const Accepted& m) {
  return fmt::format("Accepted {} commit={}", runs(m.slots), m.commit.value);
}
std::string words(const Heartbeat& m) {
  return fmt::format("Heartbeat round={} commit={}{}", m.round, m.commit.value,
                     m.ask ? " ask" : "");
}
std::string words(const HeartbeatReply& m) {
  return fmt::format("HeartbeatReply round={}", m.round);
}
std::string words(const CommitNotice& m) {
  return fmt::format("CommitNotice commit={}", m.commit.value);
}
std::string words(const CatchUp& m) { return "CatchUp " + runs(m.missing); }
std::string words(const Learn& m) { return "Learn" + list(m.chosen); }
std::string words(const SnapshotChunk& m) {
  return fmt::format("SnapshotChunk {}/{} ({}) bytes {}..{}{}", m.meta.index.value,
                     describe(m.meta.epoch), describe(m.meta.membership), m.offset,
                     m.offset + m.data.size(), m.last ? " last" : "");
}
std::string words(const SnapshotProgress& m) {
  return fmt::format("SnapshotProgress {} next={}{}", m.index.value, m.next_offset,
                     m.refused ? " refused" : "");
}
std::string words(const TimeoutNow&) { return "TimeoutNow"; }
std::string words(const ReadRequest&) { return "ReadRequest"; }
std::string words(const ReadReply& m) {
  return m.index ? fmt::format("ReadReply index={}", m.index->value) : "ReadReply unknown";
}

std::string words(const Peer& peer) {
  std::string out = fmt::format("commit={} sent={}", peer.commit.value, peer.sent.value);
  std::vector<Range> unacknowledged;
  for (const auto& [slot, sent] : peer.unacknowledged) unacknowledged.push_back({slot, slot});
  if (!unacknowledged.empty()) out += " unacknowledged=" + runs(unacknowledged);
  if (peer.snapshot) {
    out +=
        fmt::format(" snapshot {} at {}", peer.snapshot->meta.index.value, peer.snapshot->offset);
  }
  return out;
}

std::string role(const State& s) {
  if (s.leader()) return "leader";
  if (s.candidate()) return s.candidate()->pre ? "pre-candidate" : "candidate";
  return s.is_voter() ? "follower" : "learner";
}

// Slots beyond the commit, each with the ballot in which it was accepted.
std::string open_slots(const State& s) {
  std::string out;
  for (auto slot = s.log.slots().upper_bound(s.commit); slot != s.log.slots().end(); ++slot) {
    out += fmt::format("{}{}@{}", out.empty() ? "" : ",", slot->first.value,
                       describe(slot->second.ballot));
    if (slot->second.chosen) out += " chosen";
  }
  return out.empty() ? "none" : out;
}

}  // namespace

std::string describe(Epoch ballot) {
  return ballot ? fmt::format("{}.{}", round_of(ballot), ballot.value & kSeatMask) : "0";
}

std::string describe(const Message& message) {
  return fmt::format("b{} {}", describe(message.ballot),
                     std::visit([](const auto& body) { return words(body); }, message.body));
}

std::string describe(const consensus::Entry& entry) {
  const std::string where = fmt::format("{}/{}", entry.index.value, describe(entry.epoch));
  if (entry.kind == EntryKind::kNoop) return where + " noop";
  if (entry.kind == EntryKind::kCommand) return where + " " + entry.data;
  if (entry.kind == EntryKind::kWitnessed) return where + " witnessed " + entry.data;
  const auto membership = consensus::decode_membership(entry.data);
  CHECK(membership.has_value());
  return where + " members " + describe(*membership);
}

std::string describe(const Pvalue& pvalue) {
  return describe(pvalue.value) + "@" + describe(pvalue.ballot);
}

std::string describe(const Membership& membership) {
  std::string out = voters(membership.voters);
  if (!membership.learners.empty()) out += " learners " + ids(membership.learners);
  if (!membership.witnesses.empty()) out += " witnesses " + ids(membership.witnesses);
  if (!membership.successor) return out;
  out += fmt::format(" from {} on {}", membership.successor->from.value,
                     voters(membership.successor->voters));
  if (!membership.successor->learners.empty()) {
    out += " learners " + ids(membership.successor->learners);
  }
  return out;
}

std::string describe(const State& s) {
  std::string out = fmt::format("{} b{}", role(s), describe(s.promised));
  if (s.follower() && s.follower()->leader)
    out += fmt::format(" leader={}", s.follower()->leader.value);
  out += fmt::format(" commit={} durable={} log={}/{}.. open={}", s.commit.value, s.durable.value,
                     s.log.base().index.value, describe(s.log.base().epoch), open_slots(s));
  out += " members=" + describe(s.announced);
  if (!s.leader()) return out;
  if (s.leader()->transfer) out += fmt::format(" transfer={}", s.leader()->transfer->target.value);
  for (const auto& [id, peer] : s.leader()->peers) {
    out += fmt::format("\n    {}: {}", id.value, words(peer));
  }
  return out;
}

}  // namespace conclave::paxos
