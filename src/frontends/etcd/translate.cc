#include "frontends/etcd/translate.h"

#include <algorithm>
#include <iterator>
#include <utility>

namespace conclave::etcd {
namespace {

using api::ErrorCode;

std::unexpected<api::Error> refused(ErrorCode code, std::string detail = {}) {
  return std::unexpected(api::Error{code, std::move(detail)});
}

// proto3 lets any number through; ours have the same numbers as etcd's.
template <class To, class From>
To same_number(From from) {
  return static_cast<To>(static_cast<int>(from));
}

// What etcd's switches over an unknown result or target come to: with an unknown result a compare
// holds, but a compare of the value of a key that does not exist; with an unknown target both sides
// count as equal.
void compare_unknown(const pb::Compare& from, api::Compare& to) {
  const bool known_result = pb::Compare::CompareResult_IsValid(from.result());
  const bool holds = !known_result || from.result() == pb::Compare::EQUAL;
  const bool needs_key = !known_result && from.target() == pb::Compare::VALUE;
  // Versions are never negative, and 0 where there is no key.
  to.target = api::CompareTarget::kVersion;
  to.result = holds ? api::CompareResult::kGreater : api::CompareResult::kLess;
  to.number = !holds ? 0 : needs_key ? 0 : -1;
}

Translated<api::Compare> to_compare(pb::Compare& from) {
  api::Compare to;
  to.key = std::move(*from.mutable_key());
  to.range_end = std::move(*from.mutable_range_end());
  if (!pb::Compare::CompareResult_IsValid(from.result()) ||
      !pb::Compare::CompareTarget_IsValid(from.target())) {
    compare_unknown(from, to);
    return to;
  }
  to.result = same_number<api::CompareResult>(from.result());
  to.target = same_number<api::CompareTarget>(from.target());
  // An operand of another kind than the target counts as absent, as in etcd.
  switch (to.target) {
    case api::CompareTarget::kVersion:
      to.number = from.version();
      break;
    case api::CompareTarget::kCreate:
      to.number = from.create_revision();
      break;
    case api::CompareTarget::kMod:
      to.number = from.mod_revision();
      break;
    case api::CompareTarget::kLease:
      to.number = from.lease();
      break;
    case api::CompareTarget::kValue:
      if (from.has_value()) to.value = std::move(*from.mutable_value());
      break;
  }
  return to;
}

template <class T>
Translated<api::Operation> operation_of(Translated<T> translated) {
  if (!translated) return std::unexpected(translated.error());
  return api::Operation{std::move(*translated)};
}

Translated<api::Operation> to_operation(pb::RequestOp& from) {
  switch (from.request_case()) {
    case pb::RequestOp::kRequestRange:
      return operation_of(to_api(*from.mutable_request_range()));
    case pb::RequestOp::kRequestPut:
      return operation_of(to_api(*from.mutable_request_put()));
    case pb::RequestOp::kRequestDeleteRange:
      return operation_of(to_api(*from.mutable_request_delete_range()));
    case pb::RequestOp::kRequestTxn: {
      auto nested = to_api(*from.mutable_request_txn());
      if (!nested) return std::unexpected(nested.error());
      return api::Operation{std::make_unique<api::TxnRequest>(std::move(*nested))};
    }
    case pb::RequestOp::REQUEST_NOT_SET:
      break;
  }
  return refused(ErrorCode::kKeyNotFound);  // what etcd answers to an empty operation
}

// Appends the translation of all of `from`; the first failure ends it.
template <class From, class To, class Translate>
Translated<void> append_all(From& from, To& to, Translate translate) {
  to.reserve(static_cast<std::size_t>(from.size()));
  for (auto& item : from) {
    auto translated = translate(item);
    if (!translated) return std::unexpected(translated.error());
    to.push_back(std::move(*translated));
  }
  return {};
}

void to_key_value(api::KeyValue& from, mvccpb::KeyValue& to) {
  to.set_key(std::move(from.key));
  to.set_value(std::move(from.value));
  to.set_create_revision(from.create_revision);
  to.set_mod_revision(from.mod_revision);
  to.set_version(from.version);
  to.set_lease(from.lease);
}

bool changes(const api::TxnResponse& txn);

bool changes(const api::OperationResult& operation) {
  if (std::holds_alternative<api::PutResponse>(operation.result)) return true;
  if (const auto* deleted = std::get_if<api::DeleteRangeResponse>(&operation.result)) {
    return deleted->deleted > 0;
  }
  const auto* nested = std::get_if<std::unique_ptr<api::TxnResponse>>(&operation.result);
  return nested != nullptr && changes(**nested);
}

bool changes(const api::TxnResponse& txn) {
  return std::ranges::any_of(txn.results, [](const auto& result) { return changes(result); });
}

// Translates the results of a transaction in order. Each carries the revision that it saw or made:
// the one before the transaction until its first change, the transaction's own from there on.
// Nested transactions carry none.
class ResultTranslator {
 public:
  ResultTranslator(api::Revision before, api::Revision after) : now_(before), after_(after) {}

