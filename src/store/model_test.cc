// Random requests against the store and against the model (model.h): the same answers, and the same
// again from a store that was rebuilt from a snapshot taken in the middle of it all.

#include <gtest/gtest.h>

#include "base/rng.h"
#include "store/model.h"
#include "store/replica.h"

namespace conclave::store {
namespace {

// Random lines of the transcript language over few keys, so that they meet.
class Script {
 public:
  explicit Script(std::uint64_t seed) : rng_(seed) {}

  std::string line(std::int64_t revision) {
    revision_ = revision;
    const std::uint64_t kind = rng_.below(24);
    if (kind >= 20) return lease();
    if (kind < 7) return put();
    if (kind < 11) return range();
    if (kind < 14) return erase();
    if (kind < 19) return txn(0);
    return fmt::format("compact {}", some_revision());
  }

  Rng& rng() { return rng_; }

 private:
  // Drawn one after the other: what is in braces is evaluated in order, by each compiler.
  static std::string joined(std::initializer_list<std::string> parts) {
    return fmt::format("{}", fmt::join(parts, ""));
  }
  std::string pick(std::initializer_list<const char*> words) {
    return words.begin()[rng_.below(words.size())];
  }
  std::string maybe(std::uint64_t one_in, const std::string& word) {
    return rng_.one_in(one_in) ? word : "";
  }
  std::string key() { return fmt::format("k{}", rng_.below(9)); }
  std::string end() { return pick({"", "", " k4", " k7", " z", " %00", " a"}); }
  std::int64_t some_revision() {
    return std::max<std::int64_t>(0, revision_ + 2 - static_cast<std::int64_t>(rng_.below(25)));
  }
  std::string option(const char* name) {
    return maybe(5, fmt::format(" {}={}", name, some_revision()));
  }

  std::string put() {
    if (rng_.one_in(8)) return fmt::format("put {} - prev ignore_value", key());
    if (rng_.one_in(8)) return fmt::format("put {} z ignore_lease", key());
    return joined({"put ", key(), " ", pick({"x", "y", "-"}),
                   maybe(3, fmt::format(" lease={}", some_lease())), maybe(3, " prev")});
  }
  std::uint64_t some_lease() { return 1 + rng_.below(4); }
  std::string lease() {
    const std::uint64_t kind = rng_.below(8);
    if (kind < 3) {
      return joined({fmt::format("grant {} ", some_lease()), std::to_string(1 + rng_.below(9))});
    }
    if (kind < 4) return fmt::format("revoke {}", some_lease());
    if (kind < 5) return fmt::format("keep {}", some_lease());
    if (kind < 7) return joined({fmt::format("ttl {}", some_lease()), maybe(2, " keys")});
    return "leases";
  }
  std::string erase() { return joined({"del ", key(), maybe(3, end()), maybe(2, " prev")}); }
  std::string range() {
    return joined({"range ", key(), end(), maybe(3, fmt::format(" limit={}", rng_.below(4))),
                   maybe(2, fmt::format(" rev={}", some_revision())),
                   maybe(2, " sort=" + pick({"none", "asc", "desc"})),
                   maybe(2, " by=" + pick({"key", "version", "create", "mod", "value"})),
                   maybe(6, " keys_only"), maybe(6, " count_only"), option("min_mod"),
                   option("max_mod"), option("min_create"), option("max_create")});
  }
  std::string compare() {
    const std::string result = pick({"=", "<", ">", "!="});
    if (rng_.one_in(3)) return joined({"value ", key(), end(), " ", result, " x"});
    return joined({pick({"version", "create", "mod", "lease"}), " ", key(), end(), " ", result, " ",
                   std::to_string(rng_.one_in(2) ? static_cast<std::int64_t>(rng_.below(3))
                                                 : some_revision())});
  }
  std::string operations(int depth) {
    std::string list = "[ ";
    for (std::uint64_t i = rng_.below(4); i > 0; --i) {
      const std::uint64_t kind = rng_.below(depth < 2 ? 8 : 7);
      list += (kind < 3 ? put() : kind < 5 ? range() : kind < 7 ? erase() : txn(depth + 1)) + " ; ";
    }
    return list + "]";
  }
  std::string txn(int depth) {
    std::string compares;
    for (std::uint64_t i = rng_.below(3); i > 0; --i) compares += compare() + " ; ";
    return joined({"txn [ ", compares, "] ", operations(depth), " ", operations(depth)});
  }

