// The admin server: what is asked for each command, and the JSON that answers.

#include "frontends/zookeeper/admin.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/limits.h"
#include "frontends/zookeeper/admin_session.h"

namespace conclave::zookeeper {
namespace {

namespace zk = api::zk;
using testing::HasSubstr;
using testing::Not;

class AdminTest : public testing::Test {
 protected:
  AdminTest() {
    options_.connections = std::make_shared<Connections>();
    options_.process = [] { return ProcessFacts{.uptime_ms = 5, .open_files = 6, .max_files = 7}; };
    options_.words.port = 2181;
    options_.words.address = "10.0.0.1:2181";
    status_.role = "leader";
    status_.leader = NodeId{1};
    status_.raft_term = Epoch{4};
    status_.applied_index = LogIndex{9};
    status_.state_hash = 0xabc;
    status_.peers = {{NodeId{2}, LogIndex{5}, "replicate", true},
                     {NodeId{3}, LogIndex{5}, "replicate", true},
                     {NodeId{4}, LogIndex{1}, "probe", false}};
    for (const std::uint64_t id : {1UL, 2UL, 3UL, 4UL}) {
      api::Member& member = members_.members.emplace_back();
      member.id = NodeId{id};
      member.peer_urls = {"http://10.0.0." + std::to_string(id) + ":2380"};
      member.is_learner = id == 3;
    }
  }

  void start() {
    if (!session_) session_ = make_admin_sessions(options_)("10.9.9.9:1", {});
  }

  // The whole answer to GET `path`; each question is answered as it is asked.
  std::string get(const std::string& path) {
    start();
    effects_ = {};
    session_->on_bytes("GET " + path + " HTTP/1.1\r\nHost: x\r\n\r\n", effects_);
    answer_all();
    return effects_.send;
  }
  void answer_all() {
    while (!effects_.calls.empty()) {
      const auto call = std::move(effects_.calls.front());
      effects_.calls.erase(effects_.calls.begin());
      ++asked_;
      api::Response response{{ClusterId{1}, NodeId{1}, 9, Epoch{4}},
                             std::visit(*this, call.request.body)};
      session_->on_response(call.id, std::move(response), effects_);
    }
  }
  // The answer's body.
  std::string command(const std::string& name) {
    const std::string answer = get("/commands/" + name);
    EXPECT_THAT(answer, HasSubstr("HTTP/1.1 200 OK\r\n"));
    EXPECT_THAT(answer, HasSubstr("application/json"));
    return answer.substr(answer.find("\r\n\r\n") + 4);
  }

 public:
  api::Answer operator()(const api::StatusRequest&) const { return status_; }
  api::Answer operator()(const api::MemberListRequest&) const { return members_; }
  api::Answer operator()(const zk::ReadRequest& read) const {
    if (is_refused_) return api::Error{api::ErrorCode::kTimeout, {}};
    if (std::holds_alternative<zk::DumpSessions>(read.op)) {
      return zk::Reply{{}, 9, zk::SessionDump{{{-5, 4'000, {"/e", "/f\""}}, {6, 4'000, {}}}}};
    }
    if (std::holds_alternative<zk::DumpWatches>(read.op)) {
      return zk::Reply{{}, 9, zk::WatchDump{{{"/a", {5, 6}}, {"/b", {6}}}}};
    }
    zk::Counts counts{.nodes = 12, .ephemerals = 3, .data_bytes = 99, .sessions = 2, .watches = 8};
    counts.watched_paths = 7;
    counts.watchers = 1;
    return zk::Reply{{}, 255, counts};
  }
  template <class Other>
  api::Answer operator()(const Other&) const {
    ADD_FAILURE() << "nobody needs to know that";
    return api::Error{};
  }

