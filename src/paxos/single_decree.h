#pragma once
// Paxos for one decision: the algorithm of Lamport, "Paxos Made Simple" (2001), section 2.2, and
// nothing else. Read this first: the engine in this folder is the same two phases over all slots of
// a log at once, with a leader that does the first one rarely.
//
// Three roles, three values. An *acceptor* remembers; a *proposer* asks; a *learner* counts. Each
// is told of a message and returns the messages that follow from it. Messages may be lost, repeated
// and reordered without any harm.
//
//   phase 1   proposer   Prepare(n)        "promise me to ignore ballots below n"
//             acceptor   Promise(n, a)     "I do; and the last proposal I accepted is a (or none)"
//   phase 2   proposer   Accept(n, v)      v: of the a's of a quorum that with the highest ballot,
//                                          or the proposer's own value if there is none
//             acceptor   Accepted(n, v)    unless it has promised a higher ballot meanwhile
//   then      learner    v is chosen once a quorum has accepted it in one ballot
//
// Why a chosen value stays chosen: say a quorum accepted v in ballot n. Every quorum shares an
// acceptor with that one. So whoever completes phase 1 in the next higher ballot hears of v, with
// the highest ballot there is, and proposes v again; and so on for all ballots after it (P2c of the
// paper). Ballots must be unique: two proposers never use the same one.
//
// Durability: an acceptor must not forget what it answered. Whoever drives it writes the acceptor's
// value to disk after each call that changed it, and only then lets the answer leave.

#include <algorithm>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <variant>

#include "base/check.h"
#include "base/ids.h"
#include "consensus/quorum.h"

namespace conclave::paxos::single {

using consensus::Quorum;
using Value = std::string;

// Round first, then the proposer: unique, as a proposer uses a round once. Round 0 is "none".
struct Ballot {
  std::uint64_t round = 0;
  NodeId proposer;

  auto operator<=>(const Ballot&) const = default;
  explicit operator bool() const { return round != 0; }
};

struct Proposal {
  Ballot ballot;
  Value value;

  bool operator==(const Proposal&) const = default;
};

// --- messages ------------------------------------------------------------------------------------

struct Prepare {  // proposer to all acceptors
  Ballot ballot;
};

struct Promise {  // acceptor to the proposer of `ballot`
  NodeId acceptor;
  Ballot ballot;
  std::optional<Proposal> accepted;
};

struct Accept {  // proposer to all acceptors
  Proposal proposal;
};

struct Accepted {  // acceptor to all learners
  NodeId acceptor;
  Proposal proposal;
};

// Acceptor to a proposer that comes too late. Only speeds things up: silence would be as safe.
struct Refused {
  Ballot ballot;    // the one that was asked for
  Ballot promised;  // the one that stands in its way
};

// --- acceptor ------------------------------------------------------------------------------------

// What it says is what it must not forget: both fields are on disk before an answer leaves.
struct Acceptor {
  NodeId self;
  Ballot promised;                   // nothing below this any more
  std::optional<Proposal> accepted;  // of the highest ballot in which it accepted anything

  // Phase 1b. An equal ballot is the same question again, as ballots are unique.
  std::variant<Promise, Refused> on(const Prepare& message) {
    if (message.ballot < promised) return Refused{message.ballot, promised};
    promised = message.ballot;
    return Promise{self, promised, accepted};
  }

  // Phase 2b. It need not have promised this very ballot: not having promised a higher one is
  // enough.
  std::variant<Accepted, Refused> on(const Accept& message) {
    const Proposal& proposal = message.proposal;
    if (proposal.ballot < promised) return Refused{proposal.ballot, promised};
    promised = proposal.ballot;
    accepted = proposal;
    return Accepted{self, proposal};
  }
};

// --- proposer ------------------------------------------------------------------------------------

// Wants `wish` to be chosen, and helps whatever may already be chosen. Loses nothing that matters
// when it forgets everything but the highest round it used.
class Proposer {
 public:
  // REQUIRES: no two proposers with the same id at a time; `last_round` is not below any round that
  // an earlier one of this id used.
  Proposer(NodeId self, Quorum acceptors, Value wish, std::uint64_t last_round = 0)
      : self_(self),
        acceptors_(std::move(acceptors)),
        wish_(std::move(wish)),
        ballot_{last_round, self} {}

  Ballot ballot() const { return ballot_; }

  // Phase 1a: begins a new ballot, above every one it has heard of. Call it again (after a while
  // that differs between proposers) when nothing was chosen: two proposers that keep outbidding
  // each other never finish (section 2.4).
  Prepare begin() {
    ballot_.round = std::max(ballot_.round, highest_seen_) + 1;
    promises_.clear();
    best_.reset();
    proposed_ = false;
    return Prepare{ballot_};
  }

  // Phase 2a, once a quorum has promised: nothing until then, and once only per ballot (a proposer
  // that proposed two values in one ballot would break everything).
  std::optional<Accept> on(const Promise& message) {
    if (message.ballot != ballot_ || proposed_) return std::nullopt;
    promises_.insert(message.acceptor);
    const auto& theirs = message.accepted;
    if (theirs && (!best_ || theirs->ballot > best_->ballot)) best_ = theirs;
    if (!acceptors_.elects([this](NodeId id) { return promises_.contains(id); })) {
      return std::nullopt;
    }
    proposed_ = true;
    return Accept{{ballot_, best_ ? best_->value : wish_}};
  }

  void on(const Refused& message) {
    highest_seen_ = std::max(highest_seen_, message.promised.round);
  }

 private:
  NodeId self_;
  Quorum acceptors_;
  Value wish_;
  Ballot ballot_;
  std::set<NodeId> promises_;
  std::optional<Proposal> best_;  // of the promises, that with the highest ballot
  bool proposed_ = false;
  std::uint64_t highest_seen_ = 0;
};

// --- learner -------------------------------------------------------------------------------------

class Learner {
 public:
  explicit Learner(Quorum acceptors) : acceptors_(std::move(acceptors)) {}

  // The chosen value, once it is known. A CHECK: what was learned once never changes.
  const std::optional<Value>& chosen() const { return chosen_; }

  void on(const Accepted& message) {
    const Proposal& proposal = message.proposal;
    Votes& votes = ballots_[proposal.ballot];
    if (votes.acceptors.empty()) votes.value = proposal.value;
    CHECK(votes.value == proposal.value, "two values in one ballot");
    votes.acceptors.insert(message.acceptor);
    if (!acceptors_.reached([&](NodeId id) { return votes.acceptors.contains(id); })) return;
    CHECK(!chosen_ || *chosen_ == proposal.value, "a second value was chosen");
    chosen_ = proposal.value;
  }

 private:
  struct Votes {
    Value value;
    std::set<NodeId> acceptors;
  };

  Quorum acceptors_;
  std::map<Ballot, Votes> ballots_;
  std::optional<Value> chosen_;
};

}  // namespace conclave::paxos::single
