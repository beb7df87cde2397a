// Users, roles and rights: etcd's rules, in the store, in its snapshot, and for who watches.

#include "store/auth.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <utility>

#include "store/replica.h"
#include "store/watch_hub.h"

namespace conclave::store {
namespace {

using api::Permission;

class AuthTest : public ::testing::Test {
 protected:
  // The answer's error, or "ok".
  static std::string text_of(const api::Answer& answer) {
    const auto* error = std::get_if<api::Error>(&answer);
    return error == nullptr ? "ok" : fmt::format("{}", static_cast<int>(error->code));
  }
  static std::string code(api::ErrorCode code) { return fmt::format("{}", static_cast<int>(code)); }

  template <class Op>
  std::string change(Op op, const std::string& user = "") {
    api::Request request{api::AuthRequest{std::move(op)}, std::nullopt, std::nullopt};
    request.identity = who(user);
    return text_of(run(request).answer);
  }

  api::Identity who(const std::string& user) const {
    if (user.empty()) return {};
    return {user, replica.store.auth().revision()};
  }

  api::Response run(const api::Request& request) {
    if (api::route_of(request) == api::Route::kLinearizableRead) {
      if (auto refused = replica.store.denial(request)) return {{}, *std::move(refused)};
      return replica.store.read(request);
    }
    auto outcomes =
        replica.commit(encode_command({Replica::kSelf, Replica::kIncarnation, ++calls}, request));
    return std::move(outcomes.at(0).response);
  }

  std::string ask(const std::string& user, std::string_view line) {
    api::Request request = parse_request(line);
    request.identity = who(user);
    return text_of(run(request).answer);
  }

  void add_user(const std::string& name, const std::vector<std::string>& roles) {
    EXPECT_EQ(change(api::UserAdd{name, false, "", "hash of " + name}, admin), "ok");
    for (const std::string& role : roles) {
      EXPECT_EQ(change(api::UserGrantRole{name, role}, admin), "ok");
    }
  }

  void add_role(const std::string& name, std::int32_t type, Bytes key, Bytes end) {
    EXPECT_EQ(change(api::RoleAdd{name}, admin), "ok");
    EXPECT_EQ(
        change(api::RoleGrantPermission{name, Permission{type, std::move(key), std::move(end)}},
               admin),
        "ok");
  }

  // root, a writer of [a, c), a reader of [b, d).
  void enable() {
    add_role("writes", Permission::kWrite, "a", "c");
    add_role("reads", Permission::kRead, "b", "d");
    add_user("root", {"root"});
    add_user("writer", {"writes"});
    add_user("reader", {"reads"});
    add_user("both", {"reads", "writes"});
    EXPECT_EQ(change(api::AuthEnable{"key"}), "ok");
    admin = "root";
  }

