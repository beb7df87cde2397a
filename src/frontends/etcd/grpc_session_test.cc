// gRPC calls as nghttp2's client sends them, through a session, to a canned member and back.

#include <gtest/gtest.h>

#include <functional>

#include "etcd.pb.h"
#include "etcd_health.pb.h"
#include "frontends/etcd/call_counts.h"
#include "frontends/etcd/grpc_fixture.h"
#include "frontends/etcd/session.h"
#include "frontends/etcd/test_messages.h"
#include "wire/grpc.h"
#include "wire/http2_test_client.h"

namespace conclave::etcd {
namespace {

using wire::grpc_frame;
using wire::grpc_headers;
using wire::Http2TestClient;
namespace pb = etcdserverpb;

constexpr BytesView kTxn = "/etcdserverpb.KV/Txn";
constexpr BytesView kKeepAlive = "/etcdserverpb.Lease/LeaseKeepAlive";

class GrpcSessionTest : public ::testing::Test {
 protected:
  using Status = std::pair<std::string, std::string>;  // grpc-status, grpc-message

  std::int32_t call(BytesView path, BytesView message, const Http2TestClient::Fields& extra = {}) {
    return client_.request(grpc_headers(path, extra), grpc_frame(message));
  }

  // Moves bytes both ways; calls are kept in calls_ or answered by answer_, if set.
  void pump() {
    while (true) {
      const Bytes up = client_.take_output();
      api::Session::Effects effects;
      if (!up.empty()) session_->on_bytes(up, effects);
      if (!settle(std::move(effects)) && up.empty()) return;
    }
  }

  bool settle(api::Session::Effects effects) {
    EXPECT_TRUE(client_.receive(effects.send));
    cancelled_.insert(cancelled_.end(), effects.cancelled.begin(), effects.cancelled.end());
    if (effects.close) closed_ = true;
    bool moved = !effects.send.empty();
    for (auto& item : effects.calls) {
      calls_.push_back(std::move(item));
      if (!answer_) continue;
      respond(calls_.size() - 1, answer_(calls_.back().request));
      moved = true;
    }
    return moved;
  }

  void respond(std::size_t call, api::Answer answer) {
    api::Session::Effects effects;
    session_->on_response(calls_[call].id, {kHeader, std::move(answer)}, effects);
    settle(std::move(effects));
  }

  void tick(int second) {
    api::Session::Effects effects;
    session_->on_tick(Instant{} + seconds(second), effects);
    settle(std::move(effects));
  }

  Status status(std::int32_t id) {
    const auto& answer = client_.answer(id);
    const auto& fields = answer.trailers.empty() ? answer.headers : answer.trailers;
    const auto code = fields.find("grpc-status");
    const auto text = fields.find("grpc-message");
    return {code == fields.end() ? "none" : code->second, text == fields.end() ? "" : text->second};
  }

  // What one call is answered.
  Status ask(BytesView path, BytesView message, const Http2TestClient::Fields& extra = {}) {
    const auto id = call(path, message, extra);
    pump();
    return status(id);
  }

  // The body of an answer, without its prefix.
  template <class Message>
  Message message(std::int32_t id) {
    Message parsed;
    const Bytes& body = client_.answer(id).body;
    EXPECT_GE(body.size(), 5);
    EXPECT_TRUE(parsed.ParseFromString(body.substr(5)));
    return parsed;
  }

  static Bytes keep_alive(api::LeaseId id) {
    pb::LeaseKeepAliveRequest request;
    request.set_id(id);
    return grpc_frame(request.SerializeAsString());
  }
  // What came on a stream of them: id and ttl of each.
  std::string kept_alive(std::int32_t id) {
    std::string text;
    BytesView body = client_.answer(id).body;
    while (!body.empty()) {
      const auto front = wire::front_message(body, body.size());
      EXPECT_EQ(front.state, wire::GrpcMessage::State::kComplete);
      pb::LeaseKeepAliveResponse response;
      EXPECT_TRUE(
          response.ParseFromArray(front.payload.data(), static_cast<int>(front.payload.size())));
      EXPECT_EQ(response.header().revision(), kHeader.revision);
      text += std::to_string(response.id()) + ":" + std::to_string(response.ttl()) + " ";
      body.remove_prefix(front.wire_bytes);
    }
    return text;
  }
  Status ask_lease_revoke() { return ask("/etcdserverpb.Lease/LeaseRevoke", "\x08\x07"); }

