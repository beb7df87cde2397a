#include "node/node.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "base/log.h"
#include "peer.pb.h"

namespace conclave::node {
namespace {

// How long stop() waits for a new leader and for clients' requests.
constexpr Duration kStopPatience = seconds(2);

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
                                          io::Network& network, api::SessionFactory make_session) {
  Recovered recovered = TRY(recover(options, disk, clock));
  std::unique_ptr<Node> node(new Node(std::move(options), std::move(recovered), clock, disk,
                                      network, std::move(make_session)));
  TRY(node->listen());
  node->tick();
  return node;
}

Node::Node(Options options, Recovered recovered, io::Clock& clock, io::Disk& disk,
           io::Network& network, api::SessionFactory make_session)
    : options_(std::move(options)),
      clock_(clock),
      incarnation_(draw_incarnation(options_)),
      lock_(std::move(recovered.lock)),
      snapshots_(std::move(recovered.snapshots)),
      log_(std::move(recovered.log)),
      peers_(options_, incarnation_, clock, network, this),
      clients_(
          options_.max_client_connections, clock, network, std::move(make_session),
          [this](ClientCall client, api::Request request) { submit(client, std::move(request)); }) {
  Group::Shared shared{
      .options = options_,
      .incarnation = incarnation_,
      .clock = clock,
      .disk = disk,
      .log = *log_,
      .peers = peers_,
      .snapshots = snapshots_,
      .reply = [this](ClientCall client,
                      api::Response response) { clients_.reply(client, std::move(response)); },
      .fatal = [this](const Error& error) { fail_for_good(error); },
  };
  group_ = std::make_unique<Group>(
      kCoordinationGroup, GroupState{std::move(recovered.saved), std::move(recovered.store)},
      std::move(shared));
}

Node::~Node() { clock_.cancel(timer_); }

Result<void> Node::listen() {
  TRY(peers_.start());
  for (const io::Address& address : options_.client_listen) TRY(clients_.listen(address));
  return {};
}

// --- time ---------------------------------------------------------------------------

void Node::tick() {
  if (failed_) return;
  timer_ = clock_.after(options_.tick, [this] { tick(); });
  ++ticks_;
  peers_.tick();
  group_->tick();
  const auto per_second = static_cast<std::uint64_t>(seconds(1).ns / options_.tick.ns);
  if (ticks_ % per_second == 0) every_second();
  if (stopped_) finish_stop();
}

void Node::every_second() {
  clients_.tick();
  report_disk();
}

// Tells the others whether this disk is full, and works out whether enough disks have room for a
// quorum.
void Node::report_disk() {
  peer::v1::Report report;
  report.set_disk_full(log_->is_full());
  peers_.broadcast(FrameType::kReport, report.SerializeAsString());
  const auto& membership = group_->engine().membership();
  const auto has_room = [this](NodeId id) {
    if (id == options_.self) return !log_->is_full();
    const auto found = disk_full_.find(id);
    return found == disk_full_.end() || !found->second;
  };
  group_->set_no_space(!membership.voters.reached(has_room));
}

void Node::fail_for_good(const Error& error) {
  if (std::exchange(failed_, true)) return;
  LOG(kError, "this member cannot go on: {}", error.message);
  if (options_.fatal) options_.fatal(error);
}

void Node::stop(std::move_only_function<void()> stopped) {
  stopped_ = std::move(stopped);
  stop_deadline_ = clock_.now() + kStopPatience;
  if (group_->hand_over_leadership()) LOG(kInfo, "handing leadership over before stopping");
  clients_.shut_down();
}

void Node::finish_stop() {
  const bool done = !group_->engine().is_leader() && group_->waiting() == 0;
  const bool alone = options_.members.size() == 1 && group_->waiting() == 0;
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

// --- clients ------------------------------------------------------------------------

void Node::submit(ClientCall client, api::Request request) {
  if (failed_) {
    return clients_.reply(client, api::Response{{}, api::Error{api::ErrorCode::kStopped, {}}});
  }
  switch (api::route_of(request)) {
    case api::Route::kWrite:
      return group_->write(client, request);
    case api::Route::kLinearizableRead:
    case api::Route::kLocalRead:
      return group_->read(client, std::move(request));
    case api::Route::kMember: {
      api::Header header = group_->header();
      // etcd's answers about the cluster name no revision.
      if (std::holds_alternative<api::MemberListRequest>(request.body)) header.revision = 0;
      return clients_.reply(client, api::Response{header, answer_member_request(request)});
    }
  }
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
  }
  return list;
}

api::StatusResponse Node::status() const {
  const consensus::EngineStatus engine = group_->engine().status();
  const store::Store& store = group_->store();
  api::StatusResponse status;
  status.version = options_.version;
  status.role = name_of(engine.role);
  status.db_size_bytes = static_cast<std::int64_t>(store.size_bytes());
  status.db_size_in_use_bytes = static_cast<std::int64_t>(store.size_in_use_bytes());
  status.leader = engine.leader;
  status.raft_index = engine.commit;
  status.applied_index = store.applied_index();
  status.raft_term = engine.epoch;
  status.is_learner = engine.role == consensus::Role::kLearner;
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
  Stats stats;
  stats.log = log_->stats();
  stats.disk_full = log_->is_full();
  stats.client_connections = clients_.connections();
  stats.peers_connected = peers_.connected();
  group_->add_to(stats);
  return stats;
}

}  // namespace conclave::node
