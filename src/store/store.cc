#include "store/store.h"

#include <algorithm>

#include "base/check.h"
#include "store/history_hash.h"
#include "store/permissions.h"
#include "store/snapshot.h"
#include "store/state.h"
#include "store/znode_reconfig.h"
#include "store/znode_tree.h"
#include "store/znodes.h"

namespace conclave::store {

Store::Store(Limits limits) : state_(std::make_unique<StoreState>(limits)) {
  state_->facts.update_digest();
  state_->hash = state_->compute_hash();
}

Store::~Store() = default;
Store::Store(Store&&) noexcept = default;
Store& Store::operator=(Store&&) noexcept = default;

LogIndex Store::applied_index() const { return state_->applied_index; }
Epoch Store::applied_epoch() const { return state_->applied_epoch; }
Stamp Store::stamp() const { return state_->stamp; }
api::Revision Store::revision() const { return state_->mvcc.revision(); }
api::Revision Store::compact_revision() const {
  return std::max<Revision>(state_->mvcc.compacted(), 0);
}
std::uint64_t Store::hash() const { return state_->hash; }
std::uint64_t Store::key_count() const { return state_->mvcc.key_count(); }
std::uint64_t Store::size_in_use_bytes() const { return state_->mvcc.size_in_use_bytes(); }

std::uint64_t Store::size_bytes() const {
  return state_->mvcc.size_bytes() + state_->request_ids.size_bytes() + state_->leases.size_bytes();
}

std::size_t Store::lease_count() const { return state_->leases.count(); }
const LeaseCounts& Store::lease_counts() const { return state_->lease_counts; }

std::optional<Stamp> Store::next_lease_deadline() const {
  const LeaseTable::Deadlines& deadlines = state_->leases.deadlines();
  if (deadlines.empty()) return std::nullopt;
  return deadlines.begin()->first;
}

void Store::want_znode_news(bool wanted) { state_->wants_znode_news = wanted; }
void Store::want_znode_changes(bool wanted) { state_->wants_znode_changes = wanted; }

api::zk::Code Store::check_session(const api::zk::Caller& caller) const {
  return store::check_session(*state_, caller);
}

std::optional<api::zk::Stat> Store::find_znode(BytesView path) const {
  const auto node = stored_node(state_->mvcc, path);
  return node ? std::optional(ZnodeTree::stat(*node)) : std::nullopt;
}

api::zk::Counts Store::znode_counts() const { return counts(*state_); }
api::zk::SessionDump Store::dump_sessions() const { return store::dump_sessions(*state_); }

bool Store::has_timed_znodes() const { return state_->mvcc.sizes(Keyspace::kZnodeTimed).keys != 0; }

ReapZnodes Store::find_reapable(Stamp now, std::size_t max_looks, Bytes& from) const {
  return store::find_reapable(*state_, now, max_looks, from);
}

std::expected<std::vector<ReconfigStep>, api::zk::Code> Store::plan(
    const api::zk::ReconfigRequest& request) const {
  return plan_reconfig(*state_, request);
}

const Auth& Store::auth() const { return state_->auth; }

std::optional<api::Error> Store::denial(const api::Request& request) const {
  const auto code = store::denial(*state_, request);
  if (!code) return std::nullopt;
  return api::Error{*code, {}};
}

std::optional<api::ErrorCode> Store::watch_denial(const std::string& user, BytesView key,
                                                  BytesView range_end) const {
  if (!state_->auth.is_enabled()) return std::nullopt;
  return state_->auth.check_now(user, key, range_end);
}

const std::vector<api::Member>& Store::members() const { return state_->facts.members; }

bool Store::founded() const { return state_->facts.founded; }

const std::vector<NodeId>& Store::removed() const { return state_->facts.removed; }

bool Store::was_removed(NodeId member) const {
  return std::ranges::find(state_->facts.removed, member) != state_->facts.removed.end();
}

std::uint64_t Store::directory_of(NodeId member) const {
  const auto told = state_->facts.directories.find(member);
  return told == state_->facts.directories.end() ? 0 : told->second;
}

std::string Store::zookeeper_address_of(NodeId member) const {
  const auto told = state_->facts.zookeeper.find(member);
  return told == state_->facts.zookeeper.end() ? "" : told->second;
}

std::uint64_t Store::facts_digest() const { return state_->facts.digest; }

std::vector<std::pair<NodeId, Alarm>> Store::alarms() const {
  return {state_->facts.alarms.begin(), state_->facts.alarms.end()};
}

bool Store::has_alarm(NodeId member, Alarm alarm) const {
  return state_->facts.alarms.contains(std::pair(member, alarm));
}

bool Store::is_raised(Alarm alarm) const {
  return std::ranges::any_of(state_->facts.alarms,
                             [alarm](const auto& raised) { return raised.second == alarm; });
}

void Store::begin_new_cluster(LogIndex index, Epoch epoch, bool keeps_data) {
  CHECK(!state_->is_snapshot_open);
  if (!keeps_data) {
    auto empty = std::make_unique<StoreState>(state_->limits);
    empty->stamp = state_->stamp;
    state_ = std::move(empty);
  }
  state_->request_ids = RequestIds();
  state_->facts = ClusterFacts();
  state_->facts.update_digest();
  state_->applied_epoch = epoch;
  state_->hashes = HashRing();
  state_->advance(index);
}

bool Store::reclaim(std::size_t max_revisions, api::Revision newest) {
  const auto& reads = state_->read_revisions;
  if (!reads.empty()) newest = std::min(newest, *reads.begin());
  return state_->mvcc.reclaim(state_->is_snapshot_open ? 0 : max_revisions, newest);
}

api::Revision Store::reclaimed_revision() const {
  return std::max<Revision>(state_->mvcc.reclaimed(), 0);
}

std::expected<std::unique_ptr<HistoryHash>, api::Error> Store::begin_history_hash(
    api::Revision revision) {
  const Mvcc& mvcc = state_->mvcc;
  if (revision > mvcc.revision()) {
    return std::unexpected(api::Error{api::ErrorCode::kFutureRevision, {}});
  }
  if (revision > 0 && revision <= mvcc.compacted()) {
    return std::unexpected(api::Error{api::ErrorCode::kCompacted, {}});
  }
  return std::make_unique<HistoryHash>(*state_, revision > 0 ? revision : mvcc.revision());
}

std::unique_ptr<SnapshotWriter> Store::begin_snapshot() {
  return std::make_unique<SnapshotWriter>(*this);
}

}  // namespace conclave::store
