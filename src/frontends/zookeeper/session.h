#pragma once
// One client's connection to the ZooKeeper port: a session of ZooKeeper's protocol, or one of its
// four-letter words. The first bytes decide which.
//
// Order, as ZooKeeper's clients rely on it: requests of a connection are answered in the order in
// which they came, and each sees what those before it did, and nothing of those after it. So a read
// is asked for when the writes before it have been answered, and a write when the reads before it
// have; writes that follow each other go together, and so do reads. Pings and auth are answered
// out of order, as there. A reconfig is asked for alone: it may enter the log later than what its
// client sends after it would.
//
// A request that the member cannot answer (it has no leader, or too much to do) ends the
// connection, as in ZooKeeper: its client comes back, here or elsewhere, with its session.

#include <functional>
#include <memory>
#include <string>

#include "api/session.h"
#include "base/limits.h"
#include "base/time.h"
#include "frontends/zookeeper/connections.h"
#include "frontends/zookeeper/words.h"
#include "wire/request_buffers.h"

namespace conclave::zookeeper {

struct SessionOptions {
  WordSettings words = {};
  // Reads are answered from the member's own state, which may be older than what others have seen,
  // but not older than what this session has: ZooKeeper's own promise.
  bool local_reads = false;
  // Hard limits of quotas are held to.
  bool enforce_quotas = false;
  // Clients may change who the members are, if they may write /zookeeper/config.
  bool reconfig = false;
  // What digest_id() makes of the super user's name and password; empty: there is none.
  Bytes super_digest = {};
  // Connections of one address; one more is closed. 0: any number.
  std::size_t max_per_address = 0;
  // A connection that has not completed a packet in this time is closed.
  Duration packet_deadline = milliseconds(limits::kClientIdleHeaderMs);
  // The time, for latencies, which only people read; and what the process knows. May be null.
  std::function<Instant()> now = {};
  std::function<ProcessFacts()> process = {};
  // Shared by the sessions of a member, and told by its admin server. Set by make_sessions(), if it
  // is null.
  std::shared_ptr<Connections> connections = {};
  std::shared_ptr<wire::RequestBuffers> all_buffers = {};
};

// `peer` is the client's address, "1.2.3.4:5". REQUIRES: `options.connections`.
std::unique_ptr<api::Session> make_session(const SessionOptions& options, const std::string& peer,
                                           const api::ClientIdentity& identity);
// Makes the sessions of one member.
api::SessionFactory make_sessions(SessionOptions options);

}  // namespace conclave::zookeeper
