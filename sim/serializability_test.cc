#include "sim/serializability.h"

#include <fmt/core.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <set>

#include "base/rng.h"

namespace conclave::sim {
namespace {

using List = std::vector<Element>;

// The vocabulary: T({append("x", 1), read("y", {2})}, from, to).
MicroOp append(std::string key, Element element) { return append_to(std::move(key), element); }
MicroOp read(std::string key, List list) { return read_of(std::move(key), std::move(list)); }
Transaction T(std::vector<MicroOp> ops, std::int64_t from, std::int64_t to) {
  return {.ops = std::move(ops), .called_ns = from, .returned_ns = to};
}
// Concurrent with everything.
Transaction T(std::vector<MicroOp> ops) { return T(std::move(ops), 0, 1'000'000); }
Transaction unknown(std::vector<MicroOp> ops, std::int64_t from) {
  return {.ops = std::move(ops), .called_ns = from};
}
Transaction aborted(std::vector<MicroOp> ops, std::int64_t from, std::int64_t to) {
  return {.ops = std::move(ops), .called_ns = from, .returned_ns = to, .aborted = true};
}

std::string verdict(const TransactionHistory& history) {
  const auto found = find_anomaly(history);
  return found ? name_of(*found) : "";
}
std::string words(const TransactionHistory& history) {
  const auto found = find_anomaly(history);
  return found ? found->what : "";
}
bool serializable(const TransactionHistory& history) {
  return !find_anomaly(history, Isolation::kSerializable);
}

// --- good histories ---

TEST(Serializability, NothingAndOneOfEach) {
  EXPECT_EQ(verdict({}), "");
  EXPECT_EQ(verdict({T({append("x", 1)}, 1, 2), T({read("x", {1}), append("x", 2)}, 3, 4),
                     T({append("y", 7), read("x", {1, 2}), read("y", {7})}, 5, 6),
                     T({read("y", {7}), read("z", {})}, 7, 8)}),
            "");
}

TEST(Serializability, ConcurrentTransactionsMayBeInAnyOrder) {
  EXPECT_EQ(verdict({T({append("x", 1)}, 1, 10), T({append("x", 2)}, 1, 10),
                     T({read("x", {2})}, 2, 9), T({read("x", {2, 1})}, 11, 12)}),
            "");
  EXPECT_EQ(verdict({T({append("x", 1)}, 1, 10), T({read("x", {})}, 2, 9)}), "");
}

TEST(Serializability, AReaderMayAppendWhatNobodySees) {
  EXPECT_EQ(verdict({T({read("x", {}), append("x", 1)}), T({append("x", 2)})}), "");
  EXPECT_EQ(verdict({T({append("x", 1), read("x", {1}), append("x", 2)})}), "");
}

TEST(Serializability, AnUnknownTransactionMayHaveHappenedOrNot) {
  const Transaction lost = unknown({append("x", 1)}, 1);
  EXPECT_EQ(verdict({lost, T({read("x", {})}, 5, 6)}), "");
  EXPECT_EQ(verdict({lost, T({read("x", {1})}, 5, 6)}), "");
  // Late: after somebody had missed it.
  EXPECT_EQ(verdict({lost, T({read("x", {})}, 5, 6), T({read("x", {1})}, 7, 8)}), "");
  EXPECT_EQ(verdict({lost, T({read("x", {1})}, 5, 6), T({read("x", {})}, 7, 8)}),
            "G-single-realtime");
  EXPECT_EQ(verdict({lost, T({append("x", 2)}, 2, 3), T({read("x", {2, 1})}, 5, 6)}), "");
}

TEST(Serializability, AnUnknownTransactionDidNotHappenBeforeItWasCalled) {
  EXPECT_EQ(verdict({T({read("x", {1})}, 1, 2), unknown({append("x", 1)}, 3)}), "G1c-realtime");
}

TEST(Serializability, WhatAnUnknownTransactionWasConditionalOnCountsOnceItIsSeen) {
  const Transaction conditional = unknown({read("x", {}), append("y", 1)}, 1);
  const Transaction writer = T({read("y", {}), append("x", 2)}, 1, 9);
  EXPECT_EQ(verdict({conditional, writer, T({read("y", {})}, 10, 11)}), "");
  EXPECT_EQ(verdict({conditional, writer, T({read("y", {1})}, 10, 11)}), "G2");
  // Which another one of unknown fate may prove.
  EXPECT_EQ(verdict({conditional, writer, unknown({read("y", {1}), append("z", 3)}, 10),
                     T({read("z", {3})}, 12, 13)}),
            "G2");
}

TEST(Serializability, AnAbortedTransactionIsNotThere) {
  EXPECT_EQ(verdict({aborted({append("x", 1), read("y", {4})}, 1, 2), T({read("x", {})}, 3, 4)}),
            "");
}

TEST(Serializability, SerializableAsksNothingOfRealTime) {
  const TransactionHistory stale = {T({append("x", 1)}, 1, 2), T({append("x", 2)}, 3, 4),
                                    T({read("x", {1})}, 5, 6), T({read("x", {1, 2})}, 5, 6)};
  EXPECT_TRUE(serializable(stale));
  EXPECT_EQ(verdict(stale), "G-single-realtime");
}

// --- what one read can do wrong ---

TEST(Serializability, Malformed) {
  EXPECT_EQ(verdict({T({append("x", 1)}), T({append("x", 1)})}), "malformed history");
  EXPECT_EQ(verdict({T({append("x", 1)}), T({append("y", 1)})}), "");
}

TEST(Serializability, Phantom) {
  EXPECT_EQ(verdict({T({append("x", 1)}), T({read("x", {1, 2})})}), "phantom element");
  EXPECT_EQ(verdict({T({append("y", 1)}), T({read("x", {1})})}), "phantom element");
}

TEST(Serializability, AbortedRead) {
  EXPECT_EQ(verdict({aborted({append("x", 1)}, 1, 2), T({read("x", {1})}, 1, 4)}),
            "G1a (aborted read)");
}

TEST(Serializability, IntermediateRead) {
  const Transaction twice = T({append("x", 1), append("x", 2)});
  EXPECT_EQ(verdict({twice, T({read("x", {1})}), T({read("x", {1, 2})})}),
            "G1b (intermediate read)");
  EXPECT_EQ(verdict({twice, T({read("x", {1})})}), "G1b (intermediate read)");
  EXPECT_EQ(verdict({twice, T({read("x", {1}), append("x", 3), read("x", {1, 3})})}),
            "G1b (intermediate read)");
  EXPECT_EQ(verdict({twice, T({read("x", {1, 2})}), T({read("x", {})})}), "");
}

TEST(Serializability, Duplicate) {
  EXPECT_EQ(verdict({T({append("x", 1)}), T({append("x", 2)}), T({read("x", {1, 2, 1})})}),
            "duplicate element");
}

TEST(Serializability, IncompatibleOrders) {
  EXPECT_EQ(verdict({T({append("x", 1)}), T({append("x", 2)}), T({read("x", {1, 2})}),
                     T({read("x", {2})})}),
            "incompatible orders");
}

TEST(Serializability, LostAppend) {
  EXPECT_EQ(verdict({T({append("x", 1)}, 1, 2), T({read("x", {})}, 3, 4)}), "lost append");
  EXPECT_EQ(
      verdict({T({append("x", 1)}, 1, 2), T({append("x", 2)}, 3, 4), T({read("x", {2})}, 5, 6)}),
      "lost append");
  EXPECT_EQ(verdict({T({append("x", 1)}, 1, 2), T({read("x", {})}, 2, 4)}), "");
}

TEST(Serializability, ATransactionContradictsItself) {
  const char* const kName = "internal inconsistency";
  const Transaction other = T({append("x", 9)});
  EXPECT_EQ(verdict({T({append("x", 1), read("x", {})})}), kName);
  EXPECT_EQ(verdict({other, T({append("x", 1), read("x", {1, 9})})}), kName);
  EXPECT_EQ(verdict({other, T({read("x", {}), read("x", {9})})}), kName);
  EXPECT_EQ(verdict({other, T({read("x", {}), append("x", 1), read("x", {9, 1})})}), kName);
  EXPECT_EQ(verdict({T({read("x", {1}), append("x", 1)})}), kName);
  EXPECT_EQ(verdict({T({append("x", 1), append("x", 2)}), T({read("x", {2, 1})})}), kName);
  EXPECT_EQ(verdict({T({append("x", 1), append("x", 2)}), T({read("x", {2})})}), kName);
}

TEST(Serializability, ATransactionThatDidNotHappenMayHaveBeenToldAnything) {
  const Transaction other = T({append("x", 9)});
  EXPECT_EQ(verdict({other, unknown({read("x", {}), read("x", {9}), append("y", 1)}, 0)}), "");
}

// --- cycles ---

TEST(Serializability, G0) {
  const TransactionHistory history = {T({append("x", 1), append("y", 1)}),
                                      T({append("x", 2), append("y", 2)}), T({read("x", {1, 2})}),
                                      T({read("y", {2, 1})})};
  EXPECT_EQ(verdict(history), "G0");
  EXPECT_EQ(words(history),
            "2 transactions of which each must come before the next, and the last before the "
            "first:\n"
            "  T0 before T1: T1 appended 2 to x after T0 had appended 1 (ww)\n"
            "  T1 before T0: T0 appended 1 to y after T1 had appended 2 (ww)\n"
            "  T0: client 0, 0..1000000 ns: append 1 to x, append 1 to y\n"
            "  T1: client 0, 0..1000000 ns: append 2 to x, append 2 to y");
}

TEST(Serializability, G0BetweenTheAppendsOfOneTransaction) {
  EXPECT_EQ(verdict({T({append("x", 1), append("x", 2)}), T({append("x", 3)}),
                     T({read("x", {1, 3, 2})})}),
            "G0");
  EXPECT_EQ(
      verdict({T({append("x", 1), append("x", 2)}), T({append("x", 3)}), T({read("x", {1, 3})})}),
      "G0");
}

TEST(Serializability, G0Realtime) {
  const TransactionHistory history = {T({append("x", 1)}, 1, 2), T({append("x", 2)}, 3, 4),
                                      T({read("x", {2, 1})}, 5, 6)};
  EXPECT_EQ(verdict(history), "G0-realtime");
  EXPECT_EQ(words(history),
            "2 transactions of which each must come before the next, and the last before the "
            "first:\n"
            "  T1 before T0: T0 appended 1 to x after T1 had appended 2 (ww)\n"
            "  T0 before T1: T0 had returned at 2 when T1 was called at 3 (real time)\n"
            "  T1: client 0, 3..4 ns: append 2 to x\n"
            "  T0: client 0, 1..2 ns: append 1 to x");
}

TEST(Serializability, G1c) {
  EXPECT_EQ(verdict({T({append("x", 1), read("y", {1})}), T({append("y", 1), read("x", {1})})}),
            "G1c");
}

TEST(Serializability, G1cRealtime) {
  EXPECT_EQ(verdict({T({read("x", {1})}, 1, 2), T({append("x", 1)}, 3, 4)}), "G1c-realtime");
}

TEST(Serializability, GSingleHalfOfATransaction) {
  const TransactionHistory history = {T({append("x", 1), append("y", 1)}),
                                      T({read("x", {1}), read("y", {})})};
  EXPECT_EQ(verdict(history), "G-single");
  EXPECT_EQ(words(history),
            "2 transactions of which each must come before the next, and the last before the "
            "first:\n"
            "  T1 before T0: T1 read y while it was empty, without 1, which T0 appended (rw)\n"
            "  T0 before T1: T1 read 1 in x, which T0 appended (wr)\n"
            "  T1: client 0, 0..1000000 ns: read x [1], read y []\n"
            "  T0: client 0, 0..1000000 ns: append 1 to x, append 1 to y");
}

TEST(Serializability, GSingleLostUpdate) {
  EXPECT_EQ(verdict({T({append("x", 1)}), T({read("x", {1}), append("x", 2)}),
                     T({read("x", {1}), append("x", 3)}), T({read("x", {1, 2, 3})})}),
            "G-single");
}

TEST(Serializability, LostUpdateThatNobodyReads) {
  EXPECT_EQ(verdict({T({append("x", 1)}), T({read("x", {1}), append("x", 2)}),
                     T({read("x", {1}), append("x", 3)})}),
            "G2");
}

TEST(Serializability, GSingleRealtime) {
  EXPECT_EQ(
      verdict({T({append("x", 1)}, 1, 2), T({read("x", {1})}, 3, 4), T({read("x", {})}, 5, 6)}),
      "G-single-realtime");
}

TEST(Serializability, G2WriteSkew) {
  const TransactionHistory history = {T({read("x", {}), append("y", 1)}),
                                      T({read("y", {}), append("x", 1)})};
  EXPECT_EQ(verdict(history), "G2");
  EXPECT_EQ(words(history),
            "2 transactions of which each must come before the next, and the last before the "
            "first:\n"
            "  T0 before T1: T0 read x while it was empty, without 1, which T1 appended (rw)\n"
            "  T1 before T0: T1 read y while it was empty, without 1, which T0 appended (rw)\n"
            "  T0: client 0, 0..1000000 ns: read x [], append 1 to y\n"
            "  T1: client 0, 0..1000000 ns: read y [], append 1 to x");
}

TEST(Serializability, G2LongFork) {
  // Two readers see two writes in different orders.
  EXPECT_EQ(verdict({T({append("x", 1)}), T({append("y", 1)}), T({read("x", {1}), read("y", {})}),
                     T({read("y", {1}), read("x", {})})}),
            "G2");
}

TEST(Serializability, G2Realtime) {
  // T0 missed T1, which had returned when T2 was called, which missed T3, which T0 saw.
  EXPECT_EQ(verdict({T({read("x", {}), read("y", {1})}, 0, 100), T({append("x", 1)}, 1, 10),
                     T({read("y", {})}, 11, 100), T({append("y", 1)}, 1, 90)}),
            "G2-realtime");
}

TEST(Serializability, TheShortestCycleIsReported) {
  // Write skew around a ring of four, and within it a ring of two.
  TransactionHistory ring;
  for (Element i = 0; i < 4; ++i)
    ring.push_back(
        T({read(fmt::format("k{}", i), {}), append(fmt::format("k{}", (i + 1) % 4), 1)}));
  ASSERT_TRUE(find_anomaly(ring));
  EXPECT_EQ(find_anomaly(ring)->transactions.size(), 4u);
  ring[2].ops.push_back(read("m", {}));
  ring[3].ops.push_back(append("m", 1));
  EXPECT_EQ(find_anomaly(ring)->transactions, (std::vector<std::size_t>{2, 3}));
}

TEST(Serializability, ManyUnseenAppendsCostLittle) {
  TransactionHistory history;
  for (Element i = 1; i <= 20'000; ++i) {
    history.push_back(T({append("x", i)}));
    history.push_back(T({read("x", {})}));
  }
  EXPECT_EQ(verdict(history), "");
}

// --- the stored form ---

TEST(TransactionHistory, LinesComeBackAsTheyWere) {
  TransactionHistory history = {
      T({append("x", 1), read("y \"1\"", {1, 2}), read_of("z", std::nullopt), read("z", {})}, 1, 2),
      unknown({append("x", 2)}, 3), aborted({append("x", 4)}, 5, 6)};
  history[0].client = 7;
  EXPECT_EQ(to_json(history[0]), R"({"client":7,"txn":[["append","x",1],["read","y \"1\"",[1,2]],)"
                                 R"(["read","z",null],["read","z",[]]],"call":1,"return":2})");
  for (const Transaction& transaction : history) {
    const auto parsed = parse_transaction(to_json(transaction));
    ASSERT_TRUE(parsed.has_value()) << parsed.error().message;
    EXPECT_EQ(*parsed, transaction);
    EXPECT_TRUE(is_transaction(to_json(transaction)));
  }
  EXPECT_FALSE(is_transaction(R"({"client":1,"op":"get","key":"txn","call":1})"));
}