  Replica replica;
  std::uint64_t calls = 0;
  std::string admin;
  const std::string denied = code(api::ErrorCode::kPermissionDenied);
};

TEST_F(AuthTest, IsEnabledWithARootWhoHasTheRoleRootOnly) {
  EXPECT_EQ(change(api::AuthEnable{"key"}), code(api::ErrorCode::kRootUserNotFound));
  add_user("root", {});
  EXPECT_EQ(change(api::AuthEnable{"key"}), code(api::ErrorCode::kRootRoleNotGranted));
  EXPECT_EQ(change(api::UserGrantRole{"root", "root"}), "ok") << "a role that nobody added";
  EXPECT_FALSE(replica.store.auth().is_enabled());
  EXPECT_EQ(change(api::AuthEnable{"key"}), "ok");
  EXPECT_TRUE(replica.store.auth().is_enabled());
  EXPECT_EQ(replica.store.auth().token_key(), "key");
}

TEST_F(AuthTest, CountsItsRevisionAsEtcd) {
  const auto revision = [this] { return replica.store.auth().revision(); };
  EXPECT_EQ(revision(), 1);
  add_user("root", {"root"});
  EXPECT_EQ(revision(), 3);
  EXPECT_EQ(change(api::UserGrantRole{"root", "root"}), "ok");
  EXPECT_EQ(revision(), 3) << "it was granted already";
  EXPECT_EQ(change(api::AuthEnable{"key"}), "ok");
  EXPECT_EQ(revision(), 3);
  EXPECT_EQ(change(api::RoleAdd{""}, "root"), code(api::ErrorCode::kRoleEmpty));
  EXPECT_EQ(revision(), 3) << "refused";
  EXPECT_EQ(change(api::AuthDisable{}, "root"), "ok");
  EXPECT_EQ(revision(), 4);
  EXPECT_EQ(change(api::AuthDisable{}), "ok");
  EXPECT_EQ(revision(), 4);
}

TEST_F(AuthTest, RefusesWhatCannotBe) {
  enable();
  EXPECT_EQ(change(api::UserAdd{}, "root"), code(api::ErrorCode::kUserEmpty));
  EXPECT_EQ(change(api::UserAdd{"root", true, "", ""}, "root"), code(api::ErrorCode::kUserExists));
  EXPECT_EQ(change(api::UserDelete{"nobody"}, "root"), code(api::ErrorCode::kUserNotFound));
  EXPECT_EQ(change(api::UserDelete{"root"}, "root"), code(api::ErrorCode::kInvalidAuthManagement));
  EXPECT_EQ(change(api::UserRevokeRole{"root", "root"}, "root"),
            code(api::ErrorCode::kInvalidAuthManagement));
  EXPECT_EQ(change(api::RoleDelete{"root"}, "root"), code(api::ErrorCode::kInvalidAuthManagement));
  EXPECT_EQ(change(api::UserGrantRole{"reader", "none"}, "root"),
            code(api::ErrorCode::kRoleNotFound));
  EXPECT_EQ(change(api::UserRevokeRole{"reader", "none"}, "root"),
            code(api::ErrorCode::kRoleNotGranted));
  EXPECT_EQ(change(api::RoleAdd{"reads"}, "root"), code(api::ErrorCode::kRoleExists));
  EXPECT_EQ(change(api::RoleGrantPermission{"reads", std::nullopt}, "root"),
            code(api::ErrorCode::kPermissionNotGiven));
  EXPECT_EQ(change(api::RoleRevokePermission{"reads", "b", "c"}, "root"),
            code(api::ErrorCode::kPermissionNotGranted));
}

TEST_F(AuthTest, OnlyRootManages) {
  enable();
  EXPECT_EQ(change(api::RoleAdd{"x"}), code(api::ErrorCode::kUserEmpty));
  EXPECT_EQ(change(api::RoleAdd{"x"}, "reader"), denied);
  EXPECT_EQ(change(api::UserGet{"reader"}, "reader"), "ok") << "oneself";
  EXPECT_EQ(change(api::UserGet{"writer"}, "reader"), denied);
  EXPECT_EQ(change(api::RoleGet{"reads"}, "reader"), "ok") << "a role one has";
  EXPECT_EQ(change(api::RoleGet{"writes"}, "reader"), denied);
  EXPECT_EQ(change(api::UserList{}, "reader"), denied);
}

TEST_F(AuthTest, RightsAreToRanges) {
  enable();
  EXPECT_EQ(ask("root", "put z 1"), "ok");
  EXPECT_EQ(ask("", "put a 1"), code(api::ErrorCode::kUserEmpty));
  EXPECT_EQ(ask("writer", "put a 1"), "ok");
  EXPECT_EQ(ask("writer", "put c 1"), denied);
  EXPECT_EQ(ask("writer", "range a"), denied);
  EXPECT_EQ(ask("writer", "del a c"), "ok");
  EXPECT_EQ(ask("writer", "del a d"), denied);
  EXPECT_EQ(ask("reader", "range b d"), "ok");
  EXPECT_EQ(ask("reader", "range b %00"), denied);
  EXPECT_EQ(ask("reader", "put b 1"), denied);
}

TEST_F(AuthTest, AnOlderRevisionIsRefused) {
  enable();
  api::Request put = parse_request("put a 1");
  put.identity = who("writer");
  EXPECT_EQ(text_of(run(put).answer), "ok");
  EXPECT_EQ(change(api::RoleAdd{"another"}, "root"), "ok");
  EXPECT_EQ(text_of(run(put).answer), code(api::ErrorCode::kAuthOldRevision));
}

// The order is that of the log: what comes after the revocation is refused.
TEST_F(AuthTest, ARevocationCountsFromItsPlaceInTheLogOn) {
  enable();
  const auto command = [this](const api::Request& request) {
    return encode_command({Replica::kSelf, Replica::kIncarnation, ++calls}, request);
  };
  api::Request put = parse_request("put a 1");
  put.identity = who("writer");
  api::Request revoke{api::AuthRequest{api::UserRevokeRole{"writer", "writes"}}, std::nullopt,
                      std::nullopt};
  revoke.identity = who("root");
  BatchEncoder batch;
  batch.add(command(put));
  batch.add(command(revoke));
  batch.add(command(put));
  const auto outcomes = replica.apply(batch.finish(replica.epoch, replica.stamp)).outcomes;
  ASSERT_EQ(outcomes.size(), 3U);
  EXPECT_EQ(text_of(outcomes[0].response.answer), "ok");
  EXPECT_EQ(text_of(outcomes[1].response.answer), "ok");
  EXPECT_EQ(text_of(outcomes[2].response.answer), code(api::ErrorCode::kAuthOldRevision));
  EXPECT_EQ(ask("writer", "put a 1"), denied);
}

TEST_F(AuthTest, EveryBranchOfATransactionNeedsRights) {
  enable();
  const auto ask_txn = [this](const std::string& user, api::TxnRequest txn) {
    api::Request request{std::move(txn), std::nullopt, std::nullopt};
    request.identity = who(user);
    return text_of(run(request).answer);
  };
  const auto with = [](api::Operation operation, bool in_failure = false) {
    api::TxnRequest txn;
    txn.success.emplace_back().op = api::PutRequest{.key = "a", .value = "1"};
    (in_failure ? txn.failure : txn.success).push_back(std::move(operation));
    return txn;
  };
  EXPECT_EQ(ask_txn("writer", with({api::PutRequest{.key = "b", .value = "1"}})), "ok");
  EXPECT_EQ(ask_txn("writer", with({api::PutRequest{.key = "z", .value = "1"}}, true)), denied);
  EXPECT_EQ(ask_txn("writer", with({api::PutRequest{.key = "b", .value = "1", .prev_kv = true}})),
            denied);
  auto nested = std::make_unique<api::TxnRequest>();
  nested->success.emplace_back().op = api::RangeRequest{.key = "a", .range_end = {}};
  EXPECT_EQ(ask_txn("writer", with({std::move(nested)})), denied);
  api::TxnRequest compares = with({api::PutRequest{.key = "b", .value = "1"}});
  compares.compare.push_back({.key = "a", .range_end = {}, .value = {}});
  EXPECT_EQ(ask_txn("writer", std::move(compares)), denied);
}

TEST_F(AuthTest, ALeaseIsEndedByWhoMayDeleteItsKeys) {
  replica.commit(encode_command({Replica::kSelf, Replica::kIncarnation, ++calls},
                                {api::LeaseGrantRequest{100, 5}, std::nullopt, std::nullopt}));
  enable();
  const auto about = [this](const std::string& user, api::Body body) {
    api::Request request{std::move(body), std::nullopt, std::nullopt};
    request.identity = who(user);
    return text_of(run(request).answer);
  };
  EXPECT_EQ(about("root", api::PutRequest{.key = "x", .value = "1", .lease = 5}), "ok");
  EXPECT_EQ(about("writer", api::PutRequest{.key = "a", .value = "1", .lease = 5}), denied);
  EXPECT_EQ(about("writer", api::LeaseRevokeRequest{5}), denied);
  EXPECT_EQ(about("", api::LeaseRevokeRequest{5}), code(api::ErrorCode::kUserEmpty));
  EXPECT_EQ(about("reader", api::LeaseTimeToLiveRequest{5, true}), denied);
  EXPECT_EQ(about("reader", api::LeaseTimeToLiveRequest{5, false}), "ok");
  EXPECT_EQ(about("root", api::LeaseRevokeRequest{5}), "ok");
}

TEST_F(AuthTest, ALeaseIsOfTheUserWhoAskedForIt) {
  ask("writer", "grant 1 60");
  enable();
  const std::uint64_t hash_before = replica.store.hash();
  EXPECT_EQ(replica.through_snapshot(64, [] {})->hash(), hash_before) << "of nobody";
  EXPECT_EQ(ask("writer", "grant 2 60"), "ok");
  EXPECT_EQ(ask("reader", "grant 3 60"), "ok");
  auto loaded = replica.through_snapshot(64, [] {});
  ASSERT_TRUE(loaded.has_value());
  EXPECT_EQ(loaded->hash(), replica.store.hash());

  Replica others = Replica(*std::move(loaded));
  replica.stamp = others.stamp;
  std::swap(replica.store, others.store);
  EXPECT_EQ(ask("root", "revoke 2"), "ok");
  EXPECT_EQ(ask("root", "grant 2 60"), "ok");
  std::swap(replica.store, others.store);
  EXPECT_EQ(ask("root", "revoke 2"), "ok");
  EXPECT_EQ(ask("writer", "grant 2 60"), "ok");
  EXPECT_NE(replica.store.hash(), others.store.hash()) << "the same leases, of others";
}

// Logs of older builds mean what they meant.
TEST_F(AuthTest, ALeaseOfAnOlderBuildsCommandIsNobodys) {
  enable();
  api::Request grant = parse_request("grant 2 60");
  grant.identity = who("writer");
  Bytes command = encode_command({Replica::kSelf, Replica::kIncarnation, ++calls}, grant);
  command[0] = 4;
  Replica same(*replica.through_snapshot(64, [] {}));
  same.stamp = replica.stamp;
  replica.commit(command);
  grant.identity.user = "both";
  command = encode_command({Replica::kSelf, Replica::kIncarnation, calls}, grant);
  command[0] = 4;
  same.commit(command);
  EXPECT_EQ(replica.store.lease_count(), 1u);
  EXPECT_EQ(replica.store.hash(), same.store.hash());
}

TEST_F(AuthTest, ARefusedRequestIdIsNotRememberedAndNobodyGetsAnothersAnswer) {
  enable();
  api::Request put = parse_request("put a 1");
  put.id = api::RequestId{"client", 1};
  put.identity = who("reader");
  EXPECT_EQ(text_of(run(put).answer), denied);
  put.identity = who("writer");
  EXPECT_EQ(text_of(run(put).answer), "ok");
  const api::Revision after = replica.store.revision();
  EXPECT_EQ(text_of(run(put).answer), "ok");
  EXPECT_EQ(replica.store.revision(), after) << "the first answer again";
  put.identity = who("both");
  EXPECT_EQ(text_of(run(put).answer), "ok");
  EXPECT_EQ(replica.store.revision(), after + 1) << "another user's request of that name";
}

// What a real etcd 3.4 says to the same permissions and ranges.
TEST(KeyRanges, ArePutTogether) {
  KeyRanges ranges;
  ranges.add("a", "b");
  ranges.add("b", "c");
  ranges.add("x", std::nullopt);
  ranges.add("m", Bytes("m\0", 2));
  EXPECT_TRUE(ranges.covers("a", "c"));
  EXPECT_TRUE(ranges.covers("a", ""));
  EXPECT_TRUE(ranges.covers("bb", "c"));
  EXPECT_FALSE(ranges.covers("a", "cc"));
  EXPECT_FALSE(ranges.covers("c", ""));
  EXPECT_FALSE(ranges.covers("a", Bytes("\0", 1)));
  EXPECT_TRUE(ranges.covers("m", ""));
  EXPECT_FALSE(ranges.covers("m", "n"));
  EXPECT_TRUE(ranges.covers("y", Bytes("\0", 1)));
  EXPECT_TRUE(ranges.covers("y", "z"));
  ranges.add("bb", std::nullopt);
  EXPECT_TRUE(ranges.covers("a", Bytes("\0", 1)));
}

TEST_F(AuthTest, NobodyHasNoRequestIds) {
  api::Request request = parse_request("grant 5 60");
  request.id = api::RequestId{"x", 1};
  EXPECT_EQ(text_of(run(request).answer), "ok");
  enable();
  EXPECT_EQ(text_of(run(request).answer), code(api::ErrorCode::kUserEmpty));
  request.id = api::RequestId{Bytes("x\0writer", 8), 1};
  EXPECT_TRUE(Store::validate(request, Limits{})) << "it would be another user's";
}

// A fence tells who holds the lock, or that nobody does.
TEST_F(AuthTest, AFenceNeedsTheRightToReadTheLock) {
  enable();
  EXPECT_EQ(ask("root", "put b/1 v"), "ok");
  const auto fenced = [this](const std::string& user, const Bytes& key) {
    api::Request request{api::TxnRequest{}, std::nullopt, std::nullopt};
    request.fence = api::Fence{key, 1};
    request.identity = who(user);
    return text_of(run(request).answer);
  };
  EXPECT_EQ(fenced("reader", "b"), code(api::ErrorCode::kFenced));
  EXPECT_EQ(fenced("reader", "b/1"), code(api::ErrorCode::kFenced));
  EXPECT_EQ(fenced("writer", "b"), code(api::ErrorCode::kPermissionDenied));
  EXPECT_EQ(fenced("reader", "z"), code(api::ErrorCode::kPermissionDenied));
  EXPECT_EQ(fenced("", "b"), code(api::ErrorCode::kUserEmpty));
}

TEST_F(AuthTest, PermissionsWithoutAKeyOrEndGiveNoRight) {
  enable();
  add_role("odd", Permission::kReadWrite, "", Bytes("\0", 1));
  const Permission inverted{Permission::kReadWrite, "z", "c"};
  EXPECT_EQ(change(api::RoleGrantPermission{"odd", inverted}, "root"), "ok");
  const Permission unknown{7, "m", ""};
  EXPECT_EQ(change(api::RoleGrantPermission{"odd", unknown}, "root"), "ok");
  add_user("odd", {"odd"});
  for (const char* key : {"a", "m", "z"}) {
    EXPECT_EQ(ask("odd", fmt::format("range {}", key)), denied) << key;
  }
}

// docs/formats/snapshot.md.
TEST(Auth, AsBytes) {
  Auth auth;
  for (api::AuthRequest change :
       {api::AuthRequest{api::RoleAdd{"r"}}, api::AuthRequest{api::UserAdd{"ann", false, "", "h"}},
        api::AuthRequest{api::UserGrantRole{"ann", "r"}},
        api::AuthRequest{api::RoleGrantPermission{"r", Permission{2, "a", "c"}}}}) {
    EXPECT_FALSE(std::holds_alternative<api::Error>(auth.change(change)));
  }
  Bytes bytes;
  Encoder out(bytes);
  auth.encode(out);
  std::string hex;
  for (const char c : bytes) hex += fmt::format("{:02x}", static_cast<unsigned char>(c));
  EXPECT_EQ(hex,
            "00"        // not enabled
            "05"        // revision
            "00"        // no key of tokens
            "01"        // a user,
            "03616e6e"  // ann,
            "00"        // with a password,
            "0168"      // its hash,
            "03"        // since revision 3,
            "010172"    // with the role r
            "01"        // a role,
            "0172"      // r,
            "01"        // with a permission,
            "02"        // to read and write
            "01610163");
  Decoder in(bytes);
  EXPECT_EQ(Auth::decode(in).digest(), auth.digest());
  EXPECT_TRUE(in.finished());
}

// Without users a snapshot is what older builds read and wrote.
TEST_F(AuthTest, RaisesTheVersionOfSnapshotsOnceThereIsAny) {
  const auto version = [this] { return replica.store.begin_snapshot()->next(64).at(2); };
  ask("", "put k v");
  EXPECT_EQ(version(), 1);
  EXPECT_EQ(change(api::RoleAdd{"r"}), "ok");
  EXPECT_EQ(version(), 5);
}

TEST_F(AuthTest, IsInSnapshotsAndInTheHash) {
  const std::uint64_t blank = replica.store.hash();
  enable();
  EXPECT_NE(replica.store.hash(), blank);
  auto loaded = replica.through_snapshot(64, [] {});
  ASSERT_TRUE(loaded.has_value()) << loaded.error().message;
  EXPECT_EQ(loaded->hash(), replica.store.hash());
  EXPECT_EQ(loaded->auth().digest(), replica.store.auth().digest());
  EXPECT_TRUE(loaded->auth().is_enabled());
  const Auth::User* writer = loaded->auth().find("writer");
  ASSERT_NE(writer, nullptr);
  EXPECT_EQ(writer->password_hash, "hash of writer");
  EXPECT_EQ(writer->roles, std::vector<std::string>{"writes"});
}

TEST_F(AuthTest, AChangedPasswordAndANewUserOfOldNameHaveAnotherSince) {
  enable();
  const auto since = [this] { return replica.store.auth().find("reader")->since; };
  const std::uint64_t first = since();
  EXPECT_EQ(change(api::UserChangePassword{"reader", "", "other"}, "root"), "ok");
  const std::uint64_t second = since();
  EXPECT_GT(second, first);
  EXPECT_EQ(change(api::UserDelete{"reader"}, "root"), "ok");
  EXPECT_EQ(replica.store.auth().find("reader"), nullptr);
  add_user("reader", {});
  EXPECT_GT(since(), second);
}

class WatchRightsTest : public AuthTest {
 protected:
  WatchRightsTest()
      : hub({.watches = 100}, replica.store,
            [this](FeedId feed, Revision, const api::WatchNews& news) {
              told.push_back(fmt::format("{}:{}", feed.call, text(news)));
              return true;
            }) {}

