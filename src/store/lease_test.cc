// Leases: granted, kept alive, revoked, and expired by what is in the log.

#include <gtest/gtest.h>

#include "store/lease.h"
#include "store/replica.h"

namespace conclave::store {
namespace {

class Lease : public testing::Test {
 protected:
  std::string run(std::string_view line) { return replica_.run(line); }

  // Time that passes in the log without a command.
  void pass_ms(std::uint64_t ms) {
    replica_.stamp.ms += ms;
    replica_.apply(BatchEncoder().finish(replica_.epoch, replica_.stamp));
  }
  void expire(std::uint64_t max_work = 1000) {
    replica_.commit(encode_command({}, ExpireLeases{max_work}));
  }
  Store reload() {
    auto loaded = replica_.through_snapshot(10, [] {});
    CHECK(loaded.has_value(), "{}", loaded.error().message);
    return *std::move(loaded);
  }

  Replica replica_;
};

TEST_F(Lease, IsGrantedOnce) {
  EXPECT_EQ(run("grant 7 60"), "1 grant 7 60");
  EXPECT_EQ(run("grant 7 60"), "error lease_exists");
  EXPECT_EQ(run("grant -9 5"), "1 grant -9 5");
  EXPECT_EQ(run("leases"), "1 leases -9 7");
}

TEST_F(Lease, MayLastNineBillionSeconds) {
  EXPECT_EQ(run("grant 7 9000000000"), "1 grant 7 9000000000");
  EXPECT_EQ(run("grant 8 9000000001"), "error lease_ttl_too_large");
  EXPECT_EQ(run("ttl 7"), "1 ttl 7 8999999999 9000000000");
}

TEST_F(Lease, APutNeedsALeaseThatIsThere) {
  EXPECT_EQ(run("put a 1 lease=7"), "error lease_not_found");
  EXPECT_EQ(run("txn [ ] [ put a 1 lease=7 ] [ ]"), "error lease_not_found");
  run("grant 7 60");
  EXPECT_EQ(run("put a 1 lease=7"), "2 put");
  EXPECT_EQ(run("txn [ ] [ put b 1 lease=7 ] [ ]"), "3 txn yes [ put ]");
  EXPECT_EQ(run("range a"), "3 range 1 a=1(2,2,1,7)");
  EXPECT_EQ(run("ttl 7 keys"), "3 ttl 7 59 60 a b");
}

TEST_F(Lease, RevokingDeletesItsKeysAtOneRevision) {
  run("grant 7 60");
  run("put b 1 lease=7");
  run("put a 1 lease=7");
  run("put c 1");
  EXPECT_EQ(run("revoke 7"), "5 revoke");
  EXPECT_EQ(run("range %00 %00"), "5 range 1 c=1(4,4,1)");
  EXPECT_EQ(run("range a z rev=4"), "5 range 3 a=1(3,3,1,7) b=1(2,2,1,7) c=1(4,4,1)");
  EXPECT_EQ(run("revoke 7"), "error lease_not_found");
  EXPECT_EQ(run("ttl 7 keys"), "5 ttl 7 -1 0");
}

TEST_F(Lease, RevokingOneWithoutKeysIsNoRevision) {
  run("grant 7 60");
  EXPECT_EQ(run("revoke 7"), "1 revoke");
}

TEST_F(Lease, AKeyThatIsWrittenAgainChangesItsLease) {
  run("grant 7 60");
  run("grant 8 60");
  run("put a 1 lease=7");
  run("put b 1 lease=7");
  run("put c 1 lease=7");
  run("put d 1 lease=7");
  run("put a 2");               // none
  run("put b 2 lease=8");       // another
  run("put c 2 ignore_lease");  // the same
  run("del d");
  EXPECT_EQ(run("ttl 7 keys"), "9 ttl 7 59 60 c");
  EXPECT_EQ(run("ttl 8 keys"), "9 ttl 8 59 60 b");
  run("revoke 7");
  EXPECT_EQ(run("range a z"), "10 range 2 a=2(2,6,2) b=2(3,7,2,8)");
}

TEST_F(Lease, ExpiresByACommandOnceItsTimeIsOver) {
  run("grant 7 2");
  run("put a 1 lease=7");
  pass_ms(1999);
  expire();
  EXPECT_EQ(run("range a"), "2 range 1 a=1(2,2,1,7)");
  pass_ms(1);
  EXPECT_EQ(run("range a"), "2 range 1 a=1(2,2,1,7)") << "only a command ends it";
  expire();
  EXPECT_EQ(run("range a"), "3 range 0");
  EXPECT_EQ(run("leases"), "3 leases");
}

TEST_F(Lease, ACommandThatComesTooEarlyExpiresNothing) {
  run("grant 7 2");
  replica_.epoch = Epoch{5};
  expire();
  replica_.epoch = Epoch{4};  // of a leader of the past, whose stamp runs ahead
  replica_.stamp.ms += 60'000;
  expire();
  EXPECT_EQ(run("leases"), "1 leases 7");
}

TEST_F(Lease, KeepingItAliveGivesAllOfItsTimeAgain) {
  run("grant 7 10");
  pass_ms(9'500);
  EXPECT_EQ(run("ttl 7"), "1 ttl 7 0 10");
  EXPECT_EQ(run("keep 7"), "1 keep 7 10");
  EXPECT_EQ(run("ttl 7"), "1 ttl 7 9 10");
  pass_ms(9'999);
  expire();
  EXPECT_EQ(run("leases"), "1 leases 7");
  pass_ms(1);
  expire();
  EXPECT_EQ(run("leases"), "1 leases");
}

TEST_F(Lease, CannotBeKeptAliveOnceItsTimeIsOver) {
  run("grant 7 2");
  pass_ms(2'000);
  EXPECT_EQ(run("keep 7"), "1 keep 7 0");
  EXPECT_EQ(run("keep 8"), "1 keep 8 0");
  EXPECT_EQ(run("ttl 7"), "1 ttl 7 0 2") << "it is there until it is revoked";
}

TEST_F(Lease, WhatHappensIsCounted) {
  run("grant 7 2");
  run("grant 8 64");
  run("grant 9 65");
  run("grant 10 9000000000");
  run("grant 10 1");  // refused
  run("keep 8");
  run("keep 11");  // not there
  run("revoke 8");
  pass_ms(2'000);
  expire();
  const LeaseCounts& counts = replica_.store.lease_counts();
  EXPECT_EQ(counts.granted, 4u);
  EXPECT_EQ(counts.renewed, 1u);
  EXPECT_EQ(counts.revoked, 2u);
  EXPECT_EQ(counts.expired, 1u);
  EXPECT_EQ(counts.ttls[1], 1u) << "up to 2 s";
  EXPECT_EQ(counts.ttls[6], 1u) << "up to 64 s";
  EXPECT_EQ(counts.ttls[7], 1u) << "up to 128 s";
  EXPECT_EQ(counts.ttls[LeaseCounts::kTtlBuckets - 1], 1u);
  EXPECT_EQ(counts.ttl_sum_s, 9'000'000'131.0);
}

TEST_F(Lease, ManyExpireInPieces) {
  for (int i = 1; i <= 10; ++i) {
    run(fmt::format("grant {} 2", i));
    run(fmt::format("put k{} x lease={}", i, i));
  }
  pass_ms(2'000);
  expire(4);
  EXPECT_EQ(replica_.store.lease_count(), 8u);
  EXPECT_EQ(replica_.store.revision(), 13);
  expire(0);
  EXPECT_EQ(replica_.store.lease_count(), 7u) << "always one";
  expire();
  EXPECT_EQ(replica_.store.lease_count(), 0u);
  EXPECT_EQ(replica_.store.key_count(), 0u);
  EXPECT_EQ(replica_.store.next_lease_deadline(), std::nullopt);
}

TEST_F(Lease, TheFirstToExpireGoesFirst) {
  run("grant 1 30");
  run("grant 2 20");
  run("grant 3 10");
  EXPECT_EQ(run("leases"), "1 leases 3 2 1");
  EXPECT_EQ(replica_.store.next_lease_deadline(), Stamp{11'000});
  pass_ms(25'000);
  expire(1);
  EXPECT_EQ(run("leases"), "1 leases 2 1");
}

TEST_F(Lease, IsPartOfTheStateHash) {
  const std::uint64_t none = replica_.store.hash();
  Replica other;
  other.run("grant 7 10");
  run("grant 7 11");
  EXPECT_NE(replica_.store.hash(), other.store.hash());
  EXPECT_NE(replica_.store.hash(), none);
}

TEST_F(Lease, AStateWithoutAnyHasTheHashOfBuildsThatKnewNone) {
  Replica other;
  other.run("put a 1");
  run("put a 1");
  EXPECT_EQ(replica_.store.hash(), other.store.hash());
  run("grant 7 10");
  run("revoke 7");
  for (int i = 0; i < 2; ++i) other.apply(BatchEncoder().finish(other.epoch, other.stamp));
  EXPECT_EQ(replica_.store.hash(), other.store.hash());
}

TEST_F(Lease, GoesIntoSnapshots) {
  run("grant 7 60");
  run("grant 8 50");
  run("grant -3 40");
  run("put a 1 lease=7");
  run("put b 1 lease=7");
  run("put a 2 lease=8");
  run("put old 1 lease=-3");
  run("revoke -3");
  run("compact 3");
  pass_ms(1000);
  Replica loaded(reload());
  EXPECT_EQ(loaded.store.hash(), replica_.store.hash());
  EXPECT_EQ(loaded.run("leases"), "6 leases 8 7");
  EXPECT_EQ(loaded.run("ttl 7 keys"), "6 ttl 7 58 60 b");
  EXPECT_EQ(loaded.run("ttl 8 keys"), "6 ttl 8 48 50 a");
  EXPECT_EQ(loaded.store.size_bytes(), replica_.store.size_bytes());
}

TEST_F(Lease, AnyIdGoesIntoSnapshots) {
  for (const std::int64_t id :
       {INT64_MIN, INT64_MIN + 1, std::int64_t{-1}, std::int64_t{1}, INT64_MAX}) {
    run(fmt::format("grant {} 60", id));
  }
  const std::string before = run("leases");
  Replica loaded(reload());
  EXPECT_EQ(loaded.run("leases"), before);
  EXPECT_EQ(loaded.store.hash(), replica_.store.hash());
}

TEST_F(Lease, UsersAreCounted) {
  LeaseTable table;
  table.grant(1, 60, Stamp{1}, "ann");
  table.grant(2, 60, Stamp{1}, "ann");
  table.grant(3, 60, Stamp{1});
  EXPECT_EQ(table.count_of("ann"), 2u);
  EXPECT_EQ(table.count_of("bob"), 0u);
  table.remove(2);
  table.remove(3);
  EXPECT_EQ(table.count_of("ann"), 1u);
  EXPECT_EQ(table.find(1)->user, "ann");
  table.remove(1);
  EXPECT_FALSE(table.has_users());
}

TEST_F(Lease, AUserHasOnlySoMany) {
  StoreState state{Limits{}};
  const auto granted = [&](LeaseId id, BytesView user) {
    const api::Answer answer = grant(state, {.ttl_s = 60, .id = id}, user);
    return std::holds_alternative<api::LeaseGrantResponse>(answer);
  };
  const auto many = static_cast<LeaseId>(kMaxUserLeases);
  for (LeaseId id = 1; id <= many; ++id) state.leases.grant(id, 60, Stamp{1}, "ann");
  EXPECT_FALSE(granted(many + 1, "ann"));
  EXPECT_TRUE(granted(many + 1, "bob"));
  EXPECT_TRUE(granted(many + 2, ""));
  revoke(state, {.id = 1});
  EXPECT_TRUE(granted(many + 3, "ann"));
}

// While a snapshot waits, most of them change; it passes over each of those once.
TEST_F(Lease, ASnapshotOfManyThatChangeIsNotQuadratic) {
  constexpr int kLeases = 60'000;
  LeaseTable table;
  for (int id = 1; id <= kLeases; ++id) table.grant(id, 60, Stamp{1});
  table.begin_snapshot();
  for (int id = 1; id <= kLeases; ++id) table.keep_alive(id, Stamp{2});
  std::optional<LeaseId> last;
  int seen = 0;
  for (auto next = table.next_in_snapshot(last); next; next = table.next_in_snapshot(last)) {
    EXPECT_EQ(next->deadline.ms, 60'001u);
    last = next->id;
    ++seen;
    if (seen % 100 == 0) table.keep_alive(seen / 2, Stamp{3});
  }
  EXPECT_EQ(seen, kLeases);
}

TEST_F(Lease, ASnapshotHasThemAsTheyWereWhenItBegan) {
  for (int i = 1; i <= 50; ++i) run(fmt::format("grant {} 60", i));
  run("put a 1 lease=50");
  const std::string before = run("leases");
  const std::uint64_t hash = replica_.store.hash();
  int step = 0;
  auto loaded = replica_.through_snapshot(20, [&] {
    ++step;
    pass_ms(10);
    run(fmt::format("keep {}", 1 + step * 7 % 50));
    run(fmt::format("revoke {}", 1 + step * 11 % 50));
    run(fmt::format("grant {} 5", 40 + step));
  });
  ASSERT_TRUE(loaded.has_value()) << loaded.error().message;
  EXPECT_GT(step, 40);
  EXPECT_EQ(loaded->hash(), hash);
  EXPECT_EQ(to_text(loaded->read(parse_request("leases"))), before);
}

TEST_F(Lease, AnswersAreKeptForRequestIds) {
  EXPECT_EQ(replica_.run_once("c", 1, "grant 7 60"), "1 grant 7 60");
  EXPECT_EQ(replica_.run_once("c", 1, "grant 7 60"), "1 grant 7 60");
  EXPECT_EQ(replica_.run_once("c", 2, "grant 7 60"), "error lease_exists");
  EXPECT_EQ(replica_.run_once("c", 2, "grant 7 60"), "error lease_exists");
  EXPECT_EQ(replica_.run_once("c", 3, "keep 7"), "1 keep 7 60");
  EXPECT_EQ(replica_.run_once("c", 3, "keep 7"), "1 keep 7 60");
  EXPECT_EQ(replica_.run_once("c", 4, "revoke 7"), "1 revoke");
  EXPECT_EQ(replica_.run_once("c", 4, "revoke 7"), "1 revoke");
}

}  // namespace
}  // namespace conclave::store
