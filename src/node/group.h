#pragma once
// One consensus group on this member: its engine, its store, and the clients that wait for either.
//
// Everything ends in turn(): waiting writes become log entries (or travel to the leader), waiting
// reads share a barrier, and what the engine wants done is done in the one order that is safe
// (consensus/output.h). All other functions note what happened and ask for a turn, so that work
// gathers into batches while the loop is busy.
//
// Threading: the loop.

#include <array>
#include <cstdint>
#include <deque>
#include <expected>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <vector>

#include "api/request.h"
#include "base/ids.h"
#include "base/result.h"
#include "base/rng.h"
#include "base/watch_limits.h"
#include "consensus/output.h"
#include "io/clock.h"
#include "io/disk.h"
#include "node/admission_window.h"
#include "node/auto_compaction.h"
#include "node/cluster_clock.h"
#include "node/engine.h"
#include "node/fair_queue.h"
#include "node/forwarding.h"
#include "node/in_flight.h"
#include "node/options.h"
#include "node/ordered_reads.h"
#include "node/peers.h"
#include "node/reads.h"
#include "node/snapshots.h"
#include "node/stats.h"
#include "node/tokens.h"
#include "node/writes.h"
#include "peer.pb.h"
#include "store/history_hash.h"
#include "store/locks.h"
#include "store/native_waits.h"
#include "store/observers.h"
#include "store/range_reader.h"
#include "store/store.h"
#include "store/watch_hub.h"
#include "store/znode_watches.h"
#include "wal/log.h"

namespace conclave::node {

// What a group starts from (node/recovery.h).
struct GroupState {
  consensus::Saved saved;
  store::Store store;
};

class Group {
 public:
  // The parts of the member that its groups share; all outlive them.
  struct Shared {
    const Options& options;
    std::uint64_t incarnation = 0;
    io::Clock& clock;
    io::Disk& disk;
    wal::Log& log;
    Peers& peers;
    const wal::SnapshotDir& snapshots;
    std::function<void(ClientCall, api::Response&&)> reply;
    // Node's, for a request whose identity has been found out since.
    std::function<void(ClientCall, api::Request&&)> submit;
    // These two are Clients'.
    std::function<bool(ClientCall, const api::Header&, std::vector<api::KeyValue>)> reply_part;
    std::function<Room(std::uint64_t connection)> room_for;
    std::function<bool(ClientCall feed, const api::Header&, const api::WatchNews&)> watch_news;
    std::function<void(std::uint64_t connection, api::zk::News)> zookeeper_news;  // Clients'
    std::function<void(const Error&)> fatal;
  };

  Group(GroupId id, GroupState state, Shared shared);
  ~Group();
  Group(const Group&) = delete;
  Group& operator=(const Group&) = delete;

  // Answers through Shared::reply, now or later.
  void write(ClientCall client, api::Request&& request);
  void read(ClientCall client, api::Request&& request);
  // REQUIRES: api::route_of(request) is kMemberChange. Answered when the new members alone decide;
  // kTimeout if that is not known in time.
  void change_members(ClientCall client, const api::Request& request);
  // The same of a zk::ReconfigRequest (reconfig.cc).
  void reconfigure(ClientCall client, const api::Request& request);

  // Who asks (auth.cc): puts what request.token says into request.identity. False: this member does
  // not know the token as a valid one.
  bool identify(api::Request& request);
  // The same after a barrier, then submitted again; or refused.
  void identify_later(ClientCall client, api::Request request);
  // Why it may not be done, by what this member knows.
  std::optional<api::Error> denial(const api::Request& request) const;
  // REQUIRES: api::route_of(request) is kAuth.
  void authenticate(ClientCall client, api::Request request);

  // REQUIRES: api::route_of(request) is kMaintenance.
  void maintain(ClientCall client, const api::Request& request);
  // Locks and elections (locks.cc). REQUIRES: api::route_of(request) is kLock.
  void lock(ClientCall client, api::Request request);
  // The client wants no answer to this call any more.
  void withdraw(ClientCall client);
  // The member stops: who waits for a lock has to ask another one.
  void stop_locks();

