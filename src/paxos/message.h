#pragma once
// What replicas say to each other: one struct per message, one variant over them. std::visit over
// Body is exhaustive, so a message nobody handles does not compile. The encoding is in codec.h.
//
// A ballot is an Epoch, as everywhere outside the papers (ballot.h).

#include <optional>
#include <variant>
#include <vector>

#include "base/bytes.h"
#include "base/ids.h"
#include "consensus/entry.h"
#include "consensus/output.h"

namespace conclave::paxos {

// A value as it was accepted in a slot ("Paxos Made Moderately Complex", section 2.2). The slot is
// value.index. value.epoch is the ballot of whoever proposed the value first: part of the value,
// the same wherever and whenever it is accepted.
struct Pvalue {
  Epoch ballot;
  consensus::Entry value;

  bool operator==(const Pvalue&) const = default;
};

// Slots [first, last].
struct Range {
  LogIndex first;
  LogIndex last;

  bool operator==(const Range&) const = default;
};

// Would you promise me a ballot above everything you have promised? Changes nothing at the
// receiver.
struct PrePrepare {
  std::uint64_t question = 0;  // the asker's own number
  LogIndex commit;

  bool operator==(const PrePrepare&) const = default;
};

struct PrePrepareReply {
  std::uint64_t question = 0;
  bool granted = false;

  bool operator==(const PrePrepareReply&) const = default;
};

// Phase 1a, for all slots from `from` on at once. Asked again from further on for each chunk of the
// answer after the first.
struct Prepare {
  LogIndex from;
  bool handover = false;  // the leader asked for this

  bool operator==(const Prepare&) const = default;
};

// Phase 1b: everything the sender has accepted in [from, next), or from `from` on without a next.
// Slots up to `commit` are chosen.
struct Promise {
  LogIndex from;
  LogIndex next;  // none: that is all
  LogIndex commit;
  std::vector<Pvalue> accepted;

  bool operator==(const Promise&) const = default;
};

// The sender has promised a higher ballot, which is the message's; or, `behind`: what was asked for
// is in its snapshot and no longer in its log.
struct Refuse {
  bool behind = false;

  bool operator==(const Refuse&) const = default;
};

// Phase 2a. Slots may lie between the values: others have those, or they come later.
struct Accept {
  LogIndex commit;
  std::vector<consensus::Entry> values;  // by index

  bool operator==(const Accept&) const = default;
};

// Phase 2b: all slots above `commit` that the sender has accepted in this ballot (or knows to be
// chosen), and everything up to `commit`, durably.
struct Accepted {
  LogIndex commit;
  std::vector<Range> slots;

  bool operator==(const Accepted&) const = default;
};

// `round` numbers the questions "is there no higher ballot than mine". `ask`: answer with Accepted
// too, something may be lost.
struct Heartbeat {
  std::uint64_t round = 0;
  LogIndex commit;
  bool ask = false;

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

// These slots are chosen, and the sender does not know what is.
struct CatchUp {
  std::vector<Range> missing;

  bool operator==(const CatchUp&) const = default;
};

struct Learn {
  std::vector<Pvalue> chosen;  // by index

  bool operator==(const Learn&) const = default;
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

// You have everything: prepare a ballot at once.
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

using Body = std::variant<PrePrepare, PrePrepareReply, Prepare, Promise, Refuse, Accept, Accepted,
                          Heartbeat, HeartbeatReply, CommitNotice, CatchUp, Learn, SnapshotChunk,
                          SnapshotProgress, TimeoutNow, ReadRequest, ReadReply>;

struct Message {
  Epoch ballot;  // the highest the sender has promised; of a candidate or leader its own
  Body body;

  bool operator==(const Message&) const = default;
};

// For std::visit with one lambda per alternative.
template <class... Fs>
struct Overloaded : Fs... {
  using Fs::operator()...;
};

}  // namespace conclave::paxos
