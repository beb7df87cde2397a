#include "node/group.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/watch_limits.h"
#include "node/request_size.h"

namespace conclave::node {
namespace {

consensus::EngineConfig engine_config(GroupId id, const Options& options) {
  return consensus::EngineConfig{
      .group = id,
      .self = options.self,
      .heartbeat_ticks = options.heartbeat_ticks,
      .election_ticks = options.election_ticks,
      .max_append_bytes = options.max_append_bytes,
      .max_inflight_appends = options.max_inflight_appends,
      .snapshot_chunk_bytes = options.snapshot_chunk_bytes,
      .is_witness = options.is_witness,
      .witnessed = store::witnessed_part,
  };
}

// Of entries kept in memory (Options::keep_entries), at most: so much, or this part of the store. A
// follower that lacks more may have to get all of the store in their place.
constexpr std::uint64_t kKeepBytes = 16 * limits::kMiB;
constexpr std::uint64_t kKeepPart = 8;
// A disk that takes one so soon is not one that hangs now and then.
constexpr Duration kQuickAppend = milliseconds(250);

// Sets the ids of leases apart from what else comes from the incarnation.
constexpr std::uint64_t kLeaseIds = 0x6c6561736573;
constexpr std::uint64_t kSessionIds = 0x73657373696f6e73;

// What an entry takes in the log, about. One that is only a stamp comes alone, as nothing else was
// to be written, and so has a block of the disk for itself (docs/formats/commands.md,
// docs/formats/log.md).
std::size_t bytes_in_log(const consensus::Entry& entry) {
  constexpr std::size_t kBlockBytes = 4096;
  constexpr std::size_t kStampBytes = 17;
  const bool is_stamp =
      entry.kind == consensus::EntryKind::kCommand && entry.data.size() <= kStampBytes;
  return is_stamp ? kBlockBytes : entry.data.size();
}

// Of the members: answered when the new ones alone decide.
bool is_change_done(const api::Answer& answer) {
  if (std::holds_alternative<api::MemberChangeResponse>(answer)) return true;
  const auto* reply = std::get_if<api::zk::Reply>(&answer);
  return reply != nullptr && std::holds_alternative<api::zk::Configured>(reply->result);
}

// Distinct for every member and every run: the incarnation is random.
ReadId first_read_id(const Options& options, std::uint64_t incarnation) {
  return ReadId{(options.self.value ^ incarnation) << 20 | 1};
}

}  // namespace

Group::Group(GroupId id, GroupState state, Shared shared)
    : id_(id),
      shared_(std::move(shared)),
      store_(std::move(state.store)),
      engine_(shared_.options.engine, engine_config(id, shared_.options), std::move(state.saved),
              shared_.options.seed ^ id.value),
      reads_(first_read_id(shared_.options, shared_.incarnation)),
      applied_membership_(engine_.snapshot_meta(store_.applied_index()).membership.decided()),
      watches_({.watches = limits::kMaxWatches,
                .connection_watches = limits::kMaxConnectionWatches,
                .user_watches = limits::kMaxUserWatches},
               store_,
               [this](store::FeedId feed, api::Revision revision, const api::WatchNews& news) {
                 return tell_watch(feed, revision, news);
               }),
      znode_watches_({.watches = limits::kMaxZnodeWatches,
                      .connection_watches = limits::kMaxConnectionZnodeWatches,
                      .bytes = limits::kMaxZnodeWatchBytes,
                      .connection_bytes = limits::kMaxConnectionZnodeWatchBytes},
                     [this](std::uint64_t connection, api::zk::Event event) {
                       shared_.zookeeper_news(connection, std::move(event));
                     }),
      observers_([this](store::FeedId feed, api::Revision revision, const api::WatchNews& news) {
        return tell_watch(feed, revision, news);
      }),
      tokens_(shared_.options.auth.token_lasts),
      cluster_clock_(shared_.options.tick * std::int64_t{shared_.options.election_ticks}),
      lease_ids_(shared_.incarnation ^ kLeaseIds),
      session_ids_(shared_.incarnation ^ kSessionIds),
      auto_compaction_(shared_.options.compact_period, shared_.options.compact_keep_revisions),
      snapshot_(store_.applied_index()),
      cut_at_(snapshot_),
      is_first_snapshot_(engine_.status().last <= snapshot_),
      alive_(std::make_shared<char>()) {
  Snapshots::Hooks hooks{
      .taken = [this](const consensus::SnapshotMeta& meta) { snapshot_taken(meta); },
      .failed = [this](const Error& why) { refuse_backups(why); },
      .percent_to_next = [this](LogIndex begun) { return percent_to_next_snapshot(begun); },
      .in_use =
          [this] {
            std::vector<LogIndex> indexes;
            for (const auto& peer : engine_.status().peers) indexes.push_back(peer.snapshot);
            for (const auto& [index, backup] : backups_) indexes.push_back(index);
            return indexes;
          },
      .is_witness = [this](NodeId member) { return engine_.membership().is_witness(member); },
      .chunk_read =
          [this](const consensus::SnapshotRead& wanted, std::optional<Bytes> data, bool last) {
            if (data) {
              engine_.snapshot_chunk(wanted, std::move(*data), last);
            } else {
              engine_.snapshot_unavailable(wanted);
            }
            want_turn();
          },
      .chunk_stored =
          [this](const consensus::SnapshotMeta& meta, std::uint64_t end, bool ok,
                 std::optional<store::Store> store) {
            if (ok && store) snapshot_installed(meta, std::move(*store));
            engine_.snapshot_stored(meta.index, end, ok);
            answer_settled();
            want_turn();
          },
  };
  snapshots_.emplace(id_, shared_.snapshots,
                     store::Limits{.max_txn_ops = shared_.options.max_txn_ops}, shared_.clock,
                     shared_.disk, std::move(hooks));
  want_turn();
}

Group::~Group() = default;

// --- turns --------------------------------------------------------------------------

void Group::want_turn() {
  if (turn_wanted_ || stopped_) return;
  turn_wanted_ = true;
  shared_.clock.post([this, alive = std::weak_ptr<char>(alive_)] {
    if (!alive.expired()) turn();
  });
}

void Group::turn() {
  turn_wanted_ = false;
  if (stopped_) return;
  adapt_window();
  propose_writes();
  propose_change();
  keep_time();
  begin_barrier();
  consensus::Output out = engine_.take_output();
  if (engine_.wants_snapshot()) maybe_take_snapshot();
  if (out.empty()) {
    serve_reads();
    go_on_with_history_hashes();
    serve_watches();
    return serve_locks();
  }

  send(out.send_now);  // followers write while our own disk does
  persist(out);
  apply(out.committed);
  for (const consensus::ReadReady& read : out.reads_ready) reads_.barrier_done(read.id, read.index);
  serve_reads();
  go_on_with_history_hashes();
  serve_watches();
  serve_locks();
  move_snapshots(out);
  want_turn();  // what was done may have given the engine more to say
}

void Group::send(std::vector<consensus::Envelope>& messages) {
  for (const consensus::Envelope& message : messages) shared_.peers.send(message);
}

void Group::persist(consensus::Output& out) {
  const bool writes = static_cast<bool>(out.ticket);
  if (writes) {
    CHECK(out.ticket > handed_out_);
    handed_out_ = out.ticket;
  }
  if (!out.send_after_persist.empty()) {
    held_.push_back(Held{handed_out_, std::move(out.send_after_persist)});
  }
  if (writes) {
    appends_since_.push_back(shared_.clock.now());
    shared_.log.append(
        id_, std::move(out.hard_state), std::move(out.append),
        [this, alive = std::weak_ptr<char>(alive_), ticket = out.ticket](Result<void> result) {
          if (!alive.expired()) on_persisted(ticket, result);
        });
  }
  release_held();
}

void Group::on_persisted(Ticket ticket, const Result<void>& result) {
  if (!result) {
    stopped_ = true;
    return shared_.fatal(result.error());
  }
  const Duration took = shared_.clock.now() - appends_since_.front();
  counters_.persist.add(took);
  if (took < kQuickAppend) disk_doublings_ = 0;
  appends_since_.pop_front();
  persisted_ = ticket;
  engine_.persisted(ticket);
  release_held();
  want_turn();
}

void Group::release_held() {
  while (!held_.empty() && held_.front().after <= persisted_) {
    send(held_.front().messages);
    held_.pop_front();
  }
}

void Group::apply(const std::vector<consensus::Entry>& committed) {
  for (const consensus::Entry& entry : committed) {
    if (entry.index <= store_.applied_index()) continue;  // a snapshot brought it
    CHECK(entry.index == store_.applied_index().next());
    const Epoch before = store_.applied_epoch();
    if (consensus::full_kind(entry.kind) != consensus::EntryKind::kCommand) {
      store_.apply_empty(entry.index, entry.epoch);
      if (entry.kind == consensus::EntryKind::kMembership) apply_membership(entry);
    } else if (!apply_commands(entry)) {
      return;
    }
    if (store_.applied_epoch() != before) writes_.put_back_before(store_.applied_epoch());
    after_apply(entry.index, bytes_in_log(entry));
  }
  if (committed.empty()) return;
  engine_.release(keep_from());
  follow_members();
  answer_settled();
  maybe_take_snapshot();
}

bool Group::apply_commands(const consensus::Entry& entry) {
  store_.want_znode_changes(!znode_watches_.empty());
  Result<store::ApplyResult> applied =
      store_.apply(entry.index, entry.data, shared_.options.self, shared_.incarnation);
  if (!applied) {
    stopped_ = true;
    shared_.fatal(applied.error());
    return false;
  }
  ZnodeNewsReader news{applied->znode_news};
  for (std::size_t i = 0; i < applied->outcomes.size(); ++i) {
    store::Outcome& outcome = applied->outcomes[i];
    tell_znode_changes(news, i);
    const std::optional<ClientCall> client = writes_.finish(outcome.origin.call);
    if (!client) {
      tell_session_changes(news, i, 0);
      continue;
    }
    ++counters_.writes_applied;
    writes_.charge(flow_of(*client), cost_of(outcome.response.answer));
    if (is_change_done(outcome.response.answer)) {
      answer_when_settled(*client, std::move(outcome.response));
    } else {
      note_session(*client, outcome.response.answer);
      answer(*client, std::move(outcome.response));
    }
    tell_session_changes(news, i, client->connection);
  }
  tell_znode_changes(news, SIZE_MAX);
  tell_session_changes(news, SIZE_MAX, 0);
  if (applied->diverged_at) raise_corrupt_alarm(*applied->diverged_at);
  // From here on the alarm says it, until somebody lifts it.
  if (corrupt_ && store_.has_alarm(shared_.options.self, store::Alarm::kCorrupt)) corrupt_ = false;
  return true;
}

// A witness's entries have little more than their places in memory.
void Group::after_apply(LogIndex index, std::size_t bytes) {
  if (shared_.options.is_witness) bytes += limits::kEntryPlaceBytes;
  bytes_since_snapshot_ += bytes;
  recent_bytes_ += bytes;
  recent_entries_.emplace_back(index, bytes);
  const std::uint64_t keep_bytes = std::max(kKeepBytes, store_.size_bytes() / kKeepPart);
  while (recent_bytes_ > keep_bytes || recent_entries_.size() > shared_.options.keep_entries) {
    recent_bytes_ -= recent_entries_.front().second;
    recent_entries_.pop_front();
  }
}

bool Group::is_corrupt() const { return corrupt_ || store_.is_raised(store::Alarm::kCorrupt); }

// --- writes -------------------------------------------------------------------------

void Group::write(ClientCall client, api::Request&& request) {
  ++counters_.writes_received;
  client.user = user_of(request);
  const auto* alarm = std::get_if<api::AlarmRequest>(&request.body);
  if (alarm != nullptr && alarm->type == api::AlarmType::kNone) {
    return answer(client, api::AlarmResponse{});  // there is none of that kind to lift
  }
  auto* zookeepers = std::get_if<api::zk::WriteRequest>(&request.body);
  if (zookeepers != nullptr && is_answered_at_once(client, *zookeepers)) return;
  if (std::optional<api::Error> error = refusal(client, request)) {
    const bool wants_space = error->code == api::ErrorCode::kNoSpace;
    if (wants_space && is_over_quota(shared_.options.quota_bytes)) {
      raise_alarm(store::Alarm::kNoSpace);
    }
    if (error->code == api::ErrorCode::kTooManyRequests) ++counters_.requests_refused;
    ++counters_.writes_failed;
    if (zookeepers != nullptr) return refuse_znodes(client, std::move(*error));
    return answer(client, std::move(*error));
  }
  if (auto* grant = std::get_if<api::LeaseGrantRequest>(&request.body)) complete(*grant);
  if (zookeepers != nullptr) {
    hear_of(client, zookeepers->caller);
    complete(*zookeepers);
  }
  const store::Origin origin{shared_.options.self, shared_.incarnation, writes_.next_call()};
  Bytes command = store::encode_command(origin, request);
  if (command.size() > shared_.options.max_request_bytes) {
    ++counters_.writes_failed;
    api::Error too_large{api::ErrorCode::kRequestTooLarge, {}};
    if (zookeepers != nullptr) return refuse_znodes(client, std::move(too_large));
    return answer(client, std::move(too_large));
  }
  writes_.add(client, std::move(command), request.id.has_value(), deadline(request),
              operations_of(request.body), zookeepers != nullptr);
  want_turn();
}

// Why a write cannot even be tried now.
std::optional<api::Error> Group::refusal(ClientCall client, const api::Request& request) const {
  using api::ErrorCode;
  const store::Limits store_limits{.max_txn_ops = shared_.options.max_txn_ops};
  if (auto error = store::Store::validate(request, store_limits)) return error;
  const bool is_about_alarms = std::holds_alternative<api::AlarmRequest>(request.body);
  if (is_corrupt() && !is_about_alarms) return api::Error{ErrorCode::kCorrupt, {}};
  // What keeps leases alive has a share of its own: others would lose their locks to a flood.
  const bool is_renewal = std::holds_alternative<api::LeaseKeepAliveRequest>(request.body);
  const std::size_t share = is_renewal ? 2 : 1;
  if (!writes_.has_room(client, share)) {
    return api::Error{ErrorCode::kTooManyRequests, {}};
  }
  const bool has_no_space =
      is_over_quota(shared_.options.quota_bytes) || store_.is_raised(store::Alarm::kNoSpace);
  if (has_no_space && api::may_grow(request.body)) {
    return api::Error{ErrorCode::kNoSpace, "the store has reached --quota-backend-bytes"};
  }
  if (no_space_ || shared_.log.is_full()) return api::Error{ErrorCode::kNoSpace, "disk full"};
  return std::nullopt;
}

// A round is over when the write is that was sent last when it began.
void Group::adapt_window() {
  if (round_ && writes_.is_waiting(round_->last_sent)) return;
  const Instant now = shared_.clock.now();
  if (round_) {
    window_.round_over(writes_.done_cost() - round_->done_cost, now - round_->began, now);
    writes_.set_window(window_.cost());
    round_.reset();
  }
  if (!writes_.is_waiting(writes_.last_sent())) return;
  round_ = Round{writes_.last_sent(), writes_.done_cost(), now};
}

void Group::propose_writes() {
  if (!engine_.is_leader()) {
    forwarded_.clear();
    forwarded_bytes_ = 0;
    changes_.clear();
    return forward_writes();
  }
  if (is_held_for_change_) return;
  while (propose_own() || propose_forwarded()) {
  }
}

std::optional<consensus::Position> Group::propose(Bytes entry) {
  const auto place = engine_.propose(std::move(entry));
  if (!place) return std::nullopt;
  ++counters_.entries_proposed;
  stamped_at_ = shared_.clock.now();
  stamped_in_ = engine_.epoch();
  return *place;
}

// One log entry of this member's waiting writes. False: nothing more can be proposed now.
bool Group::propose_own() {
  const Epoch epoch = engine_.epoch();
  if (!writes_.may_send(epoch)) return false;
  std::vector<std::uint64_t> calls;
  store::BatchEncoder batch;
  for (const Writes::Sent& write : writes_.take_unsent(epoch, limits::kMaxEntryBytes)) {
    if (store::is_member_change(write.command)) {
      const std::optional<Bytes> refused = hold_change(write.command);
      if (!refused) continue;
      calls.push_back(write.call);
      batch.add(*refused);
      continue;
    }
    calls.push_back(write.call);
    batch.add(write.command);
  }
  if (batch.empty()) return writes_.may_send(epoch);
  const Stamp stamp = cluster_clock_.stamp(epoch, shared_.clock.now(), store_.stamp());
  if (propose(batch.finish(epoch, stamp))) return true;
  writes_.put_back(calls);
  return false;
}

// One log entry of what followers sent.
bool Group::propose_forwarded() {
  const Epoch epoch = engine_.epoch();
  while (!forwarded_.empty() && forwarded_.front().epoch != epoch) {
    forwarded_bytes_ -= forwarded_.front().bytes;
    forwarded_.pop_front();
  }
  if (forwarded_.empty()) return false;
  store::BatchEncoder batch;
  std::size_t frames = 0;
  for (const ForwardedFrame& frame : forwarded_) {
    if (!batch.empty() && batch.size_bytes() > limits::kMaxEntryBytes / 2) break;
    for (const Bytes& command : frame.commands) batch.add(command);
    ++frames;
  }
  const Stamp stamp = cluster_clock_.stamp(epoch, shared_.clock.now(), store_.stamp());
  if (!batch.empty() && !propose(batch.finish(epoch, stamp))) return false;
  for (; frames > 0; --frames) {
    forwarded_bytes_ -= forwarded_.front().bytes;
    forwarded_.pop_front();
  }
  return true;
}

void Group::forward_writes() {
  const NodeId leader = engine_.leader();
  if (!leader || leader == shared_.options.self) return;
  const Epoch epoch = engine_.epoch();
  const std::uint64_t heard = forward_sender_.heard(epoch);
  while (writes_.may_send(epoch)) {
    ForwardSender::Frame frame;
    frame.number = forward_sender_.next_number(epoch);
    peer::v1::Forward message = forward_frame(epoch, frame.number, heard);
    for (const Writes::Sent& write : writes_.take_unsent(epoch, limits::kMaxEntryBytes / 2)) {
      frame.calls.push_back(write.call);
      message.add_commands(Bytes(write.command));
    }
    if (frame.calls.empty()) return;
    frame.encoded = message.SerializeAsString();
    shared_.peers.send(leader, FrameType::kForward, frame.encoded);
    forward_sender_.sent(epoch, std::move(frame));
  }
}

// One without commands yet.
peer::v1::Forward Group::forward_frame(Epoch epoch, std::uint64_t number,
                                       std::uint64_t heard) const {
  peer::v1::Forward message;
  message.set_group(id_.value);
  message.set_epoch(epoch.value);
  message.set_incarnation(shared_.incarnation);
  message.set_number(number);
  message.set_heard(heard);
  return message;
}

void Group::resend_forwards() {
  const NodeId leader = engine_.leader();
  if (!leader || leader == shared_.options.self) return;
  const Epoch epoch = engine_.epoch();
  const std::uint64_t heard = forward_sender_.heard(epoch);
  forward_sender_.empty_unwanted(
      epoch, [this](std::uint64_t call) { return writes_.is_waiting(call); },
      [&](std::uint64_t number) {
        return forward_frame(epoch, number, heard).SerializeAsString();
      });
  for (const ForwardSender::Frame& frame : forward_sender_.unanswered(epoch)) {
    shared_.peers.send(leader, FrameType::kForward, frame.encoded);
  }
}

void Group::on_forward(NodeId from, const peer::v1::Forward& forward) {
  const Epoch epoch{forward.epoch()};
  if (!engine_.is_leader() || engine_.epoch() != epoch) return;
  const auto heard = forward.has_heard() ? std::optional(forward.heard()) : std::nullopt;
  const auto verdict =
      forward_receiver_.check(epoch, from, forward.incarnation(), forward.number(), heard);
  if (verdict == ForwardReceiver::Verdict::kGap) return;

  peer::v1::ForwardReply reply;
  reply.set_group(forward.group());
  reply.set_epoch(forward.epoch());
  reply.set_incarnation(forward.incarnation());
  reply.set_number(forward.number());
  if (verdict == ForwardReceiver::Verdict::kNew) {
    forward_receiver_.taken(from, forward.incarnation(), forward.number(), take_forward(forward));
  }
  const auto outcome = forward_receiver_.outcome_of(from, forward.incarnation(), forward.number());
  if (!outcome) return;
  // The outcomes are in the order of the message's verdicts.
  reply.set_verdict(static_cast<peer::v1::ForwardReply::Verdict>(*outcome));
  reply.set_holds_later(heard && *outcome != ForwardReceiver::Outcome::kAccepted);
  shared_.peers.send(from, FrameType::kForwardReply, reply.SerializeAsString());
}

ForwardReceiver::Outcome Group::take_forward(const peer::v1::Forward& forward) {
  using Outcome = ForwardReceiver::Outcome;
  if (forward.commands().empty()) return Outcome::kAccepted;
  ForwardedFrame frame{
      .epoch = Epoch{forward.epoch()}, .commands = {}, .bytes = forward.ByteSizeLong()};
  if (no_space_ || shared_.log.is_full()) return Outcome::kNoSpace;
  if (forwarded_bytes_ + frame.bytes > limits::kMaxInflightWriteBytes) return Outcome::kBusy;
  for (const Bytes& command : forward.commands()) {
    if (!store::is_valid_command(command)) continue;
    if (!store::is_member_change(command)) {
      frame.commands.push_back(command);
    } else if (std::optional<Bytes> refused = hold_change(command)) {
      frame.commands.push_back(*std::move(refused));
    }
  }
  forwarded_bytes_ += frame.bytes;
  forwarded_.push_back(std::move(frame));
  want_turn();
  return Outcome::kAccepted;
}

void Group::on_forward_reply(const peer::v1::ForwardReply& reply) {
  if (reply.incarnation() != shared_.incarnation) return;
  const Epoch epoch{reply.epoch()};
  ForwardSender::Refused refused;
  if (reply.holds_later()) {
    refused = forward_sender_.refused(epoch, reply.number());
  } else {
    refused.calls = forward_sender_.answered(epoch, reply.number());
  }
  if (reply.verdict() == peer::v1::ForwardReply::ACCEPTED) return;
  want_turn();
  const api::ErrorCode code = reply.verdict() == peer::v1::ForwardReply::NO_SPACE
                                  ? api::ErrorCode::kNoSpace
                                  : api::ErrorCode::kTooManyRequests;
  for (const std::uint64_t call : refused.calls) {
    const std::optional<ClientCall> client = writes_.finish(call);
    if (!client) continue;
    ++counters_.writes_failed;
    fail_write(*client, code);
  }
  // But for those of connections that have failed just now: they end with them.
  writes_.put_back(refused.later);
}

// --- what others tell us ------------------------------------------------------------

void Group::on_engine_message(const consensus::Envelope& envelope) {
  const Result<void> stepped = engine_.step(envelope);
  if (!stepped) {
    LOG(kWarn, "message from member {:x} dropped: {}", envelope.from.value,
        stepped.error().message);
    return;
  }
  want_turn();
}

void Group::on_peer_lost(NodeId peer) {
  engine_.peer_lost(peer);
  want_turn();
}

void Group::on_peer_connected(NodeId peer) {
  if (peer == engine_.leader()) resend_forwards();
}

void Group::set_full_disks(std::set<NodeId> members) {
  full_disks_ = std::move(members);
  no_space_ = !engine_.membership().voters.reached(
      [this](NodeId member) { return !full_disks_.contains(member); });
}

bool Group::hand_over_leadership() {
  if (!engine_.is_leader()) return false;
  const consensus::EngineStatus status = engine_.status();
  const consensus::PeerStatus* best = nullptr;
  for (const consensus::PeerStatus& peer : status.peers) {
    const bool able = peer.recently_active && engine_.membership().is_voter(peer.id) &&
                      !engine_.membership().is_witness(peer.id) && !full_disks_.contains(peer.id);
    if (able && (best == nullptr || peer.match > best->match)) best = &peer;
  }
  if (best == nullptr || !engine_.transfer(best->id)) return false;
  want_turn();
  return true;
}

// --- answers ------------------------------------------------------------------------

api::Header Group::header() const {
  return api::Header{.cluster = shared_.options.cluster,
                     .member = shared_.options.self,
                     .revision = store_.revision(),
                     .epoch = engine_.epoch()};
}

void Group::answer(ClientCall client, api::Answer answer) {
  this->answer(client, api::Response{header(), std::move(answer)});
}

void Group::answer(ClientCall client, api::Response&& response) {
  if (client.connection == 0) return;
  const api::Revision revision = response.header.revision;
  response.header = header();
  response.header.revision = revision;
  if (client.connection == kLocksConnection) {
    return locks_.on_response(client.call, std::move(response));
  }
  if (client.connection == kNativeConnection) {
    return native_waits_.on_response(client.call, std::move(response));
  }
  if (client.connection == kObserversConnection) {
    return observers_.on_response(client.call, std::move(response));
  }
  if (client.connection == kSessionsConnection) return answer_pings(client.call, response);
  shared_.reply(client, std::move(response));
}

Instant Group::deadline(const api::Request& request) const {
  Duration timeout = shared_.options.request_timeout;
  if (request.timeout_ms) {
    const auto limit_ms = static_cast<std::uint64_t>(timeout.ms());
    timeout = milliseconds(static_cast<std::int64_t>(std::min(*request.timeout_ms, limit_ms)));
  }
  return shared_.clock.now() + timeout;
}

Stats Group::stats() const {
  Stats stats = counters_;
  stats.engine = engine_.status();
  stats.applied = store_.applied_index();
  stats.snapshot = snapshot_;
  stats.revision = store_.revision();
  stats.compact_revision = store_.compact_revision();
  stats.keys = store_.key_count();
  stats.store_bytes = store_.size_bytes();
  stats.store_bytes_in_use = store_.size_in_use_bytes();
  stats.writes_waiting = writes_.waiting();
  stats.writes_queued = writes_.queued();
  stats.write_window = window_.cost();
  stats.corrupt = is_corrupt();
  stats.watches = watches_.watches();
  stats.watches_late = watches_.late();
  stats.watch_feeds = watches_.feeds();
  stats.watch_events = watches_.events_told();
  stats.watch_events_pending = watches_.events_pending();
  stats.leases = store_.lease_count();
  stats.lease_counts += store_.lease_counts();
  return stats;
}

}  // namespace conclave::node
