#include "server/status.h"

#include <fmt/core.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/property_tree/json_parser.hpp>
#include <boost/property_tree/ptree.hpp>
#include <csignal>
#include <filesystem>
#include <sstream>
#include <thread>

#include "server/canned_server.h"
#include "server/child_process.h"
#include "server/command_line.h"
#include "server/http_client.h"

namespace conclave::server {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::SizeIs;

constexpr const char* kStatusPath = "/v3/maintenance/status";
constexpr const char* kMembersPath = "/v3/cluster/member/list";

std::string status_of(int member, int leader, int index, int applied, std::string_view extra = "") {
  return fmt::format(
      R"({{"header":{{"cluster_id":"7","member_id":"{}","revision":"1","raft_term":"2"}},)"
      R"("version":"3.4.23","dbSize":"20480","leader":"{}","raftIndex":"{}","raftTerm":"2",)"
      R"("raftAppliedIndex":"{}","dbSizeInUse":"16384"{}}})",
      member, leader, index, applied, extra);
}

std::string entry_of(int id, std::string_view name, std::uint16_t port) {
  return fmt::format(
      R"({{"ID":"{}","name":"{}","peerURLs":["http://h:1"],"clientURLs":["http://127.0.0.1:{}"]}})",
      id, name, port);
}

std::string member_list(const std::vector<std::string>& entries) {
  std::string list;
  for (const std::string& entry : entries) list += (list.empty() ? "" : ",") + entry;
  return R"({"header":{"member_id":"10"},"members":[)" + list + "]}";
}

TEST(StatusAnswer, IsWhatEtcdSends) {
  const auto answer = parse_status_answer(status_of(171, 171, 9, 8)).value();
  EXPECT_EQ(answer.member, NodeId{171});
  EXPECT_EQ(answer.role, "leader");
  EXPECT_EQ(answer.term, Epoch{2});
  EXPECT_EQ(answer.index, LogIndex{9});
  EXPECT_EQ(answer.applied, LogIndex{8});
  EXPECT_EQ(answer.size_bytes, 20480U);
  EXPECT_EQ(answer.size_in_use_bytes, 16384U);
  EXPECT_EQ(answer.version, "3.4.23");
  EXPECT_EQ(answer.state_hash, "");
}

TEST(StatusAnswer, HasOurFieldsToo) {
  const auto answer = parse_status_answer(status_of(
      1, 2, 9, 8, R"(,"role":"candidate","stateHash":"18446744073709551615","errors":["a","b"])"));
  EXPECT_EQ(answer->role, "candidate");
  EXPECT_EQ(answer->state_hash, "18446744073709551615");
  EXPECT_THAT(answer->errors, ElementsAre("a", "b"));
}

TEST(StatusAnswer, RolesFollowFromWhatEtcdTells) {
  EXPECT_EQ(parse_status_answer(status_of(1, 2, 9, 8))->role, "follower");
  EXPECT_EQ(parse_status_answer(status_of(1, 0, 9, 8))->role, "no leader");
  EXPECT_EQ(parse_status_answer(status_of(1, 2, 9, 8, R"(,"isLearner":true)"))->role, "learner");
}

TEST(Status, AWitnessThatAdvertisesNothingIsNotMissing) {
  const auto members = parse_member_list(
      R"({"members":[{"ID":"7","name":"m3","peerURLs":["http://h:1"],"isWitness":true}]})");
  ASSERT_TRUE(members.has_value());
  EXPECT_TRUE(members->front().witness);
  MemberStatus row;
  row.id = NodeId{7};
  row.name = "m3";
  row.witness = true;
  row.unreachable = "it advertises no URL that can be asked";
  EXPECT_THAT(status_table({row}), HasSubstr("no leader to ask about it"));
  row.seen_by_leader = {NodeId{7}, LogIndex{41}, true};
  EXPECT_THAT(status_table({row}), AllOf(HasSubstr("witness"), HasSubstr("41")));
  EXPECT_THAT(status_table({row}), Not(HasSubstr("unreachable")));
  EXPECT_THAT(status_json({row}), HasSubstr(R"("role": "witness", "leader": null)"));
  EXPECT_THAT(status_json({row}), HasSubstr(R"("errors": [])"));
  row.seen_by_leader->active = false;
  EXPECT_THAT(status_table({row}), HasSubstr("the leader does not hear from it"));
  EXPECT_THAT(status_json({row}), HasSubstr("the leader does not hear from it"));
}

TEST(StatusAnswer, ALeaderTellsOfTheOthers) {
  const auto answer = parse_status_answer(
      status_of(1, 1, 9, 8,
                R"(,"peers":[{"ID":"2","match":"7","state":"replicate","active":true},{"ID":3}])"));
  ASSERT_EQ(answer->peers.size(), 2u);
  EXPECT_EQ(answer->peers[0].id, NodeId{2});
  EXPECT_EQ(answer->peers[0].match, LogIndex{7});
  EXPECT_TRUE(answer->peers[0].active);
  EXPECT_FALSE(answer->peers[1].active);
}

TEST(StatusAnswer, NumbersMayComeWithoutQuotesAndIdsUseAll64Bits) {
  const auto answer = parse_status_answer(
      R"({"header":{"member_id":14064829369057666914},"raftTerm":3,"leader":"1"})");
  EXPECT_EQ(answer->member, NodeId{14064829369057666914U});
  EXPECT_EQ(answer->term, Epoch{3});
}

TEST(StatusAnswer, WhatIsNotAnAnswerIsAnError) {
  EXPECT_THAT(parse_status_answer("<html>").error().message, HasSubstr("not JSON"));
  EXPECT_THAT(parse_status_answer("{}").error().message, HasSubstr("whose it is"));
  EXPECT_THAT(parse_member_list("{}").error().message, HasSubstr("no members"));
  EXPECT_FALSE(parse_member_list(""));
}

TEST(Status, FindsTheOtherMembersFromOneEndpoint) {
  CannedServer second(0, {{kStatusPath, status_of(11, 10, 90, 85)}});
  CannedServer::Answers answers{{kStatusPath, status_of(10, 10, 100, 100)}};
  CannedServer gone_later(0, {});
  answers[kMembersPath] = member_list({entry_of(11, "b", second.port()), entry_of(10, "a", 1),
                                       entry_of(12, "c", gone_later.port())});
  CannedServer first(0, answers);

  const auto rows = ask_cluster(HttpClient(), {{"127.0.0.1", first.port()}});
  ASSERT_THAT(rows, SizeIs(3));
  EXPECT_EQ(rows[0].name, "a");
  EXPECT_EQ(rows[0].endpoint, fmt::format("127.0.0.1:{}", first.port()));
  EXPECT_EQ(rows[0].lag, 0U);
  EXPECT_EQ(rows[1].name, "b");
  EXPECT_EQ(rows[1].answer->role, "follower");
  EXPECT_EQ(rows[1].lag, 15U);
  EXPECT_EQ(rows[2].name, "c");
  EXPECT_EQ(rows[2].id, NodeId{12});
  EXPECT_FALSE(rows[2].answer);
  EXPECT_THAT(rows[2].unreachable, HasSubstr("HTTP status 404"));
}

TEST(Status, AMemberGivenTwiceIsOneRow) {
  CannedServer::Answers answers{{kStatusPath, status_of(10, 10, 5, 5)}};
  answers[kMembersPath] = member_list({entry_of(10, "a", 1)});
  CannedServer first(0, answers);
  CannedServer second(0, answers);
  EXPECT_THAT(
      ask_cluster(HttpClient(), {{"127.0.0.1", first.port()}, {"127.0.0.1", second.port()}}),
      SizeIs(1));
}

TEST(Status, ADeadEndpointIsTheRowOfItsMember) {
  std::uint16_t dead_port = 0;
  { dead_port = CannedServer(0, {}).port(); }
  CannedServer::Answers answers{{kStatusPath, status_of(10, 10, 5, 5)}};
  answers[kMembersPath] = member_list({entry_of(10, "a", 1), entry_of(11, "b", dead_port)});
  CannedServer alive(0, answers);
  const auto rows =
      ask_cluster(HttpClient(), {{"127.0.0.1", dead_port}, {"127.0.0.1", alive.port()}});
  ASSERT_THAT(rows, SizeIs(2));
  EXPECT_EQ(rows[1].id, NodeId{11});
  EXPECT_THAT(rows[1].unreachable, HasSubstr("refused"));
}

TEST(Status, ServersThatNeverAnswerAreGivenUp) {
  io::Loop loop;
  io::PosixNetwork network(loop);
  const auto silent = network.listen({"127.0.0.1", 0}, [](std::unique_ptr<io::Connection>) {});
  const auto answer =
      HttpClient().request((*silent)->address(), HttpMethod::kGet, "/", "", milliseconds(50));
  EXPECT_EQ(answer.error().message, "no answer within 50 ms");
}

MemberStatus sample_row() {
  MemberStatus row;
  row.id = NodeId{0xabc};
  row.name = "m\"1";
  row.endpoint = "127.0.0.1:2379";
  row.answer = parse_status_answer(status_of(0xabc, 0xabc, 9, 8)).value();
  row.lag = 1;
  return row;
}

MemberStatus dead_row() {
  MemberStatus row;
  row.endpoint = "127.0.0.1:9";
  row.unreachable = "Connection refused";
  return row;
}

TEST(Status, TheTableHasAlignedColumns) {
  EXPECT_EQ(status_table({sample_row(), dead_row()}),
            "ID   NAME  ENDPOINT        ROLE    TERM  INDEX  APPLIED  LAG  SIZE      ERRORS\n"
            "abc  m\"1   127.0.0.1:2379  leader  2     9      8        1    20.0 KiB\n"
            "-    -     127.0.0.1:9     -       -     -      -        -    -         "
            "unreachable: Connection refused\n");
}

TEST(Status, TheJsonHasTheSameKeysForEveryMember) {
  std::istringstream in(status_json({sample_row(), dead_row()}));
  boost::property_tree::ptree tree;
  boost::property_tree::read_json(in, tree);
  std::vector<std::vector<std::string>> keys;
  for (const auto& [unused, object] : tree) {
    keys.emplace_back();
    for (const auto& [key, value] : object) keys.back().push_back(key);
  }
  ASSERT_THAT(keys, SizeIs(2));
  EXPECT_EQ(keys[0], keys[1]);
  EXPECT_THAT(keys[0], ElementsAre("id", "name", "endpoint", "reachable", "role", "leader", "term",
                                   "index", "applied", "lag", "size_bytes", "size_in_use_bytes",
                                   "version", "state_hash", "errors"));
  EXPECT_EQ(tree.front().second.get<std::string>("name"), "m\"1");
  EXPECT_EQ(tree.front().second.get<std::string>("id"), "abc");
}

TEST(Status, ArgumentsAreChecked) {
  EXPECT_THAT(parse_status_options({"--help"}).error().text, HasSubstr("--endpoints"));
  EXPECT_EQ(parse_status_options({"--help"}).error().exit_code, 0);
  EXPECT_EQ(parse_status_options({"--nope"}).error().exit_code, 2);
  EXPECT_THAT(parse_status_options({"--endpoints=localhost"}).error().text,
              AllOf(HasSubstr("--endpoints"), HasSubstr("port is missing")));
  const auto options = parse_status_options({"--json", "--endpoints", "a:1,http://b:2"});
  EXPECT_TRUE(options->json);
  EXPECT_THAT(options->cluster.endpoints, ElementsAre(io::Address{"a", 1}, io::Address{"b", 2}));
}

TEST(Status, TlsIsSpokenWhereASchemeOrTheFlagsSayIt) {
  const auto asked = [](std::vector<std::string> arguments) {
    arguments.push_back("--endpoints=a:1,https://b:2,http://c:3");
    const auto options = parse_status_options(arguments);
    std::vector<bool> tls;
    for (const io::Address& each : options->cluster.endpoints) tls.push_back(each.tls);
    return tls;
  };
  EXPECT_THAT(asked({}), ElementsAre(false, true, false));
  EXPECT_THAT(asked({"--cacert=x"}), ElementsAre(true, true, false));
  EXPECT_THAT(asked({"--cert=x", "--key=y"}), ElementsAre(true, true, false));
  EXPECT_THAT(asked({"--insecure-skip-tls-verify"}), ElementsAre(true, true, false));
  EXPECT_EQ(parse_status_options({"--cert=x"}).error().exit_code, 2);  // without its key
}

TEST(Status, FailsOnlyIfNobodyAnswers) {
  EXPECT_EQ(run_status({"--endpoints=127.0.0.1:1"}), 1);
  CannedServer server(0, {{kStatusPath, status_of(10, 10, 5, 5)}});
  EXPECT_EQ(run_status({fmt::format("--endpoints=127.0.0.1:1,127.0.0.1:{}", server.port())}), 0);
}

// Three members of the real thing.
class RealEtcd : public testing::Test {
 protected:
  static constexpr int kBase = 24300;

  void SetUp() override {
    if (!std::filesystem::exists("/usr/bin/etcd")) GTEST_SKIP() << "etcd-server is not installed";
    std::string name = testing::TempDir() + "conclave-etcd-XXXXXX";
    directory_ = ::mkdtemp(name.data());
    for (int i = 0; i < 3; ++i) start(i);
  }

  ~RealEtcd() override {
    for (ChildProcess& member : members_) member.signal(SIGKILL);
    for (ChildProcess& member : members_) {
      while (member.running() && !member.reap()) std::this_thread::yield();
    }
    if (!directory_.empty()) std::filesystem::remove_all(directory_);
  }

  void start(int i) {
    const std::string name = fmt::format("e{}", i);
    const std::string client = fmt::format("http://127.0.0.1:{}", kBase + 10 * i);
    const std::string peer = fmt::format("http://127.0.0.1:{}", kBase + 10 * i + 1);
    auto process = ChildProcess::start(
        {"/usr/bin/etcd",
         {"etcd", "--name", name, "--data-dir", directory_ + "/" + name, "--listen-client-urls",
          client, "--advertise-client-urls", client, "--listen-peer-urls", peer,
          "--initial-advertise-peer-urls", peer, "--initial-cluster",
          fmt::format("e0=http://127.0.0.1:{},e1=http://127.0.0.1:{},e2=http://127.0.0.1:{}",
                      kBase + 1, kBase + 11, kBase + 21)},
         {},
         directory_ + "/" + name + ".log"});
    members_.push_back(std::move(process.value()));
  }

  // Asks the second member until the cluster has settled: one leads, and all have told the others
  // their client URLs, which etcd does some time after it serves.
  std::vector<MemberStatus> settled() {
    std::vector<MemberStatus> rows;
    for (int attempt = 0; attempt < 100; ++attempt) {
      rows = ask_cluster(HttpClient(), {{"127.0.0.1", kBase + 10}});
      const auto leading = [](const MemberStatus& row) {
        return row.answer && row.answer->role == "leader";
      };
      const auto answers = [](const MemberStatus& row) { return row.answer.has_value(); };
      if (rows.size() == 3 && std::ranges::count_if(rows, leading) == 1 &&
          std::ranges::all_of(rows, answers)) {
        break;
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
    }
    return rows;
  }

  std::string directory_;
  std::vector<ChildProcess> members_;
};

TEST_F(RealEtcd, IsUnderstood) {
  const auto rows = settled();
  ASSERT_THAT(rows, SizeIs(3));
  int leaders = 0;
  for (std::size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(rows[i].name, fmt::format("e{}", i));
    EXPECT_EQ(rows[i].endpoint, fmt::format("127.0.0.1:{}", kBase + 10 * static_cast<int>(i)));
    ASSERT_TRUE(rows[i].answer) << rows[i].unreachable;
    EXPECT_GT(rows[i].answer->index, LogIndex{3});
    EXPECT_GT(rows[i].answer->size_bytes, 0U);
    EXPECT_LT(rows[i].lag.value(), 5U);
    leaders += rows[i].answer->role == "leader";
  }
  EXPECT_EQ(leaders, 1);
}

}  // namespace
}  // namespace conclave::server
