#pragma once
// Who takes part in a group: voters (under a quorum rule), learners, and, while it changes, the outgoing voters too.

#include <optional>
#include <vector>

#include "base/bytes.h"
#include "base/ids.h"
#include "base/result.h"
#include "consensus/quorum.h"

namespace conclave::consensus {

struct Membership {
  Quorum voters;
  std::optional<Quorum> outgoing;  // set while joint: both must agree (Raft paper, section 6)
  std::vector<NodeId> learners;    // sorted; receive the log, do not vote

  // A plain membership in which each of `ids` has one vote and a majority decides.
  static Membership of_majority(std::vector<NodeId> ids);

  bool is_joint() const { return outgoing.has_value(); }
  bool is_voter(NodeId id) const;
  bool is_learner(NodeId id) const;
  bool contains(NodeId id) const { return is_voter(id) || is_learner(id); }
  // Everybody, sorted, each once.
  std::vector<NodeId> all() const;

  bool operator==(const Membership&) const = default;
};

// The stored form, with a version (docs/formats/peer.md). decode: kCorrupt on anything encode did not write.
Bytes encode(const Membership& membership);
Result<Membership> decode_membership(BytesView bytes);

}  // namespace conclave::consensus
