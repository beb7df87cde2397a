#pragma once
// What is asked about the upkeep of a cluster: alarms, hashes, who leads, copies of everything.
// Plain values.

#include <cstdint>
#include <vector>

#include "api/kv.h"
#include "base/bytes.h"
#include "base/ids.h"

namespace conclave::api {

// --- alarms -------------------------------------------------------------------------

enum class AlarmType : std::uint8_t { kNone = 0, kNoSpace = 1, kCorrupt = 2 };
struct Alarm {
  NodeId member;
  AlarmType type = AlarmType::kNone;

  bool operator==(const Alarm&) const = default;
};
struct AlarmRequest {
  enum class Action : std::uint8_t { kGet, kActivate, kDeactivate };
  Action action = Action::kGet;
  NodeId member;                      // kGet: of no interest, as in etcd
  AlarmType type = AlarmType::kNone;  // kGet: kNone are all
};
struct AlarmResponse {
  // Those that are raised; or the one that was activated, or deactivated if it had been raised.
  std::vector<Alarm> alarms;
};

// --- who leads ----------------------------------------------------------------------

// Answered when `target` leads. kNotLeader, kBadTransferee, kTransferTimeout.
struct MoveLeaderRequest {
  NodeId target;
};
struct MoveLeaderResponse {};

// --- hashes -------------------------------------------------------------------------

// Of everything replicated, as this member has it now.
struct HashRequest {};
struct HashResponse {
  std::uint32_t hash = 0;
};
// Of the keys and their history up to a revision (0: the newest): the same on all members that have
// compacted the same revisions. kCompacted, kFutureRevision.
struct HashKvRequest {
  Revision revision = 0;
};
struct HashKvResponse {
  std::uint32_t hash = 0;
  Revision compact_revision = 0;  // -1: nothing was ever compacted
};

// Answered at once: there is nothing to do.
struct DefragmentRequest {};
struct DefragmentResponse {};

// --- copies of everything -----------------------------------------------------------

// A snapshot file (docs/formats/snapshot.md) is made, of a state that has everything that was
// acknowledged before; answered when it can be read. It stays for a minute, and a minute after each
// piece that is read. `serializable`: of what this member has, which may be old; nobody else is
// asked, and so it is there without a majority too.
struct SnapshotRequest {
  bool serializable = false;
};
struct SnapshotResponse {
  LogIndex index;  // names it
  std::uint64_t size_bytes = 0;
};
// Bytes of it, as many as are wanted or are left. kSnapshotGone.
struct SnapshotPieceRequest {
  LogIndex index;
  std::uint64_t offset = 0;
  std::uint32_t max_bytes = 0;
};
struct SnapshotPieceResponse {
  Bytes bytes;
};

}  // namespace conclave::api
