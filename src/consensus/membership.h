#pragma once
// Who takes part in a group: voters (under a quorum rule), learners, and, while it changes, the
// outgoing voters too.

#include <functional>
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
  bool is_learner(NodeId id) const;  // and not a voter of either side
  bool contains(NodeId id) const { return is_voter(id) || is_learner(id); }
  // Everybody, sorted, each once.
  std::vector<NodeId> all() const;

  // The quorum's questions (quorum.h), asked of both sides while joint: reached and won need both,
  // one lost side loses, and agreed is the lower of the two.
  bool reached(const std::function<bool(NodeId)>& has) const;
  LogIndex agreed(const std::function<LogIndex(NodeId)>& index_of) const;
  VoteResult tally(const std::function<std::optional<bool>(NodeId)>& vote) const;

  // At least one voter, no member 0, learners sorted, each once, and none of them among `voters`.
  // (While joint an outgoing voter may be listed as the learner it will be: until then it is a
  // voter, see is_learner.)
  bool is_valid() const;

  bool operator==(const Membership&) const = default;
};

// The stored form, with a version (docs/formats/peer.md): one byte sequence per membership, so that
// equal memberships are equal bytes. decode: kCorrupt on anything encode did not write. REQUIRES of
// encode: is_valid().
Bytes encode(const Membership& membership);
Result<Membership> decode_membership(BytesView bytes);

}  // namespace conclave::consensus
