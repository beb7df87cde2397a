#include "paxos/single_decree.h"

#include <gtest/gtest.h>

#include <vector>

#include "base/rng.h"

namespace conclave::paxos::single {
namespace {

NodeId node(std::uint64_t id) { return NodeId{id}; }

Quorum majority_of(std::uint64_t n) {
  std::vector<NodeId> ids;
  for (std::uint64_t id = 1; id <= n; ++id) ids.push_back(node(id));
  return Quorum::majority(ids);
}

Promise promise(const std::variant<Promise, Refused>& answer) { return std::get<Promise>(answer); }
Accepted accepted(const std::variant<Accepted, Refused>& answer) {
  return std::get<Accepted>(answer);
}

struct Three {
  Acceptor a{node(1), {}, {}};
  Acceptor b{node(2), {}, {}};
  Acceptor c{node(3), {}, {}};
};

// --- section 2.2, step by step -------------------------------------------------------------------

TEST(SingleDecree, WithoutAnyOtherTheProposersOwnValueIsChosen) {
  Three three;
  Proposer proposer(node(1), majority_of(3), "mine");
  Learner learner(majority_of(3));
  const Prepare prepare = proposer.begin();
  EXPECT_EQ(proposer.on(promise(three.a.on(prepare))), std::nullopt) << "no quorum yet";
  const auto accept = proposer.on(promise(three.b.on(prepare)));
  ASSERT_TRUE(accept);
  EXPECT_EQ(accept->proposal.value, "mine");
  learner.on(accepted(three.b.on(*accept)));
  EXPECT_EQ(learner.chosen(), std::nullopt);
  learner.on(accepted(three.c.on(*accept)));  // need not be the quorum that promised
  EXPECT_EQ(learner.chosen(), "mine");
}

TEST(SingleDecree, AProposerAdoptsTheValueOfTheHighestBallot) {
  Three three;
  three.a.accepted = Proposal{{3, node(2)}, "older"};
  three.b.accepted = Proposal{{4, node(1)}, "newer"};
  Proposer proposer(node(3), majority_of(3), "mine", 7);
  const Prepare prepare = proposer.begin();
  (void)proposer.on(promise(three.b.on(prepare)));
  EXPECT_EQ(proposer.on(promise(three.a.on(prepare)))->proposal.value, "newer");
}

TEST(SingleDecree, APromiseIsKept) {
  Three three;
  (void)three.a.on(Prepare{{5, node(2)}});
  EXPECT_EQ(std::get<Refused>(three.a.on(Prepare{{4, node(9)}})).promised, (Ballot{5, node(2)}));
  const Accept late{{{5, node(1)}, "late"}};
  EXPECT_TRUE(std::holds_alternative<Refused>(three.a.on(late))) << "same round, lower proposer";
  EXPECT_EQ(three.a.accepted, std::nullopt);
}

TEST(SingleDecree, OneValuePerBallot) {
  Three three;
  Proposer proposer(node(1), majority_of(3), "mine");
  const Prepare prepare = proposer.begin();
  (void)proposer.on(promise(three.a.on(prepare)));
  EXPECT_TRUE(proposer.on(promise(three.b.on(prepare))));
  three.c.accepted = Proposal{{0, node(9)}, "other"};
  EXPECT_EQ(proposer.on(promise(three.c.on(prepare))), std::nullopt) << "it has proposed";
}

// A promise that was given twice is one acceptor's, and one for an old ballot is none.
TEST(SingleDecree, RepeatedAndLatePromisesDoNotCount) {
  Three three;
  Proposer proposer(node(1), majority_of(3), "mine");
  const Promise old = promise(three.a.on(proposer.begin()));
  const Promise again = promise(three.b.on(proposer.begin()));
  EXPECT_EQ(proposer.on(old), std::nullopt);
  EXPECT_EQ(proposer.on(again), std::nullopt);
  EXPECT_EQ(proposer.on(again), std::nullopt);
}

// --- any order, any loss -------------------------------------------------------------------------

// Several proposers duel over acceptors that crash (and keep what they wrote), over a network that
// loses, repeats and reorders. At most one value is ever learned; after the duel one proposer alone
// gets it chosen.
class Duel {
 public:
  explicit Duel(std::uint64_t seed) : rng_(seed), quorum_(some_quorum()), learner_(quorum_) {
    for (std::uint64_t id = 1; id <= kAcceptors; ++id) acceptors_.push_back({node(id), {}, {}});
    for (std::uint64_t id = 1; id <= kProposers; ++id) {
      proposers_.emplace_back(node(id), quorum_, "wish " + std::to_string(id));
    }
  }

