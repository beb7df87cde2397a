// What a group does by the clock rather than for a client: deadlines, snapshots, reclaiming,
// comparing hashes, publishing who this member is. Part of node/group.h.

#include <algorithm>
#include <utility>

#include "base/limits.h"
#include "base/log.h"
#include "node/group.h"

namespace conclave::node {
namespace {

// Of the log since the last snapshot, beyond which a snapshot is due however large the store is.
constexpr std::uint64_t kMaxLogBytes = 512 * limits::kMiB;
// A minute, with an election timeout of one second.
constexpr int kMaxDiskDoublings = 6;
// Takes a few percent of the time.
constexpr std::int64_t kReclaimPerSecond = 200'000;

}  // namespace

void Group::tick() {
  if (stopped_) return;
  engine_.tick();
  ++ticks_;
  const std::uint64_t per_second = static_cast<std::uint64_t>(
      std::max<std::int64_t>(1'000'000'000 / shared_.options.tick.ns, 1));
  if (ticks_ % std::max<std::uint64_t>(per_second / 10, 1) == 0) {
    expire();
    touch_sessions();
  }
  if (ticks_ % per_second == 0) {
    resend_forwards();
    propose_hash_check();
    compact_by_itself();
    publish_self();
    engine_.release(keep_from());  // what a follower has caught up with since
    maybe_take_snapshot();
    lift_no_space_alarms();
    reap_znodes();
    tokens_.expire(shared_.clock.now());
  }
  follow_members();
  leave_leadership_without_disk();
  reads_.retry();
  const Duration tick = shared_.options.tick;
  store_.reclaim(static_cast<std::size_t>(1 + kReclaimPerSecond * tick.ns / seconds(1).ns),
                 watches_.told());
  notify_watches();
  if (engine_.leader() != last_leader_) {
    last_leader_ = engine_.leader();
    ++counters_.leader_changes;
    LOG(kInfo, "leader of epoch {}: {:x}{}", engine_.epoch().value, last_leader_.value,
        last_leader_ == shared_.options.self ? " (this member)" : "");
    publish_self();  // a cluster that has just begun is ready so much earlier
  }
  want_turn();
}

void Group::expire() {
  const Instant now = shared_.clock.now();
  for (const Writes::Expired& write : writes_.expire(now)) {
    ++counters_.writes_failed;
    // One that its connection's share did not reach in all that time was one too many.
    const auto unsent =
        engine_.leader() ? api::ErrorCode::kTooManyRequests : api::ErrorCode::kNoLeader;
    fail_write(write.client, write.fate_unknown ? api::ErrorCode::kTimeout : unsent);
  }
  expire_changes(now);
  expire_maintenance(now);
  locks_.expire(now);
  native_waits_.expire(now);
  for (const Reads::Expired& read : reads_.expire(now)) {
    ++counters_.reads_failed;
    znode_reads_.done(read.client);
    const auto code = read.held ? api::ErrorCode::kTooManyRequests : api::ErrorCode::kTimeout;
    answer(read.client, api::Error{code, {}});
  }
  // Those that others made room for.
  for (const std::uint64_t connection : reads_.full_connections()) {
    if (shared_.room_for(connection) != Room::kNone) reads_.on_room(connection);
  }
}

// A leader does not need its own disk to commit, so nothing else would notice that it hangs, for an
// election timeout; and one whose disk is full refuses writes that the others have room for. If it
// happens again before the disk was quick once, it may be as slow everywhere: more patience then.
void Group::leave_leadership_without_disk() {
  if (!engine_.is_leader()) return;
  const Instant now = shared_.clock.now();
  const Duration election_timeout =
      shared_.options.tick * std::int64_t{shared_.options.election_ticks};
  const bool is_full = shared_.log.is_full();
  const Duration patience = election_timeout * (std::int64_t{1} << disk_doublings_);
  const bool hangs =
      !is_full && !appends_since_.empty() && now - appends_since_.front() >= patience;
  const bool others_have_room = is_full && !no_space_;
  if ((!hangs && !others_have_room) || now < hand_over_again_) return;
  if (!others_are_enough() || !hand_over_leadership()) return;
  if (hangs) disk_doublings_ = std::min(disk_doublings_ + 1, kMaxDiskDoublings);
  // A successor that cannot get elected must not keep this member from proposing for good.
  hand_over_again_ = now + election_timeout * 3;
  ++counters_.disk_hand_overs;
  LOG(kWarn, "the disk {}: handing leadership over",
      is_full ? "is full" : "has taken nothing for an election timeout");
}

// Those who are there and have room can commit without this member.
bool Group::others_are_enough() const {
  std::set<NodeId> able;
  for (const consensus::PeerStatus& peer : engine_.status().peers) {
    if (peer.recently_active && !full_disks_.contains(peer.id)) able.insert(peer.id);
  }
  return engine_.membership().voters.reached([&able](NodeId id) { return able.contains(id); });
}

// --- the member's own commands ------------------------------------------------------

void Group::submit_internal(Bytes command) {
  writes_.add(ClientCall{}, std::move(command), false,
              shared_.clock.now() + shared_.options.request_timeout);
  want_turn();
}

// Until the cluster knows this member's name and addresses as they are now.
void Group::publish_self() {
  const Options& options = shared_.options;
  if (!engine_.leader() || no_space_ || shared_.log.is_full()) return;
  if (shared_.clock.now() < publish_again_) return;
  api::Member self{.id = options.self,
                   .name = options.name,
                   .peer_urls = {},
                   .client_urls = options.client_urls,
                   .is_learner = engine_.membership().is_learner(options.self)};
  if (options.is_witness) self.client_urls.clear();  // nobody is to ask it
  for (const PeerOptions& member : options.members) {
    if (member.id == options.self) self.peer_urls = member.peer_urls;
  }
  const auto known = std::ranges::find(store_.members(), self.id, &api::Member::id);
  if (known == store_.members().end()) {
    if (store_.founded()) return;  // not a member yet, or no more
  } else {
    const bool same = store_.founded()
                          ? known->name == self.name && known->client_urls == self.client_urls
                          : *known == self;
    const bool is_told = store_.zookeeper_address_of(self.id) == options.zookeeper_address;
    if (same && is_told && store_.directory_of(self.id) != 0) return;
  }
  publish_again_ = shared_.clock.now() + options.request_timeout;
  const store::Origin origin{options.self, shared_.incarnation, writes_.next_call()};
  submit_internal(store::encode_command(
      origin, store::PublishMember{std::move(self), options.directory, options.zookeeper_address}));
}

// The leader puts its hash into the log now and then; each member compares when it applies that
// entry.
void Group::propose_hash_check() {
  if (!engine_.is_leader() || no_space_ || shared_.log.is_full()) return;
  if (std::exchange(checked_revision_, store_.revision()) == store_.revision()) return;
  const store::Origin origin{shared_.options.self, shared_.incarnation, writes_.next_call()};
  submit_internal(
      store::encode_command(origin, store::CheckHash{store_.applied_index(), store_.hash()}));
}

void Group::compact_by_itself() {
  if (!engine_.is_leader() || is_corrupt() || no_space_ || shared_.log.is_full()) return;
  const std::optional<api::Revision> target =
      auto_compaction_.due(shared_.clock.now(), store_.revision(), store_.compact_revision());
  if (!target) return;
  LOG(kInfo, "compacting up to revision {}", *target);
  const store::Origin origin{shared_.options.self, shared_.incarnation, writes_.next_call()};
  const api::Request request{.body = api::CompactRequest{.revision = *target, .physical = false},
                             .id = {},
                             .timeout_ms = {}};
  submit_internal(store::encode_command(origin, request));
}

void Group::raise_corrupt_alarm(LogIndex index) {
  if (store_.has_alarm(shared_.options.self, store::Alarm::kCorrupt)) return;
  LOG(kError,
      "the state of this member differs from the leader's at index {}: the cluster refuses "
      "requests "
      "rather than give two answers (docs/operations.md, CORRUPT)",
      index.value);
  corrupt_ = true;
  raise_alarm(store::Alarm::kCorrupt);
}

// --- snapshots ----------------------------------------------------------------------

// How much is applied between two. The larger the store, the longer a snapshot may wait; but all
// that came since the last one is on the disk, is read again at a restart, and is in memory a
// second time, as log, while a follower that is away may need it.
std::uint64_t Group::bytes_between_snapshots() const {
  const Options& options = shared_.options;
  const std::uint64_t bytes =
      std::max(options.snapshot_log_bytes, std::min(store_.size_bytes() / 4, kMaxLogBytes));
  return options.is_witness ? std::min(bytes, limits::kWitnessLogBytes) : bytes;
}

// Of what makes a snapshot due, in percent: what has been applied since `since`, `bytes` of it.
std::int64_t Group::snapshot_percent(std::uint64_t bytes, LogIndex since) const {
  const std::uint64_t entries = store_.applied_index().value - since.value;
  const std::uint64_t max_entries = shared_.options.snapshot_entries;
  const std::uint64_t by_entries = max_entries == 0 ? 0 : entries * 100 / max_entries;
  return static_cast<std::int64_t>(std::max(bytes * 100 / bytes_between_snapshots(), by_entries));
}

// Of that, when the next one is taken. Members whose log begins at the same place would take all
// of theirs in the same moment, again and again: the first comes earlier, on each at another time.
std::int64_t Group::percent_of_next_snapshot() const {
  if (!is_first_snapshot_) return 100;
  const std::vector<NodeId> all = applied_membership_.all();
  if (all.size() < 2) return 100;
  const auto before =
      std::ranges::count_if(all, [&](NodeId id) { return id < shared_.options.self; });
  return 50 * (2 * before + 1) / std::max<std::int64_t>(std::ssize(all), before + 1);
}

void Group::maybe_take_snapshot() {
  const bool due = engine_.wants_snapshot() ||
                   snapshot_percent(bytes_since_snapshot_, cut_at_) >= percent_of_next_snapshot();
  const bool is_there = store_.applied_index() == snapshot_;  // for clients
  if (!due || is_there || snapshots_->writing() || snapshots_->failed_lately()) return;
  begin_snapshot(0);
}

// For Snapshots::Hooks. `begun`: the index of the one being written.
std::int64_t Group::percent_to_next_snapshot(LogIndex begun) const {
  if (engine_.wants_snapshot()) return 100;  // somebody waits for it
  // One for clients does not let go of the log: what came before it counts for the next.
  if (is_backup_being_written_) return snapshot_percent(bytes_since_snapshot_, cut_at_);
  return snapshot_percent(bytes_since_snapshot_ - bytes_before_snapshot_, begun);
}

// REQUIRES: none is being written, and something has been applied since the last one.
void Group::begin_snapshot(std::uint64_t needs_free_bytes) {
  snapshots_->begin(store_, engine_.snapshot_meta(store_.applied_index()), needs_free_bytes);
  bytes_before_snapshot_ = bytes_since_snapshot_;
  keep_at_snapshot_ = keep_from();
}

void Group::snapshot_taken(const consensus::SnapshotMeta& meta) {
  ++counters_.snapshots_taken;
  snapshot_ = meta.index;
  if (end_backup()) {
    engine_.snapshot_taken(meta, LogIndex{});
  } else {
    cut_log(meta);
  }
  shared_.log.release(id_, meta.index);
  serve_backups();
  want_turn();
}

// Lets go of what followers need no more, now that there is a snapshot.
void Group::cut_log(const consensus::SnapshotMeta& meta) {
  cut_at_ = meta.index;
  bytes_since_snapshot_ -= std::exchange(bytes_before_snapshot_, 0);
  is_first_snapshot_ = false;
  engine_.snapshot_taken(meta, keep_at_snapshot_);
}

// The first index that is to stay in memory, whoever needs it.
LogIndex Group::keep_from() const {
  return recent_entries_.empty() ? store_.applied_index().next() : recent_entries_.front().first;
}

void Group::snapshot_installed(const consensus::SnapshotMeta& meta, store::Store store) {
  if (meta.index <= store_.applied_index()) return;
  LOG(kInfo, "snapshot at index {} received and loaded", meta.index.value);
  ++counters_.snapshots_installed;
  snapshots_->abort();
  if (long_read_) {
    ++counters_.reads_failed;
    answer(long_read_->client, api::Error{api::ErrorCode::kTimeout, {}});
    long_read_.reset();
  }
  for (const HashingClient& hashing : std::exchange(hashing_, {})) {
    answer(hashing.client, api::Error{api::ErrorCode::kTimeout, {}});
  }
  counters_.lease_counts += store_.lease_counts();
  store_ = std::move(store);
  watches_.store_replaced(store_);
  applied_membership_ = meta.membership.decided();
  corrupt_ = false;  // whatever differed is gone
  snapshot_ = meta.index;
  cut_at_ = meta.index;
  is_backup_being_written_ = false;
  recent_entries_.clear();
  recent_bytes_ = 0;
  bytes_since_snapshot_ = 0;
  bytes_before_snapshot_ = 0;
  is_first_snapshot_ = true;
  // Some of what we sent may be inside of it, with answers we did not see.
  for (const ClientCall& client : writes_.forget_sent()) {
    ++counters_.writes_failed;
    fail_write(client, api::ErrorCode::kTimeout);
  }
  check_sessions();
  shared_.log.release(id_, meta.index);
  serve_backups();
}

void Group::move_snapshots(consensus::Output& out) {
  for (const consensus::SnapshotRead& wanted : out.snapshot_reads) snapshots_->read(wanted);
  for (consensus::SnapshotWrite& chunk : out.snapshot_writes) snapshots_->write(std::move(chunk));
}

}  // namespace conclave::node
