#include "sim/linearizability.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "base/rng.h"

namespace conclave::sim {
namespace {

constexpr std::int64_t kNever = -1;

// The vocabulary: put("k", "v", from, to) and so on; `to` may be kNever.
Operation op(OpKind kind, std::string key, Cell value, std::int64_t from, std::int64_t to) {
  Operation out{.kind = kind, .key = std::move(key), .value = std::move(value), .called_ns = from};
  if (to != kNever) out.returned_ns = to;
  return out;
}
Operation put(std::string key, std::string value, std::int64_t from, std::int64_t to) {
  return op(OpKind::kPut, std::move(key), std::move(value), from, to);
}
Operation get(std::string key, Cell value, std::int64_t from, std::int64_t to) {
  return op(OpKind::kGet, std::move(key), std::move(value), from, to);
}
Operation del(std::string key, std::int64_t from, std::int64_t to) {
  return op(OpKind::kDelete, std::move(key), std::nullopt, from, to);
}
Operation cas(std::string key, Cell expect, std::string value, bool ok, std::int64_t from,
              std::int64_t to) {
  Operation out = op(OpKind::kCas, std::move(key), std::move(value), from, to);
  out.expect = std::move(expect);
  out.succeeded = ok;
  return out;
}
Operation at(std::int64_t revision, std::int64_t store_revision, Operation out) {
  out.revision = revision;
  out.store_revision = store_revision;
  return out;
}

bool linearizable(const History& history) {
  const Verdict verdict = check_linearizable(history);
  EXPECT_NE(verdict.decision, Decision::kUndecided);
  return verdict.decision == Decision::kLinearizable;
}
std::string revision_violation(const History& history) {
  const auto found = find_revision_violation(history);
  return found ? found->what : "";
}

// --- histories whose verdict is known ---

TEST(Linearizability, NothingAndOneOfEach) {
  EXPECT_TRUE(linearizable({}));
  EXPECT_TRUE(linearizable({get("k", {}, 1, 2), put("k", "a", 3, 4), get("k", "a", 5, 6),
                            cas("k", "a", "b", true, 7, 8), get("k", "b", 9, 10), del("k", 11, 12),
                            get("k", {}, 13, 14)}));
}

TEST(Linearizability, AConcurrentReadMaySeeEitherValue) {
  const Operation first = put("k", "a", 1, 2);
  const Operation second = put("k", "b", 3, 9);
  EXPECT_TRUE(linearizable({first, second, get("k", "a", 4, 5)}));
  EXPECT_TRUE(linearizable({first, second, get("k", "b", 4, 5)}));
  EXPECT_TRUE(linearizable({first, second, get("k", "a", 4, 5), get("k", "b", 6, 7)}));
}

TEST(Linearizability, AValueSeenOnceCannotBeUnseen) {
  EXPECT_FALSE(linearizable(
      {put("k", "a", 1, 2), put("k", "b", 3, 9), get("k", "b", 4, 5), get("k", "a", 6, 7)}));
}

TEST(Linearizability, StaleRead) {
  EXPECT_FALSE(linearizable({put("k", "a", 1, 2), put("k", "b", 3, 4), get("k", "a", 5, 6)}));
}

TEST(Linearizability, LostWrite) {
  EXPECT_FALSE(linearizable({put("k", "a", 1, 2), get("k", {}, 3, 4)}));
}

TEST(Linearizability, ReadFromNowhere) {
  EXPECT_FALSE(linearizable({put("k", "a", 1, 2), get("k", "z", 3, 4)}));
  EXPECT_FALSE(linearizable({get("k", "a", 1, 2), put("k", "a", 3, 4)}));
}

TEST(Linearizability, ReorderedWrites) {
  EXPECT_FALSE(linearizable(
      {put("k", "a", 1, 2), put("k", "b", 3, 4), get("k", "b", 5, 6), get("k", "a", 7, 8)}));
}

TEST(Linearizability, TwoReadersMustAgreeOnTheOrderOfConcurrentWrites) {
  EXPECT_FALSE(linearizable({put("k", "a", 1, 20), put("k", "b", 1, 20), get("k", "a", 2, 3),
                             get("k", "b", 4, 5), get("k", "a", 6, 7)}));
}

TEST(Linearizability, AppliedTwice) {
  // The retried write of "a" shows again after "b" had replaced it.
  EXPECT_FALSE(linearizable({put("k", "a", 1, 4), get("k", "a", 2, 3), put("k", "b", 5, 6),
                             get("k", "b", 7, 8), get("k", "a", 9, 10)}));
  // Two winners of one compare-and-swap.
  EXPECT_FALSE(linearizable(
      {put("k", "a", 1, 2), cas("k", "a", "b", true, 3, 9), cas("k", "a", "c", true, 3, 9)}));
}

TEST(Linearizability, AFailedCasIsARead) {
  Operation failed = cas("k", "x", "y", false, 5, 6);
  EXPECT_TRUE(linearizable({put("k", "a", 1, 2), failed}));
  EXPECT_FALSE(linearizable({put("k", "x", 1, 2), failed}));
  failed.actual_known = true;
  failed.actual = "a";
  EXPECT_TRUE(linearizable({put("k", "a", 1, 2), failed}));
  failed.actual = std::nullopt;
  EXPECT_FALSE(linearizable({put("k", "a", 1, 2), failed}));
}

TEST(Linearizability, AnUnknownWriteMayHaveHappenedOrNot) {
  const Operation known = put("k", "a", 1, 2);
  const Operation unknown = put("k", "b", 3, kNever);
  EXPECT_TRUE(linearizable({known, unknown, get("k", "a", 5, 6)}));
  EXPECT_TRUE(linearizable({known, unknown, get("k", "a", 5, 6), get("k", "b", 90, 91)}));
  EXPECT_FALSE(linearizable({known, unknown, get("k", "b", 5, 6), get("k", "a", 7, 8)}));
  EXPECT_FALSE(linearizable({known, get("k", "b", 1, 2), unknown}));
}

TEST(Linearizability, UnknownDeletesAndCasesExplainWhatIsSeen) {
  EXPECT_TRUE(linearizable({put("k", "a", 1, 2), del("k", 3, kNever), get("k", {}, 4, 5)}));
  EXPECT_TRUE(linearizable({put("k", "a", 1, 2), cas("k", "a", "b", true, 3, kNever),
                            cas("k", "b", "c", true, 3, kNever), get("k", "c", 4, 5)}));
  EXPECT_FALSE(linearizable(
      {put("k", "a", 1, 2), cas("k", "z", "b", true, 3, kNever), get("k", "b", 4, 5)}));
}

TEST(Linearizability, KeysAreIndependentAndTheOffenderIsNamed) {
  const Verdict verdict = check_linearizable({put("good", "a", 1, 2), put("bad", "a", 1, 2),
                                              get("good", "a", 3, 4), get("bad", {}, 3, 4)});
  ASSERT_EQ(verdict.decision, Decision::kViolated);
  EXPECT_EQ(verdict.violation->key, "bad");
  EXPECT_EQ(verdict.violation->around.back(), get("bad", {}, 3, 4));
  EXPECT_EQ(
      verdict.violation->what,
      "after 0 operations the key is absent; of those shown, the 1 after the first 0 cannot come "
      "next before the last one has been told so");
}

TEST(Linearizability, GivingUpIsSaid) {
  History history;
  for (int i = 0; i < 20; ++i) history.push_back(put("k", std::to_string(i), 1, 100));
  history.push_back(get("k", "nowhere", 101, 102));
  EXPECT_EQ(check_linearizable(history, {.max_steps_per_key = 3}).decision, Decision::kUndecided);
  EXPECT_EQ(check_linearizable(history).decision, Decision::kViolated);
}

// --- revisions ---

TEST(RevisionOrder, AnOrderedHistoryPasses) {
  EXPECT_EQ(revision_violation({at(2, 2, put("a", "1", 1, 2)), at(3, 3, put("b", "1", 3, 8)),
                                at(4, 4, put("a", "2", 4, 9)), at(2, 3, get("a", "1", 5, 6)),
                                at(4, 4, get("a", "2", 10, 11)), at(0, 4, get("c", {}, 10, 11))}),
            "");
}

TEST(RevisionOrder, GivenOutTwice) {
  EXPECT_EQ(revision_violation({at(2, 2, put("a", "1", 1, 2)), at(2, 2, put("b", "1", 1, 3))}),
            "revision 2 was given to two writes");
}

TEST(RevisionOrder, GoesBack) {
  EXPECT_EQ(revision_violation({at(3, 3, put("a", "1", 1, 2)), at(2, 2, put("b", "1", 3, 4))}),
            "a write made revision 2 although 3 was known before it was called");
  EXPECT_EQ(revision_violation({at(3, 3, put("a", "1", 1, 2)), at(0, 2, get("b", {}, 3, 4))}),
            "the store answered at revision 2 although 3 was known before it was asked");
}

TEST(RevisionOrder, AReadAtARevisionSeesTheNewestWriteUpToIt) {
  const Operation old = at(2, 2, put("a", "1", 1, 2));
  const Operation now = at(3, 3, put("a", "2", 1, 2));
  EXPECT_EQ(revision_violation({old, now, at(2, 3, get("a", "1", 1, 2))}),
            "a read at revision 3 misses the write of revision 3");
  EXPECT_EQ(revision_violation({old, now, at(0, 3, get("a", {}, 1, 2))}),
            "a read at revision 3 misses the write of revision 3");
  EXPECT_EQ(revision_violation({old, now, del("a", 1, kNever), at(0, 4, get("a", {}, 1, 2))}), "");
}

TEST(RevisionOrder, ARevisionOfAKeyHasOneValue) {
  EXPECT_EQ(revision_violation({at(2, 2, put("a", "1", 1, 2)), at(2, 2, get("a", "x", 3, 4))}),
            "revision 2 was read with another value than was written");
  EXPECT_EQ(revision_violation({at(5, 5, get("a", "x", 1, 2)), at(5, 5, get("a", "y", 1, 2))}),
            "revision 5 was read with two values");
  EXPECT_EQ(revision_violation({at(6, 5, get("a", "x", 1, 2))}),
            "revision 6 is newer than the store that answered");
}

// --- random histories ---

struct Shape {
  int operations = 0;
  std::size_t clients = 4;
  int keys = 1;
  int distinct_values = 0;  // 0: each write has a value of its own
  std::uint64_t unknown_one_in = 8;
  bool failed_cas_tells = true;
  bool deletes = true;
};

// Runs clients against a real register in random interleavings: each call takes effect at one
// moment between its call and its return. A call of unknown fate takes effect later, or never; its
// client goes on as another one.
class Workload {
 public:
  Workload(const Shape& shape, std::uint64_t seed)
      : shape_(shape), rng_(seed), busy_(shape_.clients) {}