  void run() {
    for (int i = 0; i < 150; ++i) {
      if (rng_.one_in(20)) {
        begin(rng_.below(kProposers));
      } else {
        some_message();
      }
    }
    const std::optional<Value> before = learner_.chosen();
    finish();
    ASSERT_TRUE(learner_.chosen());
    if (before) {
      EXPECT_EQ(learner_.chosen(), before);
    }
  }

 private:
  static constexpr std::uint64_t kAcceptors = 5;
  static constexpr std::uint64_t kProposers = 3;

  using Body = std::variant<Prepare, Promise, Accept, Accepted, Refused>;
  struct Envelope {
    std::size_t to = 0;  // an acceptor or a proposer, as the body wants
    Body body;
  };

  // Any pair of thresholds that must meet, over any weights: the argument needs no more.
  Quorum some_quorum() {
    std::vector<consensus::Vote> votes;
    std::uint64_t total = 0;
    for (std::uint64_t id = 1; id <= kAcceptors; ++id) {
      votes.push_back({node(id), static_cast<std::uint32_t>(rng_.between(1, 3))});
      total += votes.back().weight;
    }
    const std::uint64_t election = rng_.between(1, total);
    return *Quorum::flexible(votes, election, total - election + 1);
  }

  void begin(std::size_t who) { to_all(proposers_[who].begin()); }

  void to_all(const Body& body) {
    for (std::size_t i = 0; i < kAcceptors; ++i) send(i, body);
  }

  void send(std::size_t to, const Body& body) {
    Envelope& envelope = network_.emplace_back();
    envelope.to = to;
    envelope.body = body;
  }

  void some_message() {
    if (network_.empty()) return;
    const std::size_t at = rng_.below(network_.size());
    const Envelope envelope = network_[at];
    if (!rng_.one_in(10)) network_.erase(network_.begin() + static_cast<std::ptrdiff_t>(at));
    if (!rng_.one_in(4)) deliver(envelope);
  }

  void deliver(const Envelope& envelope) {
    if (const auto* prepare = std::get_if<Prepare>(&envelope.body)) {
      answer(prepare->ballot.proposer, acceptors_[envelope.to].on(*prepare));
    } else if (const auto* accept = std::get_if<Accept>(&envelope.body)) {
      answer(accept->proposal.ballot.proposer, acceptors_[envelope.to].on(*accept));
    } else if (const auto* given = std::get_if<Promise>(&envelope.body)) {
      if (const auto next = proposers_[envelope.to].on(*given)) to_all(*next);
    } else if (const auto* taken = std::get_if<Accepted>(&envelope.body)) {
      learner_.on(*taken);
    } else {
      proposers_[envelope.to].on(std::get<Refused>(envelope.body));
    }
  }

  template <class Answer>
  void answer(NodeId proposer, const Answer& body) {
    const std::size_t to = static_cast<std::size_t>(proposer.value) - 1;
    std::visit([&](const auto& one) { send(to, one); }, body);
  }

  void finish() {
    for (int attempt = 0; attempt < 200 && !learner_.chosen(); ++attempt) {
      network_.clear();
      begin(0);
      for (std::size_t next = 0; next < network_.size(); ++next) {
        const Envelope envelope = network_[next];
        deliver(envelope);
      }
    }
  }

  Rng rng_;
  Quorum quorum_;
  Learner learner_;
  std::vector<Acceptor> acceptors_;
  std::vector<Proposer> proposers_;
  std::vector<Envelope> network_;
};

TEST(SingleDecree, DuellingProposersChooseAtMostOneValue) {
  for (std::uint64_t seed = 1; seed <= 5000; ++seed) {
    SCOPED_TRACE(seed);
    Duel(seed).run();
    if (HasFatalFailure()) return;
  }
}

}  // namespace
}  // namespace conclave::paxos::single
