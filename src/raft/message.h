#pragma once
// What replicas say to each other: one struct per message, one variant over them. std::visit over
// Body is exhaustive, so a message nobody handles does not compile. The encoding is in codec.h.
//
// A term is an Epoch, as everywhere outside the paper.

#include <optional>
#include <variant>
#include <vector>

#include "base/bytes.h"
#include "base/ids.h"
#include "consensus/entry.h"
#include "consensus/output.h"

namespace conclave::raft {

// Would you vote for me in the term after mine? Changes nothing at the receiver (thesis, section
// 9.6).
struct PreVote {
  consensus::Position last;  // of the sender's log

  bool operator==(const PreVote&) const = default;
};

struct PreVoteReply {
  Epoch for_term;  // the term asked about
  bool granted = false;

  bool operator==(const PreVoteReply&) const = default;
};

struct RequestVote {
  consensus::Position last;
  bool handover = false;  // the leader asked for this election (thesis, section 3.10)

  bool operator==(const RequestVote&) const = default;
};

struct VoteReply {
  bool granted = false;

  bool operator==(const VoteReply&) const = default;
};

// Entries follow `prev` without a gap. An empty one asks whether the log at `prev` matches.
struct Append {
  consensus::Position prev;
  LogIndex commit;
  std::vector<consensus::Entry> entries;

  bool operator==(const Append&) const = default;
};

// The sender's log equals the leader's up to `match`, durably.
struct AppendAck {
  LogIndex match;

  bool operator==(const AppendAck&) const = default;
};

// The entry at `prev` is missing or another one. Whatever matches is at or below hint.index, which
// is below `prev`, and of hint.epoch or less.
struct AppendReject {
  LogIndex prev;
  consensus::Position hint;

  bool operator==(const AppendReject&) const = default;
};

// `round` numbers the questions "do you still follow me"; `commit` is at most what the receiver is
// known to have.
struct Heartbeat {
  std::uint64_t round = 0;
  LogIndex commit;

  bool operator==(const Heartbeat&) const = default;
};

struct HeartbeatReply {
  std::uint64_t round = 0;

  bool operator==(const HeartbeatReply&) const = default;
};

// A heartbeat's commit without its question.
struct CommitNotice {
  LogIndex commit;

  bool operator==(const CommitNotice&) const = default;
};

struct SnapshotChunk {
  consensus::SnapshotMeta meta;
  std::uint64_t offset = 0;
  Bytes data;
  bool last = false;

  bool operator==(const SnapshotChunk&) const = default;
};

// Stored up to `next_offset`. `refused`: unusable, start over after a while.
struct SnapshotProgress {
  LogIndex index;
  std::uint64_t next_offset = 0;
  bool refused = false;

  bool operator==(const SnapshotProgress&) const = default;
};

// You have the whole log: start an election at once.
struct TimeoutNow {
  bool operator==(const TimeoutNow&) const = default;
};

// `batch` is the asker's own number for all reads it wants answered by this.
struct ReadRequest {
  std::uint64_t batch = 0;

  bool operator==(const ReadRequest&) const = default;
};

struct ReadReply {
  std::uint64_t batch = 0;
  std::optional<LogIndex> index;

  bool operator==(const ReadReply&) const = default;
};

using Body = std::variant<PreVote, PreVoteReply, RequestVote, VoteReply, Append, AppendAck,
                          AppendReject, Heartbeat, HeartbeatReply, CommitNotice, SnapshotChunk,
                          SnapshotProgress, TimeoutNow, ReadRequest, ReadReply>;

struct Message {
  Epoch term;  // the sender's
  Body body;

  bool operator==(const Message&) const = default;
};

// For std::visit with one lambda per alternative.
template <class... Fs>
struct Overloaded : Fs... {
  using Fs::operator()...;
};

}  // namespace conclave::raft
