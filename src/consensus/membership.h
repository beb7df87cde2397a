#pragma once
// Who takes part in a group: voters (under a quorum rule) and learners; and which of them are
// witnesses. While it changes, one of two more: the outgoing voters, who decide along with the
// others until the change is final; or the successor, which is decided already and in force from a
// known index on. Which of them, if either, is the engine's choice.
//
// A witness votes and keeps the log's metadata, but no data (Pâris, "Voting with Witnesses", 1986).
// It never leads. Who is one stays one: to change that, the member is replaced.

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

  // Decided, and in force from index `from` on.
  struct Successor {
    LogIndex from;
    Quorum voters;
    std::vector<NodeId> learners;  // sorted

    bool operator==(const Successor&) const = default;
  };
  std::optional<Successor> successor;

  std::vector<NodeId> witnesses = {};  // sorted; of all() those who keep no data

  // A plain membership in which each of `ids` has one vote and a majority decides.
  static Membership of_majority(std::vector<NodeId> ids);

  bool is_joint() const { return outgoing.has_value(); }
  bool is_changing() const { return outgoing || successor; }
  // The one that was decided last: the successor alone if there is one.
  Membership decided() const;
  bool is_voter(NodeId id) const;    // now: not yet one of the successor
  bool is_learner(NodeId id) const;  // and not a voter of either side
  bool contains(NodeId id) const { return is_voter(id) || is_learner(id); }
  bool is_witness(NodeId id) const;
  // Everybody, also those to come, sorted, each once.
  std::vector<NodeId> all() const;
  // Whoever is a member of both is a witness in both or in neither.
  bool agrees_on_witnesses(const Membership& other) const;
  // Makes `witnesses` those of its own and of `more` that are members.
  void merge_witnesses(const std::vector<NodeId>& more);

  // The quorum's questions (quorum.h), asked of both sides while joint: reached, elects and won
  // need both, one lost side loses, and agreed is the lower of the two. A successor is not asked.
  bool reached(const std::function<bool(NodeId)>& has) const;
  bool elects(const std::function<bool(NodeId)>& has) const;
  LogIndex agreed(const std::function<LogIndex(NodeId)>& index_of) const;
  VoteResult tally(const std::function<std::optional<bool>(NodeId)>& vote) const;

  // At least one voter, no member 0, learners sorted, each once, and none of them among `voters`.
  // (While joint an outgoing voter may be listed as the learner it will be: until then it is a
  // voter, see is_learner.) The same of a successor, which is not joint and starts after index 1.
  // Witnesses sorted, each once, members all of them; and no quorum is of witnesses alone: what it
  // decided would be nowhere.
  bool is_valid() const;

  bool operator==(const Membership&) const = default;
};

// The stored form, with a version (docs/formats/peer.md, docs/paxos.md): one byte sequence per
// membership, so that equal memberships are equal bytes. Format 1, and 2 for what it cannot say:
// flexible quorums and successors, and 3 for what that cannot say: witnesses. decode: kCorrupt on
// anything encode did not write. REQUIRES of encode: is_valid().
Bytes encode(const Membership& membership);
Result<Membership> decode_membership(BytesView bytes);

}  // namespace conclave::consensus