  History run() {
    while (started_ < shape_.operations || pending_ > 0) {
      ++now_;
      auto& slot = busy_[rng_.below(busy_.size())];
      if (!slot) {
        if (started_ < shape_.operations) start(slot);
      } else if (!slot->done) {
        take_effect(*slot);
      } else {
        finish(slot);
      }
    }
    for (Operation& late : late_)
      if (rng_.one_in(2)) effect(late);
    return history_;
  }

 private:
  struct Busy {
    Operation op;
    bool done = false;
    bool lost = false;
  };

  std::string fresh_value() {
    ++written_;
    return std::to_string(shape_.distinct_values > 0
                              ? rng_.below(static_cast<std::uint64_t>(shape_.distinct_values))
                              : static_cast<std::uint64_t>(written_));
  }

  void start(std::optional<Busy>& slot) {
    Operation op;
    op.key = "k" + std::to_string(rng_.below(static_cast<std::uint64_t>(shape_.keys)));
    const std::uint64_t dice = rng_.below(10);
    op.kind = dice < 4                      ? OpKind::kGet
              : dice < 7                    ? OpKind::kPut
              : dice < 9 || !shape_.deletes ? OpKind::kCas
                                            : OpKind::kDelete;
    if (op.kind == OpKind::kPut || op.kind == OpKind::kCas) op.value = fresh_value();
    if (op.kind == OpKind::kCas && !rng_.one_in(4)) op.expect = cells_[op.key];
    op.called_ns = now_;
    slot = Busy{.op = op, .lost = rng_.one_in(shape_.unknown_one_in)};
    ++started_;
    ++pending_;
    if (slot->lost) {
      history_.push_back(op);
      if (op.kind == OpKind::kGet) history_.back().value = std::nullopt;
      late_.push_back(op);
      slot.reset();
      --pending_;
    } else if (!late_.empty() && rng_.one_in(3)) {
      effect(late_.back());
      late_.pop_back();
    }
  }