TEST(TransactionHistory, WhatIsNoTransactionIsRefusedWithAReason) {
  const auto why = [](std::string_view line) {
    const auto parsed = parse_transaction(line);
    return parsed ? "" : parsed.error().message;
  };
  EXPECT_EQ(why(R"({"client":1,"call":1})"), "\"txn\" is missing");
  EXPECT_EQ(why(R"({"client":1,"txn":[["append","x"]],"call":1})"), "a step is an array of three");
  EXPECT_EQ(why(R"({"client":1,"txn":[["append","x",-1]],"call":1})"),
            "an element is a number from 0 on");
  EXPECT_EQ(why(R"({"client":1,"txn":[["write","x",1]],"call":1})"), "unknown step \"write\"");
  EXPECT_EQ(why(R"({"client":1,"txn":[],"call":5,"return":1})"), "returned before it was called");
  EXPECT_EQ(why(R"({"client":1,"txn":[[[[[[[[[1]]]]]]]]],"call":1})"),
            "arrays are nested too deeply");
  EXPECT_EQ(why(R"({"client":1,"txn":[],"call":1,"more":2})"), "\"more\" has no place here");
}

// --- against an oracle: all orders of small histories ---

bool runs(const TransactionHistory& history, const std::vector<std::size_t>& order) {
  std::map<std::string, List> state;
  for (const std::size_t i : order) {
    for (const MicroOp& op : history[i].ops) {
      if (op.append) state[op.key].push_back(*op.append);
      if (op.list && state[op.key] != *op.list) return false;
    }
  }
  return true;
}