  // Keeps a session alive (zookeeper.cc). REQUIRES: api::route_of(request) is kPing.
  void ping(ClientCall client, api::Request request);

  // Room for answers to this connection, which had none.
  void on_room(std::uint64_t connection);

  // Watches (watches.cc). Answered through Shared::watch_news, later.
  void watch(ClientCall feed, api::WatchRequest request);
  void on_watch_room(ClientCall feed);
  void on_watcher_gone(std::uint64_t connection);

  void on_engine_message(const consensus::Envelope& envelope);
  void on_forward(NodeId from, const peer::v1::Forward& forward);
  void on_forward_reply(const peer::v1::ForwardReply& reply);
  void on_peer_lost(NodeId peer);
  void on_peer_connected(NodeId peer);
  void tick();

  // Members that cannot write for lack of disk space. If a quorum needs one of them, new writes are
  // refused.
  void set_full_disks(std::set<NodeId> members);

  // Hands leadership to the voter that is furthest, of those whose disk has room. False if this
  // member does not lead or nobody can take it.
  bool hand_over_leadership();

  // The membership of the last entry that was applied.
  const consensus::Membership& applied_membership() const { return applied_membership_; }
  // This member is in the cluster no more, and that is final.
  bool was_removed() const;

  bool is_witness() const { return shared_.options.is_witness; }
  const Engine& engine() const { return engine_; }
  const store::Store& store() const { return store_; }
  std::size_t waiting() const { return writes_.waiting() + reads_.waiting(); }
  api::Header header() const;
  // All but what the node itself knows: log, disk and connections.
  Stats stats() const;

 private:
  struct Held {
    Ticket after;
    std::vector<consensus::Envelope> messages;
  };
  // A change of the members on its way into the log, at the leader.
  struct WaitingChange {
    Epoch epoch;
    Instant since;
    Bytes command;
  };
  // A client whose change has been applied and is not over.
  struct ChangingClient {
    ClientCall client;
    api::Response response;
    Instant deadline;
  };
  struct WatchWork {
    ClientCall feed;
    // Empty: the feed has room. Feed 0: the connection is gone.
    std::optional<api::WatchRequest> request;
  };
  struct ForwardedFrame {
    Epoch epoch;
    std::vector<Bytes> commands;
    std::size_t bytes = 0;
  };

  void want_turn();
  void turn();