  Rng rng_;
  std::int64_t revision_ = 1;
};

// A store, the model, and a script that drives both.
class Duel {
 public:
  explicit Duel(std::uint64_t seed) : script_(seed) {}

  // One random request; the answers must be equal.
  void step() {
    pass_time();
    const std::string line = script_.line(replica_.store.revision());
    const api::Request request = parse_request(line);
    const std::string answer = replica_.run(line);
    if (Store::validate(request, Limits{})) return;
    ASSERT_EQ(answer, to_text(model_.run(request))) << line;
    if (script_.rng().one_in(4)) replica_.store.reclaim(script_.rng().below(5));
  }

  // Leases expire by a command in the log, some time after their time is over.
  void pass_time() {
    replica_.stamp.ms += script_.rng().below(500);
    model_.set_time_ms(replica_.stamp.ms);
    if (!script_.rng().one_in(4)) {
      const std::uint64_t max_work = script_.rng().below(4);
      replica_.commit(encode_command({}, ExpireLeases{max_work}));
      model_.expire(max_work);
    } else {
      replica_.apply(BatchEncoder().finish(replica_.epoch, replica_.stamp));
    }
  }

  // Replaces the store by one loaded from a snapshot that was written while `steps` or more
  // requests went on, and which then caught up from the log.
  void rebuild() {
    const std::size_t first = replica_.log.size();
    const std::size_t piece_bytes = 1 + script_.rng().below(400);
    auto loaded = replica_.through_snapshot(piece_bytes, [this] { step(); });
    ASSERT_TRUE(loaded.has_value()) << loaded.error().message;
    for (std::size_t i = first; i < replica_.log.size(); ++i) {
      const auto result = loaded->apply(LogIndex{i + 1}, replica_.log[i], NodeId{1}, 1);
      ASSERT_TRUE(result.has_value());
      if (script_.rng().one_in(4)) loaded->reclaim(script_.rng().below(5));
    }
    ASSERT_EQ(loaded->hash(), replica_.store.hash());
    expect_equal_at_every_revision(*loaded);
    replica_.store = *std::move(loaded);
  }

  void expect_equal_at_every_revision(const Store& other) {
    for (api::Revision revision = 0; revision <= other.revision(); ++revision) {
      const api::Request request = parse_request(fmt::format("range %00 %00 rev={}", revision));
      const std::string answer = to_text(other.read(request));
      ASSERT_EQ(answer, to_text(replica_.store.read(request)));
      ASSERT_EQ(answer, to_text(model_.run(request)));
    }
  }

 private:
  Script script_;
  Replica replica_;
  Model model_;
};

TEST(Model, TheStoreAnswersAsTheModelDoes) {
  for (std::uint64_t seed = 1; seed <= 60; ++seed) {
    SCOPED_TRACE(fmt::format("seed {}", seed));
    Duel duel(seed);
    for (int i = 0; i < 400 && !testing::Test::HasFatalFailure(); ++i) duel.step();
    if (testing::Test::HasFatalFailure()) return;
  }
}

TEST(Model, ARebuiltStoreAnswersAsTheModelDoes) {
  for (std::uint64_t seed = 1000; seed < 1030; ++seed) {
    SCOPED_TRACE(fmt::format("seed {}", seed));
    Duel duel(seed);
    for (int round = 0; round < 6; ++round) {
      for (int i = 0; i < 60 && !testing::Test::HasFatalFailure(); ++i) duel.step();
      if (!testing::Test::HasFatalFailure()) duel.rebuild();
      if (testing::Test::HasFatalFailure()) return;
    }
  }
}

}  // namespace
}  // namespace conclave::store