bool respects_real_time(const TransactionHistory& history, const std::vector<std::size_t>& order) {
  for (std::size_t i = 0; i < order.size(); ++i)
    for (std::size_t j = i + 1; j < order.size(); ++j) {
      const auto returned_ns = history[order[j]].returned_ns;
      if (returned_ns && *returned_ns < history[order[i]].called_ns) return false;
    }
  return true;
}

bool has_order(const TransactionHistory& history, bool strict) {
  std::vector<std::size_t> certain, possible;
  for (std::size_t i = 0; i < history.size(); ++i) {
    if (history[i].aborted) continue;
    (history[i].returned_ns ? certain : possible).push_back(i);
  }
  for (std::size_t choice = 0; choice < (1u << possible.size()); ++choice) {
    std::vector<std::size_t> order = certain;
    for (std::size_t i = 0; i < possible.size(); ++i)
      if ((choice >> i & 1) != 0) order.push_back(possible[i]);
    std::ranges::sort(order);
    do {
      if (runs(history, order) && (!strict || respects_real_time(history, order))) return true;
    } while (std::ranges::next_permutation(order).found);
  }
  return false;
}

// --- histories of a store that does everything right, one transaction after the other ---

struct Shape {
  std::size_t transactions = 4;
  std::size_t keys = 2;
  std::size_t max_ops = 3;
  std::size_t versions = 50;  // after so many a key is followed by a new one
  std::uint64_t overlap_ns = 30;
  std::uint64_t unknown_one_in = 6;
};