  // Stages of a turn, in this order.
  void adapt_window();
  void propose_writes();
  bool propose_own();
  bool propose_forwarded();
  void forward_writes();
  peer::v1::Forward forward_frame(Epoch epoch, std::uint64_t number, std::uint64_t heard) const;
  ForwardReceiver::Outcome take_forward(const peer::v1::Forward& forward);
  void propose_change();
  void keep_time();
  void begin_barrier();
  void persist(consensus::Output& out);
  void apply(const std::vector<consensus::Entry>& committed);
  void serve_reads();
  void serve(Reads::Read read, store::RangeReader::Budget& budget);
  bool may_read(Reads::Read& read);
  std::optional<api::Identity> identity_of(BytesView token);
  bool may_use_passwords(ClientCall client);
  void hash_password(ClientCall client, Bytes password, api::Request request);
  void check_password(ClientCall client, api::Authenticate asked);
  void issue_token(ClientCall client, const std::string& user);
  void serve_range(Reads::Read read, const api::RangeRequest& range,
                   store::RangeReader::Budget& budget);
  bool has_room(Reads::Read& read);
  bool begin_long_read();
  void go_on_with_long_read();
  // Maintenance (maintenance.cc).
  void move_leader(ClientCall client, NodeId target, Instant until);
  void answer_movers();
  void begin_history_hash(ClientCall client, api::Revision revision);
  void go_on_with_history_hashes();
  void begin_backup(ClientCall client);
  void serve_backups();
  bool end_backup();
  void tell_backup(ClientCall client, LogIndex index);
  void read_backup(ClientCall client, const api::SnapshotPieceRequest& wanted);
  void note_read(LogIndex index, std::uint64_t up_to);
  void refuse_backups(const Error& why);
  void expire_maintenance(Instant now);
  bool is_over_quota(std::uint64_t quota_bytes) const;
  void raise_alarm(store::Alarm alarm);
  void lift_no_space_alarms();
  void set_alarm(NodeId member, store::Alarm alarm, bool raised);
  void add_watch_work(WatchWork work);
  void serve_watches();
  void serve_watch_request(ClientCall feed, api::WatchRequest& request);
  template <class Asked>
  std::optional<api::ErrorCode> identify_watcher(Asked& asked);
  void notify_watches();
  static store::FeedId feed_id(ClientCall feed) { return {feed.connection, feed.call}; }
  bool tell_watch(store::FeedId feed, api::Revision revision, const api::WatchNews& news);
  void serve_locks();
  void serve_locks(std::uint64_t connection, store::Locks::Effects effects);
  template <class Watches>
  void watch_for_locks(std::uint64_t connection, const std::vector<std::uint64_t>& closed,
                       const Watches& watches);
  void submit_for_locks(ClientCall client, api::Request request);
  // ZooKeeper's clients (zookeeper.cc).
  struct ZnodeNewsReader {
    const std::vector<store::ZnodeNews>& news;
    std::size_t changes = 0;  // of them that have been looked at
    std::size_t sessions = 0;
  };
  void complete(api::zk::WriteRequest& write);
  void tell_znode_changes(ZnodeNewsReader& reader, std::size_t outcome);
  void tell_session_changes(ZnodeNewsReader& reader, std::size_t outcome, std::uint64_t asker);
  void note_session(ClientCall client, const api::Answer& answer);
  void end_connection(std::uint64_t connection, api::zk::ConnectionOver::Why why);
  void forget_connection(std::uint64_t connection);
  void check_sessions();
  void hear_of(ClientCall client, const api::zk::Caller& caller);
  void touch_session(api::zk::SessionId session);
  void touch_sessions();
  void answer_pings(std::uint64_t number, const api::Response& response);
  void reap_znodes();
  bool is_refused_after_failure(ClientCall client);
  bool is_answered_at_once(ClientCall client, const api::zk::WriteRequest& write);
  void refuse_znodes(ClientCall client, api::Error error);
  void fail_write(ClientCall client, api::ErrorCode code);
  void serve_in_order(Reads::Read read, store::RangeReader::Budget& budget);
  void serve_znodes(const Reads::Read& read, store::RangeReader::Budget& budget);
  api::Answer read_znodes(ClientCall client, const api::Request& request);
  std::optional<api::Error> set_watches(ClientCall client, const api::zk::ReadRequest& request,
                                        const api::zk::SetWatches& wanted);
  bool watch_znode(ClientCall client, const api::zk::ReadRequest& request, BytesView path,
                   store::ZnodeWatches::Kind kind);
  void move_snapshots(consensus::Output& out);

  std::optional<consensus::Position> propose(Bytes entry);
  void complete(api::LeaseGrantRequest& grant);
  void on_persisted(Ticket ticket, const Result<void>& result);
  void release_held();
  void send(std::vector<consensus::Envelope>& messages);
  bool apply_commands(const consensus::Entry& entry);
  void after_apply(LogIndex index, std::size_t bytes);

  // Changes of the members (members.cc).
  void apply_membership(const consensus::Entry& entry);
  bool is_settled() const;
  void follow_members();
  void found_members();
  std::optional<Bytes> hold_change(BytesView command);
  store::MemberChange::Verdict judge(const store::MemberChange& change) const;
  store::MemberChange::Verdict judge(const std::vector<store::ReconfigStep>& steps) const;
  std::expected<std::vector<store::ReconfigStep>, api::zk::Code> plan(
      const store::Reconfigure& asked) const;
  store::Reconfigure judge(const store::Reconfigure& asked) const;
  bool knows_all_before() const;
  std::optional<Bytes> judged(const store::AskedChange& asked) const;
  bool leaves_witnesses_alone(const store::MemberChange& change) const;
  store::MemberChange::Verdict judge_add(const store::MemberChange& change) const;
  store::MemberChange::Verdict judge_removal(NodeId id) const;
  store::MemberChange::Verdict judge_promotion(NodeId id) const;
  bool is_reachable(NodeId id) const;
  void answer_when_settled(ClientCall client, api::Response response);
  void answer_settled();
  void expire_changes(Instant now);