  static std::string text(const api::WatchNews& news) {
    if (const auto* events = std::get_if<api::WatchEvents>(&news)) {
      return fmt::format("{} events", events->events.size());
    }
    if (const auto* refused = std::get_if<api::WatchRefused>(&news)) {
      return "refused " + code(refused->why);
    }
    if (const auto* ended = std::get_if<api::WatchCanceled>(&news)) {
      return ended->why ? "ended " + code(*ended->why) : "canceled";
    }
    return "created";
  }

  void watch(std::uint64_t feed, const std::string& user, Bytes key, Bytes end) {
    api::WatchCreate create{.key = std::move(key), .range_end = std::move(end)};
    create.identity = who(user);
    hub.request(replica.store, {1, feed}, create);
  }

  std::vector<std::string> step() {
    while (hub.step(replica.store)) {
    }
    std::ranges::sort(told);  // who hears first is of no interest
    return std::exchange(told, {});
  }

  WatchHub hub;
  std::vector<std::string> told;
};

TEST_F(WatchRightsTest, AWatchNeedsTheRightToReadAndEndsWithIt) {
  using Told = std::vector<std::string>;
  enable();
  watch(1, "reader", "b", "d");
  watch(2, "root", "b", "d");
  EXPECT_EQ(step(), (Told{"1:created", "2:created"}));
  watch(3, "reader", "b", Bytes("\0", 1));
  watch(3, "writer", "a", "");
  watch(3, "", "a", "");
  EXPECT_EQ(step(), (Told{"3:refused " + code(api::ErrorCode::kUserEmpty), "3:refused " + denied,
                          "3:refused " + denied}));
  EXPECT_EQ(ask("root", "put b 1"), "ok");
  EXPECT_EQ(step(), (Told{"1:1 events", "2:1 events"}));
  EXPECT_EQ(change(api::RoleRevokePermission{"reads", "b", "d"}, "root"), "ok");
  EXPECT_EQ(ask("root", "put b 2"), "ok");
  EXPECT_EQ(step(), (Told{"1:ended " + denied, "2:1 events"})) << "before what came later";
  EXPECT_EQ(hub.watches(), 1U);
}

TEST_F(WatchRightsTest, WhoWatchesWithoutANameDoesNotOnceNamesAreNeeded) {
  watch(1, "", "b", "");
  EXPECT_EQ(step(), std::vector<std::string>{"1:created"});
  enable();
  EXPECT_EQ(step(), std::vector<std::string>{"1:ended " + code(api::ErrorCode::kUserEmpty)});
}

TEST_F(AuthTest, WholeTreesOfZnodesAreForAdministrators) {
  enable();
  const auto outcome = [this](api::Body body, const std::string& user) {
    api::Request request{std::move(body), std::nullopt, std::nullopt};
    request.identity = who(user);
    return text_of(run(request).answer);
  };
  const api::zk::ImportRequest step{"", "1", false, {}, {}};
  EXPECT_EQ(outcome(step, ""), code(api::ErrorCode::kUserEmpty));
  EXPECT_EQ(outcome(step, "writer"), code(api::ErrorCode::kPermissionDenied));
  EXPECT_EQ(outcome(step, "root"), "ok");
  EXPECT_EQ(outcome(api::zk::ExportRequest{}, ""), code(api::ErrorCode::kUserEmpty));
  EXPECT_EQ(outcome(api::zk::ExportRequest{}, "both"), code(api::ErrorCode::kPermissionDenied));
  EXPECT_EQ(outcome(api::zk::ExportRequest{}, "root"), "ok");
}

}  // namespace
}  // namespace conclave::store
