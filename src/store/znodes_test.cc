// ZooKeeper's operations: modes, counters, versions, stats, multi, ACLs, sessions, and that members
// stay equal.

#include "store/znodes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/limits.h"
#include "store/replica.h"
#include "store/znode_path.h"
#include "store/znode_quota.h"

namespace conclave::store {
namespace {

namespace zk = api::zk;
using zk::Code;
using zk::Mode;

const std::vector<zk::Acl> kOpen{{zk::kAllPermissions, {"world", "anyone"}}};

Bytes write_snapshot(Store& store) {
  const auto writer = store.begin_snapshot();
  Bytes all;
  for (Bytes piece = writer->next(100); !piece.empty(); piece = writer->next(100)) all += piece;
  return all;
}

class Znodes : public testing::Test {
 protected:
  Znodes() {
    open(1);
    replica_.store.want_znode_news(true);
  }

  zk::Reply write(decltype(zk::WriteRequest::op) op, zk::SessionId session = 1) {
    api::Request request;
    request.body = zk::WriteRequest{who(session), 1'000 + ++clock_, std::move(op)};
    return std::get<zk::Reply>(replica_.run(request).answer);
  }
  zk::Reply read(decltype(zk::ReadRequest::op) op, zk::SessionId session = 1) {
    api::Request request;
    request.body = zk::ReadRequest{who(session), false, std::move(op)};
    return std::get<zk::Reply>(replica_.run(request).answer);
  }

  Code with_quotas(decltype(zk::WriteRequest::op) op, zk::Quotas quotas) {
    api::Request request;
    request.body = zk::WriteRequest{who(1), 1'000 + ++clock_, std::move(op), quotas};
    return std::get<zk::Reply>(replica_.run(request).answer).code;
  }
  void set_quota(const Bytes& path, const Bytes& limits, zk::Quotas quotas = zk::Quotas::kCounted) {
    create("/zookeeper/quota" + path);
    with_quotas(zk::Create{quota_limits_path(path), limits, kOpen}, quotas);
    with_quotas(zk::Create{quota_stats_path(path), "count=0,bytes=0", kOpen}, quotas);
  }
  Bytes stats(BytesView path) {
    return std::get<zk::Data>(read(zk::GetData{quota_stats_path(path)}).result).data;
  }

  void open(zk::SessionId id, std::int64_t ttl_s = 10) {
    const zk::Reply reply = write(zk::OpenSession{ttl_s * 1000, ttl_s, id, Bytes(16, 'p')}, 0);
    ASSERT_EQ(reply.code, Code::kOk);
    generations_[id] = std::get<zk::Session>(reply.result).generation;
  }

  // The path, or the error.
  Bytes create(BytesView path, Mode mode = Mode::kPersistent, zk::SessionId session = 1,
               std::vector<zk::Acl> acl = kOpen, std::int64_t ttl_ms = -1) {
    const zk::Reply reply =
        write(zk::Create{Bytes(path), "d", std::move(acl), mode, ttl_ms}, session);
    if (reply.code != Code::kOk) return fmt::format("{}", static_cast<int>(reply.code));
    return std::get<zk::Created>(reply.result).path;
  }
  Code erase(BytesView path, std::int32_t version = -1, zk::SessionId session = 1) {
    return write(zk::Delete{Bytes(path), version}, session).code;
  }
  Code set(BytesView path, BytesView data, std::int32_t version = -1, zk::SessionId session = 1) {
    return write(zk::SetData{Bytes(path), Bytes(data), version}, session).code;
  }
  std::optional<zk::Stat> stat(BytesView path) {
    const zk::Reply reply = read(zk::Exists{Bytes(path)});
    if (reply.code != Code::kOk) return std::nullopt;
    return std::get<zk::Changed>(reply.result).stat;
  }
  bool exists(BytesView path) { return stat(path).has_value(); }
  std::string children(BytesView path) {
    const zk::Reply reply = read(zk::GetChildren{Bytes(path)});
    if (reply.code != Code::kOk) return fmt::format("{}", static_cast<int>(reply.code));
    return fmt::format("{}", fmt::join(std::get<zk::Names>(reply.result).names, " "));
  }

  // What the last entry did, for watches: "created /a", ...
  std::string commit(Bytes command) {
    BatchEncoder batch;
    batch.add(command);
    return news(replica_.apply(batch.finish(replica_.epoch, replica_.stamp)));
  }
  static std::string news(const ApplyResult& result) {
    std::string text;
    for (const ZnodeNews& each : result.znode_news) {
      if (const auto* change = std::get_if<ZnodeChange>(&each.what)) {
        constexpr const char* kNames[] = {"", "created", "deleted", "changed"};
        text += fmt::format("{} {}; ", kNames[static_cast<int>(change->type)], change->path);
      } else {
        const auto& session = std::get<ZnodeSessionChange>(each.what);
        constexpr const char* kNames[] = {"moved", "expired", "closed"};
        text += fmt::format("{} {}; ", kNames[static_cast<int>(session.kind)], session.session);
      }
    }
    return text;
  }

  zk::Caller who(zk::SessionId session) { return {session, generations_[session], ids_}; }

  // Stores that applied the same log without ever writing a snapshot or reclaiming anything, one of
  // them without answers, and one that was loaded from a snapshot, are equal to this one.
  void expect_members_equal() {
    Replica other;
    for (const Bytes& entry : replica_.log) other.apply(entry);
    EXPECT_EQ(other.store.hash(), replica_.store.hash());
    EXPECT_EQ(other.store.key_count(), replica_.store.key_count());
    EXPECT_EQ(other.store.size_in_use_bytes(), replica_.store.size_in_use_bytes());
    const Store elsewhere = replica_.elsewhere();
    EXPECT_EQ(elsewhere.hash(), replica_.store.hash());
    EXPECT_EQ(elsewhere.size_bytes(), other.store.size_bytes());
    SnapshotLoader loader(Limits{});
    const auto fed = loader.feed(write_snapshot(replica_.store));
    ASSERT_TRUE(fed.has_value()) << fed.error().message;
    auto loaded = loader.finish();
    ASSERT_TRUE(loaded.has_value()) << loaded.error().message;
    EXPECT_EQ(loaded->hash(), replica_.store.hash());
    EXPECT_EQ(loaded->revision(), replica_.store.revision());
    EXPECT_EQ(loaded->dump_sessions(), replica_.store.dump_sessions());
    EXPECT_EQ(loaded->znode_counts(), replica_.store.znode_counts());
    EXPECT_EQ(write_snapshot(*loaded), write_snapshot(replica_.store));
  }

  Replica replica_;
  std::vector<zk::Id> ids_{{"ip", "127.0.0.1"}};
  std::map<zk::SessionId, std::uint64_t> generations_;
  std::int64_t clock_ = 0;
};

// --- the tree -----------------------------------------------------------------------

// What a real ZooKeeper 3.8 shows.
TEST_F(Znodes, TheTreeThatIsThereFromTheBeginning) {
  EXPECT_EQ(children("/"), "zookeeper");
  EXPECT_EQ(children(""), "zookeeper") << "another name of the root";
  EXPECT_EQ(children("/zookeeper"), "config quota");
  EXPECT_EQ(stat("/")->cversion, -1);
  EXPECT_EQ(stat("/")->czxid, 0);
  EXPECT_EQ(stat("/zookeeper")->cversion, -2);
  EXPECT_EQ(stat("/zookeeper/config")->aversion, -1);
  EXPECT_EQ(set("/zookeeper/config", "x"), Code::kNoAuth);
  for (const char* path : {"/", "/zookeeper", "/zookeeper/quota", "/zookeeper/config"}) {
    EXPECT_EQ(erase(path), Code::kBadArguments) << path;
  }
  EXPECT_EQ(create("/a"), "/a");
  EXPECT_EQ(stat("/")->cversion, 0);
  EXPECT_EQ(stat("/")->num_children, 2);
  EXPECT_EQ(set("/", ""), Code::kOk);
  EXPECT_EQ(stat("/")->czxid, 0);
  EXPECT_EQ(stat("/")->mzxid, replica_.store.revision());
}

TEST_F(Znodes, ANodeAndItsNumbers) {
  EXPECT_EQ(create("/a"), "/a");
  const zk::Zxid created = replica_.store.revision();
  EXPECT_EQ(stat("/a"), (zk::Stat{.czxid = created,
                                  .mzxid = created,
                                  .ctime_ms = 1'002,
                                  .mtime_ms = 1'002,
                                  .data_length = 1,
                                  .pzxid = created}));
  EXPECT_EQ(set("/a", "longer", 0), Code::kOk);
  EXPECT_EQ(set("/a", "x", 0), Code::kBadVersion);
  EXPECT_EQ(create("/a/b"), "/a/b");
  EXPECT_EQ(create("/a/c"), "/a/c");
  EXPECT_EQ(erase("/a/b", 1), Code::kBadVersion);
  EXPECT_EQ(erase("/a/b", 0), Code::kOk);
  EXPECT_EQ(stat("/a"), (zk::Stat{.czxid = created,
                                  .mzxid = created + 1,
                                  .ctime_ms = 1'002,
                                  .mtime_ms = 1'003,
                                  .version = 1,
                                  .cversion = 3,
                                  .data_length = 6,
                                  .num_children = 1,
                                  .pzxid = created + 4}));
  EXPECT_EQ(erase("/a"), Code::kNotEmpty);
  EXPECT_EQ(erase("/a/c"), Code::kOk);
  EXPECT_EQ(erase("/a"), Code::kOk);
  EXPECT_EQ(erase("/a"), Code::kNoNode);
  EXPECT_EQ(create("/a"), "/a");
  EXPECT_EQ(stat("/a")->cversion, 0) << "another node than the one before";
  EXPECT_EQ(stat("/a")->version, 0);
  EXPECT_EQ(stat("/a")->czxid, replica_.store.revision());
  expect_members_equal();
}

TEST_F(Znodes, SequenceNumbersCountWhatTheParentCreated) {
  create("/a");
  EXPECT_EQ(create("/a/n-", Mode::kPersistentSequential), "/a/n-0000000000");
  EXPECT_EQ(create("/a/x"), "/a/x");
  EXPECT_EQ(create("/a/n-", Mode::kEphemeralSequential), "/a/n-0000000002");
  EXPECT_EQ(erase("/a/n-0000000002"), Code::kOk);
  EXPECT_EQ(create("/a/", Mode::kPersistentSequential), "/a/0000000003");
  EXPECT_EQ(create("/", Mode::kPersistentSequential), "/0000000001");
}

TEST_F(Znodes, PathsAndModesAsInZooKeeper) {
  create("/a");
  const auto code = [](Code each) { return fmt::format("{}", static_cast<int>(each)); };
  for (const char* path : {"", "a", "/a/", "//", "/.", "/..", "/\x01", "/\x7f", "/\xff",
                           "/\xf0\x9f\x98\x80", "/\xee\x80\x80"}) {
    EXPECT_EQ(create(path), code(Code::kBadArguments)) << path;
  }
  EXPECT_EQ(create(BytesView("/a\0b", 4)), code(Code::kBadArguments));
  for (const char* path : {"/a//b", "/a/./b", "/no/b", "//a/b"}) {
    EXPECT_EQ(create(path), code(Code::kNoNode)) << path;
  }
  EXPECT_EQ(create("/\xc3\xa4"), "/\xc3\xa4");
  EXPECT_EQ(create("/"), code(Code::kNodeExists));
  EXPECT_EQ(create("/t", Mode::kPersistentTtl), code(Code::kBadArguments));
  EXPECT_EQ(create("/t", Mode::kPersistentTtl, 1, kOpen, kMaxZnodeTtlMs + 1),
            code(Code::kBadArguments));
  EXPECT_EQ(create("/t", Mode::kPersistent, 1, kOpen, 5), code(Code::kBadArguments));
  EXPECT_EQ(create("/t", Mode::kNone), code(Code::kBadArguments));
  EXPECT_EQ(create("/t", static_cast<Mode>(0xff)), code(Code::kBadArguments));
  EXPECT_FALSE(exists("//a"));
  EXPECT_FALSE(exists("/a/"));
  EXPECT_EQ(erase("//"), Code::kNoNode);
  EXPECT_EQ(erase(""), Code::kBadArguments);
}

TEST_F(Znodes, NothingGrowsOnEphemerals) {
  EXPECT_EQ(create("/e", Mode::kEphemeral), "/e");
  EXPECT_EQ(stat("/e")->ephemeral_owner, 1);
  EXPECT_EQ(create("/e/a"), fmt::format("{}", static_cast<int>(Code::kNoChildrenForEphemerals)));
}

// Siblings and their children do not get between each other.
TEST_F(Znodes, ChildrenAreOneRange) {
  for (const char* path : {"/a", "/a/b", "/a/b/c", "/a-b", "/a-b/c", "/a.", "/a0", "/b"})
    create(path);
  EXPECT_EQ(children("/"), "a a-b a. a0 b zookeeper");
  EXPECT_EQ(children("/a"), "b");
  EXPECT_EQ(children("/a-b"), "c");
  const auto count = [&](const char* path) {
    return std::get<zk::Count>(read(zk::CountChildren{path}).result).count;
  };
  EXPECT_EQ(count("/a"), 2);
  EXPECT_EQ(count("/"), 11);
  EXPECT_EQ(count("/b"), 0);
}

// --- multi --------------------------------------------------------------------------

std::string codes(const zk::Reply& reply) {
  std::string text;
  for (const auto& each : std::get<zk::Results>(reply.result).results) {
    text += fmt::format("{} ", static_cast<int>(each.code));
  }
  return text;
}

TEST_F(Znodes, MultiIsOneStep) {
  create("/a");
  const zk::Zxid before = replica_.store.revision();
  const zk::Reply reply = write(zk::Multi{
      {zk::Create{"/a/x", "1", kOpen}, zk::Create{"/a/s", "", kOpen, Mode::kPersistentSequential},
       zk::SetData{"/a/x", "2"}, zk::Check{"/a/x", 1}, zk::Delete{"/a/x", 1},
       zk::Create{"/a/x", "3", kOpen}}});
  EXPECT_EQ(codes(reply), "0 0 0 0 0 0 ");
  EXPECT_EQ(replica_.store.revision(), before + 1);
  EXPECT_EQ(children("/a"), "s0000000001 x");
  EXPECT_EQ(stat("/a")->cversion, 4);
  EXPECT_EQ(stat("/a/x")->version, 0);
  EXPECT_EQ(stat("/a/x")->czxid, before + 1);
  const auto& results = std::get<zk::Results>(reply.result).results;
  EXPECT_EQ(std::get<zk::Created>(results[1].result).path, "/a/s0000000001");
  EXPECT_EQ(std::get<zk::Changed>(results[2].result).stat.version, 1);
  expect_members_equal();
}

TEST_F(Znodes, AFailedMultiChangesNothing) {
  create("/a");
  const std::uint64_t sessions_and_nodes = replica_.store.key_count();
  const zk::Zxid before = replica_.store.revision();
  const zk::Reply reply = write(zk::Multi{{zk::Create{"/a/x", "1", kOpen}, zk::Check{"/a", 7},
                                           zk::Delete{"/a/x"}, zk::SetData{"/nobody", ""}}});
  EXPECT_EQ(reply.code, Code::kOk);
  EXPECT_EQ(codes(reply), "0 -103 -2 -2 ");
  EXPECT_EQ(std::get<zk::Results>(reply.result).results[0].result.index(), 0u);
  EXPECT_EQ(replica_.store.revision(), before);
  EXPECT_EQ(replica_.store.key_count(), sessions_and_nodes);
  EXPECT_FALSE(exists("/a/x"));
  EXPECT_EQ(codes(write(zk::Multi{})), "");
}

// --- access -------------------------------------------------------------------------

TEST_F(Znodes, WhoMayDoWhat) {
  ids_ = {{"ip", "10.1.2.3"}, {"digest", "ann:hash"}};
  const std::vector<zk::Acl> anns{{zk::kAllPermissions, {"auth", ""}}};
  EXPECT_EQ(create("/ann", Mode::kPersistent, 1, anns), "/ann");
  EXPECT_EQ(std::get<zk::Acls>(read(zk::GetAcl{"/ann"}).result).acl,
            (std::vector<zk::Acl>{{31, {"digest", "ann:hash"}}}));
  EXPECT_EQ(create("/ann/x"), "/ann/x") << "not inherited: open";
  ids_ = {{"ip", "10.1.2.3"}};
  EXPECT_EQ(read(zk::GetData{"/ann"}).code, Code::kNoAuth);
  EXPECT_EQ(read(zk::GetChildren{"/ann"}).code, Code::kNoAuth);
  EXPECT_EQ(read(zk::GetAcl{"/ann"}).code, Code::kNoAuth);
  EXPECT_EQ(read(zk::Exists{"/ann"}).code, Code::kOk);
  EXPECT_EQ(set("/ann", "x"), Code::kNoAuth);
  EXPECT_EQ(write(zk::SetAcl{"/ann", kOpen}).code, Code::kNoAuth);
  EXPECT_EQ(write(zk::Check{"/ann"}).code, Code::kNoAuth);
  EXPECT_EQ(create("/ann/y"), "-102");
  EXPECT_EQ(erase("/ann/x"), Code::kNoAuth);
  EXPECT_EQ(write(zk::DeleteContainer{"/ann/x"}).code, Code::kNoAuth);
  EXPECT_EQ(set("/ann/x", "mine"), Code::kOk);
  ids_ = {{"super", ""}};
  EXPECT_EQ(set("/ann", "x"), Code::kOk);
  EXPECT_EQ(write(zk::SetAcl{"/ann", {{zk::kRead, {"ip", "10.1.0.0/16"}}}, 1}).code,
            Code::kBadVersion);
  EXPECT_EQ(write(zk::SetAcl{"/ann", {{zk::kRead, {"ip", "10.1.0.0/16"}}}, 0}).code, Code::kOk);
  EXPECT_EQ(stat("/ann")->aversion, 1);
  ids_ = {{"ip", "10.1.2.3"}};
  EXPECT_EQ(read(zk::GetData{"/ann"}).code, Code::kOk);
  EXPECT_EQ(set("/ann", "x"), Code::kNoAuth);
  ids_ = {{"ip", "10.2.2.3"}};
  EXPECT_EQ(read(zk::GetData{"/ann"}).code, Code::kNoAuth);
  expect_members_equal();
}

TEST_F(Znodes, PasswordsAreForWhoAdministers) {
  ids_ = {{"digest", "ann:hash"}};
  create("/a", Mode::kPersistent, 1,
         {{zk::kAdmin, {"digest", "ann:hash"}}, {zk::kRead, {"world", "anyone"}}});
  ids_ = {};
  EXPECT_EQ(std::get<zk::Acls>(read(zk::GetAcl{"/a"}).result).acl[0].id.id, "ann:x");
}

TEST_F(Znodes, ListsThatAreNone) {
  const auto refused = [&](std::vector<zk::Acl> acl) {
    return create("/x", Mode::kPersistent, 1, std::move(acl)) == "-114";
  };
  EXPECT_TRUE(refused({}));
  EXPECT_TRUE(refused({{31, {"world", "x"}}}));
  EXPECT_TRUE(refused({{31, {"digest", "x"}}}));
  EXPECT_TRUE(refused({{31, {"ip", "1.2.3.4/40"}}}));
  EXPECT_TRUE(refused({{31, {"ip", "1.2.3"}}}));
  EXPECT_TRUE(refused({{31, {"ip", "1.2.3.256"}}}));
  EXPECT_TRUE(refused({{31, {"auth", ""}}})) << "an address proves nothing";
  EXPECT_TRUE(refused({{31, {"sasl", "b"}}}));
  EXPECT_TRUE(refused(std::vector<zk::Acl>(limits::kMaxZnodeAcl + 1, kOpen[0])));
  ids_ = {{"digest", "a:" + Bytes(limits::kMaxZnodeAclBytes / 10, 'x')}, {"digest", "b:c"}};
  std::vector<zk::Acl> many;
  for (std::int32_t i = 0; i < 10; ++i) many.push_back({i, {"auth", ""}});
  EXPECT_TRUE(refused(many)) << "what auth stands for counts";
  many.assign(1'000, {31, {"auth", ""}});
  EXPECT_FALSE(refused(many)) << "once each";
  EXPECT_EQ(std::get<zk::Acls>(read(zk::GetAcl{"/x"}).result).acl.size(), 2u);
  EXPECT_EQ(erase("/x"), Code::kOk);
  EXPECT_FALSE(refused({{31, {"digest", "a:b"}}, {31, {"digest", "a:b"}}}));
  EXPECT_EQ(erase("/x"), Code::kOk);
}

// --- answers that would be too large ------------------------------------------------

TEST_F(Znodes, AReadOfManyIsBounded) {
  create("/big");
  EXPECT_EQ(set("/big", Bytes(1 << 20, 'x')), Code::kOk);
  zk::MultiRead many;
  many.operations.assign(63, zk::GetData{"/big"});
  EXPECT_EQ(read(many).code, Code::kOk);
  many.operations.assign(65, zk::GetData{"/big"});
  EXPECT_EQ(read(many).code, Code::kMarshallingError);
  many.operations.assign(limits::kMaxZnodeOperations + 1, zk::GetData{"/"});
  api::Request request;
  request.body = zk::ReadRequest{who(1), false, many};
  EXPECT_EQ(std::get<api::Error>(replica_.run(request).answer).code,
            api::ErrorCode::kRequestTooLarge);
}

// --- sessions -----------------------------------------------------------------------

TEST_F(Znodes, EphemeralsGoWithTheirSession) {
  open(2);
  create("/a");
  create("/a/e", Mode::kEphemeral, 2);
  create("/a/f", Mode::kEphemeral, 2);
  create("/a/mine", Mode::kEphemeral, 1);
  EXPECT_EQ(std::get<zk::Names>(read(zk::GetEphemerals{}, 2).result).names,
            (std::vector<Bytes>{"/a/e", "/a/f"}));
  EXPECT_EQ(std::get<zk::Names>(read(zk::GetEphemerals{"/a/f"}, 2).result).names,
            (std::vector<Bytes>{"/a/f"}));
  const zk::Zxid before = replica_.store.revision();
  EXPECT_EQ(write(zk::CloseSession{}, 2).code, Code::kOk);
  EXPECT_EQ(replica_.store.revision(), before + 1) << "in one step";
  EXPECT_EQ(children("/a"), "mine");
  EXPECT_EQ(stat("/a")->cversion, 5);
  EXPECT_EQ(stat("/a")->pzxid, before + 1);
  EXPECT_EQ(write(zk::CloseSession{}, 2).code, Code::kSessionExpired);
  EXPECT_EQ(create("/b", Mode::kPersistent, 2), "-112");
  EXPECT_EQ(read(zk::Exists{"/a"}, 2).code, Code::kSessionExpired);
  expect_members_equal();
}

TEST_F(Znodes, ASessionThatNobodyHearsOfExpires) {
  open(2, 5);
  create("/e", Mode::kEphemeral, 2);
  const auto expire = [&](std::uint64_t ms) {
    replica_.stamp = Stamp{ms};
    return commit(encode_command({}, ExpireLeases{100}));
  };
  EXPECT_EQ(expire(5'999), "");
  EXPECT_EQ(commit(encode_command({}, TouchSessions{{2, 77}})), "");
  EXPECT_EQ(expire(10'998), "");
  EXPECT_EQ(expire(10'999), "deleted /e; expired 2; ");
  EXPECT_EQ(expire(11'000), "expired 1; ") << "which lasts 10 s and was not touched";
  expect_members_equal();
}

TEST_F(Znodes, ASessionGoesOnWithItsNewestConnection) {
  create("/e", Mode::kEphemeral, 1);
  EXPECT_EQ(write(zk::Reconnect{1, Bytes(16, 'w')}).code, Code::kSessionExpired);
  EXPECT_EQ(write(zk::Reconnect{9, Bytes(16, 'p')}).code, Code::kSessionExpired);
  EXPECT_EQ(write(zk::Reconnect{1, Bytes(16, 'p'), 1'000'000}).code, Code::kBadArguments)
      << "who has seen what is not there";
  const zk::Reply reply = write(zk::Reconnect{1, Bytes(16, 'p')});
  const auto& session = std::get<zk::Session>(reply.result);
  EXPECT_EQ(session.generation, 2u);
  EXPECT_EQ(session.timeout_ms, 10'000);
  EXPECT_EQ(create("/late"), "-118") << "of the connection before";
  EXPECT_EQ(read(zk::Exists{"/e"}).code, Code::kSessionMoved);
  generations_[1] = 2;
  EXPECT_TRUE(exists("/e"));
  EXPECT_EQ(create("/now"), "/now");
  expect_members_equal();
}

TEST_F(Znodes, EtcdsClientsSeeNeitherSessionsNorNodes) {
  create("/e", Mode::kEphemeral);
  EXPECT_TRUE(replica_.run("range %00 %00").find("range 0") != std::string::npos);
  EXPECT_NE(replica_.run("leases").find("leases"), std::string::npos);
  EXPECT_EQ(replica_.run("leases").find('1', replica_.run("leases").find("leases")),
            std::string::npos);
  EXPECT_NE(replica_.run("put k v lease=1").find("lease_not_found"), std::string::npos)
      << replica_.run("put k v lease=1");
  EXPECT_NE(replica_.run("revoke 1").find("lease_not_found"), std::string::npos);
  EXPECT_NE(replica_.run("keep 1").find("keep 1 0"), std::string::npos);
  EXPECT_NE(replica_.run("ttl 1").find("ttl 1 -1"), std::string::npos);
  EXPECT_TRUE(exists("/e"));
}

// --- containers and TTL nodes -------------------------------------------------------

TEST_F(Znodes, AContainerGoesWhenItIsEmptyAgain) {
  EXPECT_EQ(create("/c", Mode::kContainer), "/c");
  EXPECT_EQ(stat("/c")->ephemeral_owner, 0);
  Bytes from;
  const auto reapable = [&] {
    return replica_.store.find_reapable(replica_.stamp, 100, from).paths;
  };
  EXPECT_TRUE(reapable().empty()) << "it never had a child";
  create("/c/x");
  EXPECT_TRUE(reapable().empty());
  EXPECT_EQ(commit(encode_command({}, ReapZnodes{{"/c", "/c/x", "/no"}})), "");
  erase("/c/x");
  EXPECT_EQ(reapable(), std::vector<Bytes>{"/c"});
  EXPECT_EQ(commit(encode_command({}, ReapZnodes{reapable()})), "deleted /c; ");
  EXPECT_FALSE(replica_.store.has_timed_znodes());
  expect_members_equal();
}

TEST_F(Znodes, ATtlNodeGoesWhenItsTimeIsOver) {
  EXPECT_EQ(create("/t", Mode::kPersistentTtl, 1, kOpen, 500), "/t");
  EXPECT_EQ(create("/t/s", Mode::kPersistentSequentialTtl, 1, kOpen, 1), "/t/s0000000000");
  EXPECT_EQ(stat("/t")->ephemeral_owner, 0);
  Bytes from;
  const auto reap = [&](std::uint64_t ms) {
    replica_.stamp = Stamp{ms};
    const auto found = replica_.store.find_reapable(replica_.stamp, 100, from);
    return found.paths.empty() ? "" : commit(encode_command({}, found));
  };
  EXPECT_EQ(reap(1'000), "");
  EXPECT_EQ(reap(5'000), "deleted /t/s0000000000; ") << "the other has a child";
  replica_.stamp = Stamp{5'000};
  set("/t", "anew");
  EXPECT_EQ(reap(5'499), "");
  EXPECT_EQ(reap(5'500), "deleted /t; ");
  expect_members_equal();
}

// --- what is kept -------------------------------------------------------------------

// A deletion under one snapshot, before what it kept is freed, and the key's return under the next.
TEST_F(Znodes, ASnapshotHasNothingThatWasDeletedBeforeIt) {
  for (int i = 0; i < 50; ++i) create(fmt::format("/n{}", i));
  create("/leader", Mode::kEphemeral);
  auto first = replica_.store.begin_snapshot();
  EXPECT_EQ(erase("/leader"), Code::kOk);
  first.reset();
  const std::uint64_t hash = replica_.store.hash();
  const auto second = replica_.store.begin_snapshot();
  create("/leader", Mode::kEphemeral);
  SnapshotLoader loader(Limits{});
  for (Bytes piece = second->next(100); !piece.empty(); piece = second->next(100)) {
    ASSERT_TRUE(loader.feed(piece).has_value());
  }
  auto loaded = loader.finish();
  ASSERT_TRUE(loaded.has_value()) << loaded.error().message;
  EXPECT_EQ(loaded->hash(), hash);
}

TEST_F(Znodes, WhatIsReplacedIsGone) {
  create("/a");
  const std::uint64_t before = replica_.store.size_bytes();
  for (int i = 0; i < 1'000; ++i) set("/a", "x");
  EXPECT_LT(replica_.store.size_bytes(), before + 100);
  for (int i = 0; i < 100; ++i) {
    create("/a/b");
    erase("/a/b");
  }
  EXPECT_LT(replica_.store.size_bytes(), before + 300);
}

// A snapshot has the state at which it was begun, and while it is written memory holds little more.
TEST_F(Znodes, ASnapshotIsOfTheMomentWhenItWasBegun) {
  for (int i = 0; i < 200; ++i)
    create(fmt::format("/n{:03}", i), i % 7 == 0 ? Mode::kEphemeral : Mode::kPersistent);
  const std::uint64_t hash = replica_.store.hash();
  const std::uint64_t size = replica_.store.size_bytes();
  const zk::Stat before = *stat("/n100");
  int round = 0;
  auto loaded = replica_.through_snapshot(300, [&] {
    for (int i = 0; i < 40; ++i) {
      const Bytes path = fmt::format("/n{:03}", (i * 37 + round) % 200);
      set(path, fmt::format("{}", round));
      if (i % 5 == 0) erase(path);
      if (i % 10 == 0) create(path);
    }
    ++round;
    EXPECT_LT(replica_.store.size_bytes(), 3 * size);
  });
  ASSERT_TRUE(loaded.has_value()) << loaded.error().message;
  EXPECT_GT(round, 10);
  EXPECT_EQ(loaded->hash(), hash);
  Replica copy{std::move(*loaded)};
  api::Request request;
  request.body = zk::ReadRequest{who(1), false, zk::Exists{"/n100"}};
  EXPECT_EQ(std::get<zk::Changed>(std::get<zk::Reply>(copy.run(request).answer).result).stat,
            before);
  // What the snapshot needed is freed afterwards, and nobody can tell.
  const std::uint64_t with_kept = replica_.store.size_bytes();
  const std::uint64_t now = replica_.store.hash();
  while (replica_.store.reclaim(3)) {
    set("/n001", "more");
    erase("/n002");
    create("/n002");
  }
  EXPECT_LT(replica_.store.size_bytes(), with_kept);
  EXPECT_NE(replica_.store.hash(), now);
  expect_members_equal();
}

TEST_F(Znodes, EtcdsHistoryHasGapsAndIsWhole) {
  replica_.run("put a 1");
  create("/x");
  replica_.run("put a 2");
  set("/x", "y");
  expect_members_equal();
  replica_.run("compact 3");
  while (replica_.store.reclaim(1)) {
  }
  replica_.run("put b 1");
  create("/z");
  expect_members_equal();
}

TEST_F(Znodes, WhatIsBelowAQuotaIsCounted) {
  create("/a");
  create("/a/1");
  set_quota("/a", "count=1,bytes=1");
  EXPECT_EQ(stats("/a"), "count=2,bytes=2");
  const zk::Reply before = read(zk::Exists{quota_stats_path("/a")});
  create("/a/2");
  create("/a/2/3");
  create("/ab");
  set("/a/1", "12345");
  EXPECT_EQ(stats("/a"), "count=4,bytes=8");
  EXPECT_EQ(write(zk::Multi{{zk::Delete{"/a/2/3"}, zk::SetData{"/a", ""},
                             zk::Create{"/a/4", "1234", kOpen}, zk::Delete{"/a/4"},
                             zk::Create{"/a/4", "12", kOpen}}})
                .code,
            Code::kOk);
  EXPECT_EQ(stats("/a"), "count=4,bytes=8");
  const zk::Reply after = read(zk::Exists{quota_stats_path("/a")});
  EXPECT_EQ(std::get<zk::Changed>(after.result), std::get<zk::Changed>(before.result));
  set_quota("/a/2", "");
  create("/a/2/x");
  EXPECT_EQ(stats("/a"), "count=4,bytes=8") << "the nearest one counts";
  EXPECT_EQ(stats("/a/2"), "count=2,bytes=2");
  expect_members_equal();
  EXPECT_EQ(erase(quota_limits_path("/a/2")), Code::kOk);
  erase("/a/2/x");
  EXPECT_EQ(stats("/a/2"), "count=2,bytes=2");
  EXPECT_EQ(stats("/a"), "count=3,bytes=7");
  expect_members_equal();
}

TEST_F(Znodes, WhatEndsWithASessionIsCounted) {
  open(2);
  create("/a");
  set_quota("/a", "");
  create("/a/e", Mode::kEphemeral, 2);
  create("/a/f", Mode::kEphemeral, 2);
  EXPECT_EQ(stats("/a"), "count=3,bytes=3");
  write(zk::CloseSession{}, 2);
  EXPECT_EQ(stats("/a"), "count=1,bytes=1");
  expect_members_equal();
}

TEST_F(Znodes, HardLimitsAreHeldToWhereThatIsAskedFor) {
  create("/a");
  set_quota("/a", "count=1,bytes=1=;byteHardLimit=9;countHardLimit=3");
  const auto create_enforced = [&](const Bytes& path, const Bytes& data) {
    return with_quotas(zk::Create{path, data, kOpen}, zk::Quotas::kEnforced);
  };
  EXPECT_EQ(create_enforced("/a/1", "12345"), Code::kOk);
  EXPECT_EQ(create_enforced("/a/2", "1234"), Code::kQuotaExceeded) << "10 bytes";
  EXPECT_EQ(create_enforced("/a/2", "123"), Code::kOk);
  EXPECT_EQ(create_enforced("/a/3", ""), Code::kQuotaExceeded) << "4 nodes";
  const auto set_enforced = [&](const Bytes& data) {
    return with_quotas(zk::SetData{"/a/1", data, -1}, zk::Quotas::kEnforced);
  };
  EXPECT_EQ(set_enforced("123456"), Code::kQuotaExceeded);
  EXPECT_EQ(set_enforced("12345"), Code::kOk);
  EXPECT_EQ(set("/a/1", "123456789"), Code::kOk) << "by a member that does not ask for it";
  EXPECT_EQ(create("/a/3"), "/a/3");
  EXPECT_EQ(stats("/a"), "count=4,bytes=14");
  EXPECT_EQ(with_quotas(zk::Multi{{zk::Delete{"/a/3"}, zk::Delete{"/a/2"}, zk::Delete{"/a/1"},
                                   zk::Create{"/a/4", "", kOpen}, zk::Create{"/a/5", "", kOpen},
                                   zk::Create{"/a/6", "", kOpen}}},
                        zk::Quotas::kEnforced),
            Code::kOk);
  EXPECT_EQ(stats("/a"), "count=4,bytes=14") << "the last one was one too many";
  expect_members_equal();
}

// As builds before quotas apply them.
TEST_F(Znodes, AQuotaOfACommandWithoutThemIsNone) {
  create("/a");
  set_quota("/a", "count=1", zk::Quotas::kNone);
  create("/a/1");
  EXPECT_EQ(stats("/a"), "count=0,bytes=0");
  EXPECT_EQ(write_snapshot(replica_.store)[2], '\7') << "for builds that know no quotas";
  erase(quota_limits_path("/a"));
  erase(quota_stats_path("/a"));
  set_quota("/a", "count=1");
  EXPECT_EQ(stats("/a"), "count=2,bytes=2");
  EXPECT_EQ(write_snapshot(replica_.store)[2], '\x08');
  expect_members_equal();
}

// --- /zookeeper/config ---

class Config : public Znodes {
 protected:
  static api::Member member(std::uint64_t id, const std::string& host, bool is_learner = false) {
    return {.id = NodeId{id},
            .name = host,
            .peer_urls = {"http://" + host + ":2380"},
            .client_urls = {},
            .is_learner = is_learner};
  }
  std::string publish(const api::Member& member, const std::string& address) {
    return commit(encode_command({}, PublishMember{member, 7, address}));
  }
  zk::Data config() { return std::get<zk::Data>(read(zk::GetData{"/zookeeper/config"}).result); }
};

TEST_F(Config, SaysWhoTheMembersAre) {
  EXPECT_EQ(publish(member(2, "m2"), ""), "");
  EXPECT_EQ(config().data, "") << "as long as nobody tells an address";
  EXPECT_EQ(publish(member(1, "m1"), "m1:2181"), "changed /zookeeper/config; ");
  const zk::Data first = config();
  const std::string lines =
      "server.1=m1:2380:2381:participant;m1:2181\nserver.2=m2:2380:2381:participant\nversion=";
  EXPECT_EQ(first.data, lines + fmt::format("{:x}", replica_.store.revision()));
  EXPECT_EQ(first.stat.mzxid, replica_.store.revision());
  EXPECT_EQ(publish(member(1, "m1"), "m1:2181"), "") << "nothing new";
  EXPECT_EQ(config(), first);
  expect_members_equal();

  commit(encode_command({}, FoundMembers{{member(1, "m1"), member(2, "m2")}}));
  MemberChange change;
  change.id = NodeId{~std::uint64_t{0}};
  change.is_learner = true;
  change.peer_urls = {"http://[::1]:9"};
  EXPECT_EQ(commit(encode_command({}, change)), "changed /zookeeper/config; ");
  EXPECT_THAT(config().data, testing::HasSubstr("\nserver.-1=[::1]:9:10:observer\nversion="));
  EXPECT_GT(config().stat.mzxid, first.stat.mzxid);
  change.kind = MemberChange::Kind::kRemove;
  change.id = NodeId{1};
  EXPECT_EQ(commit(encode_command({}, change)), "changed /zookeeper/config; ");
  EXPECT_EQ(config().data, "") << "the last one with an address has gone";
  expect_members_equal();
}

TEST_F(Config, IsThereFromTheFirstSessionOn) {
  Replica replica;
  replica.commit(encode_command({}, PublishMember{member(1, "m1"), 7, "m1:2181"}));
  const Revision before = replica.store.revision();
  api::Request request;
  request.body = zk::WriteRequest{{}, 5, zk::OpenSession{10'000, 10, 9, Bytes(16, 'p')}};
  replica.run(request);
  EXPECT_EQ(replica.store.revision(), before + 2);
  api::Request get;
  get.body = zk::ReadRequest{{9, 1, {}}, false, zk::GetData{"/zookeeper/config"}};
  const auto reply = std::get<zk::Reply>(replica.run(get).answer);
  EXPECT_EQ(std::get<zk::Data>(reply.result).data,
            fmt::format("server.1=m1:2380:2381:participant;m1:2181\nversion={:x}", before + 2));
}

// A restored cluster is told anew who its members are, and where they are reached.
TEST_F(Config, ARestoredClusterForgetsWhoTheMembersWere) {
  publish(member(1, "m1"), "m1:2181");
  const zk::Data old = config();
  EXPECT_THAT(old.data, testing::HasSubstr("m1:2181"));
  SnapshotLoader loader(Limits{});
  ASSERT_TRUE(loader.feed(write_snapshot(replica_.store)).has_value());
  replica_.store = loader.finish().value();
  replica_.store.want_znode_news(true);
  replica_.store.begin_new_cluster(LogIndex{1}, Epoch{1}, true);
  EXPECT_EQ(commit(encode_command({}, FoundMembers{{member(5, "n5"), member(6, "n6")}})),
            "changed /zookeeper/config; ");
  EXPECT_EQ(config().data, "");
  EXPECT_EQ(publish(member(6, "n6"), "n6:2181"), "changed /zookeeper/config; ");
  EXPECT_EQ(
      config().data,
      "server.5=n5:2380:2381:participant\nserver.6=n6:2380:2381:participant;n6:2181\nversion=" +
          fmt::format("{:x}", replica_.store.revision()));
  EXPECT_GT(config().stat.mzxid, old.stat.mzxid);
}

// What is known of a node's children is not handed to another node of its name.
TEST_F(Znodes, ANodeThatIsMadeAgainInOneMultiHasNoChildren) {
  create("/a");
  create("/a/b");
  const auto multi = [&](std::vector<zk::Operation> operations) {
    return write(zk::Multi{std::move(operations)}).code;
  };
  const zk::Create again{"/a", "d", kOpen};
  ASSERT_EQ(multi({zk::Delete{"/a/b", -1}, zk::Delete{"/a", -1}, again}), Code::kOk);
  EXPECT_EQ(children("/a"), "");
  EXPECT_EQ(create("/a/c"), "/a/c");
  EXPECT_EQ(children("/a"), "c");
  const zk::Create other{"/x", "d", kOpen};
  const zk::Create below{"/x/y", "d", kOpen};
  ASSERT_EQ(multi({other, below, zk::Delete{"/x/y", -1}, zk::Delete{"/x", -1}, other}), Code::kOk);
  EXPECT_EQ(children("/x"), "");
  const zk::Stat found = *stat("/x");
  EXPECT_EQ(found.cversion, 0);
  EXPECT_EQ(found.pzxid, found.czxid);
}

// Each one looks at all that is below it.
TEST_F(Znodes, AMultiBeginsOneQuotaAtMost) {
  create("/zookeeper/quota/a");
  const zk::Create stats{quota_stats_path("/a"), "", kOpen};
  const zk::Multi twice{{stats, zk::Delete{stats.path, -1}, stats}};
  ASSERT_EQ(with_quotas(twice, zk::Quotas::kCounted), Code::kOk);
  EXPECT_EQ(read(zk::Exists{stats.path}).code, Code::kNoNode);
  EXPECT_EQ(with_quotas(stats, zk::Quotas::kCounted), Code::kOk);
}

}  // namespace
}  // namespace conclave::store