  void submit_internal(Bytes command);
  void publish_self();
  void propose_hash_check();
  void compact_by_itself();
  void raise_corrupt_alarm(LogIndex index);
  std::uint64_t bytes_between_snapshots() const;
  std::int64_t snapshot_percent(std::uint64_t bytes, LogIndex since) const;
  std::int64_t percent_of_next_snapshot() const;
  void maybe_take_snapshot();
  std::int64_t percent_to_next_snapshot(LogIndex begun) const;
  void begin_snapshot(std::uint64_t needs_free_bytes);
  void snapshot_taken(const consensus::SnapshotMeta& meta);
  void snapshot_installed(const consensus::SnapshotMeta& meta, store::Store store);
  void cut_log(const consensus::SnapshotMeta& meta);
  LogIndex keep_from() const;
  void expire();
  void resend_forwards();
  void leave_leadership_without_disk();
  bool others_are_enough() const;

  // Members disagree about the state, or did: nothing is answered until somebody has looked.
  bool is_corrupt() const;
  std::optional<api::Error> refusal(ClientCall client, const api::Request& request) const;
  Flow user_of(const api::Request& request);
  void answer(ClientCall client, api::Answer answer);
  void answer(ClientCall client, api::Response&& response);
  Instant deadline(const api::Request& request) const;

