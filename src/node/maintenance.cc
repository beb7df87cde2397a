// What operators ask of a group: who leads, alarms, hashes of the history, copies of everything.
// Part of node/group.h.
//
// A copy is a snapshot file like those the group takes by itself. It is written if there is none
// that is new enough, then read in pieces, as the client takes them; so a slow client costs disk
// space and no memory, and it holds back neither reclaiming nor the next snapshot. The log is cut
// by the snapshots that the group takes by itself alone: else followers would need whole transfers.

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "base/limits.h"
#include "base/log.h"
#include "node/group.h"

namespace conclave::node {
namespace {

constexpr Duration kBackupPatience = milliseconds(limits::kBackupPatienceMs);
// After a copy was written, and as long as that took: the store is not reclaimed meanwhile.
constexpr Duration kBackupPause = seconds(1);
// Of the disk, beside what the copy takes, about: for the log.
constexpr std::uint64_t kBackupReserveBytes = 128 * limits::kMiB;

}  // namespace

void Group::maintain(ClientCall client, const api::Request& request) {
  if (const auto* move = std::get_if<api::MoveLeaderRequest>(&request.body)) {
    return move_leader(client, move->target, deadline(request));
  }
  if (std::holds_alternative<api::HashRequest>(request.body)) {
    const std::uint64_t hash = store_.hash();
    return answer(client, api::HashResponse{.hash = static_cast<std::uint32_t>(hash ^ hash >> 32)});
  }
  if (const auto* hash = std::get_if<api::HashKvRequest>(&request.body)) {
    return begin_history_hash(client, hash->revision);
  }
  if (const auto* piece = std::get_if<api::SnapshotPieceRequest>(&request.body)) {
    // As a read that needs no barrier: it waits for room, as others do.
    reads_.add_due({client, {*piece, {}, {}}, shared_.clock.now() + kBackupPatience});
    return want_turn();
  }
  CHECK(std::holds_alternative<api::DefragmentRequest>(request.body));
  answer(client, api::DefragmentResponse{});
}

// --- who leads ----------------------------------------------------------------------

// A transfer is given up after an election timeout; the election that it leads to takes a little.
void Group::move_leader(ClientCall client, NodeId target, Instant until) {
  if (!engine_.is_leader()) return answer(client, api::Error{api::ErrorCode::kNotLeader, {}});
  if (target != shared_.options.self && !engine_.transfer(target)) {
    return answer(client, api::Error{api::ErrorCode::kBadTransferee, {}});
  }
  const Duration election = shared_.options.tick * std::int64_t{shared_.options.election_ticks};
  movers_.push_back({client, target, std::min(until, shared_.clock.now() + election * 3)});
  answer_movers();
  want_turn();
}

void Group::answer_movers() {
  const NodeId leader = engine_.leader();
  for (Mover& mover : std::exchange(movers_, {})) {
    if (mover.target == leader) {
      answer(mover.client, api::MoveLeaderResponse{});
    } else {
      movers_.push_back(mover);
    }
  }
}

// --- alarms -------------------------------------------------------------------------

bool Group::is_over_quota(std::uint64_t quota_bytes) const {
  return quota_bytes != 0 && store_.size_bytes() >= quota_bytes;
}

void Group::raise_alarm(store::Alarm alarm) {
  if (store_.has_alarm(shared_.options.self, alarm)) return;
  set_alarm(shared_.options.self, alarm, true);
}

// Somebody's disarming it would raise it again while there is no room; this one lifts it as soon as
// there is a little, whichever run of this member raised it. The leader does it for those who are
// members no more.
void Group::lift_no_space_alarms() {
  const std::uint64_t quota = shared_.options.quota_bytes;
  const bool has_it = store_.has_alarm(shared_.options.self, store::Alarm::kNoSpace);
  if (has_it && !is_over_quota(quota - quota / 20)) {
    LOG(kInfo, "there is room again below --quota-backend-bytes: the alarm is lifted");
    set_alarm(shared_.options.self, store::Alarm::kNoSpace, false);
  }
  if (!engine_.is_leader()) return;
  for (const auto& [member, alarm] : store_.alarms()) {
    if (alarm != store::Alarm::kNoSpace || !store_.was_removed(member)) continue;
    LOG(kInfo, "member {:x} was removed: its alarm is lifted", member.value);
    return set_alarm(member, alarm, false);
  }
}

// Not again before the last attempt has ended.
void Group::set_alarm(NodeId member, store::Alarm alarm, bool raised) {
  if (no_space_ || shared_.log.is_full()) return;
  const Instant now = shared_.clock.now();
  Instant& again = alarms_set_at_[alarm];
  if (now < again) return;
  again = now + seconds(1);
  const store::Origin origin{shared_.options.self, shared_.incarnation, writes_.next_call()};
  submit_internal(store::encode_command(origin, store::SetAlarm{member, alarm, raised}));
}

// --- hashes -------------------------------------------------------------------------

void Group::begin_history_hash(ClientCall client, api::Revision revision) {
  if (hashing_.size() >= limits::kMaxHistoryHashes) {
    return answer(client, api::Error{api::ErrorCode::kTooManyRequests, {}});
  }
  auto hash = store_.begin_history_hash(revision);
  if (!hash) return answer(client, std::move(hash.error()));
  hashing_.push_back({client, std::move(*hash)});
  want_turn();
}

// A slice of the oldest one.
void Group::go_on_with_history_hashes() {
  if (hashing_.empty()) return;
  HashingClient& first = hashing_.front();
  if (first.hash->step(limits::kHistoryHashSlice)) {
    api::Header names = header();
    names.revision = first.hash->store_revision();
    const HashingClient done = std::move(first);
    hashing_.pop_front();
    answer(done.client, api::Response{names, done.hash->result()});
  } else if (shared_.room_for(first.client.connection) == Room::kGone) {
    hashing_.pop_front();
  }
  if (!hashing_.empty()) want_turn();
}

// --- copies of everything -----------------------------------------------------------

void Group::begin_backup(ClientCall client) {
  const LogIndex applied = store_.applied_index();
  if (!applied) return answer(client, api::Error{api::ErrorCode::kNoLeader, {}});
  const bool needs_new = applied > snapshot_;
  const bool is_kept = !needs_new && backups_.contains(snapshot_);
  if (waiting_backups_.size() >= limits::kMaxWaitingBackups ||
      (!is_kept && backups_.size() >= limits::kMaxBackups)) {
    return answer(client, api::Error{api::ErrorCode::kTooManyRequests, {}});
  }
  if (needs_new && snapshots_->failed_lately()) {
    return answer(client, api::Error{api::ErrorCode::kSnapshotFailed,
                                     "the last snapshot failed a moment ago"});
  }
  waiting_backups_.push_back({client, applied});
  serve_backups();
}

void Group::serve_backups() {
  for (const WaitingBackup& waiting : std::exchange(waiting_backups_, {})) {
    if (shared_.room_for(waiting.client.connection) == Room::kGone) continue;
    if (waiting.from <= snapshot_) {
      tell_backup(waiting.client, snapshot_);
    } else {
      waiting_backups_.push_back(waiting);
    }
  }
  const bool rests = shared_.clock.now() < next_backup_at_;
  if (waiting_backups_.empty() || snapshots_->writing() || rests) return;
  is_backup_being_written_ = true;
  backup_begun_at_ = shared_.clock.now();
  begin_snapshot(store_.size_bytes() + kBackupReserveBytes);
}

// One that was written for clients alone is durable. True if the last one was that.
bool Group::end_backup() {
  if (!std::exchange(is_backup_being_written_, false)) return false;
  const Instant now = shared_.clock.now();
  next_backup_at_ = now + std::max(kBackupPause, now - backup_begun_at_);
  return true;
}

void Group::tell_backup(ClientCall client, LogIndex index) {
  Backup& backup = backups_[index];
  backup.until = shared_.clock.now() + kBackupPatience;
  ++backup.readers;
  snapshots_->size_of(index, [this, client, index](Result<std::uint64_t> size) {
    const auto kept = backups_.find(index);
    if (size && kept != backups_.end()) {
      kept->second.size_bytes = *size;
      return answer(client, api::SnapshotResponse{.index = index, .size_bytes = *size});
    }
    const std::string why = size ? "it took too long" : size.error().message;
    LOG(kWarn, "cannot read snapshot {}: {}", index.value, why);
    answer(client, api::Error{api::ErrorCode::kSnapshotFailed, why});
  });
}

void Group::read_backup(ClientCall client, const api::SnapshotPieceRequest& wanted) {
  const auto kept = backups_.find(wanted.index);
  if (kept == backups_.end()) {
    return answer(client, api::Error{api::ErrorCode::kSnapshotGone, {}});
  }
  kept->second.until = shared_.clock.now() + kBackupPatience;
  snapshots_->read_piece(
      wanted.index, wanted.offset, std::min(wanted.max_bytes, limits::kMaxBackupPieceBytes),
      [this, client, wanted](Result<Bytes> piece) {
        if (!piece) {
          LOG(kWarn, "cannot read snapshot {}: {}", wanted.index.value, piece.error().message);
          return answer(client, api::Error{api::ErrorCode::kSnapshotGone, {}});
        }
        note_read(wanted.index, wanted.offset + piece->size());
        answer(client, api::SnapshotPieceResponse{std::move(*piece)});
      });
}

// The file need not stay for those who have come to its end.
void Group::note_read(LogIndex index, std::uint64_t up_to) {
  const auto kept = backups_.find(index);
  if (kept == backups_.end() || up_to < kept->second.size_bytes) return;
  if (--kept->second.readers > 0) return;
  backups_.erase(kept);
  snapshots_->remove_unused();
}

void Group::refuse_backups(const Error& why) {
  is_backup_being_written_ = false;
  for (const WaitingBackup& waiting : std::exchange(waiting_backups_, {})) {
    answer(waiting.client, api::Error{api::ErrorCode::kSnapshotFailed, why.message});
  }
}

void Group::expire_maintenance(Instant now) {
  answer_movers();
  for (const Mover& mover : movers_) {
    if (now < mover.until) continue;
    answer(mover.client, api::Error{api::ErrorCode::kTransferTimeout, {}});
  }
  std::erase_if(movers_, [now](const Mover& mover) { return now >= mover.until; });
  const auto expired = [now](const auto& kept) { return now >= kept.second.until; };
  if (std::erase_if(backups_, expired) > 0) snapshots_->remove_unused();
  if (!waiting_backups_.empty()) serve_backups();
}

}  // namespace conclave::node
