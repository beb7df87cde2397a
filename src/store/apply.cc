// Applying committed entries (Store::apply in store.h).

#include <algorithm>
#include <array>
#include <span>
#include <vector>

#include "base/check.h"
#include "store/command_codec.h"
#include "store/lease.h"
#include "store/native_locks.h"
#include "store/operations.h"
#include "store/permissions.h"
#include "store/request_codec.h"
#include "store/state.h"
#include "store/znode_config.h"
#include "store/znode_import.h"
#include "store/znode_reconfig.h"
#include "store/znodes.h"

namespace conclave::store {
namespace {

// The effect of one kind of command, and its answer.
struct Effect {
  api::Answer operator()(const PutOp& op) const { return put(state.mvcc, op, wants_answer); }
  api::Answer operator()(const api::DeleteRangeRequest& op) const {
    return erase(state.mvcc, op, wants_answer);
  }
  api::Answer operator()(const api::TxnRequest& op) const {
    return txn(state.mvcc, op, wants_answer);
  }
  api::Answer operator()(const api::CompactRequest& op) const { return compact(state.mvcc, op); }
  api::Answer operator()(const api::LeaseGrantRequest& op) const { return grant(state, op, owner); }
  api::Answer operator()(const api::LeaseRevokeRequest& op) const { return revoke(state, op); }
  api::Answer operator()(const api::LeaseKeepAliveRequest& op) const {
    return keep_alive(state, op);
  }
  api::Answer operator()(const api::AcquireRequest& op) const { return acquire(state.mvcc, op); }
  api::Answer operator()(const api::ReleaseRequest& op) const { return release(state.mvcc, op); }
  api::Answer operator()(const api::EnterRequest& op) const { return enter(state.mvcc, op); }
  api::Answer operator()(const api::LeaveRequest& op) const { return leave(state.mvcc, op); }
  api::Answer operator()(const ExpireLeases& op) const {
    expire(state, op);
    return api::CompactResponse{};
  }
  api::Answer operator()(const api::AuthRequest& op) const { return state.auth.change(op); }
  api::Answer operator()(const api::zk::WriteRequest& op) const {
    return store::apply(state, op, wants_answer);
  }
  api::Answer operator()(const api::zk::ImportRequest& op) const {
    return import_znodes(state, op);
  }
  api::Answer operator()(const TouchSessions& touched) const {
    touch(state, touched);
    return api::CompactResponse{};
  }
  api::Answer operator()(const ReapZnodes& reaped) const {
    reap(state, reaped);
    return api::CompactResponse{};
  }
  api::Answer operator()(const PublishMember& publish) const {
    state.facts.publish(publish);
    refresh_config(state);
    return api::MemberListResponse{state.facts.members};
  }
  api::Answer operator()(const SetAlarm& alarm) const {
    api::AlarmResponse response;
    const bool changed = state.facts.set(alarm);
    // As etcd's: an alarm that is raised already is named again, one that is not there is not.
    if (changed || alarm.raised) response.alarms.push_back(to_api(alarm.member, alarm.alarm));
    return response;
  }
  api::Answer operator()(const CheckHash& check) const {
    const auto own = state.hashes.at(check.index);
    if (own && *own != check.hash && !diverged_at) diverged_at = check.index;
    return api::CompactResponse{};
  }

  api::Answer operator()(const FoundMembers& found) const {
    state.facts.found(found);
    refresh_config(state);
    return api::MemberListResponse{state.facts.members};
  }
  api::Answer operator()(const MemberChange& change) const {
    if (auto error = state.facts.change(change)) return *std::move(error);
    refresh_config(state);
    api::MemberChangeResponse done{.member = {}, .members = state.facts.members};
    if (change.kind == MemberChange::Kind::kAdd) {
      done.member = *std::ranges::find(done.members, change.id, &api::Member::id);
    }
    return done;
  }

  api::Answer operator()(const Reconfigure& change) const { return reconfigure(state, change); }

