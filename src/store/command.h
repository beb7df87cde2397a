#pragma once
// The store's commands as they stand in the log: one log entry carries a batch of them
// (docs/formats/log.md).
//
// A batch is encoded by the leader, which stamps it with the cluster's time and the epoch in which
// it proposes. Each command names its origin, so that the member at which a client waits recognises
// its answer when the entry is applied there, and may carry the client's own request id.

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "api/request.h"
#include "base/bytes.h"
#include "base/ids.h"
#include "base/result.h"
#include "base/time.h"

namespace conclave::store {

// Who waits for a command: a member, one run of it, and the number it gave the waiting call.
struct Origin {
  NodeId member;
  std::uint64_t incarnation = 0;
  std::uint64_t call = 0;

  auto operator<=>(const Origin&) const = default;
};

// Sets what the cluster knows of a member: its name and client URLs, and at first, before the
// members are founded, the rest too. `directory` is the id of the member's data directory (0: not
// told); the first one told stays. `zookeeper`: "host:port" where ZooKeeper's clients reach it,
// with a directory; empty: not told.
struct PublishMember {
  api::Member member;
  std::uint64_t directory = 0;
  std::string zookeeper = {};
};

// Who the members are from here on: those the cluster began with. Without effect once it is known.
struct FoundMembers {
  std::vector<api::Member> members;  // sorted by id
};

// A change of the members as a client asked for it, and what the leader said to it. The store
// decides what follows from its own state (who is there, whose URLs are taken); the leader knows
// who is reachable and how far behind.
struct MemberChange {
  enum class Kind : std::uint8_t { kAdd = 1, kRemove = 2, kUpdate = 3, kPromote = 4 };
  // Stored: values never change meaning.
  enum class Verdict : std::uint8_t {
    kGranted = 0,
    kNotEnoughStarted = 1,
    kUnhealthy = 2,
    kLearnerNotReady = 3,
    kTooManyRequests = 4,
  };

  Kind kind = Kind::kAdd;
  Verdict verdict = Verdict::kGranted;
  NodeId id;
  NodeId replaces;                     // kAdd: goes in the same step; none if 0
  bool is_learner = false;             // kAdd
  std::vector<std::string> peer_urls;  // kAdd, kUpdate

  bool operator==(const MemberChange&) const = default;
};

// One member's part in a Reconfigure.
struct ReconfigStep {
  MemberChange change;  // granted, and replaces nobody
  // kAdd: where ZooKeeper's clients reach it until it tells; empty: not said.
  std::string zookeeper;

  bool operator==(const ReconfigStep&) const = default;
};

// A change of several members at once (ZooKeeper's reconfig): as a client asked for it, until the
// leader has looked at it. What that says of sessions, rights and versions holds for one place in
// the log, the one after all that it has applied: nobody asks again, as a witness, which keeps no
// znodes, has to come to the same members.
struct Reconfigure {
  struct Refused {
    api::zk::Code why = api::zk::Code::kBadArguments;

    bool operator==(const Refused&) const = default;
  };
  struct Granted {
    LogIndex at;  // the entry that it has to be in, or it has no effect
    std::vector<ReconfigStep> steps;

    bool operator==(const Granted&) const = default;
  };

  std::variant<api::zk::ReconfigRequest, Refused, Granted> stage;

  bool operator==(const Reconfigure&) const = default;
};

enum class Alarm : std::uint8_t { kNoSpace = 1, kCorrupt = 2 };
struct SetAlarm {
  NodeId member;
  Alarm alarm = Alarm::kCorrupt;
  bool raised = true;
};

// A member's hash of the state after applying `index`: each member compares it with its own.
struct CheckHash {
  LogIndex index;
  std::uint64_t hash = 0;
};

// Revokes leases whose time is over by the batch's stamp: a bounded piece of them, so that many
// that expire together hold nobody up. Leases and keys together count as work.
struct ExpireLeases {
  std::uint64_t max_work = 0;
};

// Sessions of ZooKeeper's clients that were heard of: all of their time begins anew. At most
// limits::kTouchedSessions.
struct TouchSessions {
  std::vector<api::zk::SessionId> sessions;
};

// Containers and TTL nodes that may have to go: looked at again when it is applied. At most
// limits::kReapedZnodes.
struct ReapZnodes {
  std::vector<Bytes> paths;
};

// Encodes one command, to be put into a batch. `request` must be a write
// (api::Route::kWrite), or a zk::ReconfigRequest.
Bytes encode_command(const Origin& origin, const api::Request& request);
Bytes encode_command(const Origin& origin, const PublishMember& publish);
Bytes encode_command(const Origin& origin, const SetAlarm& alarm);
Bytes encode_command(const Origin& origin, const CheckHash& check);
Bytes encode_command(const Origin& origin, const ExpireLeases& expire);
Bytes encode_command(const Origin& origin, const TouchSessions& touched);
Bytes encode_command(const Origin& origin, const ReapZnodes& reaped);
Bytes encode_command(const Origin& origin, const FoundMembers& found);
Bytes encode_command(const Origin& origin, const MemberChange& change);
Bytes encode_command(const Origin& origin, const Reconfigure& change);

// Whether `command` is a MemberChange or a Reconfigure: the leader looks at those before they enter
// the log.
bool is_member_change(BytesView command);
struct AskedChange {
  Origin origin;
  std::variant<MemberChange, Reconfigure> change;
};
// nullopt: it is something else, or damaged.
std::optional<AskedChange> decode_member_change(BytesView command);

// Puts commands together as the data of one log entry.
class BatchEncoder {
 public:
  // REQUIRES: `command` came from encode_command, here or on another member.
  void add(BytesView command);
  bool empty() const { return count_ == 0; }
  std::size_t size_bytes() const { return bytes_.size(); }
  // The entry; the encoder is empty afterwards.
  Bytes finish(Epoch epoch, Stamp stamp);

 private:
  Bytes bytes_;
  std::size_t count_ = 0;
};

// The epoch and stamp of an encoded batch, without decoding its commands; kCorrupt if there are
// none.
struct BatchHeader {
  Epoch epoch;
  Stamp stamp;
};
Result<BatchHeader> decode_batch_header(BytesView entry);
// The data directories that an entry's commands tell of, by member. What a member tells of itself
// is true whether or not the entry is ever committed.
std::vector<std::pair<NodeId, std::uint64_t>> told_directories(BytesView entry);
// What a witness keeps of an entry: its epoch and stamp, and the commands that say who the members
// are and where. Those alone lead to the same members. Empty if `entry` is no batch.
Bytes witnessed_part(BytesView entry);
// Whether `command` could be decoded: checked at the door, before a forwarded command enters the
// log.
bool is_valid_command(BytesView command);

}  // namespace conclave::store
