#pragma once
// The member's links to the others. Each member dials every other one and sends on the connection
// it dialled; what it hears comes on those it accepted. A link may lose what was under way when it
// breaks, so nothing here is reliable: engines and forwarding repeat what matters.
//
// A Hello names cluster, sender and receiver: a member of another cluster is refused with a reason
// that both sides log.

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "consensus/entry.h"
#include "io/clock.h"
#include "io/network.h"
#include "node/frame.h"
#include "node/options.h"

namespace conclave::node {

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
};

class Peers {
 public:
  // `handler` outlives the Peers.
  Peers(const Options& options, std::uint64_t incarnation, io::Clock& clock, io::Network& network,
        PeerHandler* handler);
  ~Peers();

  // Listens and dials. kBusy names a port that is taken.
  Result<void> start();

  // Drops the message if there is no link, or if too much is waiting on it.
  void send(NodeId to, FrameType type, BytesView payload);
  void send(const consensus::Envelope& envelope);
  void broadcast(FrameType type, BytesView payload);
  // Redials broken links and gives up stuck ones; about every tick.
  void tick();

  std::size_t connected() const;

 private:
  struct Outbound;
  struct Inbound;

  void dial(Outbound& link);
  void deliver(NodeId from, const Frame& frame);
  Result<NodeId> accept_hello(const Frame& frame);
  Bytes hello_for(NodeId to) const;

  const Options& options_;
  std::uint64_t incarnation_;
  io::Clock& clock_;
  io::Network& network_;
  PeerHandler* handler_;
  std::vector<std::unique_ptr<io::Listener>> listeners_;
  std::map<NodeId, std::unique_ptr<Outbound>> outbound_;
  std::map<std::uint64_t, std::unique_ptr<Inbound>> inbound_;
  std::uint64_t next_inbound_ = 1;
};

}  // namespace conclave::node