  StoreState& state;
  BytesView owner;  // of a lease that is granted; empty: nobody
  bool wants_answer;
  std::optional<LogIndex>& diverged_at;
};

// Whether a kept answer is one to this kind of request.
struct Fits {
  bool operator()(const PutOp&) const { return is<api::PutResponse>(); }
  bool operator()(const api::DeleteRangeRequest&) const { return is<api::DeleteRangeResponse>(); }
  bool operator()(const api::TxnRequest&) const { return is<api::TxnResponse>(); }
  bool operator()(const api::CompactRequest&) const { return is<api::CompactResponse>(); }
  bool operator()(const api::LeaseGrantRequest&) const { return is<api::LeaseGrantResponse>(); }
  bool operator()(const api::LeaseRevokeRequest&) const { return is<api::LeaseRevokeResponse>(); }
  bool operator()(const api::LeaseKeepAliveRequest&) const {
    return is<api::LeaseKeepAliveResponse>();
  }
  bool operator()(const api::AcquireRequest&) const { return is<api::AcquireResponse>(); }
  bool operator()(const api::ReleaseRequest&) const { return is<api::ReleaseResponse>(); }
  bool operator()(const api::EnterRequest&) const { return is<api::EnterResponse>(); }
  bool operator()(const api::LeaveRequest&) const { return is<api::LeaveResponse>(); }
  template <class Other>  // has no id
  bool operator()(const Other&) const {
    return false;
  }

  template <class Answer>
  bool is() const {
    return std::holds_alternative<Answer>(answer);
  }

  const api::Answer& answer;
};

// The key that was created then, if one was.
bool is_there(const Mvcc& mvcc, const api::AcquireResponse& acquired) {
  if (acquired.key.empty()) return true;
  const Record* record = mvcc.find(Keyspace::kEtcd, acquired.key, mvcc.revision());
  return record != nullptr && record->create == acquired.token;
}

// The key of etcd's that a command looks for first; empty: none.
struct FirstKey {
  BytesView operator()(const PutOp& op) const { return op.key; }
  BytesView operator()(const api::DeleteRangeRequest& op) const { return op.key; }
  BytesView operator()(const api::TxnRequest& op) const {
    return op.compare.empty() ? BytesView() : op.compare.front().key;
  }
  template <class Other>
  BytesView operator()(const Other&) const {
    return {};
  }
};

// A few commands of a batch. The keys that they look for first are looked for together before any
// is applied, and each one's search is told what was found. The outcome is the same, only sooner.
class CommandGroup {
 public:
  explicit CommandGroup(const Mvcc& mvcc)
      : index_(mvcc.index(Keyspace::kEtcd)),
        most_(index_.size() < kManyKeys ? 1 : KeyIndex::kTogether) {
    commands_.reserve(most_);
  }

  // The next ones. REQUIRES: !batch.at_end().
  Result<void> read(BatchReader& batch) {
    commands_.clear();
    while (!batch.at_end() && commands_.size() < most_) {
      TRY(batch.next(commands_.emplace_back()));
    }
    look_ahead();
    return {};
  }
  const std::vector<Command>& commands() const { return commands_; }
  // For each command, just before it is applied.
  void recall(const Command& command) {
    if (next_ < found_ && of_[next_] == &command) index_.recall(places_[next_++]);
  }

 private:
  // With fewer keys, index and records are in the caches anyway, and commands go one by one.
  static constexpr std::size_t kManyKeys = 4096;

  void look_ahead() {
    found_ = next_ = 0;
    if (commands_.size() < 2) return;  // there is nothing to do meanwhile
    std::array<BytesView, KeyIndex::kTogether> keys;
    for (const Command& command : commands_) {
      const BytesView key = std::visit(FirstKey{}, command.body);
      // One that repeats is found at once.
      if (key.empty() || (found_ > 0 && key == keys[found_ - 1])) continue;
      keys[found_] = key;
      of_[found_++] = &command;
    }
    if (found_ < 2) found_ = 0;
    index_.locate(std::span(keys).first(found_), places_);
  }

  const KeyIndex& index_;
  std::size_t most_;
  std::vector<Command> commands_;
  std::array<KeyIndex::Place, KeyIndex::kTogether> places_;
  std::array<const Command*, KeyIndex::kTogether> of_;  // whose places they are
  std::size_t found_ = 0;
  std::size_t next_ = 0;
};

// To grow to as many would mean to move each several times.
constexpr std::size_t kUsualOutcomes = 64;

// One batch being applied.
class BatchApplication {
 public:
  BatchApplication(StoreState& state, NodeId self, std::uint64_t incarnation)
      : state_(state), self_(self), incarnation_(incarnation) {}

  Result<void> apply(const Command& command) {
    const bool is_ours =
        command.origin.member == self_ && command.origin.incarnation == incarnation_;
    if (const auto denied = denial(state_, command)) {
      if (is_ours) answer(command.origin, error(*denied));
      return {};
    }
    if (!command.id) {
      api::Response response = run(command, is_ours);
      if (is_ours) answer(command.origin, std::move(response));
      return {};
    }
    return apply_once(command, is_ours);
  }

  ApplyResult take_result() {
    result_.znode_news = std::exchange(state_.znode_news, {});
    return std::move(result_);
  }