  GroupId id_;
  Shared shared_;
  store::Store store_;
  Engine engine_;
  Writes writes_;
  // How many of them may be under way at once, and since when the way of one is timed.
  struct Round {
    std::uint64_t last_sent = 0;
    std::uint64_t done_cost = 0;
    Instant began;
  };
  AdmissionWindow window_;
  std::optional<Round> round_;
  Reads reads_;
  ForwardSender forward_sender_;
  ForwardReceiver forward_receiver_;
  std::deque<ForwardedFrame> forwarded_;  // from followers, to be proposed
  std::size_t forwarded_bytes_ = 0;
  std::deque<WaitingChange> changes_;
  LogIndex change_index_;  // of the change proposed last
  // The one that is next holds for the state after all that is in the log: nothing else is proposed
  // until that has been applied.
  bool is_held_for_change_ = false;
  std::vector<ChangingClient> changing_;
  consensus::Membership applied_membership_;
  // A Range that takes more than one turn; the others wait for it in reads_.
  struct LongRead {
    ClientCall client;
    std::unique_ptr<store::RangeReader> reader;
    api::RangeResponse part = {};  // what nobody has been told yet
  };
  std::optional<LongRead> long_read_;
  // Who waits for another member to lead.
  struct Mover {
    ClientCall client;
    NodeId target;
    Instant until;
  };
  std::vector<Mover> movers_;
  struct HashingClient {
    ClientCall client;
    std::unique_ptr<store::HistoryHash> hash;
  };
  std::deque<HashingClient> hashing_;
  // Who waits for a snapshot of at least an index, and the files of those that are being read.
  struct WaitingBackup {
    ClientCall client;
    LogIndex from;
  };
  std::vector<WaitingBackup> waiting_backups_;
  struct Backup {
    Instant until;  // it stays
    std::uint64_t size_bytes = 0;
    std::size_t readers = 0;  // that have not come to its end
  };
  std::map<LogIndex, Backup> backups_;
  bool is_backup_being_written_ = false;  // a snapshot, for them alone
  Instant backup_begun_at_;
  Instant next_backup_at_;
  std::map<store::Alarm, Instant> alarms_set_at_;  // by this member
  // Watches, and what waits for the next turn.
  FairQueue<WatchWork> watch_work_{limits::kFairQuantum};
  InFlight watch_requests_{{.requests = limits::kMaxWaitingWatchRequests,
                            .bytes = limits::kMaxWaitingWatchBytes,
                            .connection_requests = limits::kMaxWaitingWatchRequests / 2,
                            .connection_bytes = limits::kMaxWaitingWatchBytes / 4}};
  store::WatchHub watches_;
  // ZooKeeper's clients: who has which session here, and what waits.
  struct LocalSession {
    std::uint64_t connection = 0;
    std::uint64_t generation = 0;
  };
  struct Ping {
    ClientCall client;
    api::zk::Caller caller;
    Instant until;
  };
  struct Touch {
    std::vector<api::zk::SessionId> sessions;
    std::vector<Ping> pings;  // of these
  };
  store::ZnodeWatches znode_watches_;
  std::map<api::zk::SessionId, LocalSession> sessions_;
  std::map<std::uint64_t, api::zk::SessionId> session_of_;  // by connection
  OrderedReads znode_reads_;
  std::set<api::zk::SessionId> touched_;
  Instant touch_again_;
  std::multimap<api::zk::SessionId, Ping> pings_;  // that wait for a command
  std::map<std::uint64_t, Touch> touches_;         // commands under way
  std::size_t pings_under_way_ = 0;
  std::uint64_t next_touch_ = 1;
  std::set<std::uint64_t> failed_connections_;  // nothing they ask for is to be done any more
  Bytes reap_from_;
  std::uint64_t reaping_ = 0;  // the call of the last command that reaps
  Instant notify_watches_at_;
  store::Locks locks_;
  store::Observers observers_;
  store::NativeWaits native_waits_;
  Tokens tokens_;
  std::size_t passwords_under_way_ = 0;
  std::optional<Snapshots> snapshots_;
  ClusterClock cluster_clock_;
  Instant stamped_at_;  // when the last batch was proposed, and in which epoch
  Epoch stamped_in_;
  // Of keep_time's last entries, the newer one behind; whether that one revoked leases; whether one
  // entry was not enough for those whose time was over.
  std::array<consensus::Position, 2> timed_;
  bool timed_expiry_ = false;
  bool expiry_goes_on_ = false;
  Rng lease_ids_;
  Rng session_ids_;
  AutoCompaction auto_compaction_;

  bool turn_wanted_ = false;
  Ticket handed_out_;  // newest ticket given to the log
  Ticket persisted_;
  std::deque<Held> held_;
  std::deque<Instant> appends_since_;  // of each append that is under way, when it was handed over

  // The newest log entries that were applied, and their sizes: those that stay in memory for
  // followers that are a little behind (keep_from).
  std::deque<std::pair<LogIndex, std::size_t>> recent_entries_;
  std::size_t recent_bytes_ = 0;
  LogIndex snapshot_;
  LogIndex keep_at_snapshot_;  // keep_from() when the one that is being written was begun
  LogIndex cut_at_;            // of the last snapshot after which the log was cut
  bool is_first_snapshot_;     // the next one is, since the log begins at cut_at_
  std::uint64_t bytes_since_snapshot_ = 0;
  std::uint64_t bytes_before_snapshot_ = 0;  // of them, those that the one being written covers

  std::uint64_t ticks_ = 0;
  NodeId last_leader_;
  std::set<NodeId> full_disks_;
  bool no_space_ = false;
  Instant hand_over_again_;
  int disk_doublings_ = 0;  // of the patience with this member's disk
  // This member's state differs from the leader's, and the alarm is not raised yet.
  bool corrupt_ = false;
  Instant publish_again_;
  Instant found_again_;
  api::Revision checked_revision_ = 0;  // of the last hash check this member proposed
  bool stopped_ = false;
  std::shared_ptr<char> alive_;
  Stats counters_;  // only the counters of this group
};

}  // namespace conclave::node
