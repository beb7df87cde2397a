#pragma once
// The member's links to the others. Each member dials every other one and sends on the connection
// it dialled; what it hears comes on those it accepted. A link may lose what was under way when it
// breaks, so nothing here is reliable: engines and forwarding repeat what matters.
//
// A Hello names cluster, sender and receiver: a member of another cluster is refused with a reason
// that both sides log. It also names the sender's data directory: a member whose id was here with
// another one has lost what it promised, and is refused for good.

#include <cstdint>
#include <expected>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "consensus/entry.h"
#include "io/clock.h"
#include "io/network.h"
#include "node/frame.h"
#include "node/options.h"
#include "node/stats.h"

namespace conclave::node {

// Who the others are, as far as this member knows.
struct PeerTable {
  struct Peer {
    PeerOptions options;
    std::uint64_t directory = 0;  // of its data directory; 0: not known
  };
  std::map<NodeId, Peer> peers;
  std::set<NodeId> removed;  // and may be told so
};

// Told what the other members say.
class PeerHandler {
 public:
  virtual ~PeerHandler() = default;
  virtual void on_engine_message(consensus::Envelope envelope) = 0;
  // `type` is kForward, kForwardReply or kReport.
  virtual void on_peer_message(NodeId from, FrameType type, BytesView payload) = 0;
  // A link to or from `peer` that had worked is broken.
  virtual void on_peer_lost(NodeId peer) = 0;
  // Our own link to `peer` works (again).
  virtual void on_peer_connected(NodeId peer) = 0;
  // `peer` will have nothing to do with this member any more: kRemoved or kMismatch, in words for
  // the operator.
  virtual void on_peer_refused(NodeId peer, const Error& why) = 0;
  // The answer to somebody who wants to join: an encoded peer.v1.JoinReply.
  virtual Bytes join_reply() = 0;
};

class Peers {
 public:
  // `directories`: what is known of members' data directories beyond what update() will tell.
  // `handler` and `options` outlive the Peers.
  Peers(const Options& options, std::uint64_t incarnation,
        std::map<NodeId, std::uint64_t> directories, io::Clock& clock, io::Network& network,
        PeerHandler* handler);
  ~Peers();

  // Listens and dials. kBusy names a port that is taken.
  Result<void> start();
  // Connects to whoever is new, drops whoever is not there any more. Not from inside a callback of
  // the handler.
  void update(PeerTable table);

  // Drops the message if there is no link, or if too much is waiting on it.
  void send(NodeId to, FrameType type, BytesView payload);
  void send(const consensus::Envelope& envelope);
  void broadcast(FrameType type, BytesView payload);
  // Redials broken links and gives up stuck ones; about every tick.
  void tick();

  // Given to links since the start, Hellos not counted.
  std::uint64_t messages_sent() const { return messages_sent_; }
  std::uint64_t bytes_sent() const { return bytes_sent_; }
  // For each of the others, with what came.
  std::map<NodeId, Stats::PeerBytes> bytes() const;

  std::size_t connected() const;
  // Our link to it works, and it has said something lately.
  bool is_active(NodeId peer) const;
  // Who is connected to us. Not all need be in the table: they may know of changes that this member
  // has yet to hear of, perhaps from them.
  std::set<NodeId> callers() const;
  // Grows whenever somebody calls or hangs up.
  std::uint64_t calls() const { return calls_; }
  // It was a member with data once, by what it told this one or the log.
  bool had_data(NodeId peer) const { return seen_directories_.contains(peer); }
  // Where a member told that it can be dialled; empty if it never dialled us.
  std::vector<io::Address> told_addresses(NodeId peer) const;

 private:
  struct Outbound;
  struct Inbound;

  // The link on which something can be sent to `peer` now; nullptr: it would be dropped.
  Outbound* open_link(NodeId peer);
  void send_on(Outbound& link, Bytes frame);
  void forget_strangers();
  void dial(Outbound& link);
  void deliver(NodeId from, const Frame& frame);
  struct Refusal;
  std::expected<NodeId, Refusal> accept_hello(const Frame& frame);
  Bytes hello_for(NodeId to) const;
  void connect(const PeerTable::Peer& peer);

  const Options& options_;
  std::uint64_t incarnation_;
  io::Clock& clock_;
  io::Network& network_;
  PeerHandler* handler_;
  PeerTable table_;
  std::map<NodeId, std::uint64_t> seen_directories_;
  std::map<NodeId, std::vector<std::string>> told_urls_;
  std::uint64_t calls_ = 0;
  std::uint64_t messages_sent_ = 0;
  std::uint64_t bytes_sent_ = 0;
  std::map<NodeId, Stats::PeerBytes> bytes_;
  std::map<NodeId, Instant> heard_at_;
  bool started_ = false;
  std::vector<std::unique_ptr<io::Listener>> listeners_;
  std::map<NodeId, std::unique_ptr<Outbound>> outbound_;
  std::map<std::uint64_t, std::unique_ptr<Inbound>> inbound_;
  std::uint64_t next_inbound_ = 1;
};

}  // namespace conclave::node
