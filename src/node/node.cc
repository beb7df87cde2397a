#include "node/node.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "base/check.h"
#include "base/log.h"
#include "node/group.h"
#include "peer.pb.h"

namespace conclave::node {
namespace {

// How long stop() waits for a new leader and for clients' requests.
constexpr Duration kStopPatience = seconds(2);
// A removed member stays a little: those who asked for it get their answer, and those who stay the
// last entries.
constexpr Duration kFarewell = seconds(1);
// The connection of calls by ask(): no client's.
constexpr std::uint64_t kOwner = ~std::uint64_t{0};

std::uint64_t draw_incarnation(const Options& options) {
  return Rng(options.seed ^ options.self.value).next() | 1;
}

const char* name_of(consensus::Role role) {
  switch (role) {
    case consensus::Role::kFollower:
      return "follower";
    case consensus::Role::kCandidate:
      return "candidate";
    case consensus::Role::kLeader:
      return "leader";
    case consensus::Role::kLearner:
      return "learner";
  }
  CHECK(false, "role {}", static_cast<int>(role));
}

const char* name_of(consensus::PeerState state) {
  switch (state) {
    case consensus::PeerState::kProbe:
      return "probe";
    case consensus::PeerState::kReplicate:
      return "replicate";
    case consensus::PeerState::kSnapshot:
      return "snapshot";
  }
  CHECK(false, "peer state {}", static_cast<int>(state));
}

}  // namespace

Result<std::unique_ptr<Node>> Node::start(Options options, io::Clock& clock, io::Disk& disk,
                                          Networks networks, api::SessionFactory make_session,
                                          std::vector<ClientPort> more_ports) {
  Recovered recovered = TRY(recover(options, disk, clock));
  const NodeId self = options.self;
  std::unique_ptr<Node> node(new Node(std::move(options), std::move(recovered), clock, disk,
                                      networks, std::move(make_session), std::move(more_ports)));
  if (node->group_->was_removed()) {
    return fail(ErrorCode::kRemoved,
                fmt::format("this member ({:x}) was removed from the cluster", self.value));
  }
  TRY(node->listen());
  node->tick();
  return node;
}

Node::Node(Options options, Recovered recovered, io::Clock& clock, io::Disk& disk,
           Networks networks, api::SessionFactory make_session, std::vector<ClientPort> more_ports)
    : options_(std::move(options)),
      clock_(clock),
      incarnation_(draw_incarnation(options_)),
      lock_(std::move(recovered.lock)),
      snapshots_(std::move(recovered.snapshots)),
      log_(std::move(recovered.log)),
      peers_(options_, incarnation_, std::move(recovered.directories), clock, networks.peers, this),
      more_ports_(std::move(more_ports)),
      clients_(
          options_.max_client_connections, clock, networks.clients, std::move(make_session),
          [this](ClientCall client, api::Request&& request) { submit(client, std::move(request)); },
          [this](ClientCall client) { group_->withdraw(client); },
          [this](std::uint64_t connection) { group_->on_room(connection); },
          Clients::WatchHooks{
              .request = [this](ClientCall feed,
                                api::WatchRequest request) { watch(feed, std::move(request)); },
              .has_room = [this](ClientCall feed) { group_->on_watch_room(feed); },
              .gone = [this](std::uint64_t connection) { group_->on_watcher_gone(connection); }}) {
  Group::Shared shared{
      .options = options_,
      .incarnation = incarnation_,
      .clock = clock,
      .disk = disk,
      .log = *log_,
      .peers = peers_,
      .snapshots = snapshots_,
      .reply = [this](ClientCall client,
                      api::Response&& response) { reply(client, std::move(response)); },
      .submit = [this](ClientCall client,
                       api::Request&& request) { submit(client, std::move(request)); },
      .reply_part =
          [this](ClientCall client, const api::Header& header, std::vector<api::KeyValue> kvs) {
            return reply_part(client, header, std::move(kvs));
          },
      .room_for = [this](std::uint64_t connection) { return room_for(connection); },
      .watch_news =
          [this](ClientCall feed, const api::Header& header, const api::WatchNews& news) {
            return clients_.watch_news(feed, header, news);
          },
      .zookeeper_news =
          [this](std::uint64_t connection, api::zk::News news) {
            clients_.zookeeper_news(connection, std::move(news));
          },
      .fatal = [this](const Error& error) { fail_for_good(error); },
  };
  group_ = std::make_unique<Group>(
      kCoordinationGroup, GroupState{std::move(recovered.saved), std::move(recovered.store)},
      std::move(shared));
  update_peers();
}

Node::~Node() { clock_.cancel(timer_); }

Result<void> Node::listen() {
  TRY(peers_.start());
  for (const io::Address& address : options_.client_listen) TRY(clients_.listen(address));
  for (ClientPort& port : more_ports_) {
    for (const io::Address& address : port.listen) {
      TRY(clients_.listen(address, &port.make_session));
    }
  }
  return {};
}

// --- time ---------------------------------------------------------------------------

void Node::tick() {
  if (failed_) return;
  timer_ = clock_.after(options_.tick, [this] { tick(); });
  ++ticks_;
  if (log_->failure()) return fail_for_good(*log_->failure());
  update_peers();
  peers_.tick();
  group_->tick();
  const auto per_second = static_cast<std::uint64_t>(seconds(1).ns / options_.tick.ns);
  if (ticks_ % per_second == 0) every_second();
  leave_if_removed();
  if (failed_) return;
  if (stopped_) finish_stop();
}

void Node::every_second() {
  clients_.tick();
  report_disk();
}

// Tells the others whether this disk is full, and the group whose disks are.
void Node::report_disk() {
  peer::v1::Report report;
  report.set_disk_full(log_->is_full());
  peers_.broadcast(FrameType::kReport, report.SerializeAsString());
  std::set<NodeId> full;
  for (const auto& [member, is_full] : disk_full_) {
    if (is_full) full.insert(member);
  }
  if (log_->is_full()) full.insert(options_.self);
  group_->set_full_disks(std::move(full));
}

// Who the others are: those the engine sends to and those the store names. Also those of the
// membership applied last: a leader that is being removed waits for the answers that commit its own
// removal. And those who call: a leader whose addition this member has not heard of has to tell it.
// Until this member has caught up with what it was told when it joined, what it was told
// counts as well.
PeerTable Node::peer_table() const {
  const store::Store& store = group_->store();
  const bool knows_all = store.founded() && store.applied_index() >= options_.joined_at;
  PeerTable table;
  const auto add = [&](NodeId id) {
    if (id == options_.self || table.peers.contains(id)) return;
    PeerTable::Peer peer{.options = {.id = id, .name = {}, .peer_urls = {}, .addresses = {}},
                         .directory = store.directory_of(id)};
    const auto known = std::ranges::find(store.members(), id, &api::Member::id);
    if (store.founded() && known != store.members().end()) {
      peer.options.name = known->name;
      peer.options.peer_urls = known->peer_urls;
      if (auto urls = options_.parse_peer_urls(known->peer_urls)) {
        peer.options.addresses = std::move(urls->addresses);
      }
    }
    const auto told = std::ranges::find(options_.members, id, &PeerOptions::id);
    if (!knows_all && told != options_.members.end()) peer.options = *told;
    if (peer.options.addresses.empty()) peer.options.addresses = peers_.told_addresses(id);
    table.peers.emplace(id, std::move(peer));
  };
  for (const NodeId id : group_->engine().membership().all()) add(id);
  for (const NodeId id : group_->applied_membership().all()) add(id);
  if (store.founded()) {
    for (const api::Member& member : store.members()) add(member.id);
  }
  const consensus::Membership& applied = group_->applied_membership();
  for (const NodeId id : store.removed()) {
    if (applied.is_joint() || applied.contains(id) || table.peers.contains(id)) continue;
    table.removed.insert(id);
  }
  for (const NodeId id : peers_.callers()) {
    if (!table.removed.contains(id)) add(id);
  }
  if (!knows_all) {
    for (const PeerOptions& member : options_.members) {
      if (!table.removed.contains(member.id)) add(member.id);
    }
  }
  return table;
}

void Node::update_peers() {
  const std::uint64_t facts = group_->store().facts_digest();
  const consensus::Membership& membership = group_->engine().membership();
  const bool same = facts == peers_facts_ && membership == peers_membership_ &&
                    applied_members_ == group_->applied_membership() &&
                    peers_calls_ == peers_.calls();
  if (same) return;
  peers_facts_ = facts;
  peers_membership_ = membership;
  applied_members_ = group_->applied_membership();
  peers_calls_ = peers_.calls();
  peers_.update(peer_table());
}

void Node::leave_if_removed() {
  if (!leave_at_ && group_->was_removed()) leave_at_ = clock_.now() + kFarewell;
  if (!leave_at_ || clock_.now() < *leave_at_) return;
  fail_for_good(
      Error{ErrorCode::kRemoved,
            fmt::format("this member ({:x}) was removed from the cluster", options_.self.value)});
}

void Node::fail_for_good(const Error& error) {
  if (std::exchange(failed_, true)) return;
  if (error.code == ErrorCode::kRemoved) {
    LOG(kWarn,
        "{}: it stops. Its data directory {} is of no more use; to take part again it has to be "
        "added again, and to start with an empty one",
        error.message, options_.data_dir);
  } else {
    LOG(kError, "this member cannot go on: {}", error.message);
  }
  if (options_.fatal) options_.fatal(error);
}

void Node::stop(std::move_only_function<void()> stopped) {
  stopped_ = std::move(stopped);
  stop_deadline_ = clock_.now() + kStopPatience;
  if (group_->hand_over_leadership()) LOG(kInfo, "handing leadership over before stopping");
  clients_.shut_down();
  group_->stop_locks();
}

void Node::finish_stop() {
  const bool done = !group_->engine().is_leader() && group_->waiting() == 0;
  const bool alone = group_->engine().membership().all().size() == 1 && group_->waiting() == 0;
  if (!done && !alone && clock_.now() < stop_deadline_) return;
  clock_.cancel(timer_);
  clock_.post(std::exchange(stopped_, nullptr));
}

// --- the other members --------------------------------------------------------------

void Node::on_engine_message(consensus::Envelope envelope) {
  if (failed_ || envelope.group != kCoordinationGroup) return;
  group_->on_engine_message(envelope);
}

void Node::on_peer_message(NodeId from, FrameType type, BytesView payload) {
  if (failed_) return;
  const auto parse = [payload](google::protobuf::Message& message) {
    return message.ParseFromArray(payload.data(), static_cast<int>(payload.size()));
  };
  if (type == FrameType::kForward) {
    peer::v1::Forward forward;
    if (parse(forward)) group_->on_forward(from, forward);
  } else if (type == FrameType::kForwardReply) {
    peer::v1::ForwardReply reply;
    if (parse(reply)) group_->on_forward_reply(reply);
  } else if (type == FrameType::kReport) {
    peer::v1::Report report;
    if (parse(report)) disk_full_[from] = report.disk_full();
  }
}

void Node::on_peer_lost(NodeId peer) {
  disk_full_.erase(peer);
  if (!failed_) group_->on_peer_lost(peer);
}

void Node::on_peer_connected(NodeId peer) {
  if (!failed_) group_->on_peer_connected(peer);
}

void Node::on_peer_refused(NodeId peer, const Error& why) {
  if (why.code == ErrorCode::kRemoved) {
    if (!leave_at_) leave_at_ = clock_.now() + kFarewell;
    return;
  }
  fail_for_good(Error{
      why.code,
      fmt::format("member {:x} says: {}. What this member had acknowledged is not in {} any more, "
                  "and the others count on it. Replace it: `conclave member replace {} "
                  "--endpoints <one that runs>`, then start it with an empty data directory and "
                  "--initial-cluster-state existing",
                  peer.value, why.message, options_.data_dir, options_.name)});
}

Bytes Node::join_reply() {
  const store::Store& store = group_->store();
  peer::v1::JoinReply reply;
  reply.set_cluster(options_.cluster.value);
  if (!store.founded()) {
    reply.set_reason("this member does not know yet who the members are");
    return reply.SerializeAsString();
  }
  reply.set_accepted(true);
  reply.set_applied(store.applied_index().value);
  for (const api::Member& member : store.members()) {
    auto* listed = reply.add_members();
    listed->set_id(member.id.value);
    listed->set_name(member.name);
    for (const std::string& url : member.peer_urls) listed->add_peer_urls(url);
    listed->set_is_learner(member.is_learner);
    listed->set_is_witness(member.is_witness);
    listed->set_has_data(store.directory_of(member.id) != 0 || peers_.had_data(member.id));
  }
  if (options_.founders.empty()) {
    for (const PeerOptions& member : options_.members) reply.add_founders(member.id.value);
  }
  for (const NodeId id : options_.founders) reply.add_founders(id.value);
  reply.set_engine(std::string(name_of(options_.engine)));
  if (options_.initial_membership) {
    reply.set_initial_membership(consensus::encode(*options_.initial_membership));
  }
  return reply.SerializeAsString();
}

// --- clients ------------------------------------------------------------------------

void Node::ask(api::Request request, std::move_only_function<void(api::Response)> answered) {
  const ClientCall call{kOwner, next_asked_++};
  asked_.emplace(call.call, Asked{std::move(answered), {}});
  submit(call, std::move(request));
}

void Node::reply(ClientCall client, api::Response&& response) {
  if (client.connection != kOwner) return clients_.reply(client, std::move(response));
  auto asked = asked_.extract(client.call);
  if (asked.empty()) return;
  auto& [answered, kvs] = asked.mapped();
  if (auto* range = std::get_if<api::RangeResponse>(&response.answer); range && !kvs.empty()) {
    std::ranges::move(range->kvs, std::back_inserter(kvs));
    range->kvs = std::move(kvs);
  }
  answered(std::move(response));
}

bool Node::reply_part(ClientCall client, const api::Header& header,
                      std::vector<api::KeyValue> kvs) {
  if (client.connection != kOwner) return clients_.part(client, header, std::move(kvs));
  const auto asked = asked_.find(client.call);
  if (asked == asked_.end()) return false;
  std::ranges::move(kvs, std::back_inserter(asked->second.kvs));
  return true;
}

Room Node::room_for(std::uint64_t connection) {
  const bool is_own = connection == kOwner || is_of_a_procedure(connection);
  return is_own ? Room::kAny : clients_.room_for(connection);
}

// By the cluster's decision: a new voter that still gets the log is none.
bool Node::is_learner() const {
  const store::Store& store = group_->store();
  if (!store.founded()) return group_->engine().membership().is_learner(options_.self);
  const auto self = std::ranges::find(store.members(), options_.self, &api::Member::id);
  return self != store.members().end() && self->is_learner;
}

// As etcd: a learner answers for itself, and reads that may be stale.
bool Node::is_refused_by_learner(const api::Request& request) const {
  if (!is_learner()) return false;
  if (std::holds_alternative<api::MemberListRequest>(request.body)) return true;
  if (std::holds_alternative<api::SnapshotRequest>(request.body)) return true;
  if (std::holds_alternative<api::HealthRequest>(request.body)) return false;
  const api::Route route = api::route_of(request);
  return route != api::Route::kMember && route != api::Route::kLocalRead;
}

// It answers for itself, and for who the members are.
bool Node::is_refused_by_witness(const api::Request& request) const {
  if (!options_.is_witness || std::holds_alternative<api::HealthRequest>(request.body)) {
    return false;
  }
  return api::route_of(request) != api::Route::kMember;
}

// False: one is no URL.
bool Node::bring_into_form(std::vector<std::string>& urls) const {
  auto parsed = options_.parse_peer_urls(urls);
  if (!parsed) return false;
  urls = std::move(parsed->urls);
  return true;
}

// Its addresses, as what stands behind the scheme in members' URLs. False: one is none.
bool Node::bring_into_form(api::zk::ReconfigRequest& asked) const {
  constexpr std::string_view kScheme = "http://";
  return std::ranges::all_of(asked.joining, [&](api::zk::Server& server) {
    std::vector<std::string> urls{std::string(kScheme) + server.peer};
    if (!bring_into_form(urls)) return false;
    server.peer = urls.front().substr(kScheme.size());
    return true;
  });
}

// Checks the URLs and gives a new member its id: drawn here, so that every member that applies the
// change gives it the same. (A client of ZooKeeper's says which.)
void Node::change_members(ClientCall client, api::Request request) {
  if (auto* several = std::get_if<api::zk::ReconfigRequest>(&request.body)) {
    if (bring_into_form(*several)) return group_->reconfigure(client, request);
    const api::zk::Reply wrong{api::zk::Code::kBadArguments, group_->store().revision(), {}};
    return reply(client, api::Response{group_->header(), wrong});
  }
  bool good = true;
  bool is_known = true;
  if (auto* add = std::get_if<api::MemberAddRequest>(&request.body)) {
    good = bring_into_form(add->peer_urls);
    constexpr std::uint64_t kPurpose = 0x6d656d626572;
    do {
      add->id = NodeId{Rng(incarnation_ ^ kPurpose ^ (++next_member_ << 48)).next() | 1};
    } while (!group_->engine().may_add(add->id));
  } else if (auto* update = std::get_if<api::MemberUpdateRequest>(&request.body)) {
    good = bring_into_form(update->peer_urls);
    is_known = group_->engine().membership().contains(update->id);
  }
  // As etcd: the URLs of nobody are not looked at, and neither are those of who may not change any.
  std::optional<api::Error> refused;
  if (!good && is_known) refused = api::Error{api::ErrorCode::kMemberBadUrls, {}};
  if (!refused) refused = group_->denial(request);
  if (!refused && !is_known) refused = api::Error{api::ErrorCode::kMemberNotFound, {}};
  if (!refused) return group_->change_members(client, request);
  reply(client, api::Response{group_->header(), std::move(*refused)});
}

void Node::submit(ClientCall client, api::Request&& request) {
  if (failed_) {
    return reply(client, api::Response{{}, api::Error{api::ErrorCode::kStopped, {}}});
  }
  if (is_refused_by_learner(request)) {
    return reply(client, api::Response{group_->header(), api::Error{api::ErrorCode::kLearner, {}}});
  }
  if (is_refused_by_witness(request)) {
    return reply(client, api::Response{group_->header(), api::Error{api::ErrorCode::kWitness, {}}});
  }
  const api::Route route = api::route_of(request);
  if (!api::asks_who(request.body)) request.token.reset();
  const bool is_read = route == api::Route::kLinearizableRead || route == api::Route::kLocalRead;
  // Who reads is looked at when the answer is made.
  if (!is_read && !group_->identify(request)) {
    return group_->identify_later(client, std::move(request));
  }
  switch (route) {
    case api::Route::kWrite:
      return group_->write(client, std::move(request));
    case api::Route::kLinearizableRead:
    case api::Route::kLocalRead:
      return group_->read(client, std::move(request));
    case api::Route::kMember: {
      api::Header header = group_->header();
      // etcd's answers about the cluster name no revision.
      if (std::holds_alternative<api::MemberListRequest>(request.body)) header.revision = 0;
      return reply(client, api::Response{header, answer_member_request(request)});
    }
    case api::Route::kMemberChange:
      return change_members(client, std::move(request));
    case api::Route::kMaintenance:
      if (auto denied = group_->denial(request)) {
        return reply(client, api::Response{group_->header(), std::move(*denied)});
      }
      return group_->maintain(client, request);
    case api::Route::kLock:
      return group_->lock(client, std::move(request));
    case api::Route::kAuth:
      return group_->authenticate(client, std::move(request));
    case api::Route::kPing:
      return group_->ping(client, std::move(request));
  }
}

// As etcd: a learner serves no watches. A witness has nothing to tell.
void Node::watch(ClientCall feed, api::WatchRequest request) {
  const bool is_closing = std::holds_alternative<api::WatchFeedClosed>(request);
  const bool serves = !failed_ && !options_.is_witness && !is_learner();
  if (is_closing || serves) return group_->watch(feed, std::move(request));
  const auto why = failed_               ? api::ErrorCode::kStopped
                   : options_.is_witness ? api::ErrorCode::kWitness
                                         : api::ErrorCode::kLearner;
  clock_.post([this, feed, why, alive = std::weak_ptr<char>(alive_)] {
    if (alive.expired()) return;
    clients_.watch_news(feed, group_->header(), api::WatchFeedEnded{api::Error{why, {}}});
  });
}

api::Answer Node::answer_member_request(const api::Request& request) const {
  if (std::holds_alternative<api::MemberListRequest>(request.body)) return member_list();
  if (std::holds_alternative<api::StatusRequest>(request.body)) return status();
  if (std::holds_alternative<api::HealthRequest>(request.body)) return local_health();
  if (std::holds_alternative<api::MetricsRequest>(request.body)) {
    return api::MetricsResponse{options_.metrics_text ? options_.metrics_text(stats()) : ""};
  }
  return api::Error{api::ErrorCode::kUnsupported, {}};
}

api::MemberListResponse Node::member_list() const {
  api::MemberListResponse list;
  const auto& published = group_->store().members();
  if (group_->store().founded()) {
    list.members = published;
    return list;
  }
  const auto& membership = group_->engine().membership();
  for (const NodeId id : membership.all()) {
    const auto known = std::ranges::find(published, id, &api::Member::id);
    if (known != published.end()) {
      list.members.push_back(*known);
    } else {
      const auto initial = std::ranges::find(options_.members, id, &PeerOptions::id);
      api::Member member{.id = id, .name = {}, .peer_urls = {}, .client_urls = {}};
      if (initial != options_.members.end()) {
        member.name = initial->name;
        member.peer_urls = initial->peer_urls;
      }
      list.members.push_back(std::move(member));
    }
    list.members.back().is_learner = membership.is_learner(id);
    list.members.back().is_witness = membership.is_witness(id);
  }
  return list;
}

api::StatusResponse Node::status() const {
  const consensus::EngineStatus engine = group_->engine().status();
  const store::Store& store = group_->store();
  api::StatusResponse status;
  status.version = options_.version;
  status.role = options_.is_witness ? "witness" : name_of(engine.role);
  status.db_size_bytes = static_cast<std::int64_t>(store.size_bytes());
  status.db_size_in_use_bytes = static_cast<std::int64_t>(store.size_in_use_bytes());
  status.leader = engine.leader;
  status.raft_index = engine.commit;
  status.applied_index = store.applied_index();
  status.raft_term = engine.epoch;
  status.is_learner = is_learner();
  status.state_hash = store.hash();
  if (!engine.leader) status.errors.emplace_back("etcdserver: no leader");
  for (const auto& [member, alarm] : store.alarms()) {
    status.errors.push_back(fmt::format("memberID:{} alarm:{} ", member.value,
                                        alarm == store::Alarm::kCorrupt ? "CORRUPT" : "NOSPACE"));
  }
  if (log_->is_full()) {
    status.errors.push_back(fmt::format("memberID:{} alarm:NOSPACE ", options_.self.value));
  }
  for (const consensus::PeerStatus& peer : engine.peers) {
    status.peers.push_back({peer.id, peer.match, name_of(peer.state), peer.recently_active});
  }
  return status;
}

api::HealthResponse Node::local_health() const {
  if (group_->engine().leader()) return {.healthy = true, .reason = {}};
  return {.healthy = false, .reason = "no leader"};
}

Stats Node::stats() const {
  Stats stats = group_->stats();
  stats.log = log_->stats();
  stats.disk_full = log_->is_full();
  stats.client_connections = clients_.connections();
  stats.peers_connected = peers_.connected();
  stats.client_bytes_received = clients_.bytes_received();
  stats.client_bytes_sent = clients_.bytes_sent();
  stats.peer_messages_sent = peers_.messages_sent();
  stats.peer_bytes = peers_.bytes();
  stats.peer_bytes_sent = peers_.bytes_sent();
  stats.quota_bytes = options_.quota_bytes;
  return stats;
}

}  // namespace conclave::node
