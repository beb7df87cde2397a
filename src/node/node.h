#pragma once
// One member of a cluster: where engine, log, store, peers and clients meet. It runs over the io
// interfaces alone, so the simulator runs the same code as the server.
//
// Threading: everything happens on the loop that drives the Clock and Network it is given.

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "api/session.h"
#include "base/result.h"
#include "base/rng.h"
#include "io/clock.h"
#include "io/disk.h"
#include "io/network.h"
#include "node/clients.h"
#include "node/options.h"
#include "node/peers.h"
#include "node/recovery.h"
#include "node/stats.h"

namespace conclave::node {

class Group;

// The two sides of a member may differ in how their connections are protected.
struct Networks {
  io::Network& peers;
  io::Network& clients;
};

// Addresses for clients that speak another protocol than those of Options::client_listen.
struct ClientPort {
  std::vector<io::Address> listen;
  api::SessionFactory make_session;
};

class Node : private PeerHandler {
 public:
  // Recovers from the data directory, listens, and takes part. Blocks while it recovers. Clock,
  // disk and networks outlive the Node. Errors: those of recover(), and kBusy for a port in use.
  static Result<std::unique_ptr<Node>> start(Options options, io::Clock& clock, io::Disk& disk,
                                             Networks networks, api::SessionFactory make_session,
                                             std::vector<ClientPort> more_ports = {});
  ~Node() override;

  // Hands leadership over, lets clients finish what is under way (a second or two at most), then
  // calls `stopped`. The Node may be destroyed from then on.
  void stop(std::move_only_function<void()> stopped);

  // For the owner: asks this member as one of its clients would. The answer comes on the loop.
  void ask(api::Request request, std::move_only_function<void(api::Response)> answered);

  Stats stats() const;
  const Group& group() const { return *group_; }

 private:
  Node(Options options, Recovered recovered, io::Clock& clock, io::Disk& disk, Networks networks,
       api::SessionFactory make_session, std::vector<ClientPort> more_ports);

  void on_engine_message(consensus::Envelope envelope) override;
  void on_peer_message(NodeId from, FrameType type, BytesView payload) override;
  void on_peer_lost(NodeId peer) override;
  void on_peer_connected(NodeId peer) override;
  void on_peer_refused(NodeId peer, const Error& why) override;
  Bytes join_reply() override;

  Result<void> listen();
  void tick();
  void every_second();
  void report_disk();
  void update_peers();
  PeerTable peer_table() const;
  void leave_if_removed();
  void fail_for_good(const Error& error);
  void finish_stop();

  void submit(ClientCall client, api::Request&& request);
  bool reply_part(ClientCall client, const api::Header& header, std::vector<api::KeyValue> kvs);
  Room room_for(std::uint64_t connection);
  void reply(ClientCall client, api::Response&& response);
  void watch(ClientCall feed, api::WatchRequest request);
  bool bring_into_form(std::vector<std::string>& urls) const;
  bool bring_into_form(api::zk::ReconfigRequest& asked) const;
  void change_members(ClientCall client, api::Request request);
  bool is_learner() const;
  bool is_refused_by_witness(const api::Request& request) const;
  bool is_refused_by_learner(const api::Request& request) const;
  api::Answer answer_member_request(const api::Request& request) const;
  api::MemberListResponse member_list() const;
  api::StatusResponse status() const;
  api::HealthResponse local_health() const;

  Options options_;
  io::Clock& clock_;
  std::uint64_t incarnation_;
  std::unique_ptr<io::DirectoryLock> lock_;
  wal::SnapshotDir snapshots_;
  std::unique_ptr<wal::Log> log_;
  Peers peers_;
  std::vector<ClientPort> more_ports_;
  Clients clients_;
  std::unique_ptr<Group> group_;
  std::map<NodeId, bool> disk_full_;  // what the others reported last
  // By ask(), with the first keys of a large range.
  struct Asked {
    std::move_only_function<void(api::Response)> answered;
    std::vector<api::KeyValue> kvs;
  };
  std::map<api::CallId, Asked> asked_;
  api::CallId next_asked_ = 1;
  std::uint64_t next_member_ = 0;  // drawn for members that are added

  // What the table of peers was made of.
  std::uint64_t peers_facts_ = 0;
  consensus::Membership peers_membership_;
  consensus::Membership applied_members_;
  std::uint64_t peers_calls_ = 0;
  std::optional<Instant> leave_at_;  // this member was removed, and stops then

  io::Clock::TimerId timer_ = 0;
  std::uint64_t ticks_ = 0;
  bool failed_ = false;
  std::move_only_function<void()> stopped_;
  Instant stop_deadline_;
  std::shared_ptr<char> alive_ = std::make_shared<char>();
};

}  // namespace conclave::node