TransactionHistory run_serially(Rng& rng, const Shape& shape) {
  TransactionHistory history;
  std::map<std::string, List> state;
  std::vector<std::size_t> age(shape.keys, 0);
  Element next = 1;
  for (std::size_t i = 0; i < shape.transactions; ++i) {
    const auto now = static_cast<std::int64_t>(10 * i + 1'000);
    const auto before = static_cast<std::int64_t>(rng.below(shape.overlap_ns));
    const auto after = static_cast<std::int64_t>(rng.below(shape.overlap_ns));
    Transaction t{.client = i % 10, .called_ns = now - before, .returned_ns = now + after};
    const bool happens = !rng.one_in(shape.unknown_one_in);
    if (!happens || rng.one_in(shape.unknown_one_in)) t.returned_ns.reset();
    if (!happens && rng.one_in(2)) {
      t.aborted = true;
      t.returned_ns = now + after;
    }
    std::map<std::string, List> nowhere;
    auto& lists = happens ? state : nowhere;
    for (std::size_t ops = rng.between(1, shape.max_ops); ops > 0; --ops) {
      const std::size_t k = rng.below(shape.keys);
      const std::string key = fmt::format("k{}.{}", k, age[k] / shape.versions);
      List& list = lists[key];
      if (rng.one_in(2)) {
        ++age[k];
        list.push_back(next);
        t.ops.push_back(append_to(key, next++));
      } else if (t.is_unknown() && rng.one_in(2)) {
        t.ops.push_back(read_of(key, std::nullopt));
      } else {
        t.ops.push_back(read_of(key, list));
      }
    }
    history.push_back(std::move(t));
  }
  return history;
}

// Changes one thing; the result may still be right.
void disturb(Rng& rng, TransactionHistory& history) {
  Transaction& t = history[rng.below(history.size())];
  const std::uint64_t dice = rng.below(8);
  if (dice == 0) t.aborted = !t.aborted;
  if (dice == 1) t.called_ns = std::min(t.called_ns + 25, t.returned_ns.value_or(t.called_ns + 25));
  if (dice == 2 && t.returned_ns) *t.returned_ns = std::max(t.called_ns, *t.returned_ns - 25);
  MicroOp& op = t.ops[rng.below(t.ops.size())];
  if (dice < 3 || !op.list) return;
  List& list = *op.list;
  if (dice == 3 && list.size() > 1)
    std::swap(list[rng.below(list.size())], list[rng.below(list.size())]);
  if (dice == 4) list.push_back(rng.between(1, 6));
  if (dice > 4 && !list.empty()) list.pop_back();
}

TEST(Serializability, AgreesWithAllOrdersOfSmallHistories) {
  std::map<std::string, int> seen;
  for (std::uint64_t seed = 0; seed < 30'000; ++seed) {
    Rng rng(seed);
    TransactionHistory history = run_serially(rng, {.transactions = rng.between(2, 5),
                                                    .keys = rng.between(1, 3),
                                                    .max_ops = rng.between(2, 4)});
    for (std::uint64_t i = rng.below(4); i > 0; --i) disturb(rng, history);
    for (const bool strict : {false, true}) {
      const auto found =
          find_anomaly(history, strict ? Isolation::kStrictSerializable : Isolation::kSerializable);
      std::string shown = found ? name_of(*found) + ": " + found->what : "nothing found";
      if (found.has_value() != has_order(history, strict)) {
        if (strict) ++seen[found ? name_of(*found) : "none"];
        continue;
      }
      for (const Transaction& t : history) shown += "\n" + to_text(t);
      FAIL() << "seed " << seed << (strict ? ", strict: " : ": ") << shown;
    }
  }
  // The histories are of all kinds.
  for (const char* kind :
       {"none", "internal inconsistency", "phantom element", "G1a (aborted read)",
        "G1b (intermediate read)", "duplicate element", "incompatible orders", "lost append", "G0",
        "G1c", "G-single", "G2", "G0-realtime", "G1c-realtime", "G-single-realtime"})
    EXPECT_GT(seen[kind], 0) << kind;
  for (const auto& [kind, count] : seen) fmt::print("{:>6} {}\n", count, kind);
}

// --- large histories ---

Shape large(std::size_t transactions) {
  return {.transactions = transactions,
          .keys = 20,
          .max_ops = 4,
          .overlap_ns = 200,
          .unknown_one_in = 50};
}

TEST(Serializability, AStoreThatIsRightIsNeverAccused) {
  for (std::uint64_t seed = 0; seed < 100; ++seed) {
    Rng rng(seed);
    const auto history = run_serially(rng, large(1'000));
    EXPECT_EQ(words(history), "") << "seed " << seed;
  }
}

// A read that was told of at least one append which had been acknowledged before it was called.
std::pair<std::size_t, std::size_t> read_of_something_old(Rng& rng,
                                                          const TransactionHistory& history) {
  for (;;) {
    const std::size_t i = rng.below(history.size());
    const Transaction& t = history[i];
    for (std::size_t op = 0; op < t.ops.size() && t.returned_ns && !t.aborted; ++op) {
      if (!t.ops[op].list || t.ops[op].list->empty()) continue;
      if (std::ranges::count(t.ops, t.ops[op].key, &MicroOp::key) > 1) continue;
      const MicroOp wanted = append_to(t.ops[op].key, t.ops[op].list->back());
      const auto writer = std::ranges::find_if(history, [&](const Transaction& other) {
        return std::ranges::find(other.ops, wanted) != other.ops.end();
      });
      if (writer->returned_ns && *writer->returned_ns < t.called_ns) return {i, op};
    }
  }
}

TEST(Serializability, OneStaleReadAmongThousandsIsFound) {
  for (std::uint64_t seed = 0; seed < 100; ++seed) {
    Rng rng(seed);
    auto history = run_serially(rng, large(2'000));
    const auto [i, op] = read_of_something_old(rng, history);
    history[i].ops[op].list->pop_back();
    EXPECT_NE(verdict(history), "") << "seed " << seed << ": T" << i;
  }
}

TEST(Serializability, OneLostAppendAmongThousandsIsFound) {
  for (std::uint64_t seed = 0; seed < 100; ++seed) {
    Rng rng(seed);
    auto history = run_serially(rng, large(2'000));
    const auto [i, op] = read_of_something_old(rng, history);
    const std::string key = history[i].ops[op].key;
    const Element lost = history[i].ops[op].list->back();
    for (Transaction& t : history)
      for (MicroOp& other : t.ops)
        if (other.key == key && other.list) std::erase(*other.list, lost);
    EXPECT_NE(verdict(history), "") << "seed " << seed << ": " << lost << " in " << key;
  }
}

// A store that serves reads from copies which are behind, all the time.
TransactionHistory run_with_stale_reads(Rng& rng, std::size_t transactions) {
  auto history = run_serially(rng, large(transactions));
  for (Transaction& t : history) {
    std::map<std::string, std::size_t> uses;
    for (const MicroOp& op : t.ops) ++uses[op.key];
    if (std::ranges::any_of(uses, [](const auto& use) { return use.second > 1; })) {
      t.ops.resize(1);
    }
    for (MicroOp& op : t.ops)
      if (op.list && !op.list->empty() && rng.one_in(4)) op.list->pop_back();
  }
  // Elements that nobody appends any more are not to be read.
  std::set<Element> appended;
  for (const Transaction& t : history)
    for (const MicroOp& op : t.ops)
      if (op.append) appended.insert(*op.append);
  for (Transaction& t : history)
    for (MicroOp& op : t.ops)
      if (op.list) std::erase_if(*op.list, [&](Element e) { return !appended.contains(e); });
  return history;
}

// The verdict; how long it took is printed, not judged.
std::string timed_verdict(const char* what, const TransactionHistory& history,
                          Isolation isolation = Isolation::kStrictSerializable) {
  const auto begin = std::chrono::steady_clock::now();
  const auto found = find_anomaly(history, isolation);
  const double took =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  const std::string name = found ? name_of(*found) : "";
  fmt::print("{} transactions, {}: {:.2f} s, {}\n", history.size(), what, took,
             found ? fmt::format("{} of {}", name, found->transactions.size()) : "serializable");
  return name;
}

TEST(Serializability, Timing) {
  Rng rng(8);
  auto history = run_serially(rng, large(100'000));
  EXPECT_EQ(timed_verdict("all right", history), "");
  const auto [i, op] = read_of_something_old(rng, history);
  history[i].ops[op].list->pop_back();
  EXPECT_NE(timed_verdict("one stale read", history), "");
  const auto stale = run_with_stale_reads(rng, 100'000);
  EXPECT_NE(timed_verdict("many stale reads", stale), "");
  EXPECT_NE(timed_verdict("many stale reads, any order", stale, Isolation::kSerializable), "");
  // One cycle through everything.
  TransactionHistory ring;
  constexpr Element kRing = 100'000;
  for (Element k = 0; k < kRing; ++k)
    ring.push_back(
        T({read(fmt::format("k{}", k), {}), append(fmt::format("k{}", (k + 1) % kRing), 1)}));
  EXPECT_EQ(timed_verdict("a ring", ring), "G2");
}

}  // namespace
}  // namespace conclave::sim