  std::unique_ptr<api::Session> session_ = make_session({}, "test");
  Http2TestClient client_;
  std::vector<api::Session::Effects::Call> calls_;
  std::vector<api::CallId> cancelled_;
  std::function<api::Answer(const api::Request&)> answer_;
  bool closed_ = false;
};

TEST_F(GrpcSessionTest, Put) {
  pb::PutRequest put;
  put.set_key("k");
  put.set_value("v");
  put.set_lease(7);
  put.set_prev_kv(true);
  put.set_ignore_value(true);
  put.set_ignore_lease(true);
  const auto id = call(kPutPath, put.SerializeAsString(), {{"grpc-timeout", "5S"}});
  pump();
  ASSERT_EQ(calls_.size(), 1);
  const auto& request = calls_[0].request;
  EXPECT_EQ(std::get<api::PutRequest>(request.body),
            (api::PutRequest{"k", "v", 7, true, true, true}));
  EXPECT_EQ(request.timeout_ms, 5'000);
  EXPECT_EQ(request.id, std::nullopt);

  respond(0, api::PutResponse{api::KeyValue{"k", "old", 1, 2, 3, 4}});
  EXPECT_EQ(status(id), (Status{"0", ""}));
  EXPECT_EQ(client_.answer(id).headers.at("content-type"), "application/grpc");
  EXPECT_EQ(message<pb::PutResponse>(id).ShortDebugString(),
            "header { cluster_id: 11 member_id: 22 revision: 33 raft_term: 44 } prev_kv { key: "
            "\"k\" create_revision: 1 mod_revision: 2 version: 3 value: \"old\" lease: 4 }");
}

// What an owner that gathers hears of several answers: nothing before it asks, then all of them.
TEST_F(GrpcSessionTest, AnswersOfATurnLeaveTogether) {
  const auto first = call(kPutPath, put_message("a", "1"));
  const auto second = call(kPutPath, put_message("b", "2"));
  pump();
  ASSERT_EQ(calls_.size(), 2);
  api::Session::Effects effects;
  effects.gathers = true;
  for (const auto& item : calls_) {
    session_->on_response(item.id, {kHeader, api::PutResponse{}}, effects);
    EXPECT_TRUE(effects.wants_drained);
    EXPECT_TRUE(effects.send.empty());
    EXPECT_GT(session_->held_bytes(), 0) << "they are counted meanwhile";
  }
  session_->on_drained(effects);
  settle(std::move(effects));
  EXPECT_EQ(status(first), Status("0", ""));
  EXPECT_EQ(status(second), Status("0", ""));
}

TEST_F(GrpcSessionTest, RangeWithEachOption) {
  pb::RangeRequest range;
  range.set_key("a");
  range.set_range_end("b");
  range.set_limit(1);
  range.set_revision(2);
  range.set_sort_order(pb::RangeRequest::DESCEND);
  range.set_sort_target(pb::RangeRequest::MOD);
  range.set_serializable(true);
  range.set_keys_only(true);
  range.set_count_only(true);
  range.set_min_mod_revision(3);
  range.set_max_mod_revision(4);
  range.set_min_create_revision(5);
  range.set_max_create_revision(6);
  const auto id = call(kRangePath, range.SerializeAsString());
  pump();
  ASSERT_EQ(calls_.size(), 1);
  EXPECT_EQ(std::get<api::RangeRequest>(calls_[0].request.body),
            (api::RangeRequest{"a", "b", 1, 2, api::SortOrder::kDescend, api::SortTarget::kMod,
                               true, true, true, 3, 4, 5, 6}));
  api::RangeResponse found;
  found.kvs = {{"a", "1", 1, 2, 3, 0}, {"aa", "2", 4, 5, 6, 0}};
  found.more = true;
  found.count = 9;
  respond(0, std::move(found));
  const auto response = message<pb::RangeResponse>(id);
  ASSERT_EQ(response.kvs_size(), 2);
  EXPECT_EQ(response.kvs(1).ShortDebugString(),
            "key: \"aa\" create_revision: 4 mod_revision: 5 version: 6 value: \"2\"");
  EXPECT_TRUE(response.more());
  EXPECT_EQ(response.count(), 9);
}

TEST_F(GrpcSessionTest, DeleteRangeAndCompact) {
  pb::DeleteRangeRequest remove;
  remove.set_key("a");
  remove.set_range_end("b");
  remove.set_prev_kv(true);
  const auto removed = call("/etcdserverpb.KV/DeleteRange", remove.SerializeAsString());
  pb::CompactionRequest compact;
  compact.set_revision(5);
  compact.set_physical(true);
  const auto compacted = call("/etcdserverpb.KV/Compact", compact.SerializeAsString());
  pump();
  ASSERT_EQ(calls_.size(), 2);
  EXPECT_EQ(std::get<api::DeleteRangeRequest>(calls_[0].request.body),
            (api::DeleteRangeRequest{"a", "b", true}));
  EXPECT_EQ(std::get<api::CompactRequest>(calls_[1].request.body).revision, 5);
  EXPECT_TRUE(std::get<api::CompactRequest>(calls_[1].request.body).physical);
  respond(1, api::CompactResponse{});
  respond(0, api::DeleteRangeResponse{1, {{"a", "1", 1, 2, 3, 0}}});
  EXPECT_EQ(message<pb::CompactionResponse>(compacted).header().revision(), 33);
  EXPECT_EQ(message<pb::DeleteRangeResponse>(removed).deleted(), 1);
  EXPECT_EQ(message<pb::DeleteRangeResponse>(removed).prev_kvs(0).key(), "a");
}

TEST_F(GrpcSessionTest, TxnWithEachKindOfCompareAndOperation) {
  pb::TxnRequest txn;
  auto* compare = txn.add_compare();
  compare->set_key("a");
  compare->set_range_end("b");
  compare->set_result(pb::Compare::NOT_EQUAL);
  compare->set_target(pb::Compare::VALUE);
  compare->set_value("x");
  const std::pair<pb::Compare::CompareTarget, std::function<void(pb::Compare&)>> numbers[] = {
      {pb::Compare::VERSION, [](pb::Compare& c) { c.set_version(1); }},
      {pb::Compare::CREATE, [](pb::Compare& c) { c.set_create_revision(2); }},
      {pb::Compare::MOD, [](pb::Compare& c) { c.set_mod_revision(3); }},
      {pb::Compare::LEASE, [](pb::Compare& c) { c.set_lease(4); }},
      {pb::Compare::LEASE, [](pb::Compare& c) { c.set_version(5); }},  // of another kind: absent
  };
  for (const auto& [target, set] : numbers) {
    auto* number = txn.add_compare();
    number->set_key("n");
    number->set_result(pb::Compare::GREATER);
    number->set_target(target);
    set(*number);
  }
  txn.add_success()->mutable_request_put()->set_key("p");
  txn.add_success()->mutable_request_delete_range()->set_key("d");
  txn.add_success()->mutable_request_txn()->add_failure()->mutable_request_range()->set_key("n");
  txn.add_failure()->mutable_request_range()->set_key("r");
  const auto id = call(kTxn, txn.SerializeAsString());
  pump();
  ASSERT_EQ(calls_.size(), 1);
  const auto& got = std::get<api::TxnRequest>(calls_[0].request.body);
  ASSERT_EQ(got.compare.size(), 6);
  EXPECT_EQ(got.compare[0], (api::Compare{api::CompareResult::kNotEqual, api::CompareTarget::kValue,
                                          "a", "b", 0, "x"}));
  std::vector<std::int64_t> operands;
  for (const auto& c : got.compare) operands.push_back(c.number);
  EXPECT_EQ(operands, (std::vector<std::int64_t>{0, 1, 2, 3, 4, 0}));
  ASSERT_EQ(got.success.size(), 3);
  EXPECT_EQ(std::get<api::PutRequest>(got.success[0].op).key, "p");
  EXPECT_EQ(std::get<api::DeleteRangeRequest>(got.success[1].op).key, "d");
  const auto& nested = *std::get<std::unique_ptr<api::TxnRequest>>(got.success[2].op);
  EXPECT_EQ(std::get<api::RangeRequest>(nested.failure[0].op).key, "n");
  EXPECT_EQ(std::get<api::RangeRequest>(got.failure[0].op).key, "r");

  api::TxnResponse answer;
  answer.succeeded = true;
  answer.results.push_back({api::RangeResponse{}});
  answer.results.push_back({api::DeleteRangeResponse{}});
  answer.results.push_back({api::PutResponse{}});
  auto inner = std::make_unique<api::TxnResponse>();
  inner->results.push_back({api::RangeResponse{}});
  answer.results.push_back({std::move(inner)});
  respond(0, std::move(answer));
  const auto response = message<pb::TxnResponse>(id);
  EXPECT_TRUE(response.succeeded());
  ASSERT_EQ(response.responses_size(), 4);
  // What came before the first change saw the revision before.
  EXPECT_EQ(response.responses(0).response_range().header().ShortDebugString(), "revision: 32");
  EXPECT_EQ(response.responses(1).response_delete_range().header().revision(), 32);
  EXPECT_EQ(response.responses(2).response_put().header().revision(), 33);
  EXPECT_EQ(response.responses(3).response_txn().header().ShortDebugString(), "");
  EXPECT_EQ(response.responses(3).response_txn().responses(0).response_range().header().revision(),
            33);
}

TEST_F(GrpcSessionTest, ATxnThatChangesNothingCarriesOneRevision) {
  const auto id = call(kTxn, "");
  pump();
  api::TxnResponse answer;
  answer.results.push_back({api::RangeResponse{}});
  respond(0, std::move(answer));
  EXPECT_EQ(message<pb::TxnResponse>(id).responses(0).response_range().header().revision(), 33);
}

TEST_F(GrpcSessionTest, DeeplyNestedTxnsPassAsInEtcd) {
  for (const int depth : {20, 60, 127}) {
    pb::TxnRequest root;
    pb::TxnRequest* inner = &root;
    for (int i = 0; i < depth; ++i) inner = inner->add_success()->mutable_request_txn();
    call(kTxn, root.SerializeAsString());
  }
  pump();
  EXPECT_EQ(calls_.size(), 3);
}

TEST_F(GrpcSessionTest, StatusAndMemberList) {
  const auto status_id = call("/etcdserverpb.Maintenance/Status", "");
  const auto list_id = call("/etcdserverpb.Cluster/MemberList", "");
  pump();
  ASSERT_EQ(calls_.size(), 2);
  EXPECT_TRUE(std::holds_alternative<api::StatusRequest>(calls_[0].request.body));
  EXPECT_TRUE(std::holds_alternative<api::MemberListRequest>(calls_[1].request.body));
  api::StatusResponse state;
  state.version = "3.4.23";
  state.role = "leader";
  state.db_size_bytes = 1;
  state.db_size_in_use_bytes = 2;
  state.leader = NodeId{3};
  state.raft_index = LogIndex{4};
  state.applied_index = LogIndex{5};
  state.raft_term = Epoch{6};
  state.is_learner = true;
  state.state_hash = 7;
  state.errors = {"e"};
  state.peers = {{NodeId{8}, LogIndex{9}, "probe", true}};
  respond(0, std::move(state));
  EXPECT_EQ(message<pb::StatusResponse>(status_id).ShortDebugString(),
            "header { cluster_id: 11 member_id: 22 revision: 33 raft_term: 44 } version: "
            "\"3.4.23\" dbSize: 1 leader: 3 raftIndex: 4 raftTerm: 6 raftAppliedIndex: 5 errors: "
            "\"e\" dbSizeInUse: 2 isLearner: true role: \"leader\" state_hash: 7 peers { ID: 8 "
            "match: 9 state: \"probe\" active: true }");
  respond(1, api::MemberListResponse{{{NodeId{1}, "m", {"http://p"}, {"http://c"}, false}}});
  EXPECT_EQ(message<pb::MemberListResponse>(list_id).members(0).ShortDebugString(),
            "ID: 1 name: \"m\" peerURLs: \"http://p\" clientURLs: \"http://c\"");
}

TEST_F(GrpcSessionTest, RequestIds) {
  call(kPutPath, put_message("k", "v"), {{"conclave-request-id", "a/b/18446744073709551615"}});
  call(kRangePath, range_message("k"), {{"conclave-request-id", "nonsense"}});
  pump();
  ASSERT_EQ(calls_.size(), 2);
  EXPECT_EQ(calls_[0].request.id, (api::RequestId{"a/b", 18'446'744'073'709'551'615u}));
  EXPECT_EQ(calls_[1].request.id, std::nullopt) << "reads have none";

  const auto refused = [&](const std::string& id) {
    return ask(kPutPath, put_message("k", "v"), {{"conclave-request-id", id}});
  };
  const std::string invalid = "conclave: invalid request id: ";
  const std::string no_number = invalid + "the sequence is not a number of up to 64 bits";
  EXPECT_EQ(refused("a"), (Status{"3", invalid + "expected <client>/<sequence>"}));
  EXPECT_EQ(refused("/1"), (Status{"3", invalid + "the client is empty"}));
  EXPECT_EQ(refused(std::string(129, 'x') + "/1"),
            (Status{"3", invalid + "the client is too long"}));
  for (const char* id : {"a/", "a/x", "a/-1", "a/1x", "a/18446744073709551616"}) {
    EXPECT_EQ(refused(id), (Status{"3", no_number})) << id;
  }
}

// Each text and code as etcd 3.4.23 answers to the same bytes.
TEST_F(GrpcSessionTest, MalformedCallsAreAnsweredAsByEtcd) {
  answer_ = [](const api::Request&) { return api::PutResponse{}; };
  const Bytes put = grpc_frame(put_message("k", "v"));
  const auto raw = [&](const Bytes& body, const Http2TestClient::Fields& extra = {}) {
    const auto id = client_.request(grpc_headers(kPutPath, extra), body);
    pump();
    return status(id);
  };
  const std::string unmarshalling = "grpc: error unmarshalling request: unexpected EOF";
  EXPECT_EQ(raw(put), (Status{"0", ""}));
  EXPECT_EQ(raw(put + put), (Status{"0", ""}));
  EXPECT_EQ(raw(""), (Status{"2", "EOF"}));
  EXPECT_EQ(raw(put.substr(0, 3)), (Status{"2", "unexpected EOF"}));
  EXPECT_EQ(raw(put.substr(0, 7)), (Status{"2", "unexpected EOF"}));
  EXPECT_EQ(raw(grpc_frame("\xff\xff\xff\xff")), (Status{"13", unmarshalling}));
  EXPECT_EQ(raw(grpc_frame(BytesView("\x0a\x05"
                                     "ab"))),
            (Status{"13", unmarshalling}));
  EXPECT_EQ(raw("\1" + put.substr(1)),
            (Status{"13", "grpc: compressed flag set with identity or empty encoding"}));
  EXPECT_EQ(raw("\2" + put.substr(1)),
            (Status{"13", "grpc: received unexpected payload format 2"}));
  EXPECT_EQ(raw(put, {{"grpc-encoding", "gzip"}}),
            (Status{"12", "grpc: Decompressor is not installed for grpc-encoding \"gzip\""}));
  EXPECT_EQ(raw(grpc_frame(Bytes(3'000'000, 'x'))),
            (Status{"8", "grpc: received message larger than max (3000000 vs. 2097152)"}));
  EXPECT_EQ(ask("/x.Y/Z", ""), (Status{"12", "unknown service x.Y"}));
  EXPECT_EQ(ask("/etcdserverpb.KV/Zap", ""),
            (Status{"12", "unknown method Zap for service etcdserverpb.KV"}));
  EXPECT_EQ(ask("/etcdserverpb.Watch/Nothing", ""),
            (Status{"12", "unknown method Nothing for service etcdserverpb.Watch"}));
  EXPECT_EQ(ask("/foo", ""), (Status{"12", "malformed method name: \"/foo\""}));
  EXPECT_EQ(ask(kPutPath, "", {{"grpc-timeout", "abc"}}),
            (Status{"13", "malformed time-out: abc"}));
  pb::TxnRequest empty_operation;
  empty_operation.add_success();
  EXPECT_EQ(ask(kTxn, empty_operation.SerializeAsString()),
            (Status{"3", "etcdserver: key not found"}));
}

// As etcd 3.4.23 takes them, but for a sort target, which ends its process.
TEST_F(GrpcSessionTest, UnknownEnumNumbers) {
  pb::RangeRequest range;
  range.set_key("k");
  range.set_sort_target(pb::RangeRequest::VALUE);
  range.set_sort_order(static_cast<pb::RangeRequest::SortOrder>(7));
  call(kRangePath, range.SerializeAsString());
  range.set_sort_order(pb::RangeRequest::DESCEND);
  range.set_sort_target(static_cast<pb::RangeRequest::SortTarget>(7));
  EXPECT_EQ(ask(kRangePath, range.SerializeAsString()),
            (Status{"3", "etcdserver: invalid sort option"}));

  constexpr auto kUnknownResult = static_cast<pb::Compare::CompareResult>(9);
  constexpr auto kUnknownTarget = static_cast<pb::Compare::CompareTarget>(9);
  pb::TxnRequest txn;
  for (const auto& [result, target] : {std::pair{kUnknownResult, pb::Compare::VERSION},
                                       {kUnknownResult, pb::Compare::VALUE},
                                       {pb::Compare::EQUAL, kUnknownTarget},
                                       {pb::Compare::LESS, kUnknownTarget}}) {
    auto& compare = *txn.add_compare();
    compare.set_key("k");
    compare.set_version(5);
    compare.set_result(result);
    compare.set_target(target);
  }
  call(kTxn, txn.SerializeAsString());
  pump();
  ASSERT_EQ(calls_.size(), 2);
  const auto& sorted = std::get<api::RangeRequest>(calls_[0].request.body);
  EXPECT_EQ(sorted.sort_order, api::SortOrder::kAscend);
  EXPECT_EQ(sorted.sort_target, api::SortTarget::kKey);
  const auto& compares = std::get<api::TxnRequest>(calls_[1].request.body).compare;
  const auto version = [](api::CompareResult result, std::int64_t number) {
    return api::Compare{
        .result = result, .key = "k", .range_end = {}, .number = number, .value = {}};
  };
  const std::vector<api::Compare> wanted = {
      version(api::CompareResult::kGreater, -1),  // always
      version(api::CompareResult::kGreater, 0),   // if the key exists
      version(api::CompareResult::kGreater, -1),  // always
      version(api::CompareResult::kLess, 0)};     // never
  EXPECT_EQ(compares, wanted);
}

TEST_F(GrpcSessionTest, WhatIsNotGrpcGetsAnHttpStatus) {
  auto headers = grpc_headers(kPutPath);
  headers[4].second = "application/json";
  const auto json = client_.request(headers, "{}");
  headers = grpc_headers(kPutPath);
  headers[0].second = "GET";
  const auto get = client_.request(headers, "");
  pump();
  EXPECT_EQ(client_.answer(json).headers.at(":status"), "415");
  EXPECT_EQ(client_.answer(get).headers.at(":status"), "405");
}

TEST_F(GrpcSessionTest, AnOversizedMessageIsRefusedBeforeItHasArrived) {
  const auto id =
      client_.request(grpc_headers(kPutPath), BytesView("\0\x7f\xff\xff\xff", 5), /*more=*/true);
  pump();
  EXPECT_EQ(status(id),
            (Status{"8", "grpc: received message larger than max (2147483647 vs. 2097152)"}));
  EXPECT_EQ(ask(kRangePath, ""), (Status{"none", ""}));
  EXPECT_EQ(calls_.size(), 1) << "the connection goes on";
}

TEST_F(GrpcSessionTest, TheLargestMessagePasses) {
  SessionOptions options;
  options.max_request_bytes = 1'000;
  session_ = make_session(options, "test");
  const std::size_t max = options.max_message_bytes();
  const std::size_t overhead = put_message("k", Bytes(max - 100, 'x')).size() - (max - 100);
  call(kPutPath, put_message("k", Bytes(max - overhead, 'x')));
  pump();
  EXPECT_EQ(calls_.size(), 1);
  call(kPutPath, put_message("k", Bytes(max - overhead + 1, 'x')));
  pump();
  EXPECT_EQ(calls_.size(), 1);
}

TEST_F(GrpcSessionTest, ACancelledCallIsReportedOnceAndItsAnswerIgnored) {
  const auto id = call(kPutPath, put_message("k", "v"));
  pump();
  ASSERT_EQ(calls_.size(), 1);
  client_.reset(id);
  pump();
  EXPECT_EQ(cancelled_, (std::vector<api::CallId>{calls_[0].id}));
  respond(0, api::PutResponse{});
  EXPECT_EQ(client_.answer(id).body, "");
  answer_ = [](const api::Request&) { return api::PutResponse{}; };
  EXPECT_EQ(ask(kPutPath, put_message("k", "v")), (Status{"0", ""}));
  EXPECT_EQ(cancelled_.size(), 1);
}

// Each call is counted once when it begins and once when it ends, however it does.
TEST_F(GrpcSessionTest, CallsAreCounted) {
  CallCounts counts;
  session_ = make_session({.counts = &counts}, "test");
  const auto ended = [&](Method method, wire::GrpcCode code) {
    return counts.of(method).handled[static_cast<std::size_t>(code)];
  };
  answer_ = [](const api::Request&) { return api::PutResponse{}; };
  ask(kPutPath, put_message("k", "v"));
  answer_ = [](const api::Request&) { return api::Error{api::ErrorCode::kNoSpace, {}}; };
  ask(kPutPath, put_message("k", "v"));
  answer_ = {};
  const auto given_up = call(kPutPath, put_message("k", "v"));
  pump();
  client_.reset(given_up);
  call(kPutPath, "not a message");
  call("/etcdserverpb.KV/Nothing", put_message("k", "v"));
  const auto kept = client_.request(grpc_headers(kKeepAlive), keep_alive(7), true);
  pump();
  client_.send_more(kept, {}, false);
  pump();
  respond(calls_.size() - 1, api::LeaseKeepAliveResponse{7, 60});
  pump();
  EXPECT_EQ(counts.of(Method::kPut).started, 4);
  EXPECT_EQ(ended(Method::kPut, wire::GrpcCode::kOk), 1);
  EXPECT_EQ(ended(Method::kPut, wire::GrpcCode::kResourceExhausted), 1);
  EXPECT_EQ(ended(Method::kPut, wire::GrpcCode::kCancelled), 1);
  EXPECT_EQ(ended(Method::kPut, wire::GrpcCode::kInternal), 1);
  EXPECT_EQ(counts.of(Method::kLeaseKeepAlive).started, 1);
  EXPECT_EQ(ended(Method::kLeaseKeepAlive, wire::GrpcCode::kOk), 1);
  client_.request(grpc_headers("/etcdserverpb.Watch/Watch"), {}, true);
  client_.request(grpc_headers(kKeepAlive), keep_alive(7), true);
  pump();
  EXPECT_EQ(counts.of(Method::kWatch).started, 1);
  EXPECT_EQ(ended(Method::kWatch, wire::GrpcCode::kCancelled), 0);
  session_.reset();
  EXPECT_EQ(ended(Method::kWatch, wire::GrpcCode::kCancelled), 1);
  EXPECT_EQ(ended(Method::kLeaseKeepAlive, wire::GrpcCode::kCancelled), 1);
}

TEST_F(GrpcSessionTest, AnswersComeInAnyOrderAndOnlyOnce) {
  std::vector<std::int32_t> ids;
  for (int i = 0; i < 3; ++i) ids.push_back(call(kRangePath, range_message("k")));
  pump();
  for (const std::size_t i : {2u, 0u, 1u}) {
    respond(i, api::RangeResponse{{}, false, static_cast<std::int64_t>(i)});
    respond(i, api::RangeResponse{{}, false, 100});
  }
  for (std::size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(message<pb::RangeResponse>(ids[i]).count(), static_cast<std::int64_t>(i));
  }
}

TEST_F(GrpcSessionTest, RequestsWaitWhileTooManyAnswersAreUnsent) {
  // This client never opens its windows.
  Http2TestClient slow({.initial_window = 0, .automatic_window_updates = false});
  const auto first = slow.request(grpc_headers(kRangePath), grpc_frame(range_message("k")));
  api::Session::Effects effects;
  session_->on_bytes(slow.take_output(), effects);
  ASSERT_EQ(effects.calls.size(), 1);
  api::RangeResponse large;
  large.kvs.push_back({"k", Bytes(limits::kMaxUnsentBytes + 1, 'v'), 1, 1, 1, 0});
  session_->on_response(effects.calls[0].id, {kHeader, std::move(large)}, effects);

  slow.receive(effects.send);
  slow.request(grpc_headers(kRangePath), grpc_frame(range_message("k")));
  effects = {};
  session_->on_bytes(slow.take_output(), effects);
  EXPECT_TRUE(effects.calls.empty());

  slow.grant(first, 1 << 20);
  slow.take_output();
  slow.grant(first, 1 << 30);
  Bytes grants = slow.take_output();
  session_->on_bytes(grants, effects);
  EXPECT_EQ(effects.calls.size(), 1);
}

TEST_F(GrpcSessionTest, HealthCheck) {
  answer_ = [](const api::Request&) { return api::HealthResponse{true, ""}; };
  const auto good = call("/grpc.health.v1.Health/Check", "");
  pump();
  EXPECT_EQ(message<grpc::health::v1::HealthCheckResponse>(good).status(), 1);
  answer_ = [](const api::Request&) { return api::Error{api::ErrorCode::kNoLeader, ""}; };
  const auto bad = call("/grpc.health.v1.Health/Check", "");
  pump();
  EXPECT_EQ(message<grpc::health::v1::HealthCheckResponse>(bad).status(), 2);
  grpc::health::v1::HealthCheckRequest other;
  other.set_service("zap");
  EXPECT_EQ(ask("/grpc.health.v1.Health/Check", other.SerializeAsString()),
            (Status{"5", "unknown service"}));
}

TEST_F(GrpcSessionTest, Leases) {
  answer_ = [](const api::Request& request) -> api::Answer {
    if (const auto* grant = std::get_if<api::LeaseGrantRequest>(&request.body)) {
      EXPECT_EQ(grant->ttl_s, 60);
      return api::LeaseGrantResponse{7, 61};
    }
    if (const auto* ask = std::get_if<api::LeaseTimeToLiveRequest>(&request.body)) {
      return api::LeaseTimeToLiveResponse{ask->id, 5, 60, {"a", "b"}};
    }
    if (std::holds_alternative<api::LeaseLeasesRequest>(request.body)) {
      return api::LeaseLeasesResponse{{7, 8}};
    }
    return api::Error{api::ErrorCode::kLeaseNotFound, ""};
  };
  const auto text_of = [&](auto response, BytesView method, const auto& request) {
    const auto id =
        call(Bytes("/etcdserverpb.Lease/") + Bytes(method), request.SerializeAsString());
    pump();
    EXPECT_EQ(status(id), (Status{"0", ""}));
    response = message<decltype(response)>(id);
    response.clear_header();
    return response.ShortDebugString();
  };
  pb::LeaseGrantRequest grant;
  grant.set_ttl(60);
  EXPECT_EQ(text_of(pb::LeaseGrantResponse(), "LeaseGrant", grant), "ID: 7 TTL: 61");
  pb::LeaseTimeToLiveRequest ask;
  ask.set_id(7);
  ask.set_keys(true);
  EXPECT_EQ(text_of(pb::LeaseTimeToLiveResponse(), "LeaseTimeToLive", ask),
            "ID: 7 TTL: 5 grantedTTL: 60 keys: \"a\" keys: \"b\"");
  EXPECT_EQ(text_of(pb::LeaseLeasesResponse(), "LeaseLeases", pb::LeaseLeasesRequest()),
            "leases { ID: 7 } leases { ID: 8 }");
  EXPECT_EQ(ask_lease_revoke(), (Status{"5", "etcdserver: requested lease not found"}));
}

TEST_F(GrpcSessionTest, AStreamKeepsSeveralLeasesAliveAtATime) {
  const auto id = client_.request(grpc_headers(kKeepAlive), keep_alive(7), true);
  pump();
  client_.send_more(id, keep_alive(8) + keep_alive(9), true);
  pump();
  ASSERT_EQ(calls_.size(), 3);
  EXPECT_EQ(std::get<api::LeaseKeepAliveRequest>(calls_[2].request.body).id, 9);
  respond(1, api::LeaseKeepAliveResponse{8, 50});
  respond(0, api::LeaseKeepAliveResponse{7, 60});
  EXPECT_EQ(kept_alive(id), "8:50 7:60 ");
  client_.send_more(id, {}, false);
  pump();
  EXPECT_FALSE(client_.answer(id).ended) << "one is under way";
  respond(2, api::LeaseKeepAliveResponse{9, 0});
  EXPECT_EQ(kept_alive(id), "8:50 7:60 9:0 ");
  EXPECT_TRUE(client_.answer(id).ended);
  EXPECT_EQ(status(id), (Status{"0", ""}));
}

TEST_F(GrpcSessionTest, AStreamThatKeepsNothingAlive) {
  const auto id = client_.request(grpc_headers(kKeepAlive), {});
  pump();
  EXPECT_EQ(status(id), (Status{"0", ""}));
  const auto cut = client_.request(grpc_headers(kKeepAlive), keep_alive(7).substr(0, 6));
  pump();
  EXPECT_EQ(status(cut), (Status{"13", "unexpected EOF"}));
  EXPECT_TRUE(calls_.empty());
}

TEST_F(GrpcSessionTest, AStreamOfKeepAlivesEndsWithItsFirstError) {
  const auto id = client_.request(grpc_headers(kKeepAlive), keep_alive(7) + keep_alive(8), true);
  pump();
  respond(0, api::LeaseKeepAliveResponse{7, 60});
  respond(1, api::Error{api::ErrorCode::kNoLeader, ""});
  EXPECT_EQ(kept_alive(id), "7:60 ");
  EXPECT_EQ(status(id), (Status{"14", "etcdserver: no leader"}));
  pump();
  const auto garbage = client_.request(grpc_headers(kKeepAlive), grpc_frame("\xff"), true);
  pump();
  EXPECT_EQ(status(garbage).first, "13");
}

// More than one request may have: its client is held back, not cut off.
TEST_F(GrpcSessionTest, AStreamOfVeryManyKeepAlivesIsAnswered) {
  constexpr std::size_t kMany = 300'000;
  Bytes many;
  for (std::size_t i = 0; i < kMany; ++i) many += keep_alive(7);
  ASSERT_GT(many.size(), limits::kMaxRequestBytes + limits::kRequestOverheadBytes);
  const auto id = client_.request(grpc_headers(kKeepAlive), many, true);
  pump();
  for (std::size_t i = 0; i < kMany; ++i) {
    ASSERT_LT(i, calls_.size());
    respond(i, api::LeaseKeepAliveResponse{7, 60});
    if (i % 500 == 0) pump();
  }
  client_.send_more(id, {}, false);
  pump();
  EXPECT_EQ(calls_.size(), kMany);
  EXPECT_EQ(status(id), (Status{"0", ""}));
}

TEST_F(GrpcSessionTest, AStreamOfKeepAlivesIsNotReadBeyondItsBound) {
  Bytes many;
  for (int i = 0; i < 1'500; ++i) many += keep_alive(7);
  const auto id = client_.request(grpc_headers(kKeepAlive), many, true);
  pump();
  EXPECT_EQ(calls_.size(), 1'000);
  for (std::size_t i = 0; i < 600; ++i) respond(i, api::LeaseKeepAliveResponse{7, 60});
  EXPECT_EQ(calls_.size(), 1'500);
  client_.reset(id);
  pump();
  respond(700, api::LeaseKeepAliveResponse{7, 60});
  EXPECT_FALSE(closed_);
}

TEST_F(GrpcSessionTest, AStreamOfKeepAlivesMayRestForLong) {
  const auto id = client_.request(grpc_headers(kKeepAlive), keep_alive(7), true);
  pump();
  respond(0, api::LeaseKeepAliveResponse{7, 60});
  for (int second = 1; second < 300; second += 10) tick(second);
  EXPECT_FALSE(client_.answer(id).ended);
  api::Session::Effects effects;
  session_->on_shutdown(effects);
  settle(std::move(effects));
  EXPECT_EQ(status(id), (Status{"14", "etcdserver: server stopped"}));
}

TEST_F(GrpcSessionTest, AHealthWatchIsToldOfChangesUntilShutdown) {
  bool healthy = true;
  answer_ = [&](const api::Request&) { return api::HealthResponse{healthy, ""}; };
  const auto id = call("/grpc.health.v1.Health/Watch", "");
  pump();
  const Bytes serving = grpc_frame("\x08\x01");
  const Bytes not_serving = grpc_frame("\x08\x02");
  EXPECT_EQ(client_.answer(id).body, serving);
  tick(1);
  EXPECT_EQ(client_.answer(id).body, serving);
  healthy = false;
  tick(2);
  EXPECT_EQ(client_.answer(id).body, serving + not_serving);
  EXPECT_EQ(calls_.size(), 3);
  api::Session::Effects effects;
  session_->on_shutdown(effects);
  settle(std::move(effects));
  EXPECT_EQ(status(id), (Status{"14", "etcdserver: server stopped"}));
  EXPECT_TRUE(closed_);
}

TEST_F(GrpcSessionTest, ShutdownAnswersOpenCallsFirst) {
  const auto id = call(kPutPath, put_message("k", "v"));
  pump();
  api::Session::Effects effects;
  session_->on_shutdown(effects);
  settle(std::move(effects));
  EXPECT_EQ(client_.goaway_error(), 0);
  EXPECT_FALSE(closed_);
  respond(0, api::PutResponse{});
  EXPECT_EQ(status(id), (Status{"0", ""}));
  EXPECT_TRUE(closed_);
}

// Whatever was under way when the member said that it stops, its answers still come.
TEST_F(GrpcSessionTest, NewsAfterAStoppingMemberSaidSo) {
  struct Under {
    BytesView path;
    Bytes message;
    api::Answer answer;
    BytesView status;
  };
  const Bytes name("\x0a\x01n", 3);
  Under all[] = {
      {kKeepAlive, "\x08\x07", api::LeaseKeepAliveResponse{7, 60}, "14"},
      {"/etcdserverpb.Watch/Watch", Bytes("\x0a\x03\x0a\x01k", 5), {}, "14"},
      {"/v3electionpb.Election/Observe", name, {}, "14"},
      {"/v3lockpb.Lock/Lock", name, api::LockResponse{"n/7", 5}, "0"},
      {"/v3electionpb.Election/Campaign", name, api::CampaignResponse{}, "0"},
      {kRangePath, range_message("k"), api::RangeResponse{}, "0"},
      {"/etcdserverpb.Maintenance/Snapshot", {}, api::SnapshotResponse{LogIndex{5}, 0}, "0"},
      {"/grpc.health.v1.Health/Watch", {}, api::HealthResponse{true, ""}, "14"},
  };
  for (Under& under : all) {
    SCOPED_TRACE(under.path);
    session_ = make_session({}, "test");
    Http2TestClient client;
    const bool is_open = under.path == kKeepAlive || under.path.ends_with("Watch/Watch");
    const auto stream =
        client.request(grpc_headers(under.path), grpc_frame(under.message), is_open);
    api::Session::Effects effects;
    session_->on_bytes(client.take_output(), effects);
    ASSERT_EQ(effects.calls.size() + effects.watches.size(), 1);
    const auto id = effects.calls.empty() ? effects.watches[0].feed : effects.calls[0].id;
    session_->on_shutdown(effects);
    const bool is_told = under.status == "14" && !under.path.ends_with("Health/Watch");
    EXPECT_EQ(effects.close, is_told);
    if (is_told || under.path == kRangePath) {
      EXPECT_EQ(session_->on_part(id, kHeader, {}, effects), !is_told);
    }
    EXPECT_FALSE(session_->on_watch(id, kHeader, api::WatchCreated{0}, effects));
    session_->on_drained(effects);
    session_->on_tick(Instant{} + seconds(1), effects);
    session_->on_response(id, {kHeader, std::move(under.answer)}, effects);
    EXPECT_TRUE(client.receive(effects.send));
    EXPECT_EQ(client.answer(stream).trailers.at("grpc-status"), under.status);
    EXPECT_TRUE(effects.close);
  }
}

TEST_F(GrpcSessionTest, AHealthWatchThatIsAnsweredAfterShutdownEnds) {
  const auto id = call("/grpc.health.v1.Health/Watch", "");
  pump();
  api::Session::Effects effects;
  session_->on_shutdown(effects);
  settle(std::move(effects));
  respond(0, api::HealthResponse{true, ""});
  EXPECT_EQ(status(id), (Status{"14", "etcdserver: server stopped"}));
  EXPECT_TRUE(closed_);
}

// Not with whatever happens next on the connection.
TEST_F(GrpcSessionTest, WhatWaitedForRoomIsAnsweredAsSoonAsThereIsSome) {
  Http2TestClient slow({.initial_window = 0, .automatic_window_updates = false});
  const auto first = slow.request(grpc_headers(kRangePath), grpc_frame(range_message("k")));
  api::Session::Effects effects;
  session_->on_bytes(slow.take_output(), effects);
  api::RangeResponse large;
  large.kvs.push_back({"k", Bytes(limits::kMaxUnsentBytes + 1, 'v'), 1, 1, 1, 0});
  session_->on_response(effects.calls[0].id, {kHeader, std::move(large)}, effects);
  const auto bad = slow.request(grpc_headers(kKeepAlive), grpc_frame("\xff"), true);
  session_->on_bytes(slow.take_output(), effects);
  slow.receive(std::exchange(effects.send, {}));
  EXPECT_FALSE(slow.answer(bad).ended);

  slow.grant(bad, 1);
  slow.grant(first, 1 << 20);
  session_->on_bytes(slow.take_output(), effects);
  EXPECT_LT(session_->held_bytes(), limits::kMaxUnsentBytes);
  while (!effects.send.empty()) {
    EXPECT_TRUE(slow.receive(std::exchange(effects.send, {})));
    session_->on_drained(effects);
  }
  EXPECT_TRUE(slow.answer(bad).ended);
}

TEST(SessionOpening, SilenceAndGarbageAreClosed) {
  for (const BytesView opening : {BytesView(""), BytesView("PRI * HT")}) {
    auto session = make_session({}, "10.0.0.1:5");
    api::Session::Effects effects;
    session->on_bytes(opening, effects);
    session->on_tick(Instant{} + seconds(1), effects);
    EXPECT_FALSE(effects.close);
    session->on_tick(Instant{} + seconds(31), effects);
    EXPECT_TRUE(effects.close);
    EXPECT_EQ(effects.close_reason, "10.0.0.1:5: nothing recognizable was sent in time");
  }
  auto session = make_session({}, "10.0.0.1:5");
  api::Session::Effects effects;
  session->on_bytes(Bytes("\x15\x03\x01\x02\x00\x01garbage\r\n\r\n", 17), effects);
  EXPECT_TRUE(effects.close);
  EXPECT_TRUE(effects.send.starts_with("HTTP/1.1 400 Bad Request"));
}

TEST(SessionOpening, TlsIsToldApart) {
  auto session = make_session({}, "10.0.0.1:5");
  api::Session::Effects effects;
  session->on_bytes("\x16\x03\x01", effects);
  EXPECT_TRUE(effects.close);
  EXPECT_EQ(effects.close_reason, "10.0.0.1:5: it speaks TLS, and this address is one without");
}

api::RangeResponse keys(int first, int count, std::size_t value_bytes = 1) {
  api::RangeResponse range;
  for (int i = first; i < first + count; ++i) {
    range.kvs.push_back({"k" + std::to_string(i), Bytes(value_bytes, 'v'), i + 1, i + 2, i % 3, 0});
  }
  return range;
}

TEST_F(GrpcSessionTest, ARangeThatComesInParts) {
  const auto id = call(kRangePath, {});
  pump();
  api::Session::Effects effects;
  EXPECT_TRUE(session_->on_part(calls_[0].id, kHeader, keys(0, 3).kvs, effects));
  EXPECT_TRUE(session_->on_part(calls_[0].id, kHeader, keys(3, 2).kvs, effects));
  EXPECT_TRUE(effects.send.empty());
  EXPECT_GT(session_->held_bytes(), 0);
  api::RangeResponse last = keys(5, 1);
  last.more = true;
  last.count = 9;
  respond(0, last);
  pump();
  api::RangeResponse whole = keys(0, 6);
  whole.more = true;
  whole.count = 9;
  const auto at_once = call(kRangePath, {});
  pump();
  respond(1, whole);
  pump();
  EXPECT_EQ(status(id), (Status{"0", ""}));
  EXPECT_EQ(message<pb::RangeResponse>(id).ShortDebugString(),
            message<pb::RangeResponse>(at_once).ShortDebugString());
  EXPECT_EQ(session_->held_bytes(), 0);
}

TEST_F(GrpcSessionTest, ARangeThatFailsAfterSomePartsIsAnError) {
  const auto id = call(kRangePath, {});
  pump();
  api::Session::Effects effects;
  EXPECT_TRUE(session_->on_part(calls_[0].id, kHeader, keys(0, 3).kvs, effects));
  respond(0, api::Error{api::ErrorCode::kTimeout, {}});
  pump();
  EXPECT_EQ(status(id).first, "14");
  EXPECT_EQ(session_->held_bytes(), 0);
  EXPECT_FALSE(session_->on_part(calls_[0].id, kHeader, keys(0, 3).kvs, effects));
}

// However large the client's windows are.
TEST_F(GrpcSessionTest, TheConnectionGetsALargeAnswerAsItDrains) {
  const auto id = call(kRangePath, {});
  pump();
  api::Session::Effects effects;
  for (int i = 0; i < 20; ++i) {
    session_->on_part(calls_[0].id, kHeader, keys(i, 1, 1 << 20).kvs, effects);
  }
  session_->on_response(calls_[0].id, {kHeader, keys(20, 1)}, effects);
  EXPECT_LT(effects.send.size(), limits::kSendAheadBytes + (1 << 20));
  EXPECT_GT(session_->held_bytes(), 15 << 20);
  settle(std::move(effects));
  pump();
  for (int drains = 0; session_->held_bytes() > 0 && drains < 100; ++drains) {
    api::Session::Effects full;
    full.unsent = limits::kSendAheadBytes;
    session_->on_drained(full);
    EXPECT_TRUE(full.send.empty());
    api::Session::Effects drained;
    session_->on_drained(drained);
    settle(std::move(drained));
    pump();
  }
  EXPECT_EQ(message<pb::RangeResponse>(id).kvs_size(), 21);
}

}  // namespace
}  // namespace conclave::etcd
