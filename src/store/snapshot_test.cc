// Snapshots: written while the store goes on, read back from any cut, refused when damaged.

#include <gtest/gtest.h>

#include "store/replica.h"

namespace conclave::store {
namespace {

Bytes write_all(Store& store, std::size_t piece_bytes = 1000) {
  const auto writer = store.begin_snapshot();
  Bytes all;
  for (Bytes piece = writer->next(piece_bytes); !piece.empty(); piece = writer->next(piece_bytes))
    all += piece;
  return all;
}

Result<Store> load(BytesView bytes, std::size_t cut) {
  SnapshotLoader loader(Limits{});
  for (; !bytes.empty(); bytes.remove_prefix(std::min(cut, bytes.size())))
    TRY(loader.feed(bytes.substr(0, cut)));
  return loader.finish();
}

// A little of everything: history, deletions, compaction half reclaimed, request ids, members,
// alarms.
Replica eventful() {
  Replica replica;
  for (int i = 0; i < 20; ++i) replica.run(fmt::format("put k{} {}", i % 7, i));
  replica.run("del k2 k5");
  replica.run_once("c", 1, "put k3 again");
  replica.run_once("c", 2, "compact 15");
  replica.run_once("d", 1, "txn [ ] [ put x 1 ; del k1 ; range a z ] [ ]");
  replica.store.reclaim(5);
  replica.commit(
      encode_command({}, PublishMember{{NodeId{3}, "three", {"p1", "p2"}, {"c1"}, true}}));
  replica.commit(encode_command({}, SetAlarm{NodeId{3}, Alarm::kNoSpace, true}));
  return replica;
}

void expect_equal(Store& a, Store& b) {
  EXPECT_EQ(a.hash(), b.hash());
  EXPECT_EQ(a.revision(), b.revision());
  EXPECT_EQ(a.compact_revision(), b.compact_revision());
  EXPECT_EQ(a.applied_index(), b.applied_index());
  EXPECT_EQ(a.applied_epoch(), b.applied_epoch());
  EXPECT_EQ(a.stamp(), b.stamp());
  EXPECT_EQ(a.key_count(), b.key_count());
  EXPECT_EQ(a.size_in_use_bytes(), b.size_in_use_bytes());
  EXPECT_EQ(a.members(), b.members());
  EXPECT_EQ(a.alarms(), b.alarms());
  for (api::Revision revision = 0; revision <= a.revision() + 1; ++revision) {
    const api::Request request = parse_request(fmt::format("range %00 %00 rev={}", revision));
    EXPECT_EQ(to_text(a.read(request)), to_text(b.read(request)));
  }
}

// What begins a new cluster: the data, and nothing of whose it was.
TEST(Snapshot, BeginsANewCluster) {
  Replica old = eventful();
  old.run("grant 7 60");
  auto loaded = load(write_all(old.store), 1000);
  ASSERT_TRUE(loaded.has_value());
  Store& store = *loaded;
  store.begin_new_cluster(LogIndex{1}, Epoch{1}, true);
  EXPECT_EQ(store.applied_index(), LogIndex{1});
  EXPECT_EQ(store.applied_epoch(), Epoch{1});
  EXPECT_EQ(store.stamp(), old.store.stamp());
  EXPECT_TRUE(store.members().empty());
  EXPECT_FALSE(store.founded());
  EXPECT_TRUE(store.alarms().empty());
  EXPECT_EQ(store.lease_count(), 1);
  for (api::Revision revision = 0; revision <= old.store.revision() + 1; ++revision) {
    const api::Request request = parse_request(fmt::format("range %00 %00 rev={}", revision));
    EXPECT_EQ(to_text(store.read(request)), to_text(old.store.read(request)));
  }
  // Two that were restored are equal, and a snapshot of either is one like any other.
  auto again = load(write_all(store), 1000);
  ASSERT_TRUE(again.has_value());
  expect_equal(store, *again);

  store.begin_new_cluster(LogIndex{1}, Epoch{1}, false);
  EXPECT_EQ(store.key_count(), 0);
  EXPECT_EQ(store.lease_count(), 0);
  EXPECT_EQ(store.stamp(), old.store.stamp());
}

// A witness that applied the same log, and one that got a snapshot in its place.
TEST(Snapshot, ForAWitnessHasWhatAWitnessHas) {
  Replica full = eventful();
  Replica witness;
  for (const Bytes& entry : full.log) witness.apply(witnessed_part(entry));
  EXPECT_EQ(witness.store.key_count(), 0u);

  const Bytes all = write_all(full.store);
  const auto bytes = SnapshotWriter::witnessed(BytesView(all).substr(0, 200));
  ASSERT_TRUE(bytes.has_value()) << bytes.error().message;
  EXPECT_LT(bytes->size(), 200u);
  auto loaded = load(*bytes, 7);
  ASSERT_TRUE(loaded.has_value()) << loaded.error().message;
  expect_equal(*loaded, witness.store);
  EXPECT_EQ(loaded->applied_index(), full.store.applied_index());
  EXPECT_EQ(loaded->members(), full.store.members());
  EXPECT_TRUE(loaded->alarms().empty());
  EXPECT_EQ(*bytes, write_all(witness.store)) << "the very bytes it would have written";
}

TEST(Snapshot, ForAWitnessNeedsTheHead) {
  Replica full = eventful();
  const Bytes all = write_all(full.store);
  EXPECT_EQ(SnapshotWriter::witnessed("").error().code, ErrorCode::kCorrupt);
  EXPECT_EQ(SnapshotWriter::witnessed(BytesView(all).substr(0, 20)).error().code,
            ErrorCode::kCorrupt);
  EXPECT_EQ(SnapshotWriter::witnessed(BytesView(all).substr(1)).error().code, ErrorCode::kCorrupt);
}

TEST(Snapshot, OfAnEmptyStore) {
  Store store{Limits{}};
  auto loaded = load(write_all(store), 3);
  ASSERT_TRUE(loaded.has_value()) << loaded.error().message;
  expect_equal(store, *loaded);
}

TEST(Snapshot, BringsEverythingBackFromAnyCut) {
  Replica replica = eventful();
  const Bytes bytes = write_all(replica.store);
  for (const std::size_t cut : {1u, 2u, 7u, 64u, 100'000u}) {
    auto loaded = load(bytes, cut);
    ASSERT_TRUE(loaded.has_value()) << loaded.error().message;
    expect_equal(replica.store, *loaded);
  }
}

TEST(Snapshot, OfALoadedStoreIsTheSame) {
  Replica replica = eventful();
  const Bytes bytes = write_all(replica.store);
  auto loaded = load(bytes, 100);
  ASSERT_TRUE(loaded.has_value());
  EXPECT_EQ(write_all(*loaded), bytes);
}

TEST(Snapshot, GoingOnFromItIsGoingOn) {
  Replica replica = eventful();
  auto loaded = load(write_all(replica.store), 100);
  ASSERT_TRUE(loaded.has_value());
  Replica other(*std::move(loaded));
  for (const char* line :
       {"put k3 prev", "del a z", "compact 21", "put k1 1 prev", "range a z", "compact 24"}) {
    EXPECT_EQ(replica.run(line), other.run(line));
    replica.store.reclaim(2);
    other.store.reclaim(1);
    EXPECT_EQ(replica.store.hash(), other.store.hash());
  }
  EXPECT_EQ(replica.run_once("c", 1, "put k3 again"), other.run_once("c", 1, "put k3 again"));
  EXPECT_EQ(replica.run_once("c", 9, "put k3 new"), other.run_once("c", 9, "put k3 new"));
  expect_equal(replica.store, other.store);
}

TEST(Snapshot, IsOfTheMomentInWhichItBegan) {
  for (const std::size_t piece_bytes : {1u, 40u, 300u}) {
    Replica replica = eventful();
    auto before = load(write_all(replica.store), 1000);
    ASSERT_TRUE(before.has_value());
    int step = 0;
    auto loaded = replica.through_snapshot(piece_bytes, [&] {
      ++step;
      replica.run_once("c", static_cast<std::uint64_t>(100 + step),
                       fmt::format("put k{} later", step % 9));
      if (step % 3 == 0) replica.run(fmt::format("del k{}", step % 8));
      if (step % 5 == 0) replica.run(fmt::format("compact {}", replica.store.revision()));
      EXPECT_EQ(replica.store.reclaim(100),
                replica.store.reclaimed_revision() < replica.store.compact_revision());
    });
    ASSERT_TRUE(loaded.has_value()) << loaded.error().message;
    EXPECT_GT(step, 1);
    expect_equal(*before, *loaded);
    while (replica.store.reclaim(1)) {
    }
    EXPECT_EQ(replica.store.reclaimed_revision(), replica.store.compact_revision());
  }
}

TEST(Snapshot, ReclaimRestsWhileOneIsWritten) {
  Replica replica;
  replica.run("put a 1");
  replica.run("put a 2");
  replica.run("compact 3");
  {
    const auto writer = replica.store.begin_snapshot();
    EXPECT_EQ(writer->index(), LogIndex{3});
    EXPECT_TRUE(replica.store.reclaim(10));
    EXPECT_EQ(replica.store.reclaimed_revision(), 1);
  }
  EXPECT_FALSE(replica.store.reclaim(10));
  EXPECT_EQ(replica.store.reclaimed_revision(), 3);
}

TEST(Snapshot, StepsStayShortWhereThereIsLittleToWrite) {
  Replica replica;
  replica.run("put a 1");
  for (int i = 0; i < 200; ++i) replica.run(fmt::format("put k{} 1", i));
  replica.run("compact 2");
  const auto writer = replica.store.begin_snapshot();
  std::size_t pieces = 0;
  std::size_t bytes = 0;
  for (Bytes piece = writer->next(1000); !piece.empty(); piece = writer->next(1000)) {
    ++pieces;
    bytes += piece.size();
  }
  EXPECT_GT(pieces, bytes / 1000 + 10);
}

// However many versions one key has.
TEST(Snapshot, StepsStayShortAmongVersionsOfOneKey) {
  Replica replica;
  for (int i = 0; i < 500; ++i) replica.run(fmt::format("put b {}", i));
  replica.run("put a 1");
  replica.run("compact 502");
  for (int i = 0; i < 500; ++i) replica.run(fmt::format("put b {}", i));
  Store copy = load(write_all(replica.store), 1000).value();
  const auto writer = replica.store.begin_snapshot();
  Bytes all;
  std::size_t steps = 0;
  for (Bytes piece = writer->next(640); !piece.empty(); piece = writer->next(640)) {
    all += piece;
    if (++steps == 30) replica.run("put ab new");
  }
  EXPECT_GE(steps, 100) << "1,000 versions to pass, ten in a step, and 500 changes";
  auto loaded = load(all, 1000);
  ASSERT_TRUE(loaded.has_value()) << loaded.error().message;
  EXPECT_EQ(loaded->hash(), copy.hash());
}

TEST(Snapshot, EveryDamagedByteIsFound) {
  Replica replica = eventful();
  const Bytes bytes = write_all(replica.store);
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    Bytes damaged = bytes;
    damaged[i] = static_cast<char>(damaged[i] ^ 0x04);
    const auto loaded = load(damaged, 1 << 20);
    ASSERT_FALSE(loaded.has_value()) << "byte " << i;
    EXPECT_EQ(loaded.error().code, ErrorCode::kCorrupt);
  }
}

TEST(Snapshot, EveryCutOffEndIsFound) {
  Replica replica = eventful();
  const Bytes bytes = write_all(replica.store);
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_FALSE(load(BytesView(bytes).substr(0, size), 1 << 20).has_value())
        << "of " << size << " bytes";
  }
  EXPECT_FALSE(load(bytes + bytes, 1 << 20).has_value());
}

}  // namespace
}  // namespace conclave::store