  void all(api::TxnResponse& from, pb::TxnResponse& to) {
    to.set_succeeded(from.succeeded);
    for (api::OperationResult& operation : from.results) {
      pb::ResponseOp& entry = *to.add_responses();
      if (auto* nested = std::get_if<std::unique_ptr<api::TxnResponse>>(&operation.result)) {
        entry.mutable_response_txn()->mutable_header();
        all(**nested, *entry.mutable_response_txn());
        continue;
      }
      if (changes(operation)) now_ = after_;
      std::visit([&](auto& result) { one(result, entry); }, operation.result);
    }
  }

 private:
  template <class From, class To>
  void fill(From& from, To& to) {
    to.mutable_header()->set_revision(now_);
    to_proto(from, to);
  }
  void one(api::RangeResponse& from, pb::ResponseOp& to) {
    fill(from, *to.mutable_response_range());
  }
  void one(api::PutResponse& from, pb::ResponseOp& to) { fill(from, *to.mutable_response_put()); }
  void one(api::DeleteRangeResponse& from, pb::ResponseOp& to) {
    fill(from, *to.mutable_response_delete_range());
  }
  void one(std::unique_ptr<api::TxnResponse>&, pb::ResponseOp&) {}

  api::Revision now_;
  api::Revision after_;
};

void to_member(api::Member& from, pb::Member& to) {
  to.set_id(from.id.value);
  to.set_name(std::move(from.name));
  for (std::string& url : from.peer_urls) to.add_peerurls(std::move(url));
  for (std::string& url : from.client_urls) to.add_clienturls(std::move(url));
  to.set_islearner(from.is_learner);
  to.set_iswitness(from.is_witness);
}

template <class Message>
void add_members(std::vector<api::Member>& from, Message& to) {
  for (api::Member& member : from) to_member(member, *to.add_members());
}

api::LeaderKey to_leader_key(v3electionpb::LeaderKey& from) {
  return {std::move(*from.mutable_name()), std::move(*from.mutable_key()), from.rev(),
          from.lease()};
}

std::vector<std::string> texts_of(google::protobuf::RepeatedPtrField<std::string>& from) {
  return {std::move_iterator(from.begin()), std::move_iterator(from.end())};
}

}  // namespace

Translated<api::RangeRequest> to_api(pb::RangeRequest& from) {
  // To etcd an unknown order is none at all, whatever the target. (An unknown target ends it.)
  if (!pb::RangeRequest::SortOrder_IsValid(from.sort_order())) {
    from.set_sort_order(pb::RangeRequest::ASCEND);
    from.set_sort_target(pb::RangeRequest::KEY);
  }
  if (!pb::RangeRequest::SortTarget_IsValid(from.sort_target())) {
    return refused(ErrorCode::kInvalidSortOption);
  }
  api::RangeRequest to;
  to.key = std::move(*from.mutable_key());
  to.range_end = std::move(*from.mutable_range_end());
  to.limit = from.limit();
  to.revision = from.revision();
  to.sort_order = same_number<api::SortOrder>(from.sort_order());
  to.sort_target = same_number<api::SortTarget>(from.sort_target());
  to.serializable = from.serializable();
  to.keys_only = from.keys_only();
  to.count_only = from.count_only();
  to.min_mod_revision = from.min_mod_revision();
  to.max_mod_revision = from.max_mod_revision();
  to.min_create_revision = from.min_create_revision();
  to.max_create_revision = from.max_create_revision();
  return to;
}

Translated<api::PutRequest> to_api(pb::PutRequest& from) {
  api::PutRequest to;
  to.key = std::move(*from.mutable_key());
  to.value = std::move(*from.mutable_value());
  to.lease = from.lease();
  to.prev_kv = from.prev_kv();
  to.ignore_value = from.ignore_value();
  to.ignore_lease = from.ignore_lease();
  return to;
}

Translated<api::DeleteRangeRequest> to_api(pb::DeleteRangeRequest& from) {
  return api::DeleteRangeRequest{std::move(*from.mutable_key()),
                                 std::move(*from.mutable_range_end()), from.prev_kv()};
}

Translated<api::TxnRequest> to_api(pb::TxnRequest& from) {
  api::TxnRequest to;
  if (auto done = append_all(*from.mutable_compare(), to.compare, to_compare); !done) {
    return std::unexpected(done.error());
  }
  if (auto done = append_all(*from.mutable_success(), to.success, to_operation); !done) {
    return std::unexpected(done.error());
  }
  if (auto done = append_all(*from.mutable_failure(), to.failure, to_operation); !done) {
    return std::unexpected(done.error());
  }
  return to;
}

Translated<api::CompactRequest> to_api(pb::CompactionRequest& from) {
  return api::CompactRequest{from.revision(), from.physical()};
}

Translated<api::MemberAddRequest> to_api(pb::MemberAddRequest& from) {
  return api::MemberAddRequest{.peer_urls = texts_of(*from.mutable_peerurls()),
                               .is_learner = from.islearner(),
                               .replaces = NodeId{from.replaces()},
                               .id = {}};
}

Translated<api::MemberRemoveRequest> to_api(pb::MemberRemoveRequest& from) {
  return api::MemberRemoveRequest{NodeId{from.id()}};
}

Translated<api::MemberUpdateRequest> to_api(pb::MemberUpdateRequest& from) {
  return api::MemberUpdateRequest{NodeId{from.id()}, texts_of(*from.mutable_peerurls())};
}

Translated<api::MemberPromoteRequest> to_api(pb::MemberPromoteRequest& from) {
  return api::MemberPromoteRequest{NodeId{from.id()}};
}

Translated<api::LeaseGrantRequest> to_api(pb::LeaseGrantRequest& from) {
  return api::LeaseGrantRequest{.ttl_s = from.ttl(), .id = from.id()};
}

Translated<api::LeaseRevokeRequest> to_api(pb::LeaseRevokeRequest& from) {
  return api::LeaseRevokeRequest{.id = from.id()};
}

Translated<api::LeaseKeepAliveRequest> to_api(pb::LeaseKeepAliveRequest& from) {
  return api::LeaseKeepAliveRequest{.id = from.id()};
}

Translated<api::LeaseTimeToLiveRequest> to_api(pb::LeaseTimeToLiveRequest& from) {
  return api::LeaseTimeToLiveRequest{.id = from.id(), .keys = from.keys()};
}

// Unknown actions do nothing in etcd, and an activation of an unknown alarm ends it.
Translated<api::AlarmRequest> to_api(pb::AlarmRequest& from) {
  using Action = api::AlarmRequest::Action;
  const bool is_known = pb::AlarmType_IsValid(from.alarm());
  if (!pb::AlarmRequest::AlarmAction_IsValid(from.action()) ||
      (from.action() == pb::AlarmRequest::ACTIVATE && (!is_known || from.alarm() == pb::NONE))) {
    return refused(ErrorCode::kInvalidAlarm);
  }
  return api::AlarmRequest{
      .action = same_number<Action>(from.action()),
      .member = NodeId{from.memberid()},
      .type = is_known ? same_number<api::AlarmType>(from.alarm()) : api::AlarmType::kNone};
}

Translated<api::MoveLeaderRequest> to_api(pb::MoveLeaderRequest& from) {
  return api::MoveLeaderRequest{NodeId{from.targetid()}};
}

Translated<api::SnapshotRequest> to_api(pb::SnapshotRequest& from) {
  return api::SnapshotRequest{.serializable = from.serializable()};
}

Translated<api::HashKvRequest> to_api(pb::HashKVRequest& from) {
  return api::HashKvRequest{from.revision()};
}

Translated<api::LockRequest> to_api(v3lockpb::LockRequest& from) {
  return api::LockRequest{std::move(*from.mutable_name()), from.lease()};
}

// etcd deletes the key and looks at nothing else.
Translated<api::DeleteRangeRequest> to_api(v3lockpb::UnlockRequest& from) {
  return api::DeleteRangeRequest{std::move(*from.mutable_key()), {}, false};
}

Translated<api::CampaignRequest> to_api(v3electionpb::CampaignRequest& from) {
  return api::CampaignRequest{std::move(*from.mutable_name()), from.lease(),
                              std::move(*from.mutable_value())};
}

Translated<api::ProclaimRequest> to_api(v3electionpb::ProclaimRequest& from) {
  return api::ProclaimRequest{to_leader_key(*from.mutable_leader()),
                              std::move(*from.mutable_value())};
}

Translated<api::LeaderRequest> to_api(v3electionpb::LeaderRequest& from) {
  return api::LeaderRequest{std::move(*from.mutable_name())};
}

Translated<api::ResignRequest> to_api(v3electionpb::ResignRequest& from) {
  return api::ResignRequest{to_leader_key(*from.mutable_leader())};
}

void to_proto(api::RangeResponse& from, pb::RangeResponse& to) {
  to.mutable_kvs()->Reserve(static_cast<int>(from.kvs.size()));
  for (api::KeyValue& kv : from.kvs) to_key_value(kv, *to.add_kvs());
  to.set_more(from.more);
  to.set_count(from.count);
}

void to_proto(api::PutResponse& from, pb::PutResponse& to) {
  if (from.prev_kv) to_key_value(*from.prev_kv, *to.mutable_prev_kv());
}

void to_proto(api::DeleteRangeResponse& from, pb::DeleteRangeResponse& to) {
  to.set_deleted(from.deleted);
  for (api::KeyValue& kv : from.prev_kvs) to_key_value(kv, *to.add_prev_kvs());
}

void to_proto(api::TxnResponse& from, api::Revision revision, pb::TxnResponse& to) {
  const api::Revision before = changes(from) ? revision - 1 : revision;
  ResultTranslator(before, revision).all(from, to);
}

void to_proto(const api::LeaseGrantResponse& from, pb::LeaseGrantResponse& to) {
  to.set_id(from.id);
  to.set_ttl(from.ttl_s);
}

void to_proto(const api::LeaseRevokeResponse&, pb::LeaseRevokeResponse&) {}

void to_proto(const api::LeaseKeepAliveResponse& from, pb::LeaseKeepAliveResponse& to) {
  to.set_id(from.id);
  to.set_ttl(from.ttl_s);
}

void to_proto(api::LeaseTimeToLiveResponse& from, pb::LeaseTimeToLiveResponse& to) {
  to.set_id(from.id);
  to.set_ttl(from.ttl_s);
  to.set_grantedttl(from.granted_ttl_s);
  for (Bytes& key : from.keys) to.add_keys(std::move(key));
}

void to_proto(const api::LeaseLeasesResponse& from, pb::LeaseLeasesResponse& to) {
  to.mutable_leases()->Reserve(static_cast<int>(from.ids.size()));
  for (const api::LeaseId id : from.ids) to.add_leases()->set_id(id);
}

void to_proto(api::LockResponse& from, v3lockpb::LockResponse& to) {
  to.set_key(std::move(from.key));
}

void to_proto(api::CampaignResponse& from, v3electionpb::CampaignResponse& to) {
  v3electionpb::LeaderKey& leader = *to.mutable_leader();
  leader.set_name(std::move(from.leader.name));
  leader.set_key(std::move(from.leader.key));
  leader.set_rev(from.leader.revision);
  leader.set_lease(from.leader.lease);
}

void to_proto(const api::ProclaimResponse&, v3electionpb::ProclaimResponse&) {}

void to_proto(api::LeaderResponse& from, v3electionpb::LeaderResponse& to) {
  to_key_value(from.kv, *to.mutable_kv());
}

void to_proto(const api::ResignResponse&, v3electionpb::ResignResponse&) {}

void to_proto(api::MemberListResponse& from, pb::MemberListResponse& to) {
  add_members(from.members, to);
}

void to_proto(api::MemberChangeResponse& from, pb::MemberAddResponse& to) {
  if (from.member) to_member(*from.member, *to.mutable_member());
  add_members(from.members, to);
}

void to_proto(api::MemberChangeResponse& from, pb::MemberRemoveResponse& to) {
  add_members(from.members, to);
}

void to_proto(api::MemberChangeResponse& from, pb::MemberUpdateResponse& to) {
  add_members(from.members, to);
}

void to_proto(api::MemberChangeResponse& from, pb::MemberPromoteResponse& to) {
  add_members(from.members, to);
}

void to_proto(api::StatusResponse& from, pb::StatusResponse& to) {
  to.set_version(std::move(from.version));
  to.set_dbsize(from.db_size_bytes);
  to.set_dbsizeinuse(from.db_size_in_use_bytes);
  to.set_leader(from.leader.value);
  to.set_raftindex(from.raft_index.value);
  to.set_raftappliedindex(from.applied_index.value);
  to.set_raftterm(from.raft_term.value);
  to.set_islearner(from.is_learner);
  to.set_role(std::move(from.role));
  to.set_state_hash(from.state_hash);
  for (std::string& error : from.errors) to.add_errors(std::move(error));
  for (api::StatusResponse::Peer& peer : from.peers) {
    pb::StatusResponse::Peer& entry = *to.add_peers();
    entry.set_id(peer.id.value);
    entry.set_match(peer.match.value);
    entry.set_state(std::move(peer.state));
    entry.set_active(peer.active);
  }
}

void to_proto(const api::AlarmResponse& from, pb::AlarmResponse& to) {
  for (const api::Alarm& alarm : from.alarms) {
    pb::AlarmMember& entry = *to.add_alarms();
    entry.set_memberid(alarm.member.value);
    entry.set_alarm(same_number<pb::AlarmType>(alarm.type));
  }
}

void to_proto(const api::HashResponse& from, pb::HashResponse& to) { to.set_hash(from.hash); }

void to_proto(const api::HashKvResponse& from, pb::HashKVResponse& to) {
  to.set_hash(from.hash);
  to.set_compact_revision(from.compact_revision);
}

void to_proto(const api::Header& from, pb::ResponseHeader& to) {
  to.set_cluster_id(from.cluster.value);
  to.set_member_id(from.member.value);
  to.set_revision(from.revision);
  to.set_raft_term(from.epoch.value);
}

}  // namespace conclave::etcd