 private:
  // A command whose id was seen before gets the first answer, with the revision of that time. One
  // that was refused for who sent it was not applied, and its id is not remembered.
  Result<void> apply_once(const Command& command, bool is_ours) {
    const Bytes client = client_of(command);
    const RequestIds::Lookup seen = state_.request_ids.find(client, command.id->sequence);
    switch (seen.known) {
      case RequestIds::Known::kNew: {
        api::Response response = run(command, true);
        state_.request_ids.record(client, command.id->sequence, encode_response(response));
        if (is_ours) answer(command.origin, std::move(response));
        return {};
      }
      case RequestIds::Known::kAnswered:
        if (is_ours) answer(command.origin, again(command, TRY(decode_response(*seen.response))));
        return {};
      case RequestIds::Known::kTooOld:
        if (is_ours) answer(command.origin, error(api::ErrorCode::kRequestIdTooOld));
        return {};
    }
    CHECK(false, "request id state {}", static_cast<int>(seen.known));
  }

  // The first answer, to the same id. What was another request is not answered with it; and nobody
  // is told that he holds a lock by an answer of a time when he did.
  api::Response again(const Command& command, api::Response first) const {
    const bool is_error = std::holds_alternative<api::Error>(first.answer);
    if (!is_error && !std::visit(Fits{first.answer}, command.body)) {
      return error(api::ErrorCode::kInvalidRequestId);
    }
    const auto* acquired = std::get_if<api::AcquireResponse>(&first.answer);
    if (acquired != nullptr && !is_there(state_.mvcc, *acquired)) {
      return error(api::ErrorCode::kLockLost);
    }
    return first;
  }

  // Nobody gets an answer that was another user's by using the same name.
  static Bytes client_of(const Command& command) {
    Bytes client(command.id->client);
    if (command.identity.user.empty()) return client;
    return client + Bytes(1, '\0') + command.identity.user;
  }

  // A fence is looked at here and nowhere before: what stands between this command and the moment
  // it was sent is in the log.
  api::Response run(const Command& command, bool wants_answer) {
    if (command.fence) {
      auto refusal = state_.fences.refusal(state_.mvcc, command.fence->key, command.fence->token);
      if (refusal) return respond(*std::move(refusal));
    }
    const bool is_owned = command.is_owned && state_.auth.is_enabled();
    const BytesView owner = is_owned ? BytesView(command.identity.user) : BytesView();
    // As respond(), without moving the answer.
    api::Response response{
        .header = {},
        .answer =
            std::visit(Effect{state_, owner, wants_answer, result_.diverged_at}, command.body),
    };
    response.header.revision = state_.mvcc.revision();
    for (; news_ < state_.znode_news.size(); ++news_) {
      state_.znode_news[news_].outcome = result_.outcomes.size();
    }
    return response;
  }

  api::Response error(api::ErrorCode code) const { return respond(api::Error{code, {}}); }

  api::Response respond(api::Answer answer) const {
    api::Response response;
    response.header.revision = state_.mvcc.revision();
    response.answer = std::move(answer);
    return response;
  }

  void answer(const Origin& origin, api::Response response) {
    auto& outcomes = result_.outcomes;
    if (outcomes.empty()) outcomes.reserve(kUsualOutcomes);
    outcomes.emplace_back(origin, std::move(response));
  }

  StoreState& state_;
  NodeId self_;
  std::uint64_t incarnation_;
  ApplyResult result_;
  std::size_t news_ = 0;  // of the state's, those that have their outcome
};

}  // namespace

Result<ApplyResult> Store::apply(LogIndex index, BytesView entry, NodeId self,
                                 std::uint64_t incarnation) {
  StoreState& state = *state_;
  CHECK(index == state.applied_index.next(), "entry {} follows {}", index.value,
        state.applied_index.value);
  BatchReader batch = TRY(BatchReader::open(entry));
  BatchApplication application(state, self, incarnation);
  if (batch.header().epoch >= state.applied_epoch) {
    state.applied_epoch = batch.header().epoch;
    state.stamp = std::max(state.stamp, batch.header().stamp);
    CommandGroup group(state.mvcc);
    while (!batch.at_end()) {
      TRY(group.read(batch));
      for (const Command& command : group.commands()) {
        group.recall(command);
        TRY(application.apply(command));
      }
    }
  }
  state.advance(index);
  return application.take_result();
}

void Store::apply_empty(LogIndex index, Epoch epoch) {
  StoreState& state = *state_;
  CHECK(index == state.applied_index.next(), "entry {} follows {}", index.value,
        state.applied_index.value);
  state.applied_epoch = std::max(state.applied_epoch, epoch);
  state.advance(index);
}

}  // namespace conclave::store