 protected:
  SessionOptions options_;
  api::StatusResponse status_;
  api::MemberListResponse members_;
  std::unique_ptr<api::Session> session_;
  api::Session::Effects effects_;
  int asked_ = 0;
  bool is_refused_ = false;  // what the tree has is not to be found out
};

TEST_F(AdminTest, ProbesNeedNobody) {
  EXPECT_EQ(command("ruok"), R"({"command":"ruok","error":null})");
  EXPECT_EQ(asked_, 0);
  EXPECT_FALSE(effects_.close);
}

TEST_F(AdminTest, NamesAreZooKeepersOrTheWords) {
  for (const char* name : {"mntr", "monitor"}) {
    EXPECT_THAT(command(name), HasSubstr(R"("command":"monitor","error":null})"));
  }
  EXPECT_THAT(command("config"), HasSubstr(R"("command":"configuration")"));
  EXPECT_EQ(command("nope"), R"({"command":"nope","error":"Unknown command: nope"})");
  EXPECT_EQ(command("dirs"), R"({"command":"dirs","error":"Unknown command: dirs"})");
  EXPECT_THAT(get("/commands/"), HasSubstr(R"(<a href="/commands/monitor">monitor</a>)"));
  EXPECT_THAT(get("/commands"), HasSubstr("text/html"));
  EXPECT_THAT(get("/"), HasSubstr("HTTP/1.1 404 Not Found"));
  EXPECT_THAT(get("/commandsruok"), HasSubstr("HTTP/1.1 404 Not Found"));
}

TEST_F(AdminTest, MonitorHasTheValuesOfMntr) {
  Connections::Id id = 0;
  ConnectionFacts& facts = options_.connections->add(id, "10.1.1.1:5");
  facts.unanswered = 3;
  options_.connections->total.received = 44;
  const std::string json = command("monitor");
  for (const char* part :
       {R"("server_state":"leader")", R"("znode_count":12)", R"("watch_count":8)",
        R"("ephemerals_count":3)", R"("approximate_data_size":99)", R"("global_sessions":2)",
        R"("num_alive_connections":1)", R"("outstanding_requests":3)", R"("packets_received":44)",
        R"("avg_latency":0.0000)", R"("uptime":5)", R"("open_file_descriptor_count":6)",
        R"("learners":3)", R"("synced_followers":1)", R"("synced_observers":1)",
        R"("quorum_size":3)", R"("peer_state":"leading - broadcast")"}) {
    EXPECT_THAT(json, HasSubstr(part));
  }
}

TEST_F(AdminTest, MetricsAreItsNumbers) {
  const std::string answer = get("/metrics");
  EXPECT_THAT(answer, HasSubstr("text/plain; version=0.0.4"));
  EXPECT_THAT(answer, HasSubstr("# TYPE znode_count gauge\nznode_count 12\n"));
  EXPECT_THAT(answer, HasSubstr("watch_count 8\n"));
  EXPECT_THAT(answer, Not(HasSubstr("server_state")));
}

TEST_F(AdminTest, StatsAndConnections) {
  Connections::Id id = 0;
  ConnectionFacts& facts = options_.connections->add(id, "10.1.1.1:5");
  facts.session = -5;
  facts.timeout_ms = 4'000;
  facts.last_opcode = 4;
  facts.last_zxid = 8;
  EXPECT_THAT(command("stats"),
              HasSubstr(R"("node_count":12,"connections":[{"remote_socket_address":"10.1.1.1:5",)"
                        R"("outstanding_requests":0,"packets_received":0,"packets_sent":0}],)"
                        R"("secure_connections":[],"command":"stats","error":null})"));
  EXPECT_THAT(command("srvr"), HasSubstr(R"("last_processed_zxid":255)"));
  EXPECT_THAT(command("srvr"), Not(HasSubstr("connections\":[")));
  EXPECT_THAT(command("cons"),
              HasSubstr(R"("session_id":-5,"last_operation":"GETD","session_timeout":4000,)"
                        R"("last_cxid":0,"last_zxid":8)"));
}

TEST_F(AdminTest, WhoLeadsAndVotes) {
  EXPECT_EQ(command("leader"),
            R"({"is_leader":true,"leader_id":1,"leader_ip":"10.0.0.1","command":"leader",)"
            R"("error":null})");
  const std::string voters = command("voting_view");
  EXPECT_THAT(voters, HasSubstr(R"({"current_config":{"1":{"server_addresses":["10.0.0.1:2380"],)"
                                R"("election_addresses":["10.0.0.1:2380"],)"
                                R"("client_address":"10.0.0.1:2181",)"
                                R"("learner_type":"participant"},"2":{)"));
  EXPECT_THAT(voters, Not(HasSubstr(R"("3":)"))) << "a learner does not vote";
  EXPECT_THAT(command("observers"), HasSubstr(R"("synced_observers":1,"observers":[{"sid":3}])"));
  EXPECT_THAT(command("zabstate"), HasSubstr(R"("voting":true,"last_zxid":"0xff","zab_epoch":4)"));
  members_.members[0].peer_urls = {"https://[::1]:2380"};
  EXPECT_THAT(command("leader"), HasSubstr(R"("leader_ip":"::1")"));
}

TEST_F(AdminTest, WatchesAndSessions) {
  EXPECT_EQ(command("wchs"), R"({"num_connections":1,"num_paths":7,"num_total_watches":8,)"
                             R"("command":"watch_summary","error":null})");
  // Not by default: all there is.
  for (const char* name : {"watches", "watches_by_path", "dump", "hash", "stat_reset", "crst"}) {
    EXPECT_THAT(command(name), HasSubstr("--zookeeper-words leaves it out")) << name;
  }
  session_.reset();
  options_.words.allowed = {"*"};
  EXPECT_THAT(command("watches"),
              HasSubstr(R"({"session_id_to_watched_paths":{"5":["/a"],"6":["/a","/b"]},)"));
  EXPECT_THAT(command("wchp"), HasSubstr(R"({"path_to_session_ids":{"/a":[5,6],"/b":[6]},)"));
  EXPECT_THAT(command("dump"),
              HasSubstr(R"({"session_id_to_ephemeral_paths":{"-5":["/e","/f\""]},)"));
  EXPECT_THAT(command("hash"), HasSubstr(R"({"digests":[{"log_index":9,"digest":"abc"}],)"));
  options_.connections->total.received = 44;
  EXPECT_THAT(command("stat_reset"), HasSubstr(R"("command":"stat_reset","error":null})"));
  EXPECT_EQ(options_.connections->total.received, 0U);
}

TEST_F(AdminTest, ConfigurationInTheJsonsNames) {
  EXPECT_THAT(command("conf"), HasSubstr(R"({"client_port":2181,"secure_client_port":-1,)"));
  EXPECT_THAT(command("conf"), HasSubstr(R"("max_client_cnxns":0)"));
  EXPECT_THAT(command("envi"), HasSubstr(R"({"zookeeper.version":"3.8.0-conclave-)"));
  EXPECT_THAT(command("isro"), HasSubstr(R"({"read_only":false,)"));
}

TEST_F(AdminTest, WithoutALeaderOnlyTheProcessAnswers) {
  status_.leader = NodeId{};
  for (const char* name : {"monitor", "leader", "conf", "is_read_only"}) {
    EXPECT_THAT(command(name), HasSubstr("not currently serving requests")) << name;
  }
  EXPECT_THAT(command("ruok"), HasSubstr(R"("error":null)"));
  EXPECT_THAT(command("envi"), HasSubstr(R"("error":null)"));
}

TEST_F(AdminTest, RequestsAreAnsweredInTheirOrder) {
  start();
  session_->on_bytes(
      "GET /commands/mntr HTTP/1.1\r\nHost: x\r\n\r\n"
      "GET /commands/ruok HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
      effects_);
  EXPECT_EQ(effects_.send, "");
  ASSERT_EQ(effects_.calls.size(), 1U);
  answer_all();
  EXPECT_LT(effects_.send.find(R"("command":"monitor")"),
            effects_.send.find(R"("command":"ruok")"));
  EXPECT_TRUE(effects_.close);
}

TEST_F(AdminTest, WhatIsNoRequestOfItsKind) {
  start();
  session_->on_bytes("POST /commands/ruok HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
                     effects_);
  EXPECT_THAT(effects_.send, HasSubstr("HTTP/1.1 405"));
  effects_ = {};
  session_->on_bytes(Bytes("\0\0\0\x2d\0\0", 6) + "\r\n\r\n", effects_);
  EXPECT_TRUE(effects_.close);
  EXPECT_NE(effects_.close_reason, "");
  EXPECT_TRUE(effects_.calls.empty());
}

TEST_F(AdminTest, WhatCouldNotBeFoundOutIsNoZero) {
  is_refused_ = true;
  for (const char* name : {"monitor", "stats", "wchs"}) {
    const std::string json = command(name);
    EXPECT_THAT(json, HasSubstr(R"("error":"This ZooKeeper instance is not)")) << name;
    EXPECT_THAT(json, Not(HasSubstr("num_"))) << name;
  }
  EXPECT_THAT(command("envi"), HasSubstr(R"("error":null)"));
  const std::string metrics = get("/metrics");
  EXPECT_THAT(metrics, HasSubstr("HTTP/1.1 503"));
  EXPECT_THAT(metrics, Not(HasSubstr("znode_count")));
}

TEST_F(AdminTest, JsonIsUtf8) {
  EXPECT_THAT(command("\xc3\xa4\xff\xed\xa0\x80z\xe4\xb8"),
              HasSubstr("\"command\":\"\xc3\xa4\ufffd\ufffd\ufffd\ufffdz\ufffd\ufffd\""));
}

TEST_F(AdminTest, AClientThatReadsNothingIsNotAnsweredOnAndOn) {
  for (int i = 0; i < 4'000; ++i) {
    Connections::Id id = 0;
    options_.connections->add(id, "10.1.1.1:5");
  }
  start();
  Bytes ahead;
  for (int i = 0; i < 100; ++i) ahead += "GET /commands/cons HTTP/1.1\r\nHost: x\r\n\r\n";
  session_->on_bytes(ahead, effects_);
  EXPECT_FALSE(session_->takes_bytes());
  answer_all();
  const std::size_t first = effects_.send.size();
  EXPECT_GT(first, limits::kSendAheadBytes);
  EXPECT_LT(first, limits::kSendAheadBytes + 2 * limits::kMiB);
  EXPECT_TRUE(effects_.wants_drained);
  EXPECT_FALSE(session_->takes_bytes());
  // The connection has it now, and the client has taken nothing.
  effects_ = {};
  effects_.unsent = first;
  session_->on_drained(effects_);
  EXPECT_EQ(effects_.send, "");
  EXPECT_TRUE(effects_.calls.empty());
  EXPECT_FALSE(effects_.wants_drained) << "the connection will say";
  std::size_t turns = 0;
  for (; !session_->takes_bytes() && turns < 1'000; ++turns) {
    effects_ = {};
    session_->on_drained(effects_);
    answer_all();
    EXPECT_LT(effects_.send.size(), limits::kSendAheadBytes + 2 * limits::kMiB);
  }
  EXPECT_GT(turns, 5U);
  EXPECT_LT(turns, 101U);
  EXPECT_FALSE(effects_.close);
}

TEST_F(AdminTest, IdleConnectionsEnd) {
  start();
  const auto tick = [&](std::int64_t s) {
    session_->on_tick(Instant{} + seconds(s), effects_);
    return effects_.close;
  };
  EXPECT_FALSE(tick(1));
  EXPECT_FALSE(tick(30));
  command("ruok");
  EXPECT_FALSE(tick(31)) << "it was asked something meanwhile";
  EXPECT_FALSE(tick(60));
  // What is under way may take its time.
  session_->on_bytes("GET /commands/mntr HTTP/1.1\r\nHost: x\r\n\r\n", effects_);
  EXPECT_FALSE(tick(61));
  EXPECT_FALSE(tick(100));
  answer_all();
  effects_.unsent = 1'000;
  EXPECT_FALSE(tick(101));
  effects_.unsent = 900;  // it takes the answer, slowly
  EXPECT_FALSE(tick(131));
  EXPECT_FALSE(tick(132));
  EXPECT_FALSE(tick(161));
  EXPECT_TRUE(tick(162)) << "and no more";
  EXPECT_EQ(effects_.close_reason, "");
}

}  // namespace
}  // namespace conclave::zookeeper
