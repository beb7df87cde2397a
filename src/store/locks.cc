#include "store/locks.h"

#include <fmt/format.h>

#include "base/check.h"

namespace conclave::store {
namespace {

using api::ErrorCode;

// `<name>/<lease in hex>`
Bytes key_of(BytesView name, api::LeaseId lease) {
  const auto digits = static_cast<std::uint64_t>(lease);
  return lease < 0 ? fmt::format("{}/-{:x}", name, -digits) : fmt::format("{}/{:x}", name, digits);
}

api::Compare created_at(BytesView key, api::Revision revision) {
  api::Compare compare;
  compare.target = api::CompareTarget::kCreate;
  compare.key = key;
  compare.number = revision;
  return compare;
}

api::Operation put(BytesView key, BytesView value, api::LeaseId lease) {
  api::PutRequest put;
  put.key = key;
  put.value = value;
  put.lease = lease;
  return {std::move(put)};
}

api::Operation get(BytesView key) {
  api::RangeRequest range;
  range.key = key;
  return {std::move(range)};
}

// Deletes the key that was created at `own.revision`, and no later one of that name.
api::TxnRequest removal(const api::LeaderKey& own) {
  api::TxnRequest txn;
  txn.compare.push_back(created_at(own.key, own.revision));
  txn.success.push_back({api::DeleteRangeRequest{own.key, {}, false}});
  return txn;
}

// The first key of the one range in an answer; nullptr if there is none.
api::KeyValue* first_key(api::Response& response) {
  if (auto* txn = std::get_if<api::TxnResponse>(&response.answer)) {
    auto* found = std::get_if<api::RangeResponse>(&txn->results.front().result);
    return found == nullptr || found->kvs.empty() ? nullptr : &found->kvs.front();
  }
  auto* range = std::get_if<api::RangeResponse>(&response.answer);
  return range == nullptr || range->kvs.empty() ? nullptr : &range->kvs.front();
}

// Asked again later it may be answered.
bool is_for_the_moment(ErrorCode code) {
  return code == ErrorCode::kTimeout || code == ErrorCode::kNoLeader ||
         code == ErrorCode::kTooManyRequests;
}

bool has_succeeded(const api::Response& response) {
  const auto* txn = std::get_if<api::TxnResponse>(&response.answer);
  return txn != nullptr && txn->succeeded;
}

}  // namespace

api::RangeRequest lock_keys(BytesView name) {
  api::RangeRequest range;
  range.key = fmt::format("{}/", name);
  range.range_end = fmt::format("{}{}", name, static_cast<char>('/' + 1));
  return range;
}

api::RangeRequest first_lock_key(BytesView name) {
  api::RangeRequest first = lock_keys(name);
  first.sort_target = api::SortTarget::kCreate;
  first.sort_order = api::SortOrder::kAscend;
  first.limit = 1;
  return first;
}

// --- what clients want --------------------------------------------------------------

void Locks::request(FeedId client, api::Request request, std::optional<Instant> deadline) {
  if (stopped_) {
    effects_.replies.push_back({client, {{}, api::Error{ErrorCode::kStopped, {}}}});
    return;
  }
  Waiter waiter;
  waiter.client = client;
  waiter.deadline = deadline;
  waiter.fence = std::move(request.fence);
  waiter.user = std::move(request.identity.user);
  if (auto* lock = std::get_if<api::LockRequest>(&request.body)) {
    waiter.own = {std::move(lock->name), {}, 0, lock->lease};
  } else if (auto* campaign = std::get_if<api::CampaignRequest>(&request.body)) {
    waiter.kind = Kind::kCampaign;
    waiter.own = {std::move(campaign->name), {}, 0, campaign->lease};
    waiter.value = std::move(campaign->value);
  } else if (auto* proclaim = std::get_if<api::ProclaimRequest>(&request.body)) {
    waiter.kind = Kind::kProclaim;
    waiter.own = std::move(proclaim->leader);
    waiter.value = std::move(proclaim->value);
  } else if (auto* resign = std::get_if<api::ResignRequest>(&request.body)) {
    waiter.kind = Kind::kResign;
    waiter.own = std::move(resign->leader);
  } else {
    auto* leader = std::get_if<api::LeaderRequest>(&request.body);
    CHECK(leader != nullptr);
    waiter.kind = Kind::kLeader;
    waiter.own.name = std::move(leader->name);
  }
  waiter.bytes = waiter.own.name.size() + waiter.own.key.size() + waiter.value.size();
  waiting_bytes_ += waiter.bytes;
  if (waiter.bytes > 0) waiting_bytes_of_[client.connection] += waiter.bytes;
  const Number number = next_++;
  Waiter& added = waiters_.emplace(number, std::move(waiter)).first->second;
  CHECK(by_client_.emplace(client, number).second);
  if (deadline) deadlines_.emplace(*deadline, number);
  begin(number, added);
}

std::size_t Locks::waiting_bytes_of(std::uint64_t connection) const {
  const auto found = waiting_bytes_of_.find(connection);
  return found == waiting_bytes_of_.end() ? 0 : found->second;
}

void Locks::begin(Number number, Waiter& waiter) {
  switch (waiter.kind) {
    case Kind::kLock:
    case Kind::kCampaign:
      return waiter.own.lease == 0 ? grant(number, waiter) : enter(number, waiter);
    case Kind::kProclaim:
      return waiter.own.lease == 0 ? grant(number, waiter) : proclaim(number, waiter);
    case Kind::kResign:
      return call(number, waiter, Step::kResigning, removal(waiter.own));
    case Kind::kLeader:
      return call(number, waiter, Step::kAsking, first_lock_key(waiter.own.name));
  }
}

void Locks::withdraw(FeedId client) {
  const auto found = by_client_.find(client);
  if (found != by_client_.end()) leave(found->second, waiters_.at(found->second));
}

void Locks::close_connection(std::uint64_t connection) {
  for (;;) {
    const auto found = by_client_.lower_bound({connection, 0});
    if (found == by_client_.end() || found->first.connection != connection) return;
    leave(found->second, waiters_.at(found->second));
  }
}

void Locks::expire(Instant now) {
  for (const Number number : std::exchange(repeated_, {})) {
    Waiter& waiter = waiters_.at(number);
    if (waiter.step == Step::kLooking) look(number, waiter);
    if (waiter.step == Step::kConfirming) confirm(number, waiter);
    if (waiter.step == Step::kWithdrawing) {
      call(number, waiter, Step::kWithdrawing, removal(waiter.own));
    }
  }
  while (!deadlines_.empty() && deadlines_.begin()->first <= now) {
    const Number number = deadlines_.begin()->second;
    Waiter& waiter = waiters_.at(number);
    reply(waiter, waiter.entered, api::Error{ErrorCode::kDeadlineExceeded, {}});
    leave(number, waiter);
  }
}

void Locks::stop() {
  stopped_ = true;
  for (auto& [number, waiter] : waiters_) {
    reply(waiter, {}, api::Error{ErrorCode::kStopped, {}});
  }
  waiters_.clear();
  expected_.clear();
  by_client_.clear();
  by_key_.clear();
  deadlines_.clear();
  repeated_.clear();
}

// --- steps --------------------------------------------------------------------------

void Locks::call(Number number, Waiter& waiter, Step step, api::Body body) {
  repeated_.erase(number);
  waiter.step = step;
  waiter.expects = next_++;
  expected_.emplace(waiter.expects, number);
  api::Request request{std::move(body), std::nullopt, std::nullopt};
  if (writes_first(step)) request.fence = waiter.fence;
  request.identity.user = waiter.user;
  effects_.calls.push_back({waiter.client, waiter.expects, std::move(request)});
}

void Locks::grant(Number number, Waiter& waiter) {
  call(number, waiter, Step::kGranting, api::LeaseGrantRequest{.ttl_s = api::kLockLeaseTtlS});
}

// Who has the key already, by an earlier request with the same lease, goes on from there.
void Locks::enter(Number number, Waiter& waiter) {
  waiter.own.key = key_of(waiter.own.name, waiter.own.lease);
  by_key_.emplace(waiter.own.key, number);
  if (is_being_withdrawn(number, waiter)) {
    waiter.step = Step::kHeldBack;
    return;
  }
  api::TxnRequest txn;
  txn.compare.push_back(created_at(waiter.own.key, 0));
  txn.success.push_back(put(waiter.own.key, waiter.value, waiter.own.lease));
  txn.failure.push_back(get(waiter.own.key));
  call(number, waiter, Step::kEntering, std::move(txn));
}

void Locks::proclaim(Number number, Waiter& waiter) {
  api::TxnRequest txn;
  txn.compare.push_back(created_at(waiter.own.key, waiter.own.revision));
  txn.success.push_back(put(waiter.own.key, waiter.value, waiter.own.lease));
  call(number, waiter, Step::kProclaiming, std::move(txn));
}

// Its own key and the one before it. This member's own state will do: it has the waiter's key, or
// knows that it has gone, and the keys before that one can only become fewer.
void Locks::look(Number number, Waiter& waiter) {
  api::RangeRequest before = lock_keys(waiter.own.name);
  before.max_create_revision = waiter.own.revision;
  before.sort_target = api::SortTarget::kCreate;
  before.sort_order = api::SortOrder::kDescend;
  before.limit = 2;
  before.keys_only = true;
  before.serializable = true;
  call(number, waiter, Step::kLooking, std::move(before));
}

void Locks::wait(Number number, Waiter& waiter, const api::Response& found) {
  const auto& before = std::get<api::RangeResponse>(found.answer).kvs.back();
  waiter.step = Step::kWaiting;
  waiter.has_waited = true;
  waiter.expects = next_++;
  expected_.emplace(waiter.expects, number);
  effects_.watches.push_back(
      {waiter.expects, api::WatchCreate{.key = before.key,
                                        .start_revision = found.header.revision + 1,
                                        .no_put = true,
                                        .identity = {waiter.user, 0}}});
}

void Locks::stop_waiting(Waiter& waiter) {
  expected_.erase(waiter.expects);
  if (waiter.step != Step::kWaiting) return;
  effects_.closed.push_back(waiter.expects);
}

// Everybody before it is gone. But its lease may have ended meanwhile, and its key with it; this
// has to be known of the cluster's state, not of what this member has heard.
void Locks::confirm(Number number, Waiter& waiter) {
  api::RangeRequest own;
  own.key = waiter.own.key;
  own.keys_only = true;
  call(number, waiter, Step::kConfirming, std::move(own));
}

// Others may depend on the same key: calls of one client, or of several with one lease.
template <class Visit>
void Locks::for_each_sharing(Number number, const Waiter& waiter, Visit visit) {
  for (auto it = by_key_.lower_bound({waiter.own.key, 0});
       it != by_key_.end() && it->first == waiter.own.key; ++it) {
    if (it->second != number) visit(waiters_.at(it->second));
  }
}

bool Locks::is_being_withdrawn(Number number, const Waiter& waiter) {
  bool found = false;
  for_each_sharing(number, waiter, [&found](const Waiter& other) {
    found = found || other.step == Step::kWithdrawing;
  });
  return found;
}

// A key that it found may be that of a holder, unless somebody is before it.
bool Locks::may_take_back(const Waiter& waiter) {
  const api::Revision revision = waiter.own.revision;
  if (revision == 0 || waiter.granted == revision) return false;
  return waiter.created == revision || waiter.step == Step::kWaiting;
}

// Its place, to those who are there with the same key. False: nobody is.
bool Locks::hand_over(Number number, const Waiter& waiter) {
  const api::Revision revision = waiter.own.revision;
  bool is_taken = false;
  for_each_sharing(number, waiter, [&is_taken, revision](Waiter& other) {
    if (other.is_gone) return;
    is_taken = true;
    other.created = revision;  // also if it does not know the key yet
    if (other.own.revision == 0) other.own.revision = revision;
  });
  return is_taken;
}

// Its key, unless somebody else is there with it.
void Locks::take_back(Number number, Waiter& waiter) {
  if (!may_take_back(waiter) || hand_over(number, waiter)) {
    return finish(number, waiter, waiter.entered, waiter.error.value_or(api::Error{}));
  }
  call(number, waiter, Step::kWithdrawing, removal(waiter.own));
}

// Only now: the same key would be found, and deleted by what is under way.
void Locks::let_held_back_enter(const Bytes& key) {
  std::vector<Number> held_back;
  for (auto it = by_key_.lower_bound({key, 0}); it != by_key_.end() && it->first == key; ++it) {
    if (waiters_.at(it->second).step == Step::kHeldBack) held_back.push_back(it->second);
  }
  for (const Number number : held_back) enter(number, waiters_.at(number));
}

// The client is gone, or has its reply.
void Locks::leave(Number number, Waiter& waiter) {
  waiter.is_gone = true;
  by_client_.erase(waiter.client);
  if (waiter.deadline) deadlines_.erase({*waiter.deadline, number});
  switch (waiter.step) {
    case Step::kEntering:
    case Step::kWithdrawing:
      return;  // the response is needed
    case Step::kProclaiming:
      if (waiter.kind == Kind::kProclaim) return erase(number);
      return;
    case Step::kLooking:
    case Step::kWaiting:
    case Step::kConfirming:
      stop_waiting(waiter);
      return take_back(number, waiter);
    case Step::kHeldBack:
    case Step::kGranting:
    case Step::kResigning:
    case Step::kAsking:
      return erase(number);
  }
}

// --- what came of them --------------------------------------------------------------

// A removal only if it was certainly not done and nobody is cut off: by the time a leader is found
// the client may hold the lock with that key, at another member.
bool Locks::may_repeat(Step step, api::ErrorCode code) {
  const bool is_refused_for_now =
      code == ErrorCode::kTooManyRequests || code == ErrorCode::kAuthOldRevision;
  if (step == Step::kWithdrawing) return is_refused_for_now;
  const bool is_read = step == Step::kLooking || step == Step::kConfirming;
  return is_read && (is_refused_for_now || is_for_the_moment(code));
}

void Locks::on_response(api::CallId call, api::Response response) {
  const auto found = expected_.find(call);
  if (found == expected_.end()) return;
  const Number number = found->second;
  expected_.erase(found);
  Waiter& waiter = waiters_.at(number);
  auto* error = std::get_if<api::Error>(&response.answer);
  if (error != nullptr && may_repeat(waiter.step, error->code)) {
    repeated_.insert(number);
    return;
  }
  if (waiter.step == Step::kWithdrawing) {
    return finish(number, waiter, response.header, waiter.error.value_or(api::Error{}));
  }
  if (error != nullptr) return fail(number, waiter, std::move(*error));
  switch (waiter.step) {
    case Step::kGranting:
      return granted(number, waiter, response);
    case Step::kEntering:
      return entered(number, waiter, response);
    case Step::kProclaiming:
      return proclaimed(number, waiter, response);
    case Step::kLooking:
      return looked(number, waiter, response);
    case Step::kConfirming:
      return confirmed(number, waiter, response);
    case Step::kResigning:
      return finish(number, waiter, response.header, api::ResignResponse{});
    case Step::kAsking:
      return told_leader(number, waiter, response);
    case Step::kHeldBack:
    case Step::kWaiting:
    case Step::kWithdrawing:
      CHECK(false, "no call is under way");
  }
}

void Locks::granted(Number number, Waiter& waiter, const api::Response& response) {
  waiter.own.lease = std::get<api::LeaseGrantResponse>(response.answer).id;
  if (waiter.kind == Kind::kProclaim) return proclaim(number, waiter);
  enter(number, waiter);
}

void Locks::entered(Number number, Waiter& waiter, api::Response& response) {
  waiter.entered = response.header;
  if (has_succeeded(response)) {
    waiter.own.revision = response.header.revision;
    waiter.created = waiter.own.revision;
    return waiter.is_gone ? take_back(number, waiter) : look(number, waiter);
  }
  const api::KeyValue* own = first_key(response);
  CHECK(own != nullptr);
  waiter.own.revision = own->create_revision;
  if (waiter.is_gone) return take_back(number, waiter);
  const bool has_value = waiter.kind == Kind::kLock || own->value == waiter.value;
  return has_value ? look(number, waiter) : proclaim(number, waiter);
}

void Locks::proclaimed(Number number, Waiter& waiter, const api::Response& response) {
  if (!has_succeeded(response)) return fail(number, waiter, {ErrorCode::kNotElectionLeader, {}});
  if (waiter.kind == Kind::kProclaim) {
    return finish(number, waiter, response.header, api::ProclaimResponse{});
  }
  return waiter.is_gone ? take_back(number, waiter) : look(number, waiter);
}

void Locks::looked(Number number, Waiter& waiter, const api::Response& response) {
  const auto& kvs = std::get<api::RangeResponse>(response.answer).kvs;
  if (!has_own(waiter, kvs)) return lose(number, waiter, response.header);
  if (kvs.size() > 1) return wait(number, waiter, response);
  if (waiter.has_waited) return confirm(number, waiter);
  reached(number, waiter, response.header);
}

void Locks::confirmed(Number number, Waiter& waiter, const api::Response& response) {
  const auto& kvs = std::get<api::RangeResponse>(response.answer).kvs;
  if (!has_own(waiter, kvs)) return lose(number, waiter, response.header);
  reached(number, waiter, response.header);
}

bool Locks::has_own(const Waiter& waiter, const std::vector<api::KeyValue>& kvs) {
  return !kvs.empty() && kvs.front().create_revision == waiter.own.revision;
}

// Its key has gone, with its lease or by somebody's hand.
void Locks::lose(Number number, Waiter& waiter, const api::Header& header) {
  const bool is_lock = waiter.kind == Kind::kLock;
  const api::Error lost{is_lock ? ErrorCode::kLockLost : ErrorCode::kNotElectionLeader, {}};
  finish(number, waiter, header, lost);
}

void Locks::told_leader(Number number, Waiter& waiter, api::Response& response) {
  api::KeyValue* first = first_key(response);
  if (first == nullptr) return fail(number, waiter, {ErrorCode::kNoElectionLeader, {}});
  finish(number, waiter, response.header, api::LeaderResponse{std::move(*first)});
}

void Locks::on_watch(std::uint64_t feed, const api::WatchNews& news) {
  const auto found = expected_.find(feed);
  if (found == expected_.end()) return;
  const Number number = found->second;
  Waiter& waiter = waiters_.at(number);
  const auto* refused = std::get_if<api::WatchRefused>(&news);
  const auto* canceled = std::get_if<api::WatchCanceled>(&news);
  const bool may_be_gone = std::holds_alternative<api::WatchEvents>(news) ||
                           std::holds_alternative<api::WatchCompacted>(news);
  if (refused == nullptr && canceled == nullptr && !may_be_gone) return;
  stop_waiting(waiter);
  if (may_be_gone) return look(number, waiter);
  if (canceled != nullptr) {
    return fail(number, waiter, {canceled->why.value_or(ErrorCode::kPermissionDenied), {}});
  }
  if (refused->reason == api::WatchRefused::Reason::kDenied) {
    return fail(number, waiter, {refused->why, {}});
  }
  const bool is_corrupt = refused->reason == api::WatchRefused::Reason::kCorrupt;
  fail(number, waiter, {is_corrupt ? ErrorCode::kCorrupt : ErrorCode::kTooManyRequests, {}});
}

// --- replies ------------------------------------------------------------------------

// It holds the lock, or leads.
void Locks::reached(Number number, Waiter& waiter, const api::Header& header) {
  for_each_sharing(number, waiter,
                   [&waiter](Waiter& other) { other.granted = waiter.own.revision; });
  if (waiter.kind == Kind::kLock) {
    return finish(number, waiter, header, api::LockResponse{waiter.own.key, waiter.own.revision});
  }
  finish(number, waiter, waiter.entered, api::CampaignResponse{waiter.own});
}

// A client that is told of a failure does not wait any more: its key goes first, since it could ask
// again at once and find it.
void Locks::fail(Number number, Waiter& waiter, api::Error error) {
  const bool waits = waiter.kind == Kind::kLock || waiter.kind == Kind::kCampaign;
  if (!waits || waiter.own.revision == 0) {
    return finish(number, waiter, waiter.entered, std::move(error));
  }
  waiter.error = std::move(error);
  take_back(number, waiter);
}

void Locks::reply(Waiter& waiter, const api::Header& header, api::Answer answer) {
  if (waiter.is_gone) return;
  effects_.replies.push_back({waiter.client, {header, std::move(answer)}});
}

void Locks::finish(Number number, Waiter& waiter, const api::Header& header, api::Answer answer) {
  reply(waiter, header, std::move(answer));
  erase(number);
}

void Locks::erase(Number number) {
  const auto found = waiters_.find(number);
  Waiter& waiter = found->second;
  const bool was_withdrawn = waiter.step == Step::kWithdrawing;
  const Bytes key = std::move(waiter.own.key);
  expected_.erase(waiter.expects);
  repeated_.erase(number);
  by_key_.erase({key, number});
  if (!waiter.is_gone) {
    by_client_.erase(waiter.client);
    if (waiter.deadline) deadlines_.erase({*waiter.deadline, number});
  }
  waiting_bytes_ -= waiter.bytes;
  const auto own = waiting_bytes_of_.find(waiter.client.connection);
  if (waiter.bytes > 0 && (own->second -= waiter.bytes) == 0) waiting_bytes_of_.erase(own);
  waiters_.erase(found);
  if (was_withdrawn) let_held_back_enter(key);
}

}  // namespace conclave::store