  void effect(Operation& op) {
    Cell& cell = cells_[op.key];
    switch (op.kind) {
      case OpKind::kGet:
        op.value = cell;
        return;
      case OpKind::kPut:
        cell = op.value;
        return;
      case OpKind::kDelete:
        cell = std::nullopt;
        return;
      case OpKind::kCas:
        break;
    }
    op.succeeded = cell == op.expect;
    if (op.succeeded) {
      cell = op.value;
    } else if (shape_.failed_cas_tells) {
      op.actual_known = true;
      op.actual = cell;
    }
  }

  void take_effect(Busy& busy) {
    effect(busy.op);
    busy.done = true;
  }

  void finish(std::optional<Busy>& slot) {
    slot->op.returned_ns = now_;
    history_.push_back(slot->op);
    slot.reset();
    --pending_;
  }

  Shape shape_;
  Rng rng_;
  std::vector<std::optional<Busy>> busy_;
  std::vector<Operation> late_;
  std::map<std::string, Cell> cells_;
  History history_;
  std::int64_t now_ = 0;
  int started_ = 0;
  int pending_ = 0;
  int written_ = 0;
};

// Tries every order, knowing nothing of the tricks above.
bool brute_force(const std::vector<Operation>& left, const Cell& state) {
  if (std::ranges::all_of(left, &Operation::is_unknown)) return true;
  for (std::size_t i = 0; i < left.size(); ++i) {
    const Operation& op = left[i];
    if (std::ranges::any_of(left, [&](const Operation& other) {
          return other.returned_ns && *other.returned_ns < op.called_ns;
        }))
      continue;
    Cell after = state;
    const bool told = !op.is_unknown();
    if (op.kind == OpKind::kGet && told && op.value != state) continue;
    if (op.kind == OpKind::kPut) after = op.value;
    if (op.kind == OpKind::kDelete) after = std::nullopt;
    if (op.kind == OpKind::kCas) {
      const bool matches = state == op.expect;
      if (told && matches != op.succeeded) continue;
      if (told && op.actual_known && op.actual != state) continue;
      if (matches) after = op.value;
    }
    std::vector<Operation> rest = left;
    rest.erase(rest.begin() + static_cast<std::ptrdiff_t>(i));
    if (brute_force(rest, after)) return true;
  }
  return false;
}

// Changes what one client was told.
void mutate(History& history, Rng& rng) {
  for (int tries = 0; tries < 50; ++tries) {
    Operation& op = history[rng.below(history.size())];
    if (op.is_unknown()) continue;
    if (op.kind == OpKind::kGet) {
      const Operation& other = history[rng.below(history.size())];
      op.value = rng.one_in(4) ? Cell() : other.value;
      return;
    }
    if (op.kind == OpKind::kCas) {
      op.succeeded = !op.succeeded;
      op.actual_known = false;
      op.actual = std::nullopt;
      return;
    }
  }
}

class RandomHistories : public ::testing::TestWithParam<Shape> {};

TEST_P(RandomHistories, OfARealRegisterPass) {
  for (std::uint64_t seed = 0; seed < 300; ++seed) {
    Shape shape = GetParam();
    shape.operations = 200;
    ASSERT_TRUE(linearizable(Workload(shape, seed).run())) << "seed " << seed;
  }
}

TEST_P(RandomHistories, SmallOnesAreJudgedLikeBruteForce) {
  int violated = 0;
  for (std::uint64_t seed = 0; seed < 4000; ++seed) {
    Shape shape = GetParam();
    shape.operations = 7;
    History history = Workload(shape, seed).run();
    Rng rng(seed);
    if (!rng.one_in(5)) mutate(history, rng);
    std::map<std::string, std::vector<Operation>> keys;
    for (const Operation& one : history) keys[one.key].push_back(one);
    const bool expected = std::ranges::all_of(
        keys, [](const auto& key) { return brute_force(key.second, std::nullopt); });
    ASSERT_EQ(linearizable(history), expected) << "seed " << seed << "\n" << to_json_lines(history);
    if (!expected) ++violated;
  }
  EXPECT_GT(violated, 500);
}

INSTANTIATE_TEST_SUITE_P(
    Shapes, RandomHistories,
    ::testing::Values(Shape{}, Shape{.clients = 7, .unknown_one_in = 3},
                      Shape{.distinct_values = 3, .unknown_one_in = 4},
                      Shape{.clients = 3, .keys = 2, .failed_cas_tells = false},
                      Shape{.clients = 6, .unknown_one_in = 1000, .deletes = false}));

TEST(Linearizability, AHundredThousandOperationsWithUnknownOnesAreJudged) {
  const Shape shape{.operations = 100'000, .clients = 16, .keys = 10, .unknown_one_in = 200};
  const Verdict verdict = check_linearizable(Workload(shape, 1).run());
  EXPECT_EQ(verdict.decision, Decision::kLinearizable);
  EXPECT_LT(verdict.steps, 1'000'000u);
}

TEST(Linearizability, OneWrongAnswerAmongAHundredThousandIsFound) {
  const Shape shape{.operations = 100'000, .clients = 16, .keys = 10, .unknown_one_in = 200};
  History history = Workload(shape, 2).run();
  const auto late = std::ranges::find_if(
      history.begin() + 60'000, history.end(),
      [](const auto& one) { return one.kind == OpKind::kGet && one.value && !one.is_unknown(); });
  ASSERT_NE(late, history.end());
  const auto early = std::ranges::find_if(history, [&](const auto& one) {
    return one.kind == OpKind::kPut && !one.is_unknown() && one.key == late->key;
  });
  ASSERT_NE(early, history.end());
  late->value = early->value;
  const Verdict verdict = check_linearizable(history);
  ASSERT_EQ(verdict.decision, Decision::kViolated);
  EXPECT_EQ(verdict.violation->key, late->key);
}

}  // namespace
}  // namespace conclave::sim
